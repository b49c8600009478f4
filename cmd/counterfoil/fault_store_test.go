package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

const acmeReady = acmeBase + "/healthz/ready"

// errorLines returns what the server has logged of failed token requests.
func (s *served) errorLines() (lines []string) {
	for line := range strings.Lines(s.errors()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "reason=unavailable") {
			lines = append(lines, line)
		}
	}
	return lines
}

// While another process holds the write lock, requests waited one after the other
// for seconds, readiness said good, and the log had two lines for each request.
func TestServeLockedDatabase(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds, c := s.client(t, "acme", "orders:read"), s.http(t)
	s.token(t, c, acmeToken, creds)
	other, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	hold, err := other.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 5 {
				resp, err := c.Do(tokenRequest(t, acmeToken, creds))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
					t.Errorf("under a lock: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, c, acmeReady); got.status != http.StatusServiceUnavailable {
		t.Errorf("ready under a lock: %d", got.status)
	}
	if lines := s.errorLines(); len(lines) == 0 || len(lines) > int(time.Since(began)/time.Second)+2 || !strings.Contains(lines[0], "another process holds the database") {
		t.Errorf("100 refused requests in %v made %d lines:\n%s", time.Since(began), len(lines), strings.Join(lines, ""))
	}
	if err := hold.Rollback(); err != nil {
		t.Fatal(err)
	}
	s.token(t, c, acmeToken, creds)
	waitFor(t, func() bool { return get(t, c, acmeReady).status == http.StatusOK })
}

// A server whose log is deleted under it answered 200 to requests of which nothing
// is left.
func TestServeLostDatabase(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds, c := s.client(t, "acme", "orders:read"), s.http(t)
	s.token(t, c, acmeToken, creds)
	if got := get(t, c, acmeReady); got.status != http.StatusOK {
		t.Errorf("ready: %d", got.status)
	}
	if err := os.Remove(filepath.Join(s.dir, "counterfoil.db-wal")); err != nil {
		t.Fatal(err)
	}
	got := do(t, c, tokenRequest(t, acmeToken, creds))
	if got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "db") {
		t.Errorf("without its log the server answers %d %s", got.status, got.body)
	}
	waitFor(t, func() bool { return get(t, c, acmeReady).status == http.StatusServiceUnavailable })
	lines := s.errorLines()
	if len(lines) == 0 || !strings.Contains(lines[0], "counterfoil.db-wal was removed while this program had it open") || !strings.Contains(lines[0], "restart") {
		t.Errorf("the log says:\n%s", strings.Join(lines, ""))
	}
}

// recorded counts the events of a type in the database.
func (s *served) recorded(t *testing.T, kind string) (n int) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	page, err := store.Events(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// form sends a form with a client's credentials.
func (s *served) form(t *testing.T, c *http.Client, target string, creds clients.Credentials, name, value string) answer {
	t.Helper()
	form := url.Values{"client_id": {creds.ClientID}, "client_secret": {creds.ClientSecret.Reveal()}, name: {value}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, c, req)
}
