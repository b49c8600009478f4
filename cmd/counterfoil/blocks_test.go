package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/limits"
)

// besiege leaves the state of a server that was attacked from 127.0.0.0/24, all
// of which is blocked, and by one who guessed the secret of billing from
// 198.51.100.7.
func besiege(t *testing.T, database string) {
	t.Helper()
	l, err := limits.New(limits.Config{File: database + ".limits"}, clock.System, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		l.Failed(&limits.Attempt{Realm: "a55", ClientID: fmt.Sprint(i), Address: netip.AddrFrom4([4]byte{127, 0, 0, byte(100 + i)})}, &limits.Verdict{})
	}
	for range 20 {
		l.Failed(&limits.Attempt{Realm: "acme", ClientID: "billing", Address: netip.MustParseAddr("198.51.100.7")}, &limits.Verdict{})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// listed returns the prefixes of what 'blocks' prints.
func listed(t *testing.T, r ran) (prefixes []string) {
	t.Helper()
	var all []limits.Block
	if err := json.Unmarshal([]byte(r.good(t).out), &all); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		prefixes = append(prefixes, b.Prefix.String())
	}
	return prefixes
}

// A block outlasts a restart of 'up'; it is listed and lifted while 'up' runs,
// within seconds, and when it does not.
func TestBlocksOfUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	u := start(t, dir, "127.0.0.1:0")
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	besiege(t, filepath.Join(dir, "counterfoil.db"))
	run := func(args ...string) ran {
		return execute(t, "", nil, binary, append([]string{"blocks"}, append(args, "--dir", dir)...)...)
	}
	if got := listed(t, run("-o", "json")); fmt.Sprint(got) != "[127.0.0.0/24 198.51.100.7/32]" {
		t.Errorf("before the start: %v", got)
	}
	u = start(t, dir, "127.0.0.1:0")
	a := u.asker(t, "a55")
	if status := a.bad(t); status != http.StatusTooManyRequests {
		t.Errorf("a blocked request is answered %d", status)
	}
	if got := run("list").good(t).out; !strings.HasPrefix(got, "PREFIX") || !strings.Contains(got, "127.0.0.0/24") || !strings.Contains(got, "billing") {
		t.Errorf("list prints:\n%s", got)
	}
	if got := run("lift", "127.0.0.1").good(t); got.out != "lifted 1\n" || got.err != "" {
		t.Errorf("lift prints %q and %q", got.out, got.err)
	}
	if status := a.bad(t); status != http.StatusBadRequest {
		t.Errorf("a request that is let in is answered %d", status)
	}
	if a.token(t.Context()) == "" {
		t.Error("the client gets no token")
	}
	if got := listed(t, run("-o", "json")); fmt.Sprint(got) != "[198.51.100.7/32]" {
		t.Errorf("after the lift: %v", got)
	}
	record := execute(t, "", nil, binary, "audit", "--dir", dir, "--type", "block", "-o", "json").good(t).out
	if !strings.Contains(record, `"block.lifted"`) || !strings.Contains(record, "1: 127.0.0.0/24") || !strings.Contains(record, "command line") {
		t.Errorf("recorded is %s", record)
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := run("lift", "--client", "billing").good(t); got.out != "lifted 1\n" || got.err != "no running server has done it yet: the next does when it starts\n" {
		t.Errorf("lift prints %q and %q", got.out, got.err)
	}
	if got := listed(t, run("-o", "json")); len(got) > 0 {
		t.Errorf("after all were lifted: %v", got)
	}
	start(t, dir, "127.0.0.1:0")
	if left, err := filepath.Glob(filepath.Join(dir, "*.lift-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"lift"}, "nothing to lift: name an address, --realm, --client or --all"},
		{[]string{"lift", "--all", "192.0.2.1"}, "--all lifts all blocks: name nothing else"},
		{[]string{"lift", "localhost"}, `localhost" is neither an address nor a network, as 192.0.2.0/24`},
	} {
		if got := run(row.args...); got.code != exitUsage || !strings.Contains(got.err, row.says) {
			t.Errorf("%v: exit %d %s", row.args, got.code, got.err)
		}
	}
	if got := run("lift", "--realm", "a56"); got.code == 0 || !strings.Contains(got.err, "a56") || !strings.Contains(got.err, "a55") {
		t.Errorf("a realm that does not exist: exit %d %s", got.code, got.err)
	}
}

// 'blocks' does the same on the machine of 'serve' and through its Admin API.
func TestBlocksOfServe(t *testing.T) {
	o := operateAfter(t, func(dir string) {
		besiege(t, filepath.Join(dir, "counterfoil.db"))
		// The operator's own address is blocked, too.
		got := execute(t, "", nil, binary, "blocks", "lift", "127.0.0.1", "--serve-config", filepath.Join(dir, "serve.yaml")).good(t)
		if !strings.Contains(got.err, "no running server") {
			t.Errorf("before the start, lift prints %q", got.err)
		}
	})
	here, there := o.here(t, "blocks").good(t).out, o.there(t, "blocks").good(t).out
	if here != there || !strings.Contains(here, "198.51.100.7/32") || strings.Contains(here, "127.0.0.0") {
		t.Errorf("here:\n%sthere:\n%s", here, there)
	}
	if got := o.there(t, "blocks", "lift", "198.51.100.0/24").good(t); got.out != "lifted 1\n" || got.err != "" {
		t.Errorf("lift prints %q and %q", got.out, got.err)
	}
	if got := listed(t, o.there(t, "blocks", "-o", "json")); len(got) > 0 {
		t.Errorf("there: %v", got)
	}
	waitFor(t, func() bool { return len(listed(t, o.here(t, "blocks", "-o", "json"))) == 0 })
}
