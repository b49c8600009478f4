package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil/client"
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

var _ http.RoundTripper = (*client.Transport)(nil)
