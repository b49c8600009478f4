package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
)

// trusting is a transport that trusts the development authority.
func trusting(t *testing.T) *http.Transport {
	t.Helper()
	pool, err := trust.File(shared.env(t, "a55").Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// source is what a Go program makes of an environment file.
func source(t *testing.T, name string, change func(*client.Config)) *client.Source {
	t.Helper()
	p, err := provider.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	env := shared.env(t, name)
	config := client.Config{
		Provider: p, TokenURL: env.Get("AUTH_URL"), APIURL: env.Get("API_BASE_URL"), ClientID: env.Get("API_CLIENT_ID"),
		ClientSecret: client.Static(counterfoil.Secret(env.Get("API_CLIENT_SECRET"))), APIKey: client.Static(counterfoil.Secret(env.Get("API_KEY"))),
		Scopes: counterfoil.Scopes{env.Get("API_SCOPE")}, Tenant: env.Get("TENANT_CODE"), HTTP: trusting(t),
	}
	change(&config)
	s, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A Go program calls each API with what 'up' has written, and shares the command
// line's tokens.
func TestGoClientOpensWhatUpWrites(t *testing.T) {
	config, err := consumer.Load(filepath.Join(shared.dir, "consumer.yaml"), consumer.Options{Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Names(); !slices.Equal(got, []string{"a55", "ahotu", "altrata", "altrata-directory", "engagifii"}) {
		t.Fatalf("connections %q", got)
	}
	for _, name := range config.Names() {
		t.Run(name, func(t *testing.T) {
			s, err := config.Source(name)
			if err != nil {
				t.Fatal(err)
			}
			if health := s.Check(t.Context()); health.Status != "healthy" {
				t.Errorf("%+v", health)
			}
			token, err := s.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if printed := execute(t, "", nil, binary, "--config", config.File(), "token", name).good(t); strings.TrimSpace(printed.out) != token.Value.Reveal() {
				t.Error("the command line has another token")
			}
		})
	}
}

// A Go program calls each API with the client package alone.
func TestGoClient(t *testing.T) {
	for _, name := range missionProviders {
		t.Run(name, func(t *testing.T) {
			s := source(t, name, func(*client.Config) {})
			if health := s.Check(t.Context()); health.Status != "healthy" {
				t.Errorf("%+v", health)
			}
		})
	}
}

// A foreign API, in a process of its own for all that it knows, guards itself
// with nothing but the issuer's address, and is called by a foreign client.
func TestGoGuardWithRemoteKeys(t *testing.T) {
	p, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	issuer := shared.base + "/a55"
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: issuer + "/.well-known/jwks.json", Client: &http.Client{Transport: trusting(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	g, err := guard.New(guard.Config{Provider: p, Issuer: issuer, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewTLSServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := counterfoil.PrincipalFrom(r.Context())
		fmt.Fprintf(w, "%s may %s", caller.ClientID, caller.Scopes)
	})))
	defer api.Close()
	s := source(t, "a55", func(c *client.Config) {
		c.APIURL = api.URL
		both := c.HTTP.(*http.Transport)
		both.TLSClientConfig.RootCAs.AddCert(api.Certificate())
	})
	resp, err := s.Client().Get(api.URL + "/anything")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := shared.env(t, "a55").Get("API_CLIENT_ID") + " may wallets:read"; err != nil || string(body) != want {
		t.Errorf("answered %s %q, %v", resp.Status, body, err)
	}
	// Another realm's token is signed by another key.
	foreign, err := source(t, "ahotu", func(*client.Config) {}).Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+foreign.Value.Reveal())
	refused, err := api.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if err := json.NewDecoder(refused.Body).Decode(&answer); err != nil || refused.StatusCode != http.StatusUnauthorized || !strings.EqualFold(answer.Error.Code, "unauthorized") {
		t.Errorf("another realm's token is answered %s %+v", refused.Status, answer)
	}
}
