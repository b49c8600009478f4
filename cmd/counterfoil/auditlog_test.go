package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// TestAuditOfServe: every answered token of a server that is killed is in the
// record that verifies; checkpoints reach the file and the URL of the
// configuration, also one that was away; and who alters the database is found by
// them.
func TestAuditOfServe(t *testing.T) {
	var mu sync.Mutex
	var got []string
	away := true
	witness := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if away {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		got = append(got, string(text))
	}))
	defer witness.Close()
	s := layOut(t, exampleConfig(t)+fmt.Sprintf(`
audit:
  checkpoint_every: 1s
  publish_every: 1s
  checkpoint_file: checkpoint.txt
  checkpoint_url: %s
outbound: { ca_file: witness.pem }
`, witness.URL))
	s.write(t, "witness.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: witness.Certificate().Raw})))
	s.start(t)
	creds := s.client(t, "acme", "orders:read")
	c := s.http(t)
	s.token(t, c, acmeToken, creds)
	file := filepath.Join(s.dir, "checkpoint.txt")
	eventually.True(t, "a checkpoint is in the file", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.HasPrefix(string(text), "counterfoil-audit-log/")
	})
	eventually.True(t, "it is said that the URL is away", func() bool {
		return strings.Contains(s.errors(), "audit.checkpoint_url") && strings.Contains(s.errors(), "502")
	})
	mu.Lock()
	away = false
	mu.Unlock()
	const tokens = 300
	for range tokens {
		s.token(t, c, acmeToken, creds)
	}
	eventually.True(t, "the URL gets checkpoints", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0
	})
	if err := s.stop(syscall.SIGKILL); err == nil {
		t.Error("killed, it ends well")
	}
	verify := func(args ...string) (report struct {
		Entries, Signed int64
		Findings        []struct{ What string }
		Key             string
	}, exit int, said string) {
		t.Helper()
		r := s.manage(t, append([]string{"audit", "verify", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(r.out), &report); err != nil {
			t.Fatalf("%v: %s %s", err, r.out, r.err)
		}
		return report, r.code, r.err
	}
	kept := filepath.Join(s.dir, "kept.txt")
	mu.Lock()
	s.write(t, "kept.txt", got[len(got)-1])
	mu.Unlock()
	report, exit, said := verify("--checkpoint", kept)
	if exit != 0 || len(report.Findings) != 0 || report.Entries < tokens+1 {
		t.Errorf("after the kill: %d, %+v, %s", exit, report, said)
	}
	// After a start, all that was recorded is in a checkpoint.
	s.start(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if report, _, _ = verify("--key", report.Key); report.Signed != report.Entries {
		t.Errorf("after a start: %+v", report)
	}
	if out := s.manage(t, "audit", "verify").good(t).out; !strings.Contains(out, fmt.Sprintf("verified: up to record %d,", report.Entries)) {
		t.Errorf("it says\n%s", out)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.DB().ExecContext(t.Context(), "UPDATE records SET salt = randomblob(16) WHERE last = (SELECT max(last) FROM records WHERE last < 100)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	report, exit, said = verify("--checkpoint", kept)
	if exit != 1 || len(report.Findings) == 0 || !strings.Contains(said, "not what was signed") {
		t.Errorf("altered: %d, %+v, %s", exit, report, said)
	}
	// Without any checkpoint nothing is verified, and that is no success.
	if db, err = sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.DB().ExecContext(t.Context(), "DELETE FROM log_checkpoints; DELETE FROM log_tiles"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, exit, said = verify(); exit != 1 || !strings.Contains(said, "nothing is verified: no record is in a checkpoint") {
		t.Errorf("without checkpoints: %d, %s", exit, said)
	}
}

// TestAuditCommands: filters, counts, proofs and the exported log say the same of
// one record, and wrong uses say what to write.
func TestAuditCommands(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds := s.client(t, "acme", "orders:read")
	c := s.http(t)
	token := s.token(t, c, acmeToken, creds)
	wrong := creds
	wrong.ClientSecret = "wrong"
	for range 5 {
		if got := do(t, c, tokenRequest(t, acmeToken, wrong)); got.status != http.StatusUnauthorized {
			t.Fatalf("a wrong secret got %d", got.status)
		}
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rows := func(args ...string) (all []map[string]any) {
		t.Helper()
		for line := range strings.Lines(s.manage(t, append([]string{"audit", "-o", "json"}, args...)...).good(t).out) {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, row)
		}
		return all
	}
	everything := rows()
	for _, row := range []struct {
		args []string
		want int
	}{
		{[]string{"--realm", "acme", "--client", creds.ClientID, "--type", "token.issued"}, 1},
		{[]string{"--type", "token"}, 3}, // issued, refused at first, and four that were counted
		{[]string{"--reason", "invalid_client"}, 2},
		{[]string{"--reason", "wrong_secret", "--address", "127.0.0.0/8", "--since", "1h"}, 2},
		{[]string{"--address", "192.0.2.1"}, 0},
		{[]string{"--until", "2020-01-01"}, 0},
		{[]string{"--since", "2020-01-01T00:00:00Z"}, len(everything)},
		{[]string{"--after", fmt.Sprint(len(everything) - 1)}, 1},
	} {
		if got := rows(row.args...); len(got) != row.want {
			t.Errorf("%v: %d records, want %d: %v", row.args, len(got), row.want, got)
		}
	}
	issued := rows("--type", "token.issued")[0]
	if issued["auth_method"] != "client_secret_post" && issued["auth_method"] != "client_secret_basic" ||
		issued["credential"] == "" || issued["scope"] != "orders:read" || issued["request_id"] == "" {
		t.Errorf("a token's record is %v", issued)
	}
	if top := rows("--reason", "wrong_secret"); top[1]["count"] != 4.0 {
		t.Errorf("four more refusals are %v", top)
	}
	out := s.manage(t, "audit", "top", "--by", "reason,client", "--type", "token.refused").good(t).out
	if !strings.Contains(out, "5      wrong_secret  "+creds.ClientID) {
		t.Errorf("top prints\n%s", out)
	}
	proof := s.manage(t, "audit", "prove", fmt.Sprint(issued["sequence"])).good(t).out
	s.write(t, "proof.txt", proof)
	var report struct{ Key string }
	if err := json.Unmarshal([]byte(s.manage(t, "audit", "verify", "-o", "json").good(t).out), &report); err != nil {
		t.Fatal(err)
	}
	entry := execute(t, "", nil, binary, "audit", "verify", "--proof", filepath.Join(s.dir, "proof.txt"), "--key", report.Key).good(t).out
	if !strings.Contains(entry, fmt.Sprintf(`"token_id":%q`, issued["token_id"])) || strings.Contains(entry, "127.0.0.1") {
		t.Errorf("the proof is of %s", entry)
	}
	s.manage(t, "audit", "export", filepath.Join(s.dir, "log")).good(t)
	bundle, err := os.ReadFile(filepath.Join(s.dir, "log", "tile", "entries", fmt.Sprintf("000.p/%d", len(everything))))
	if err != nil || !strings.Contains(string(bundle), strings.TrimSpace(entry)) || strings.Contains(string(bundle), token.Reveal()) {
		t.Errorf("the exported entries: %v\n%s", err, bundle)
	}
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"audit", "--since", "yesterday"}, `--since "yesterday" is no time: write 2026-01-31`},
		{[]string{"audit", "--address", "localhost"}, `--address "localhost": give an address or a network`},
		{[]string{"audit", "top", "--by", "colour"}, `there is no "colour"; there are actor, address`},
		{[]string{"audit", "top", "--limit", "0"}, "--limit must be 1 or more"},
		{[]string{"audit", "prove", "x"}, `"x" is no sequence number`},
		{[]string{"audit", "prove", "99999"}, "there is no proof: event 99999: not found"},
		{[]string{"audit", "verify", "--key", "x"}, `--key "x" is no key of a log`},
		{[]string{"audit", "verify", "--checkpoint", "none.txt"}, "--checkpoint: open none.txt"},
	} {
		if got := s.manage(t, row.args...); got.code == 0 || !strings.Contains(got.err, row.says) || strings.Count(got.err, "\n") > 2 {
			t.Errorf("%v: exit %d, %s", row.args, got.code, got.err)
		}
	}
}

// TestLinesFitTheTerminal: a line that is too long is cut off, and says so.
func TestLinesFitTheTerminal(t *testing.T) {
	var out strings.Builder
	table := newTable(&out, "A", "B")
	table.width = 10
	for _, cells := range [][2]string{{"é", "short"}, {"é", "1234567"}, {"é", "12345678"}, {"é", "éééééééééé"}} {
		if err := table.row(cells[0], cells[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "A  B\né  short\né  1234567\né  123456…\né  éééééé…\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
