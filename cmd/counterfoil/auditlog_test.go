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
}
