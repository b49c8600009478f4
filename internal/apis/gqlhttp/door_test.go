package gqlhttp_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp/internal/probe"
)

// buffer is a log that the server writes while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// authenticated does what the guard does for a caller that it let through.
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &counterfoil.Principal{ClientID: "client", Scopes: counterfoil.Scopes{"read"}}
		next.ServeHTTP(w, r.WithContext(counterfoil.WithPrincipal(r.Context(), p)))
	})
}

// start serves the probe and returns the server with its log.
func start(t testing.TB) (*httptest.Server, *buffer) {
	t.Helper()
	log := &buffer{}
	h := gqlhttp.New(gqlhttp.Config{
		Schema: probe.NewExecutableSchema(probe.Schema()),
		Log:    slog.New(slog.NewTextHandler(log, nil)),
	})
	srv := httptest.NewTLSServer(authenticated(h))
	t.Cleanup(srv.Close)
	return srv, log
}

// answer is a response with what tests look at.
type answer struct {
	status int
	header http.Header
	text   string
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Extensions struct{ Code string }
	}
}

// code returns the code of the only error, or what there is instead.
func (a *answer) code() string {
	if len(a.Errors) != 1 {
		return a.text
	}
	return a.Errors[0].Extensions.Code
}

func send(t testing.TB, srv *httptest.Server, req *http.Request) *answer {
	t.Helper()
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{status: res.StatusCode, header: res.Header, text: string(text)}
	if len(text) > 0 {
		if err := json.Unmarshal(text, a); err != nil {
			t.Fatalf("answer %q: %v", text, err)
		}
	}
	return a
}

// request makes a request; headers are pairs of name and value.
func request(t testing.TB, method, url, body string, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// ask posts a query and takes the answer in the media type of the specification.
func ask(t testing.TB, srv *httptest.Server, query string) *answer {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	return send(t, srv, request(t, "POST", srv.URL, string(body),
		"Content-Type", "application/json", "Accept", "application/graphql-response+json"))
}
