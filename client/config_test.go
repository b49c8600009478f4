package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/testkeys"
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
		{"no API of two", "ahotu", func(c *client.Config) {
			c.Provider.APIs = append(c.Provider.APIs[:1:1], provider.API{Name: "wallets"})
		}, `Config.API is "": choose from calendar, wallets`},
		{"an API where there is none", "ahotu", func(c *client.Config) { c.Provider.APIs, c.API = nil, "wallets" }, `Config.API is "wallets": choose from`},
		{"token URL by http", "ahotu", func(c *client.Config) { c.TokenURL = "http://id.example/token" }, "Config.TokenURL must start with https://"},
		{"API URL by http", "ahotu", func(c *client.Config) { c.APIURL = "http://api.example" }, "Config.APIURL must start with https://"},
		{"no token URL", "engagifii", func(c *client.Config) { c.TokenURL = "" }, "Config.TokenURL is missing"},
		{"token URL no URL", "ahotu", func(c *client.Config) { c.TokenURL = "id.example" }, "Config.TokenURL is not an absolute URL"},
		{"credentials in the URL", "ahotu", func(c *client.Config) { c.TokenURL = "https://a:hunter2@id.example" }, "Config.TokenURL holds credentials"},
		{"a port that is none", "ahotu", func(c *client.Config) { c.TokenURL = "https://127.0.0.1:99999/" }, "Config.TokenURL has the port 99999"},
		{"a port of nothing", "ahotu", func(c *client.Config) { c.APIURL = "https://127.0.0.1:0/" }, "Config.APIURL has the port 0"},
		{"a blank behind a URL", "ahotu", func(c *client.Config) { c.APIURL += " " }, "Config.APIURL has a blank"},
		{"a line end behind a URL", "ahotu", func(c *client.Config) { c.TokenURL += "\n" }, "Config.TokenURL has a blank"},
		{"no host", "ahotu", func(c *client.Config) { c.TokenURL = "https://:443/token" }, "Config.TokenURL is not an absolute URL"},
		{"a resource with a port that is none", "oauth2", func(c *client.Config) { c.Resources = []string{"https://a.example:70000/"} }, "Config.Resources must be absolute URIs"},
		{"no client id", "ahotu", func(c *client.Config) { c.ClientID = "" }, "Config.ClientID is missing"},
		{"no secret", "ahotu", func(c *client.Config) { c.ClientSecret = nil }, "Config.ClientSecret is missing"},
		{"two ways to prove itself", "oauth2", func(c *client.Config) { c.Key = always(newKey(t, jose.ES256)) }, "Config.ClientSecret, Config.Key are all given"},
		{"three ways to prove itself", "oauth2", func(c *client.Config) { c.Key, c.Assertion = always(client.Key{}), client.Static("a") }, "Config.Assertion, Config.ClientSecret, Config.Key are all given"},
		{"a key where only secrets are accepted", "ahotu", func(c *client.Config) { c.ClientSecret, c.Key = nil, always(client.Key{}) }, "Config.Key cannot be used with this provider: the description of ahotu accepts client_secret_post, client_secret_basic only; give Config.ClientSecret"},
		{"an assertion where only secrets are accepted", "altrata", func(c *client.Config) { c.ClientSecret, c.Assertion = nil, client.Static("a") }, "Config.Assertion cannot be used with this provider"},
		{"a certificate where only secrets are accepted", "a55", func(c *client.Config) { c.ClientSecret, c.Certificate = nil, client.CertificateFiles("a", "b") }, "Config.Certificate cannot be used with this provider"},
		{"a secret where only keys are accepted", "oauth2", func(c *client.Config) {
			p, err := c.Provider.Override(provider.Overrides{ClientAuthentication: []provider.Method{provider.MethodPrivateKeyJWT}})
			if err != nil {
				t.Fatal(err)
			}
			c.Provider = p
		}, "Config.ClientSecret cannot be used with this provider: the description of oauth2 accepts private_key_jwt only; give Config.Key or Config.Assertion"},
		{"a certificate through a transport of the caller's own", "oauth2", func(c *client.Config) { c.Certificate, c.HTTP = client.CertificateFiles("a", "b"), inMemory }, "Config.HTTP is a client_test.roundTripper, which cannot be given Config.Certificate"},
		{"a certificate through TLS of the caller's own", "oauth2", func(c *client.Config) {
			c.Certificate, c.HTTP = client.CertificateFiles("a", "b"), &http.Transport{DialTLSContext: (&tls.Dialer{}).DialContext}
		}, "Config.HTTP makes its TLS connections itself"},
		{"an audience without a key", "oauth2", func(c *client.Config) { c.AssertionAudience = "a" }, "Config.AssertionAudience is for assertions"},
		{"a DPoP key without a signer", "oauth2", func(c *client.Config) { c.DPoP.Algorithm = jose.ES256 }, "Config.DPoP cannot be used: it has no Signer"},
		{"a DPoP key with another kind's algorithm", "oauth2", func(c *client.Config) { c.DPoP = client.Key{Signer: newKey(t, jose.ES256).Signer, Algorithm: "HS256"} }, `Config.DPoP cannot be used: its Algorithm is "HS256"`},
		{"a DPoP key on another curve", "oauth2", func(c *client.Config) {
			c.DPoP.Signer = testkeys.P384()
		}, "Config.DPoP cannot be used: its Signer must be RSA"},
		{"a resource that is no URI", "oauth2", func(c *client.Config) { c.Resources = []string{"orders"} }, "Config.Resources must be absolute URIs"},
		{"a resource with a fragment", "oauth2", func(c *client.Config) { c.Resources = []string{"https://a.example/#"} }, "Config.Resources must be absolute URIs"},
		{"a resource with credentials", "oauth2", func(c *client.Config) { c.Resources = []string{"https://a:hunter2@a.example/"} }, "Config.Resources must be absolute URIs"},
		{"a parameter of the package's own", "oauth2", func(c *client.Config) { c.Parameters = url.Values{"client_assertion": {"hunter2"}} }, `Config.Parameters must not have "client_assertion"`},
		{"a parameter without a name", "oauth2", func(c *client.Config) { c.Parameters = url.Values{"": {"a"}} }, `Config.Parameters must not have ""`},
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
			if e := new(client.FieldError); !errors.As(err, &e) || !strings.HasPrefix(e.Error(), "Config."+e.Field) {
				t.Errorf("got %v, which is of the field %q", err, e.Field)
			}
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, row.want)
			}
			c.FieldName = func(field string) string { return "the line of " + field }
			if _, err := client.New(c); strings.Contains(err.Error(), "Config.") {
				t.Errorf("a field has a name of its own, and the error is: %v", err)
			}
		})
	}
	_, err := client.New(client.Config{Provider: w.config("engagifii").Provider})
	equal(t, "lines for an empty Config", strings.Count(err.Error(), "\n")+1, 4)
	c := w.config("ahotu")
	c.TokenURL, c.APIURL = "https://127.0.0.1:99999/", "http://api.example"
	if _, err = client.New(c); !strings.Contains(err.Error(), "Config.TokenURL has") || !strings.Contains(err.Error(), "Config.APIURL must") {
		t.Errorf("of two URLs that are wrong: %v", err)
	}
}

// A description without an API is enough for who wants tokens only.
func TestDescriptionWithoutAnAPI(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Provider.APIs, c.APIURL = nil, ""
	equal(t, "token", w.must(w.source(c)), "token-1")
}

// The first and the last printable characters of ASCII are a tenant's, and their
// neighbours are not.
func TestCharactersOfATenant(t *testing.T) {
	w := newWorld(t)
	for tenant, fits := range map[string]bool{"a b~": true, "a\x1fb": false, "a\x7fb": false} {
		c := w.config("engagifii")
		c.Tenant = tenant
		s, err := client.New(c)
		if !fits {
			if err == nil || !strings.Contains(err.Error(), "Config.Tenant must be printable ASCII") {
				t.Errorf("%q: got %v", tenant, err)
			}
			continue
		}
		must(err)
		w.get(s.Client(), w.api.URL)
		equal(t, "tenant of the call", w.seenCalls()[0].Header.Get("Tenant-Code"), tenant)
	}
}

// An error of a request calls fields what the file does that they come from.
func TestErrorsNameFieldsAsTheirFileDoes(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*world, *client.Config)
		want   string
	}{
		{"no OAuth endpoint", func(w *world, _ *client.Config) { w.onToken = status(404, "x") }, "check token_url (f:1), which leads to"},
		{"a redirect", func(w *world, _ *client.Config) { w.onToken = status(302, "") }, "set token_url (f:1) to the endpoint"},
		{"an unknown authority", func(_ *world, c *client.Config) { c.HTTP = nil }, "check token_url (f:1), the trusted authorities of ca_file (f:1)"},
		{"another client", func(w *world, _ *client.Config) { w.onToken = status(401, `{"error":"invalid_client"}`) }, "check its id and secret, which are client_id (f:1) and client_secret (f:1)"},
		{"another key", func(_ *world, c *client.Config) { c.Pins = []string{"sha256/" + strings.Repeat("A", 43) + "="} }, "no public key of pins (f:1)"},
		{"no secret", func(_ *world, c *client.Config) { c.ClientSecret = client.Static("") }, "where client_secret (f:1) reads it from"},
		{"a secret that is away", func(_ *world, c *client.Config) {
			c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", errors.New("sealed") }
		}, "where client_secret (f:1) says: sealed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.config("oauth2")
			c.FieldName = func(field string) string {
				return map[string]string{"TokenURL": "token_url", "Pins": "pins", "ClientSecret": "client_secret", "ClientID": "client_id", "HTTP": "ca_file"}[field] + " (f:1)"
			}
			row.change(w, &c)
			if e := w.fails(w.source(c)); !strings.Contains(e.Error(), row.want) || strings.Contains(e.Error(), "Config") {
				t.Errorf("got %v, want %q", e, row.want)
			}
		})
	}
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

// The default transport keeps a connection by HTTP/1.1 for each of 100 calls at
// once. It trusts the system's authorities, so it is in a process for which the
// world's is one.
func TestDefaultTransportKeepsConnections(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // the others have no SSL_CERT_FILE
	}
	w := newWorld(t)
	peers, arrived, more := map[string]bool{}, 0, sync.NewCond(&w.mu)
	w.onCall = func(_ http.ResponseWriter, r seen, n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		peers[r.RemoteAddr] = true
		arrived++
		more.Broadcast()
		for wave := (n + parallel - 1) / parallel; arrived < wave*parallel; { // none is answered before all are there
			more.Wait()
		}
	}
	dir := t.TempDir()
	cmd := w.child("parallel", dir)
	cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	equal(t, "calls", len(w.calls), 2*parallel)
	equal(t, "connections", len(peers), parallel)
}

// The default transport verifies certificates: the test server's is unknown.
func TestDefaultTransportVerifies(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.HTTP = nil
	e := w.fails(w.source(c))
	if e.Class() != counterfoil.ClassProtocol || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("got %v", e)
	}
}
