package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

func marshal(v any) ([]byte, error) { return json.Marshal(v) }

// proving is the usual request with a DPoP proof.
func (h *house) proving(proofs ...string) *ask {
	h.keep(proofs...)
	a := h.good("oauth2")
	a.header["Dpop"] = proofs
	return a
}

func (h *house) wantProofRefused(t *testing.T, a *ask, code string, reason counterfoil.Reason) answer {
	t.Helper()
	got := h.do("oauth2", a)
	if got.status != http.StatusBadRequest || !strings.HasPrefix(got.body, `{"error":"`+code+`"`) {
		t.Errorf("got %d %s", got.status, got.body)
	}
	h.wantRefused(t, reason)
	return got
}

// TestDPoP is RFC 9449 section 5.
func TestDPoP(t *testing.T) {
	h := newGate(t, nil)
	second, _ := h.open(func(c *server.Config) { c.Realms[0].BaseURL = h.url + "/oauth2" })
	url := h.url + "/oauth2/token"
	c, got := h.wantToken(t, h.proving(proof(ecKey(), h.proofFor(url))))
	if want := `{"jkt":"` + josetest.Thumbprint(ecKey().Public()) + `"}`; string(must(marshal(c["cnf"]))) != want || !strings.Contains(got.body, `"token_type":"DPoP"`) {
		t.Errorf("bound to %v, want %s; %s", c["cnf"], want, got.body)
	}
	if got.header.Get("DPoP-Nonce") != "" {
		t.Error("a nonce that was not requested")
	}
	good := h.proofFor(url)
	for name, row := range map[string]*ask{
		"rubbish":       h.proving("rubbish"),
		"empty":         h.proving(""),
		"twice":         h.proving(proof(ecKey(), h.proofFor(url)), proof(ecKey(), h.proofFor(url))),
		"another URL":   h.proving(proof(ecKey(), h.proofFor(h.url+"/token"))),
		"GET":           h.proving(proof(ecKey(), good.but(claims{"htm": "GET"}))),
		"old":           h.proving(proof(ecKey(), good.but(claims{"iat": h.clock.Now().Unix() - 61}))),
		"in the future": h.proving(proof(ecKey(), good.but(claims{"iat": h.clock.Now().Unix() + 10}))),
		"another key":   h.proving(josetest.Token(strangeKey(), `{"typ":"dpop+jwt","alg":"ES256","jwk":`+josetest.JWK(ecKey().Public())+`}`, good.String())),
	} {
		t.Run(name, func(t *testing.T) {
			h.wantProofRefused(t, row, "invalid_dpop_proof", counterfoil.ReasonInvalidDPoPProof)
			h.wantToken(t, h.good("oauth2"))
		})
	}
	t.Run("for another host of the realm", func(t *testing.T) {
		other, _ := h.open(func(c *server.Config) {
			c.Realms[0].BaseURL, c.Realms[0].OtherURLs = h.url+"/oauth2", []string{"https://other.example", "https://third.example:8443/x"}
		})
		for name, row := range map[string]struct {
			url    string
			status int
		}{
			"its own":           {url, 200},
			"another":           {"https://other.example/token", 200},
			"in another case":   {"https://OTHER.example:443/token?x=1", 200},
			"with port, path":   {"https://third.example:8443/x/token", 200},
			"without that port": {"https://third.example/x/token", 400},
			"without that path": {"https://third.example:8443/token", 400},
			"a stranger":        {"https://stranger.example/token", 400},
			"by http":           {"http://other.example/token", 400},
		} {
			status, body, err := h.at(t.Context(), other, h.proving(proof(ecKey(), h.proofFor(row.url))))
			if err != nil || status != row.status {
				t.Errorf("%s: %d %s, %v", name, status, body, err)
			}
		}
	})
	t.Run("is single-use, on another server too", func(t *testing.T) {
		a := h.proving(proof(ecKey(), h.proofFor(url)))
		h.wantToken(t, a)
		h.wantProofRefused(t, a, "invalid_dpop_proof", counterfoil.ReasonDPoPProofReplayed)
		if status, body, err := h.at(t.Context(), second, a); err != nil || status != http.StatusBadRequest {
			t.Errorf("the other server answers %d %s, %v", status, body, err)
		}
		h.wantRefused(t, counterfoil.ReasonDPoPProofReplayed)
	})
	t.Run("fifty at once", func(t *testing.T) {
		a := h.proving(proof(ecKey(), h.proofFor(url)))
		var mu sync.Mutex
		count := map[int]int{}
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				status, _, err := h.at(context.Background(), []string{h.url, second}[i%2], a)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				count[status]++
			})
		}
		all.Wait()
		if count[http.StatusOK] != 1 || count[http.StatusBadRequest] != 49 {
			t.Errorf("the answers are %v", count)
		}
	})
	t.Run("a client that needs one", func(t *testing.T) {
		creds := h.client(clients.NewClient{Realm: "oauth2", ID: "bound", Settings: store.Settings{Tokens: store.TokenSettings{DPoPBound: true}}})
		a := h.good("oauth2")
		a.credentials("bound", creds.ClientSecret.Reveal())
		h.wantProofRefused(t, a, "invalid_dpop_proof", counterfoil.ReasonInvalidDPoPProof)
		a.header["Dpop"] = []string{proof(ecKey(), h.proofFor(url))}
		h.wantToken(t, a)
	})
}

// TestDPoPNonce is RFC 9449 section 8: nodes with one master key know one
// another's nonces.
func TestDPoPNonce(t *testing.T) {
	master := counterfoil.Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	demand := func(c *server.Config) { c.Realms[0].DPoPNonce, c.MasterKey = true, master }
	h := newGate(t, demand)
	second, _ := h.open(func(c *server.Config) { demand(c); c.Realms[0].BaseURL = h.url + "/oauth2" })
	url := h.url + "/oauth2/token"
	got := h.wantProofRefused(t, h.proving(proof(ecKey(), h.proofFor(url))), "use_dpop_nonce", counterfoil.ReasonUseDPoPNonce)
	nonce := got.header.Get("DPoP-Nonce")
	if nonce == "" {
		t.Fatal("no nonce")
	}
	h.wantProofRefused(t, h.proving(proof(ecKey(), h.proofFor(url).but(claims{"nonce": "x"}))), "use_dpop_nonce", counterfoil.ReasonUseDPoPNonce)
	a := h.proving(proof(ecKey(), h.proofFor(url).but(claims{"nonce": nonce})))
	if status, body, err := h.at(t.Context(), second, a); err != nil || status != http.StatusOK {
		t.Errorf("the other server answers %d %s, %v", status, body, err)
	}
	_, ok := h.wantToken(t, h.proving(proof(ecKey(), h.proofFor(url).but(claims{"nonce": nonce}))))
	if ok.header.Get("DPoP-Nonce") != nonce {
		t.Error("a good answer has another nonce")
	}
	if _, plain := h.wantToken(t, h.good("oauth2")); plain.header.Get("DPoP-Nonce") == "" {
		t.Error("an answer without a nonce")
	}
	h.clock.Turn(11 * time.Minute)
	h.wantProofRefused(t, h.proving(proof(ecKey(), h.proofFor(url).but(claims{"nonce": nonce}))), "use_dpop_nonce", counterfoil.ReasonUseDPoPNonce)
}

// TestCertificateBound: tokens of a client that wants them bound, whatever it
// proves itself with (RFC 8705 section 3), and to a key besides.
func TestCertificateBound(t *testing.T) {
	h := newGate(t, nil)
	cert := h.selfSigned(ecKey(), nil)
	creds := h.client(clients.NewClient{Realm: "oauth2", ID: "bound", Settings: store.Settings{Tokens: store.TokenSettings{CertificateBound: true}}})
	a := h.good("oauth2")
	a.credentials("bound", creds.ClientSecret.Reveal())
	h.wantInvalid(t, a, counterfoil.ReasonCertificateMissing)
	h.http = trusting(cert)
	if c, _ := h.wantToken(t, a); string(must(marshal(c["cnf"]))) != `{"x5t#S256":"`+thumbprint(cert)+`"}` {
		t.Errorf("bound to %v", c["cnf"])
	}
	a.header["Dpop"] = []string{proof(ecKey(), h.proofFor(h.url+"/oauth2/token"))}
	if c, _ := h.wantToken(t, a); string(must(marshal(c["cnf"]))) != `{"jkt":"`+josetest.Thumbprint(ecKey().Public())+`","x5t#S256":"`+thumbprint(cert)+`"}` {
		t.Errorf("bound to %v", c["cnf"])
	}
}

// TestReuseKeepsBindingsApart: a token is answered again for the same key and
// the same resources only, and a single-use proof is used up all the same.
func TestReuseKeepsBindingsApart(t *testing.T) {
	p := must(provider.Parse("reuse.yaml", []byte("extends: oauth2\nname: reuse\ntoken_endpoint: {policy: reuse, resources: ['https://a.example/', 'https://b.example/']}\n")))
	h := newGate(t, func(c *server.Config) { c.Realms[0].Provider = p })
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	url := h.url + "/oauth2/token"
	ids := map[string]string{}
	for _, row := range []struct{ name, same, body string }{
		{"plain", "", ""}, {"plain again", "plain", ""},
		{"for a", "", "&resource=https://a.example/"}, {"for a again", "for a", "&resource=https://a.example/"},
		{"for b", "", "&resource=https://b.example/"}, {"for both", "", "&resource=https://a.example/&resource=https://b.example/"},
	} {
		a := h.good("oauth2")
		a.body = a.form.Encode() + row.body
		c, _ := h.wantToken(t, a)
		ids[row.name] = c["jti"].(string)
		if aud := string(must(marshal(c["aud"]))); row.name == "for both" && aud != `["https://a.example/","https://b.example/"]` || row.name == "for b" && aud != `"https://b.example/"` {
			t.Errorf("%s: the audience is %s", row.name, aud)
		}
		for other, id := range ids {
			if same := id == ids[row.name]; other != row.name && same != (other == row.same) {
				t.Errorf("%s and %s: the same token is %v", row.name, other, same)
			}
		}
	}
	first, _ := h.wantToken(t, h.proving(proof(ecKey(), h.proofFor(url))))
	replay := h.proving(proof(ecKey(), h.proofFor(url)))
	again, got := h.wantToken(t, replay)
	if first["jti"] != again["jti"] || first["jti"] == ids["plain"] || !strings.Contains(got.body, `"token_type":"DPoP"`) {
		t.Errorf("%v, then %v in %s", first, again, got.body)
	}
	h.wantProofRefused(t, replay, "invalid_dpop_proof", counterfoil.ReasonDPoPProofReplayed)
	if other, _ := h.wantToken(t, h.proving(proof(strangeKey(), h.proofFor(url)))); other["jti"] == first["jti"] {
		t.Error("two keys have one token")
	}
	asserted := h.asserting(signed(ecKey(), "ec", h.own("job")))
	h.wantToken(t, asserted)
	h.wantInvalid(t, asserted, counterfoil.ReasonAssertionReplayed)

	t.Run("another resource", func(t *testing.T) {
		for _, resource := range []string{"https://c.example/", "https://a.example/&resource=https://c.example/", "rubbish"} {
			a := h.good("oauth2")
			a.body = a.form.Encode() + "&resource=" + resource
			if got := h.do("oauth2", a); got.status != http.StatusBadRequest || got.body != `{"error":"invalid_target"}` {
				t.Errorf("got %d %s", got.status, got.body)
			}
			h.wantRefused(t, counterfoil.ReasonInvalidTarget)
		}
	})
}

// TestAssertionElsewhere: the other endpoints take assertions, for themselves
// too, and use them up.
func TestAssertionElsewhere(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		t.Run(path, func(t *testing.T) {
			a := h.asserting(signed(ecKey(), "ec", h.own("job")))
			a.form.Set("token", "x")
			if got := h.post(path, a.form, a.header); got.status != http.StatusOK {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if got := h.post(path, a.form, a.header); got.status != http.StatusUnauthorized {
				t.Errorf("again: %d %s", got.status, got.body)
			}
			h.wantRefused(t, counterfoil.ReasonAssertionReplayed)
			h.wantInvalid(t, a, counterfoil.ReasonAssertionReplayed) // at the token endpoint, too
			other := h.asserting(signed(ecKey(), "ec", h.own("job").but(claims{"aud": h.url + path})))
			other.form.Set("token", "x")
			if got := h.post(path, other.form, other.header); got.status != http.StatusUnauthorized {
				t.Errorf("for the endpoint's URL: %d %s", got.status, got.body)
			}
			h.wantRefused(t, counterfoil.ReasonAssertionAudience)
			used := h.asserting(signed(ecKey(), "ec", h.own("job")))
			h.wantToken(t, used)
			used.form.Set("token", "x")
			if got := h.post(path, used.form, used.header); got.status != http.StatusUnauthorized {
				t.Errorf("one that has brought a token: %d %s", got.status, got.body)
			}
			h.wantRefused(t, counterfoil.ReasonAssertionReplayed)
		})
	}
}
