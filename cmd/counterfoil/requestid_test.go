package main

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// askAs sends a request with an ID that the sender has chosen, and returns
// the status and the ID in the answer.
func askAs(t *testing.T, c *http.Client, method, url, chosen string) (status int, id string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", chosen)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("X-Request-Id")
}

// The answer, the record and the log of 'serve' name a request by one ID, which
// only a trusted proxy chooses.
func TestServeRequestIDs(t *testing.T) {
	for name, row := range map[string]struct {
		trusted string
		kept    bool
	}{"behind a proxy": {"127.0.0.0/8", true}, "of a stranger": {"10.0.0.0/8", false}} {
		t.Run(name, func(t *testing.T) {
			s := layOut(t, strings.Replace(exampleConfig(t), "10.0.0.0/8", row.trusted, 1)).start(t)
			c := s.http(t)
			for _, at := range []struct {
				what, method, url string
				status            int
				logged            bool
			}{
				{"the token endpoint", http.MethodPost, acmeToken, 401, true},
				{"the Admin API", http.MethodGet, "https://ops.acme.example/admin/v1/realms", 401, true},
				{"a document", http.MethodGet, "https://auth.acme.example/.well-known/jwks.json", 200, false},
				{"health", http.MethodGet, "https://auth.acme.example/healthz", 200, false},
				{"no host of ours", http.MethodGet, "https://other.example/", 421, false},
			} {
				status, id := askAs(t, c, at.method, at.url, "mine-1")
				if status != at.status || (id == "mine-1") != row.kept || !row.kept && !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(id) {
					t.Errorf("%s answers %d with the ID %q", at.what, status, id)
				}
				logged := func() bool { return strings.Contains(s.errors(), " request_id="+id) }
				if at.logged && !row.kept { // the line may come after the answer
					eventually.True(t, at.what+" is in the log", logged)
				} else if logged() && !row.kept {
					t.Errorf("%s: the log says\n%s", at.what, s.errors())
				}
				if at.what != "the token endpoint" {
					continue
				}
				db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
				if err != nil {
					t.Fatal(err)
				}
				page, err := db.Events(t.Context(), 0, 100)
				if err != nil {
					t.Fatal(err)
				}
				if last := page[len(page)-1]; last.Type != "token.refused" || last.RequestID != id {
					t.Errorf("recorded %+v, answered with %q", last.Event, id)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// 'up' trusts no proxy: what it answers has an ID of its own.
func TestUpRequestIDs(t *testing.T) {
	a := shared.asker(t, "a55")
	seen := map[string]bool{}
	for _, url := range []string{a.env.Get("AUTH_URL"), a.env.Get("API_BASE_URL") + "/wallets"} {
		if _, id := askAs(t, a.http, http.MethodGet, url, "mine-1"); len(id) != 26 || seen[id] {
			t.Errorf("%s has the ID %q", url, id)
		} else {
			seen[id] = true
		}
	}
}
