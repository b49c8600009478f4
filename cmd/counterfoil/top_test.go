package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// top runs 'top' and returns what it shows, as JSON.
func topOf(t *testing.T, r ran) (v topView) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.good(t).out), &v); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	return v
}

// 'top' shows on the machine and through the Admin API who did what in the last
// hour, who is blocked, and how long tokens take.
func TestTopOfServe(t *testing.T) {
	o := operateAfter(t, func(dir string) {
		l, err := limits.New(limits.Config{File: filepath.Join(dir, "counterfoil.db.limits")}, clock.System, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			l.Failed(&limits.Attempt{Realm: "acme", ClientID: "billing", Address: netip.MustParseAddr("198.51.100.7")}, &limits.Verdict{})
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		config := strings.Replace(exampleConfig(t), "hosts: [ops.acme.example]", "hosts: [localhost]", 1)
		(&served{dir: dir}).write(t, "serve.yaml", strings.Replace(config, "\nrealms:", "\nmetrics: {listen: 127.0.0.1:0}\nrealms:", 1))
	})
	c := o.http(t)
	creds := o.client(t, "acme", "orders:read")
	for range 3 {
		o.token(t, c, acmeToken, creds)
	}
	wrong := clients.Credentials{ClientID: creds.ClientID, ClientSecret: "wrong"}
	for range 2 {
		do(t, c, tokenRequest(t, acmeToken, wrong))
	}
	do(t, c, tokenRequest(t, acmeToken, clients.Credentials{ClientID: "stray\x1b[2J", ClientSecret: "wrong"}))
	at := strings.TrimPrefix(o.metered(t), "http://")
	scrape(t, o.metered(t))

	want := []topRow{
		// The second refusal is recorded with the number of its minute.
		{"acme", creds.ClientID, 3, 0, 1, counterfoil.ReasonWrongSecret},
		{"acme", "stray", 0, 0, 1, counterfoil.ReasonCredentialsMalformed},
	}
	for name, run := range map[string]func(...string) ran{
		"here":  func(args ...string) ran { return o.here(t, args...) },
		"there": func(args ...string) ran { return o.there(t, args...) },
	} {
		var v topView
		eventually.True(t, name+": the latency of all requests", func() bool {
			v = topOf(t, run("top", "--realm", "acme", "-o", "json", "--metrics", at))
			return v.Latency != nil && v.Latency.Requests == 6
		})
		if len(v.Clients) == 2 {
			v.Clients[1].ClientID, _, _ = strings.Cut(v.Clients[1].ClientID, "\x1b")
			v.Clients[1].ClientID, _, _ = strings.Cut(v.Clients[1].ClientID, `\`)
		}
		if v.Tokens != 3 || v.Failures != 2 || !reflect.DeepEqual(v.Clients, want) || v.Latency.P50 <= 0 || v.Latency.P99 > 30 || v.Trouble != "" {
			t.Errorf("%s: %+v, latency %+v", name, v, v.Latency)
		}
		if len(v.Blocks) == 0 || v.Blocks[0].ClientID != "billing" {
			t.Errorf("%s: blocks %v", name, v.Blocks)
		}
		text := run("top", "--realm", "acme", "--limit", "1", "--metrics", "127.0.0.1:1").good(t).out
		for _, part := range []string{"latency unknown: the metrics at 127.0.0.1:1 cannot be read", creds.ClientID, "wrong_secret", "others: --limit shows more", "198.51.100.7/32"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in\n%s", name, part, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("%s: what a stranger wrote reaches the terminal: %q", name, text)
		}
	}
	if v := topOf(t, o.here(t, "top", "--realm", "partners", "-o", "json")); v.Tokens != 0 || len(v.Clients) != 0 || len(v.Blocks) != 0 || v.Trouble == "" {
		t.Errorf("of another realm: %+v", v)
	}
	for _, flags := range [][]string{{"--limit", "0"}, {"--interval", "1ms"}} {
		if got := o.here(t, append([]string{"top"}, flags...)...); got.code != exitUsage {
			t.Errorf("%q: %d %s", flags, got.code, got.err)
		}
	}
}

// 'top' finds the metrics of a running 'up' by itself, and those of none.
func TestTopOfUp(t *testing.T) {
	u := start(t, t.TempDir()+"/data", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	a := u.asker(t, "altrata")
	token := a.token(t.Context())
	for range 4 {
		a.call(t, token)
	}
	run := func() topView {
		return topOf(t, execute(t, "", nil, binary, "top", "--dir", u.dir, "-o", "json"))
	}
	eventually.True(t, "the latency is that of the running server", func() bool { v := run(); return v.Latency != nil && v.Latency.Requests == 1 })
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	v := run()
	want := []topRow{{"altrata", u.env(t, "altrata").Get("API_USERNAME"), 1, 4, 0, ""}}
	if v.Latency != nil || !strings.Contains(v.Trouble, "--metrics") || !reflect.DeepEqual(v.Clients, want) {
		t.Errorf("after the end: %+v, want %+v", v, want)
	}
}

// The hour begins in the middle of a long record, each event is counted once, and
// what is older is forgotten.
func TestHour(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	service := &counting{Service: admin.New(admin.Config{Store: db})}
	now := time.Now().Truncate(time.Minute)
	add := func(ago time.Duration, client string, n int, e counterfoil.Event) {
		t.Helper()
		events := make([]counterfoil.Event, n)
		for i := range events {
			events[i] = e
			events[i].Time, events[i].Realm, events[i].ClientID = now.Add(-ago), "r", client
		}
		if err := db.RecordEvents(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	issued := counterfoil.Event{Type: "token.issued", Success: true}
	refused := counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonWrongSecret}
	for i := range 100 {
		add(time.Duration(400-i)*time.Minute, "old", 300, issued)
	}
	add(59*time.Minute, "first", 7, issued)
	many := refused
	many.Count = 1000
	add(30*time.Minute, "guess", 1, many)
	refused.Reason = counterfoil.ReasonUnknownClient
	add(30*time.Minute, "guess", 2, refused)
	add(time.Minute, "last", 1, counterfoil.Event{Type: "call.allowed", Success: true, Count: 40})
	add(time.Minute, "last", 1, counterfoil.Event{Type: "client.changed", Success: true})

	h := &hour{minutes: map[int64]map[topKey]*topCount{}}
	show := func() (text string) {
		t.Helper()
		if err := h.read(t.Context(), service, now); err != nil {
			t.Fatal(err)
		}
		for _, r := range h.rows() {
			text += fmt.Sprint(r.ClientID, " ", r.Tokens, " ", r.Calls, " ", r.Failures, " ", r.Reason, "; ")
		}
		return text
	}
	if got := show(); got != "guess 0 0 1002 wrong_secret; last 0 40 0 ; first 7 0 0 ; " {
		t.Errorf("got %s", got)
	}
	if service.first < 29_990 {
		t.Errorf("of 30,000 events, those from %d on were read for the last 12", service.first)
	}
	now = now.Add(2 * time.Minute)
	add(0, "last", 3, issued)
	if got := show(); got != "guess 0 0 1002 wrong_secret; last 3 40 0 ; " {
		t.Errorf("two minutes later: %s", got)
	}
	now = now.Add(2 * time.Hour)
	if got := show(); got != "" || h.groups != 0 {
		t.Errorf("two hours later: %s, %d groups", got, h.groups)
	}
	h = &hour{minutes: map[int64]map[topKey]*topCount{}}
	if got := show(); got != "" {
		t.Errorf("of an hour without events: %s", got)
	}
}

// counting notes after which event the reading of whole pages began.
type counting struct {
	admin.Service
	first int64
}

func (c *counting) Events(ctx context.Context, q audit.Query) (audit.Page, error) {
	if q.Limit > 1 && c.first == 0 {
		c.first = q.After
	}
	return c.Service.Events(ctx, q)
}
