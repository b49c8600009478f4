package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

func TestNewRequest(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct{ base, path, want string }{
		{"https://api.example/api/v1", "/wallets", "https://api.example/api/v1/wallets"},
		{"https://api.example/api/v1/", "wallets", "https://api.example/api/v1/wallets"},
		{"https://api.example/api/v1", "/", "https://api.example/api/v1/"},
		{"https://api.example/api/v1", "", "https://api.example/api/v1"},
		{"https://api.example/api/v1", "/wallets?page=2&q=a%2Fb", "https://api.example/api/v1/wallets?page=2&q=a%2Fb"},
		{"https://api.example/api/v1", "/a%2Fb", "https://api.example/api/v1/a%2Fb"},
		{"https://api.example", "/api/1.0/event/list", "https://api.example/api/1.0/event/list"},
		{"https://api.example/graphql", "", "https://api.example/graphql"},
		{"https://api.example/api/v1", "../admin", ""},
		{"https://api.example/api/v1", "/%2e%2e/admin", ""},
		{"https://api.example/api/v1", "//evil.example/x", ""},
		{"https://api.example/api/v1", "https://evil.example/x", ""},
		{"https://api.example/api/v1", "/\x00", ""},
	} {
		c := w.config("a55")
		c.APIURL = row.base
		req, err := w.source(c).NewRequest(w.ctx, http.MethodGet, row.path, nil)
		got := ""
		if err == nil {
			got = req.URL.String()
		}
		equal(t, fmt.Sprintf("%s + %q", row.base, row.path), got, row.want)
	}
}

// A Source without an API gives tokens and makes no calls.
func TestTokensOnly(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.APIURL = ""
	s := w.source(c)
	w.must(s)
	if _, err := s.NewRequest(w.ctx, http.MethodGet, "/", nil); err == nil {
		t.Error("a request was made without an API")
	}
	if _, err := s.Client().Get(w.api.URL); err == nil {
		t.Error("a call was made without an API")
	}
	equal(t, "status", s.Check(w.ctx).Status, "unhealthy")
}

func TestCheck(t *testing.T) {
	healthy := `{"status":"healthy","authentication":"ok","api_connectivity":"ok","timestamp":"2026-01-02T03:04:05Z"}`
	unhealthy := func(text string) string {
		return fmt.Sprintf(`{"status":"unhealthy","error":%q,"timestamp":"2026-01-02T03:04:05Z"}`, text)
	}
	refusal := func(p string, r counterfoil.Reason) func(http.ResponseWriter, seen, int) {
		description, err := provider.Builtin(p)
		if err != nil {
			t.Fatal(err)
		}
		return func(rw http.ResponseWriter, _ seen, _ int) { description.APIs[0].Refusal(r).Write(rw) }
	}
	say := func(text string) func(http.ResponseWriter, seen, int) {
		return func(rw http.ResponseWriter, _ seen, _ int) { io.WriteString(rw, text) }
	}
	for _, row := range []struct {
		name, provider string
		token          func(http.ResponseWriter, int)
		call           func(http.ResponseWriter, seen, int)
		path, want     string
	}{
		{"REST", "engagifii", nil, say(`{"totalCount":0,"data":[]}`), "POST /api/1.0/event/list", healthy},
		{"REST below a path", "a55", nil, say(`{}`), "GET /api/v1/", healthy},
		{"GraphQL", "ahotu", nil, say(`{"data":{"events":{"totalCount":1}}}`), "POST /graphql", healthy},
		{"GraphQL with errors", "ahotu", nil, say(`{"errors":[{"message":"x"}]}`), "POST /graphql",
			unhealthy("api_connectivity: the API answers 200, but with GraphQL errors or no JSON")},
		{"a page", "altrata", nil, say(`<html>`), "POST /v1/graphql",
			unhealthy("api_connectivity: the API answers 200, but with GraphQL errors or no JSON")},
		{"tenant denied", "engagifii", nil, refusal("engagifii", counterfoil.TenantDenied), "POST /api/1.0/event/list",
			unhealthy("api_connectivity: the API answers 403 (tenant_denied)")},
		{"redirect", "a55", nil, func(rw http.ResponseWriter, r seen, _ int) { http.Redirect(rw, r.Request, "/login", http.StatusFound) }, "GET /api/v1/",
			unhealthy("api_connectivity: the API answers 302")},
		{"no token", "a55", status(400, `{"error":"invalid_client"}`), nil, "",
			unhealthy(`authentication: the token endpoint of a55 refuses the client "the-client": check its id and secret`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onToken, w.onCall = row.token, row.call
			text, err := json.Marshal(w.source(w.config(row.provider)).Check(w.ctx))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "health", string(text), row.want)
			if row.path == "" {
				equal(t, "calls", len(w.calls), 0)
				return
			}
			equal(t, "call", w.calls[0].Method+" "+w.calls[0].RequestURI, row.path)
			equal(t, "body", w.calls[0].body, w.config(row.provider).Provider.APIs[0].Health.Body)
		})
	}
}

var _ http.RoundTripper = (*client.Transport)(nil)
