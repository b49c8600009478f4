package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// transport trusts the servers of the tests, and shows nothing by itself.
func (h *interop) transport(t *testing.T) *http.Transport {
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.pki.pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(base.CloseIdleConnections)
	return base
}

// config is what a Go program configures for a client of a realm that calls the
// API of that name: with the client's secret, when it has one.
func (h *interop) config(t *testing.T, realm, api, id string) client.Config {
	t.Helper()
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	c := client.Config{
		Provider: p, TokenURL: h.Realms[realm] + "/token", APIURL: h.APIs[api], ClientID: h.Clients[id].ClientID,
		HTTP: h.transport(t), Retries: []time.Duration{},
	}
	if secret := h.Clients[id].ClientSecret; secret != "" {
		c.ClientSecret = client.Static(counterfoil.Secret(secret))
	}
	return c
}

// keyOf is the assertion key of an algorithm, as it comes from a file.
func (h *interop) keyOf(algorithm string) client.KeyFunc {
	read := client.PrivateKey(client.Static(counterfoil.Secret(h.Keys[algorithm])))
	return func(ctx context.Context) (client.Key, error) {
		k, err := read(ctx)
		k.ID, k.Algorithm = "key-"+algorithm, algorithm
		return k, err
	}
}

// proofKey is a key of an algorithm to bind tokens to.
func (h *interop) proofKey(algorithm string) client.Key {
	return client.Key{Signer: h.keys[algorithm], Algorithm: algorithm}
}

func (h *interop) certificate(name string) client.CertificateFunc {
	return client.CertificateFiles(h.Certificates[name], h.Certificates[name])
}

// calls calls the API and returns its status and what it says.
func calls(t *testing.T, s *client.Source) string {
	t.Helper()
	req, err := s.NewRequest(t.Context(), http.MethodPost, "orders?page=1", strings.NewReader("question"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

// late is a clock that is off.
type late struct {
	counterfoil.Clock
	by time.Duration
}

func (l late) Now() time.Time { return l.Clock.Now().Add(-l.by) }

// way is how one client of the tests proves itself, and what the API says then.
type way struct {
	name, realm, api, client string
	change                   func(*client.Config)
	want                     string
	// asked and again are how many token requests, and calls beyond the first,
	// that takes.
	asked, again int
}

func (h *interop) ways() []way {
	const good = "200 %s may read write"
	var all []way
	add := func(name, id string, asked int, change func(*client.Config)) {
		all = append(all, way{name, "generic", "generic", id, change, fmt.Sprintf(good, id), asked, 0})
	}
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		add("private_key_jwt "+algorithm, "inline", 1, func(c *client.Config) { c.Key = h.keyOf(algorithm) })
		add("private_key_jwt by jwks_uri "+algorithm, "fetched", 1, func(c *client.Config) { c.Key = h.keyOf(algorithm) })
		add("DPoP "+algorithm, "proving", 1, func(c *client.Config) { c.DPoP = h.proofKey(algorithm) })
	}
	add("private_key_jwt for the issuer", "inline", 1, func(c *client.Config) { c.Key, c.AssertionAudience = h.keyOf("ES256"), h.Realms["generic"] })
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		add(fmt.Sprint("private_key_jwt by a clock that is behind by ", off), "inline", 2, func(c *client.Config) { c.Key, c.Clock = h.keyOf("EdDSA"), late{clock.System, off} })
		add(fmt.Sprint("DPoP by a clock that is behind by ", off), "proving", 2, func(c *client.Config) { c.DPoP, c.Clock = h.proofKey("EdDSA"), late{clock.System, off} })
	}
	add("federated", "workload", 1, func(c *client.Config) { c.Assertion = client.Static(counterfoil.Secret(h.Federated)) })
	for id, certificate := range map[string]string{"issued-dn": "issued", "issued-dns": "issued", "own": "own", "listed": "listed"} {
		add("certificate alone: "+id, id, 1, func(c *client.Config) { c.Certificate = h.certificate(certificate) })
	}
	add("a secret, bound to a certificate", "certified", 1, func(c *client.Config) { c.Certificate = h.certificate("strange") })
	add("a secret, bound to a certificate and a key", "certified", 1, func(c *client.Config) { c.Certificate, c.DPoP = h.certificate("own"), h.proofKey("ES256") })
	add("a key, bound to another", "inline", 1, func(c *client.Config) { c.Key, c.DPoP = h.keyOf("RS256"), h.proofKey("EdDSA") })
	add("a certificate, bound to a key as well", "own", 1, func(c *client.Config) { c.Certificate, c.DPoP = h.certificate("own"), h.proofKey("PS256") })
	add("a platform's token, bound to a key", "workload", 1, func(c *client.Config) {
		c.Assertion, c.DPoP = client.Static(counterfoil.Secret(h.Federated)), h.proofKey("ES256")
	})
	all = append(all,
		way{"nonces", "nonce", "nonce", "nonce", func(c *client.Config) { c.DPoP = h.proofKey("ES256") }, "200 nonce may read", 2, 1},
		way{"nonces and private_key_jwt", "nonce", "nonce", "nonce-key", func(c *client.Config) { c.Key, c.DPoP = h.keyOf("ES256"), h.proofKey("ES256") }, "200 nonce-key may read", 2, 1},
		way{"nonces by a clock that is behind", "nonce", "nonce", "nonce", func(c *client.Config) { c.DPoP, c.Clock = h.proofKey("ES256"), late{clock.System, 10 * time.Minute} }, "200 nonce may read", 2, 1},
		way{"a resource", "generic", "orders", "secret", func(c *client.Config) { c.Resources = []string{"https://orders.example/"} }, "200 secret may read write", 1, 0},
		way{"a resource of another API", "generic", "orders", "secret", func(c *client.Config) { c.Resources = []string{"https://stock.example/"} }, `401 {"error":"invalid_token"}`, 2, 1},
	)
	return all
}

// The client's ways to prove itself are those that the server and the guard know:
// with the built binary, over TLS.
func TestClientMethods(t *testing.T) {
	h := newInterop(t)
	for _, row := range h.ways() {
		t.Run(row.name, func(t *testing.T) {
			asked, again := 0, 0
			c := h.config(t, row.realm, row.api, row.client)
			row.change(&c)
			c.OnEvent = func(_ context.Context, e counterfoil.Event) {
				switch e.Type {
				case counterfoil.EventTokenRequested:
					asked++
				case counterfoil.EventCallRetried:
					again++
				}
			}
			s, err := client.New(c)
			if err != nil {
				t.Fatal(err)
			}
			if got := calls(t, s); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if asked != row.asked || again != row.again {
				t.Errorf("%d token requests and %d repeated calls, want %d and %d", asked, again, row.asked, row.again)
			}
			if row.want[0] != '2' {
				return
			}
			if got := calls(t, s); got != row.want || asked != row.asked || again != row.again {
				t.Errorf("the next call: %q after %d token requests and %d repeated calls", got, asked, again)
			}
		})
	}
	t.Run("refused", h.refusedMethods)
	t.Run("stolen", h.stolenTokens)
}

// What the server refuses is refused to the caller, with a reason and words.
func (h *interop) refusedMethods(t *testing.T) {
	for _, row := range []struct {
		name, realm, client string
		change              func(*client.Config)
		want                string
	}{
		{"another key", "generic", "inline", func(c *client.Config) {
			c.Key = func(context.Context) (client.Key, error) {
				k, err := client.NewKey()
				k.ID = "key-ES256"
				return k, err
			}
		}, "check its id and key with its ID"},
		{"an unknown kid", "generic", "inline", func(c *client.Config) {
			c.Key = func(ctx context.Context) (client.Key, error) {
				k, err := h.keyOf("ES256")(ctx)
				k.ID = "other"
				return k, err
			}
		}, "check its id and key with its ID"},
		{"an audience of another server", "generic", "inline", func(c *client.Config) { c.Key, c.AssertionAudience = h.keyOf("ES256"), "https://other.example" }, "Config.AssertionAudience"},
		{"a platform's token for another workload", "generic", "other-workload", func(c *client.Config) { c.Assertion = client.Static(counterfoil.Secret(h.Federated)) }, "the assertion's issuer, audience and subject"},
		{"a certificate of somebody", "generic", "own", func(c *client.Config) { c.Certificate = h.certificate("strange") }, "check its id and certificate"},
		{"a proof that is demanded and missing", "generic", "proving", func(*client.Config) {}, "refuses the DPoP proof"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := h.config(t, row.realm, row.realm, row.client)
			row.change(&c)
			s, err := client.New(c)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Token(t.Context())
			e, ok := err.(*counterfoil.Error)
			if !ok || e.Class() != counterfoil.ClassRefused || !strings.Contains(e.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// A bound token is worth nothing to whoever has the token alone.
func (h *interop) stolenTokens(t *testing.T) {
	token := func(id string, change func(*client.Config)) string {
		c := h.config(t, "generic", "generic", id)
		change(&c)
		s, err := client.New(c)
		if err != nil {
			t.Fatal(err)
		}
		token, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token.Value.Reveal()
	}
	certified := token("certified", func(c *client.Config) { c.Certificate = h.certificate("own") })
	proved := token("proving", func(c *client.Config) { c.DPoP = h.proofKey("ES256") })
	for _, row := range []struct {
		name, certificate, authorization string
		status                           int
	}{
		{"a certificate's, by its owner", "own", "Bearer " + certified, http.StatusOK},
		{"a certificate's, with another", "strange", "Bearer " + certified, http.StatusUnauthorized},
		{"a certificate's, with none", "", "Bearer " + certified, http.StatusUnauthorized},
		{"a key's, as if it were nobody's", "", "Bearer " + proved, http.StatusUnauthorized},
		{"a key's, without a proof", "", "DPoP " + proved, http.StatusUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.APIs["generic"], nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", row.authorization)
			if got := do(t, h.showing(row.certificate), req); got.status != row.status {
				t.Errorf("got %d, want %d", got.status, row.status)
			}
		})
	}
}
