package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/clients"
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

// identified is a request whose answer, log line and record of a kind are to have one ID.
type identified struct {
	what, kind string
	req        *http.Request
	id         string
}

func (r *identified) send(t *testing.T, c *http.Client) {
	t.Helper()
	resp, err := c.Do(r.req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if r.id = resp.Header.Get("X-Request-Id"); len(r.id) != 26 {
		t.Errorf("%s: answered with the ID %q", r.what, r.id)
	}
}

func (r *identified) check(t *testing.T, log, record string) {
	t.Helper()
	logged, recorded := false, false
	for line := range strings.Lines(log) {
		logged = logged || strings.Contains(line, " msg="+r.kind+" ") && strings.Contains(line, " request_id="+r.id)
	}
	for line := range strings.Lines(record) {
		var e counterfoil.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		recorded = recorded || e.RequestID == r.id && e.Type == r.kind
	}
	if !logged || !recorded {
		t.Errorf("%s, answered with the ID %s: as %s in the log %v, in the record %v", r.what, r.id, r.kind, logged, recorded)
	}
}

// Every endpoint answers with the ID that the log and the record have for the
// request, be it granted or refused.
func TestRequestIDsAreOne(t *testing.T) {
	s := layOut(t, strings.Replace(exampleConfig(t), "level: info", "level: debug", 1)).start(t)
	c := s.http(t)
	creds, operator := s.client(t, "acme", "orders:read"), s.client(t, "ops", "clients:read")
	wrong := creds
	wrong.ClientSecret = "wrong"
	token := s.token(t, c, acmeToken, creds)
	bearer := "Bearer " + s.token(t, c, "https://ops.acme.example/token", operator).Reveal()
	form := func(path string, creds clients.Credentials) *http.Request {
		req := tokenRequest(t, acmeBase+path, creds)
		body := url.Values{"client_id": {creds.ClientID}, "client_secret": {creds.ClientSecret.Reveal()}, "token": {token.Reveal()}}.Encode()
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		return req
	}
	admin := func(authorization string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ops.acme.example/admin/v1/realms/acme/clients", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		return req
	}
	all := []identified{
		{"a token", "token.issued", tokenRequest(t, acmeToken, creds), ""},
		{"no token", "token.refused", tokenRequest(t, acmeToken, wrong), ""},
		{"introspection", "token.introspected", form("/introspect", creds), ""},
		{"no introspection", "token.refused", form("/introspect", wrong), ""},
		{"no revocation", "token.refused", form("/revoke", wrong), ""},
		{"revocation", "token.revoked", form("/revoke", creds), ""},
		{"the Admin API", "admin.called", admin(bearer), ""},
		{"the Admin API without a token", "admin.refused", admin("Bearer stray"), ""},
	}
	for i := range all {
		all[i].send(t, c)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("%v: %s", err, s.errors())
	}
	record := s.manage(t, "audit", "-o", "json").good(t).out
	for i := range all {
		all[i].check(t, s.errors(), record)
	}

	u := start(t, t.TempDir()+"/data", "127.0.0.1:0", "--verbose")
	a := u.asker(t, "a55")
	good := a.token(t.Context())
	call := func(token string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.env.Get("API_BASE_URL")+"/wallets", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		return req
	}
	calls := []identified{{"a call", "call.allowed", call(good), ""}, {"a call with a stray token", "call.refused", call("stray"), ""}}
	for i := range calls {
		calls[i].send(t, a.http)
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("%v: %s", err, u.errors())
	}
	record = execute(t, "", nil, binary, "audit", "--dir", u.dir, "-o", "json").good(t).out
	for i := range calls {
		calls[i].check(t, u.errors(), record)
	}
}
