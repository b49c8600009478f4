// Package resttest serves a reference API for its tests: on a real database file
// and behind a real TLS listener. Use it in tests only; its API may change.
package resttest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver of Open

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis"
)

// Day is the day of Reference.
var Day = time.Date(2026, 3, 17, 0, 0, 0, 0, time.UTC)

// Owner is the one owner of Reference.
var Owner = apis.Owner{Provider: "provider-one", ClientID: "client-one", Tenant: "TENANT123"}

// Reference is what Serve prepares an API with.
var Reference = apis.Reference{Day: Day, Owners: []apis.Owner{Owner}}

// Open returns an empty database in a file that the test removes.
func Open(t testing.TB) *sql.DB {
	t.Helper()
	file := filepath.Join(t.TempDir(), "apis.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Server is an API behind a guard that accepts everything.
type Server struct {
	// Anonymous removes the Principal from requests.
	Anonymous bool

	server *httptest.Server
}

// Serve fills the tables of api on db with Reference and serves it under
// mount.
func Serve(t testing.TB, db *sql.DB, api apis.API, mount string) *Server {
	t.Helper()
	if err := apis.Prepare(t.Context(), db, api, Reference); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	s := &Server{}
	handler := http.StripPrefix(mount, api.Handler())
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.Anonymous {
			r = r.WithContext(counterfoil.WithPrincipal(r.Context(), &counterfoil.Principal{
				Provider: r.Header.Get("Test-Provider"), ClientID: r.Header.Get("Test-Client"), Tenant: r.Header.Get("Test-Tenant"),
			}))
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.server.Close)
	s.server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// Request is a call of an API. Defaults are the values of Owner, GET, and JSON
// if there is a body.
type Request struct {
	Method, Path, Body string
	// Provider, Client and Tenant go into the Principal; "-" means none.
	Provider, Client, Tenant string
	// Header is added; an empty value removes what would be sent.
	Header map[string]string
}

// Answer is the response.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request and returns the answer. The path starts with the mount.
func (s *Server) Do(t testing.TB, in Request) Answer {
	t.Helper()
	method := in.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.server.URL+in.Path, strings.NewReader(in.Body))
	if err != nil {
		t.Fatalf("make request: %v", err)
	}
	if in.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Test-Provider", orElse(in.Provider, Owner.Provider))
	req.Header.Set("Test-Client", orElse(in.Client, Owner.ClientID))
	req.Header.Set("Test-Tenant", orElse(in.Tenant, Owner.Tenant))
	for name, value := range in.Header {
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	resp, err := s.server.Client().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, in.Path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read answer: %v", method, in.Path, err)
	}
	return Answer{resp.StatusCode, resp.Header, body}
}

// Into sends a request, expects status 200 and decodes the answer into v.
func (s *Server) Into(t testing.TB, v any, in Request) {
	t.Helper()
	a := s.Do(t, in)
	if a.Status != http.StatusOK {
		t.Fatalf("%s: status %d: %s", in.Path, a.Status, a.Body)
	}
	dec := json.NewDecoder(bytes.NewReader(a.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%s: decode answer: %v", in.Path, err)
	}
}

// WantProblem checks that an answer is a refusal with a status, a code and
// words in its message, and that its headers are those of every answer.
func WantProblem(t testing.TB, a Answer, status int, code, words string) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	dec := json.NewDecoder(bytes.NewReader(a.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		t.Fatalf("status %d, not a problem: %q", a.Status, a.Body)
	}
	if a.Status != status || body.Error.Code != code || !strings.Contains(body.Error.Message, words) {
		t.Errorf("answer %d %s %q, want %d %s with %q", a.Status, body.Error.Code, body.Error.Message, status, code, words)
	}
	WantHeaders(t, a)
}

// WantHeaders checks the headers of every answer.
func WantHeaders(t testing.TB, a Answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func orElse(value, otherwise string) string {
	switch value {
	case "":
		return otherwise
	case "-":
		return ""
	}
	return value
}
