package client_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name, provider string
		change         func(*client.Config)
		want           string
	}{
		{"no provider", "ahotu", func(c *client.Config) { c.Provider = nil }, "Config.Provider is missing"},
		{"unknown API", "ahotu", func(c *client.Config) { c.API = "wallets" }, `Config.API is "wallets": choose from calendar`},
		{"token URL by http", "ahotu", func(c *client.Config) { c.TokenURL = "http://id.example/token" }, "Config.TokenURL must start with https://"},
		{"API URL by http", "ahotu", func(c *client.Config) { c.APIURL = "http://api.example" }, "Config.APIURL must start with https://"},
		{"no token URL", "engagifii", func(c *client.Config) { c.TokenURL = "" }, "Config.TokenURL is missing"},
		{"token URL no URL", "ahotu", func(c *client.Config) { c.TokenURL = "id.example" }, "Config.TokenURL is not an absolute URL"},
		{"credentials in the URL", "ahotu", func(c *client.Config) { c.TokenURL = "https://a:hunter2@id.example" }, "Config.TokenURL holds credentials"},
		{"no client id", "ahotu", func(c *client.Config) { c.ClientID = "" }, "Config.ClientID is missing"},
		{"no secret", "ahotu", func(c *client.Config) { c.ClientSecret = nil }, "Config.ClientSecret is missing"},
		{"a colon in raw Basic", "altrata", func(c *client.Config) { c.ClientID = "a:b" }, "Config.ClientID has a colon"},
		{"no API key", "altrata", func(c *client.Config) { c.APIKey = nil }, "Config.APIKey is missing"},
		{"no tenant", "engagifii", func(c *client.Config) { c.Tenant = "" }, "Config.Tenant is missing: a call of events names its tenant in tenant-code"},
		{"tenant with a line break", "engagifii", func(c *client.Config) { c.Tenant = "a\nb" }, "Config.Tenant must be printable ASCII"},
		{"no scope", "ahotu", func(c *client.Config) { c.Scopes = nil }, "Config.Scopes is missing: ahotu demands a scope (it has: events:read events:drafts)"},
		{"scope not included", "engagifii", func(c *client.Config) { c.Scopes = counterfoil.Scopes{"Other"} }, "Config.Scopes must include EventsApi"},
		{"two scopes in one", "ahotu", func(c *client.Config) { c.Scopes = counterfoil.Scopes{"a b"} }, "Config.Scopes must be different scope tokens"},
		{"negative timeout", "ahotu", func(c *client.Config) { c.Timeout = -1 }, "Config.Timeout is negative"},
		{"old TLS", "ahotu", func(c *client.Config) {
			c.HTTP = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS10}}
		}, "older than 1.2"},
		{"certificates not verified", "ahotu", func(c *client.Config) {
			c.HTTP = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		}, "does not verify certificates"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.config(row.provider)
			row.change(&c)
			_, err := client.New(c)
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	_, err := client.New(client.Config{Provider: w.config("engagifii").Provider})
	equal(t, "lines for an empty Config", strings.Count(err.Error(), "\n")+1, 4)
}

// The zero values work: the description's URLs, the machine's clock, a cache in
// memory, a transport that verifies.
func TestNewDefaults(t *testing.T) {
	p, err := provider.Builtin("ahotu")
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.New(client.Config{Provider: p, ClientID: "c", ClientSecret: client.Static("s"), Scopes: counterfoil.Scopes{"events:read"}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := s.NewRequest(t.Context(), http.MethodPost, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "API", req.URL.String(), "https://alt-api.prod.ahotu.com/graphql")
	equal(t, "timeout of calls", s.Client().Timeout, 30*time.Second)
}

// The default transport verifies certificates: the test server's is unknown.
func TestDefaultTransportVerifies(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.HTTP = nil
	e := w.fails(w.source(c))
	if e.Class() != counterfoil.Protocol || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("got %v", e)
	}
}
