package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store"
)

// crowd is a Service with many records and clients, made when they are asked
// for. look is called at each page.
type crowd struct {
	admin.Service
	n    int
	look func()
	fail error // after half of them
}

func (c *crowd) Events(_ context.Context, q audit.Query) (page audit.Page, err error) {
	c.look()
	page.Next = q.After
	for i := int(q.After) + 1; i <= c.n && len(page.Events) < q.Limit; i++ {
		page.Next = int64(i)
		if c.fail != nil && i > c.n/2 {
			return page, c.fail
		}
		page.Events = append(page.Events, store.RecordedEvent{Sequence: int64(i), Event: counterfoil.Event{
			Type: "token.issued", Time: time.Unix(int64(i), 0).UTC(), Realm: "a55", ClientID: fmt.Sprintf("client-%d-%s", i, strings.Repeat("é", i%30)),
			Success: true, Address: "192.0.2.1", UserAgent: "agent\t" + strings.Repeat("x", i%50), Detail: "<b>",
		}})
	}
	page.End = page.Next == int64(c.n)
	return page, nil
}

func (c *crowd) Clients(_ context.Context, q store.ClientQuery) (page admin.ClientPage, err error) {
	c.look()
	first := 0
	if q.After != "" {
		if _, err := fmt.Sscanf(q.After, "client-%d", &first); err != nil {
			return page, err
		}
	}
	for i := first + 1; i <= c.n && len(page.Clients) < q.Limit; i++ {
		page.Clients = append(page.Clients, admin.Client{Realm: "a55", ID: fmt.Sprintf("client-%d", i), Status: "enabled",
			Settings: store.Settings{Name: strings.Repeat("é", i%30), Scopes: []string{"<read>"}, Tenants: []string{"T1", "T2"}}})
	}
	if last := first + len(page.Clients); last < c.n {
		page.Next = fmt.Sprintf("client-%d", last)
	}
	return page, nil
}

// sink counts what is written to it.
type sink struct{ writes, bytes int }

func (s *sink) Write(p []byte) (int, error) {
	s.writes++
	s.bytes += len(p)
	return len(p), nil
}

// A long listing holds a page or two in memory in either form, and is written in
// large pieces: the text of a million records took seven times as long as their
// JSON, for the writes of a few bytes that it was made of.
func TestListingsStream(t *testing.T) {
	for name, list := range map[string]func(*program, *crowd) error{
		"audit": func(p *program, c *crowd) error { return p.audit(t.Context(), c, audit.Query{}, false) },
		"client list": func(p *program, c *crowd) error {
			return (&operator{program: p}).list(t.Context(), c, store.ClientQuery{Realm: "a55"}, 0)
		},
	} {
		for _, form := range []format{text, jsonForm} {
			t.Run(name+" as "+string(form), func(t *testing.T) {
				var stats runtime.MemStats
				var first, most uint64
				c := &crowd{n: 50_000}
				calls := 0
				c.look = func() {
					if calls++; calls%10 != 5 {
						return
					}
					runtime.GC()
					runtime.ReadMemStats(&stats)
					if first == 0 {
						first = stats.HeapAlloc
					}
					most = max(most, stats.HeapAlloc)
				}
				var out sink
				p := &program{console: console{stdio: stdio{Out: &out, Err: &sink{}}, output: form, clock: clock.System}}
				if err := list(p, c); err != nil {
					t.Fatal(err)
				}
				if calls < 45 || out.bytes < 50*c.n {
					t.Fatalf("%d pages, %d bytes", calls, out.bytes)
				}
				if most > first+2<<20 {
					t.Errorf("%d KiB were in use at first, then %d", first>>10, most>>10)
				}
				if out.writes > out.bytes/1000 {
					t.Errorf("%d bytes were written in %d pieces", out.bytes, out.writes)
				}
			})
		}
	}
}

// A table is aligned as text/tabwriter aligns each thousand rows of it, and no
// text of a stranger breaks its lines.
func TestTableIsAligned(t *testing.T) {
	for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
		var got, want bytes.Buffer
		p := &program{console: console{stdio: stdio{Out: &got, Err: &sink{}}, output: text}}
		if err := p.audit(t.Context(), &crowd{n: n, look: func() {}}, audit.Query{}, false); err != nil {
			t.Fatal(err)
		}
		tw := tabwriter.NewWriter(&want, 0, 0, 2, ' ', 0)
		const heading = "TIME\tEVENT\tREALM\tCLIENT ID\tREASON\tBY\tIP ADDRESS\tUSER AGENT\tDETAIL\n"
		fmt.Fprint(tw, heading)
		events, err := (&crowd{n: n, look: func() {}}).Events(t.Context(), audit.Query{Limit: n})
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range events.Events {
			if i == 1000 || i == 2000 {
				tw.Flush()
				want.WriteString("~")
				fmt.Fprint(tw, heading) // no column is narrower than its name
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t\t\t%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Type, e.Realm, e.ClientID, e.Address, strings.ReplaceAll(e.UserAgent, "\t", " "), e.Detail)
		}
		tw.Flush()
		text := want.String()
		for {
			before, after, ok := strings.Cut(text, "~")
			if !ok {
				break
			}
			_, after, _ = strings.Cut(after, "\n")
			text = before + after
		}
		if got.String() != text {
			t.Errorf("%d records:\n%.2000s\nwant\n%.2000s", n, got.String(), text)
		}
	}
}

// The list of clients is one JSON array however many pages it has.
func TestListIsOneArray(t *testing.T) {
	for _, row := range []struct{ n, limit, want int }{{0, 0, 0}, {1, 0, 1}, {500, 0, 500}, {501, 0, 501}, {1200, 0, 1200}, {1200, 700, 700}, {1200, 500, 500}, {3, 5, 3}} {
		var out bytes.Buffer
		p := &program{console: console{stdio: stdio{Out: &out}, output: jsonForm}}
		if err := (&operator{program: p}).list(t.Context(), &crowd{n: row.n, look: func() {}}, store.ClientQuery{}, row.limit); err != nil {
			t.Fatal(err)
		}
		var clients []admin.Client
		if err := json.Unmarshal(out.Bytes(), &clients); err != nil || len(clients) != row.want || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%d clients, limit %d: %d in %d lines, %v", row.n, row.limit, len(clients), strings.Count(out.String(), "\n"), err)
		}
		if row.n > 0 && !strings.Contains(out.String(), `"<read>"`) {
			t.Error("text in JSON is escaped for HTML")
		}
	}
}

// What was read before an error is printed, and nothing says that it is all.
func TestAuditEndsEarly(t *testing.T) {
	for _, form := range []format{text, jsonForm} {
		var out, errs bytes.Buffer
		p := &program{console: console{stdio: stdio{Out: &out, Err: &errs}, output: form}}
		broken := errors.New("the database is gone")
		if err := p.audit(t.Context(), &crowd{n: 4000, look: func() {}, fail: broken}, audit.Query{}, false); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", form, err)
		}
		if n := strings.Count(out.String(), "token.issued"); n != 2000 || errs.Len() != 0 {
			t.Errorf("%s: %d records were printed, and said %q", form, n, errs.String())
		}
		if form == jsonForm && !json.Valid([]byte(strings.Split(out.String(), "\n")[1999])) {
			t.Error("the last line is cut off")
		}
	}
}

// outputs are commands that print, each in its own way.
var outputs = [][]string{
	{"audit"}, {"audit", "-o", "json"}, {"client", "list", "a55"}, {"client", "list", "a55", "-o", "json"}, {"key", "list", "a55"},
	{"key", "list", "a55", "-o", "json"}, {"provider", "list"}, {"provider", "show", "a55"}, {"provider", "schema"}, {"version"}, {"client", "--help"}, {"completion", "bash"},
}

// A command whose output cannot be written does not end well: "counterfoil audit
// > record" on a full disk was exit 0 and half a record.
func TestFullOutput(t *testing.T) {
	full := "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skipf("%v: it is there on Linux", err)
	}
	to := func(args ...string) ran {
		t.Helper()
		return execute(t, "client_id,client_secret\nx,y\n", nil, "sh", append([]string{"-c", `exec "$@" > /dev/full`, "sh", binary}, args...)...)
	}
	for _, args := range outputs {
		if place := args[0]; place == "audit" || place == "client" && args[1] == "list" || place == "key" {
			args = append(args[:len(args):len(args)], "--dir", shared.dir)
		}
		if got := to(args...); got.code != exitLocal || !strings.HasPrefix(got.err, "counterfoil: write ") && !strings.HasPrefix(got.err, `{"message":"write `) || strings.Count(got.err, "no space left") != 1 {
			t.Errorf("%s: exit %d, said %q", strings.Join(args, " "), got.code, got.err)
		}
	}
	for _, form := range []string{"text", "json"} {
		lost := to("client", "create", "a55", "--dir", shared.dir, "--id", "lost-"+form, "-o", form)
		if lost.code != exitLocal || !strings.Contains(lost.err, "the client is deleted again") {
			t.Errorf("a secret that nobody saw: exit %d, said %q", lost.code, lost.err)
		}
		if there := execute(t, "", nil, binary, "client", "show", "a55", "lost-"+form, "--dir", shared.dir); there.code != exitLocal {
			t.Errorf("its client is there: %s", there.out)
		}
		report := to("client", "import", "a55", "-", "--format", "plain", "--dry-run", "--dir", shared.dir, "-o", form)
		if report.code != exitLocal || !strings.Contains(report.err, "write the output") {
			t.Errorf("a report that nobody saw: exit %d, said %q", report.code, report.err)
		}
	}
}

// A new secret that cannot be written out ends again, and the old one serves on:
// also where it was to end at once, and where the reader has gone.
func TestRotationThatNobodySees(t *testing.T) {
	made := execute(t, "", nil, binary, "client", "create", "a55", "--id", "rotated", "--dir", shared.dir).good(t)
	_, secret, _ := strings.Cut(strings.TrimSpace(made.out), "client_secret=")
	token := func() ran {
		return execute(t, "", nil, "curl", "-s", "--cacert", filepath.Join(shared.dir, "tls", "ca.pem"), shared.base+"/a55/oauth2/token",
			"-d", "grant_type=client_credentials", "-d", "client_id=rotated", "-d", "client_secret="+secret).good(t)
	}
	for _, row := range []struct{ name, script, says string }{
		{"full, at once", `exec "$@" --overlap 0 > /dev/full`, "the new secret is revoked again, and the old one stays valid: try again"},
		{"full, JSON", `exec "$@" --overlap 0 -o json > /dev/full`, "the old one stays valid: try again"},
		{"reader gone", `{ "$@" --overlap 0; echo "exit $?" >&2; } | exec 3<&-`, "the old one stays valid: try again"},
		{"closed", `exec "$@" --overlap 0 >&-`, "the old one stays valid: try again"},
		{"full, with an overlap", `exec "$@" --overlap 1h > /dev/full`, "and the old one stays valid until "},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := execute(t, "", nil, "sh", "-c", row.script, "sh", binary, "client", "rotate", "a55", "rotated", "--dir", shared.dir)
			if !strings.Contains(got.err, row.says) || got.code != exitLocal && !strings.Contains(got.err, "exit 1") {
				t.Errorf("exit %d, said %q, want %q", got.code, got.err, row.says)
			}
			if answer := token(); !strings.Contains(answer.out, "access_token") {
				t.Errorf("the old secret is answered %s", answer.out)
			}
			if shown := execute(t, "", nil, binary, "client", "show", "a55", "rotated", "--dir", shared.dir).good(t); strings.Count(shown.out, "\nsecret ") != 1 {
				t.Errorf("there are other secrets:\n%s", shown.out)
			}
		})
	}
	good := execute(t, "", nil, binary, "client", "rotate", "a55", "rotated", "--overlap", "0", "--dir", shared.dir).good(t)
	if answer := token(); !strings.Contains(answer.out, "invalid_client") || strings.Contains(good.out, "old_secret_ends") {
		t.Errorf("the old secret is answered %s after\n%s", answer.out, good.out)
	}
}

// A reader that has seen enough ends the command without a word, as with any
// program.
func TestClosedPipe(t *testing.T) {
	for _, args := range [][]string{{"audit"}, {"audit", "-o", "json"}, {"client", "list", "a55"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), binary, append(args, "--dir", shared.dir)...)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &errs
		if err := errors.Join(r.Close(), cmd.Start(), w.Close()); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE || errs.Len() > 0 {
			t.Errorf("%s: %v, said %q", strings.Join(args, " "), err, errs.String())
		}
	}
}

// Progress is a line every five seconds in a log, and one line that is written
// anew on a terminal; what is over sooner is silent.
func TestProgressIsTold(t *testing.T) {
	steps := []admin.Progress{
		{Stage: admin.StageReading, Done: 1000, Part: 0.5}, {Stage: admin.StageWriting, Done: 40, Of: 2000}, {Stage: admin.StageSending, Done: 3 << 20},
		{Stage: admin.StageWaiting, Done: 3 << 20}, {Stage: admin.StageReading, Done: 5 << 20, Of: -1},
	}
	want := []string{"1000 rows checked, 50 % of the file", "40 of 2000 rows imported", "3 MiB sent", "all sent: the server has been processing for %v", "5 MiB read"}
	for _, row := range []struct {
		terminal           bool
		every              time.Duration
		before, after, end string
	}{{false, 5 * time.Second, "", "\n", ""}, {true, 250 * time.Millisecond, "\r\x1b[K", "", "\r\x1b[K"}} {
		var out bytes.Buffer
		turned := clock.NewManual(time.Unix(0, 0))
		told := &progress{w: &out, terminal: row.terminal, clock: turned}
		told.start(t.Context())
		var all string
		turn := func() {
			t.Helper()
			if err := turned.Sleepers(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			turned.Turn(row.every)
			if err := turned.Sleepers(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		turn() // nothing is known yet
		for i, step := range steps {
			told.imports(step)
			line := want[i]
			if step.Stage == admin.StageWaiting {
				turn()
				all += row.before + fmt.Sprintf(line, row.every.Round(time.Second)) + row.after
				line = fmt.Sprintf(line, (2 * row.every).Round(time.Second))
			}
			told.imports(step) // a repeated word begins no new stage
			turn()
			all += row.before + line + row.after
		}
		told.end()
		if got := out.String(); got != all+row.end {
			t.Errorf("told %q\nwant %q", got, all+row.end)
		}
		out.Reset()
		quick := &progress{w: &out, terminal: row.terminal, clock: clock.NewManual(time.Unix(0, 0))}
		quick.start(t.Context())
		quick.imports(steps[0])
		if quick.end(); out.Len() != 0 {
			t.Errorf("what was over at once is told: %q", out.String())
		}
	}
}

// The report of an import says the same in text and in JSON, from here and from
// elsewhere, and accounts for each row.
func TestImportReport(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	rows := "client_id,client_secret,scopes\n"
	for i := range 1500 {
		rows += fmt.Sprintf("bulk-%04d,%032x3f6a0c9b1e7d4825a0b6,wallets:read\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, []byte(rows+"bulk-0000,again,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) ran {
		return execute(t, "", nil, binary, append([]string{"client", "import", "a55", file, "--format", "plain", "--dir", u.dir}, args...)...)
	}
	refused := run()
	if refused.code != exitLocal || !strings.Contains(refused.err, "1 of 1501 rows of "+file+" are refused, so nothing was imported\nhint: fix them") ||
		!strings.Contains(refused.out, "\n1501 rows would be: 1500 created, 1 refused\n") || !strings.HasPrefix(refused.out, "ROW        CLIENT ID  WOULD BE  DETAIL\nline 2 ") {
		t.Errorf("exit %d, said %q", refused.code, refused.err)
	}
	if lines := strings.Split(refused.out, "\n"); len(lines) != 1504 || !strings.HasPrefix(lines[1501], "line 1502  bulk-0000  refused   client_id: line 2 has the same client id") {
		t.Errorf("%d lines, the last are %q", len(lines), lines[max(0, len(lines)-4):])
	}
	partial := run("--partial", "-o", "json").good(t)
	var v struct {
		Applied *bool
		Counts  map[string]int
		Rows    []admin.Row
		Failed  *string
	}
	if err := json.Unmarshal([]byte(partial.out), &v); err != nil || v.Applied == nil || !*v.Applied || len(v.Rows) != 1501 || v.Counts["created"] != 1500 || v.Counts["refused"] != 1 || v.Failed != nil {
		t.Errorf("%v: applied %v, %d rows, %v", err, v.Applied, len(v.Rows), v.Counts)
	}
	if again := run("--partial").good(t); !strings.Contains(again.out, "1501 rows: 1 refused, 1500 unchanged\n") {
		t.Errorf("printed %s", again.out[max(0, len(again.out)-200):])
	}
	if dry := run("--partial", "--dry-run"); dry.code != exitLocal || !strings.Contains(dry.err, "hint: nothing was changed: fix them") {
		t.Errorf("exit %d, said %q", dry.code, dry.err)
	}
}
