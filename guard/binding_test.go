package guard_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
)

// boundTo returns a token with that confirmation.
func (r *rig) boundTo(confirmation any) string { return r.claim("cnf", confirmation) }

// keyBound returns a token that is bound to ecOther.
func (r *rig) keyBound() string {
	return r.boundTo(members{"jkt": josetest.Thumbprint(ecOther().Public())})
}

var proofs int

// proof returns a right proof for the request, after changes; nil removes a
// claim.
func (r *rig) proof(req *http.Request, token string, changes members) string {
	proofs++
	sum := sha256.Sum256([]byte(token))
	claims := members{"jti": fmt.Sprint("proof-", proofs), "htm": req.Method, "htu": req.URL.String(), "iat": r.clock.Now().Unix(), "ath": josetest.Encode(string(sum[:]))}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return signedProof(ecOther(), claims)
}

func signedProof(key crypto.Signer, claims members) string {
	return josetest.Token(key, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+josetest.JWK(key.Public())+`}`, claims.String())
}

// prove makes the request one with a right proof, after changes.
func (r *rig) prove(req *http.Request, token string, changes members) *http.Request {
	req.Header.Set("Authorization", "DPoP "+token)
	req.Header.Set("DPoP", r.proof(req, token, changes))
	return req
}

const codeOfNoUse = `DPoP error="invalid_token", algs="ES256 RS256 PS256 EdDSA"`

func TestTokensBoundToAKey(t *testing.T) {
	for name, d := range dialects() {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin(name)), d)
			token := r.keyBound()
			for range 3 { // the token is remembered, the proofs are not
				if a := r.send(r.prove(r.call(token), token, nil)); a.status != 200 {
					t.Fatalf("%d, event %+v", a.status, a.event)
				}
			}
			if s := r.guard.Stats(); s.Hits != 2 || s.ProofsLost != 0 {
				t.Errorf("%+v", s)
			}
			a := r.send(r.call(token))
			r.refused(a, counterfoil.ReasonTokenProof, token)
			if got := a.header.Get("WWW-Authenticate"); got != codeOfNoUse {
				t.Errorf("challenge %q", got)
			}
			r.works()
		})
	}
}

// The scheme DPoP goes before the token whatever the dialect's own way is.
func TestProofInADialectWithoutSchemes(t *testing.T) {
	d := dialect{key: ecKey, other: ecOther, header: members{"alg": "ES256", "kid": "k1", "typ": "harbour+jwt"},
		claims: members{"who": client, "iss": issuer, "until": start.Unix() + 60, "since": start.Unix(), "may": []string{"berth"}, "ports": []string{"oslo"}, "aud": "crane", "rev": 7}}
	r := newRigFor(t, parse(t, "harbour", harbour), d)
	token := r.keyBound()
	call := func(ticket string) *http.Request {
		req := must(http.NewRequest("GET", r.server.URL+"/berths", nil))
		req.Header.Set("X-Port", "oslo")
		req.Header.Set("X-Ticket", ticket)
		req.Header.Set("DPoP", r.proof(req, token, nil))
		return req
	}
	if a := r.send(call("DPoP " + token)); a.status != 200 {
		t.Errorf("%d, event %+v", a.status, a.event)
	}
	a := r.send(call(token))
	r.refused(a, counterfoil.ReasonTokenProof, token)
	if a.status != 422 || a.body != `["bad X-Ticket"]` || a.header.Get("WWW-Authenticate") != codeOfNoUse {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	r := newRig(t, "oauth2")
	token := r.keyBound()
	other := signedProof(ecKey(), members{"jti": "x", "htm": "GET", "htu": r.server.URL + "/", "iat": start.Unix()})
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"none", func(q *http.Request) { q.Header.Del("DPoP") }, "0 DPoP headers"},
		{"two", func(q *http.Request) { q.Header.Add("DPoP", r.proof(q, token, nil)) }, "2 DPoP headers"},
		{"empty", func(q *http.Request) { q.Header.Set("DPoP", "") }, ""},
		{"the token itself", func(q *http.Request) { q.Header.Set("DPoP", token) }, ""},
		{"another key", func(q *http.Request) { q.Header.Set("DPoP", other) }, "another key"},
		{"another method", func(q *http.Request) { r.prove(q, token, members{"htm": "POST"}) }, "htm"},
		{"another path", func(q *http.Request) { r.prove(q, token, members{"htu": r.server.URL + "/other"}) }, "htu"},
		{"another host", func(q *http.Request) { r.prove(q, token, members{"htu": "https://other.example/"}) }, "htu"},
		{"plain HTTP", func(q *http.Request) {
			r.prove(q, token, members{"htu": strings.Replace(r.server.URL, "https", "http", 1)})
		}, "htu"},
		{"without the token's hash", func(q *http.Request) { r.prove(q, token, members{"ath": nil}) }, "ath"},
		{"of another token", func(q *http.Request) { r.prove(q, token, members{"ath": josetest.Encode(strings.Repeat("x", 32))}) }, "ath"},
		{"too old", func(q *http.Request) { r.prove(q, token, members{"iat": start.Unix() - 61}) }, "1m0s ago"},
		{"of the future", func(q *http.Request) { r.prove(q, token, members{"iat": start.Unix() + 6}) }, "in the future"},
		{"without a name", func(q *http.Request) { r.prove(q, token, members{"jti": nil}) }, "jti"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := r.prove(r.call(token), token, nil)
			tt.change(req)
			a := r.send(req)
			r.refused(a, counterfoil.ReasonTokenProof, token, req.Header.Get("DPoP"))
			if want := `DPoP error="invalid_dpop_proof", algs="ES256 RS256 PS256 EdDSA"`; a.status != 401 || a.header.Get("WWW-Authenticate") != want || a.body != `{"error":"invalid_token"}` {
				t.Errorf("%d %q %q", a.status, a.header.Get("WWW-Authenticate"), a.body)
			}
			if !strings.Contains(a.event.Detail, tt.want) || a.event.ClientID != client {
				t.Errorf("event %+v, want %q in its detail", a.event, tt.want)
			}
			if a := r.send(r.prove(r.call(token), token, nil)); a.status != 200 {
				t.Errorf("a right call afterwards: %d, %+v", a.status, a.event)
			}
		})
	}
}

func TestAProofIsTakenOnce(t *testing.T) {
	r := newRig(t, "oauth2")
	token := r.keyBound()
	req := r.prove(r.call(token), token, nil)
	if a := r.send(req.Clone(t.Context())); a.status != 200 {
		t.Fatalf("%d, %+v", a.status, a.event)
	}
	for _, turn := range []time.Duration{0, 59 * time.Second, 2 * time.Second} {
		r.clock.Turn(turn)
		r.refused(r.send(req.Clone(t.Context())), counterfoil.ReasonTokenProof)
	}
}

// A useless proof takes no room: only proofs of verified tokens fill the memory.
func TestRoomForProofsIsBounded(t *testing.T) {
	r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.MaxProofs = 4 })
	token := r.keyBound()
	for i := range 4 {
		r.refused(r.send(r.prove(r.call(token), token, members{"htm": "PUT"})), counterfoil.ReasonTokenProof)
		if a := r.send(r.prove(r.call(token), token, nil)); (a.status == 200) != (i < 2) {
			t.Fatalf("proof %d: %d, %+v", i, a.status, a.event)
		}
	}
	if s := r.guard.Stats(); s.ProofsLost != 2 {
		t.Errorf("%+v", s)
	}
	r.clock.Turn(2 * time.Minute)
	if a := r.send(r.prove(r.call(token), token, nil)); a.status != 200 {
		t.Errorf("a minute later: %d, %+v", a.status, a.event)
	}
}

func TestUnboundTokenWithAProof(t *testing.T) {
	r := newRig(t, "oauth2")
	token := r.token(nil)
	a := r.send(r.prove(r.call(token), token, nil))
	r.refused(a, counterfoil.ReasonTokenMissing, token)
	if a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
	}
	req := r.call(token) // with a proof that is not required
	req.Header.Set("DPoP", "x")
	if a := r.send(req); a.status != 200 {
		t.Errorf("%d, %+v", a.status, a.event)
	}
}

// A caller that uses the scheme DPoP gets the description's challenges in it.
func TestChallengesOfTheScheme(t *testing.T) {
	const algs = `algs="ES256 RS256 PS256 EdDSA"`
	r := newRig(t, "oauth2")
	jkt := members{"jkt": josetest.Thumbprint(ecOther().Public())}
	for name, tt := range map[string]struct {
		change func(h, c members)
		reason counterfoil.Reason
		want   string
	}{
		"expired": {func(_, c members) { c["exp"] = start.Unix() - 60 }, counterfoil.ReasonTokenExpired,
			`DPoP error="invalid_token", error_description="The access token expired", ` + algs},
		"unknown key": {func(h, _ members) { h["kid"] = "k2" }, counterfoil.ReasonTokenKeyUnknown, `DPoP error="invalid_token", ` + algs},
	} {
		t.Run(name, func(t *testing.T) {
			token := r.token(func(h, c members) { c["cnf"] = jkt; tt.change(h, c) })
			a := r.send(r.prove(r.call(token), token, nil))
			r.refused(a, tt.reason, token)
			if got := a.header.Get("WWW-Authenticate"); got != tt.want {
				t.Errorf("challenge %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a description that speaks of proofs", func(t *testing.T) {
		text := strings.Replace(withAPIKey, "      api_key_invalid", "      token_proof: {status: 401, headers: {WWW-Authenticate: DPoP realm=x}, body: prove it}\n      api_key_invalid", 1)
		r := newRigFor(t, parse(t, "keyed", text), dialects()["oauth2"])
		token := r.keyBound()
		req := r.call(token)
		req.Header.Set("X-Api-Key", "key-1")
		if a := r.send(req); a.body != "prove it" || a.header.Get("WWW-Authenticate") != "DPoP realm=x" {
			t.Errorf("%d %q %v", a.status, a.body, a.header)
		}
	})
}

func TestConfirmations(t *testing.T) {
	r := newRig(t, "oauth2")
	jkt := josetest.Thumbprint(ecOther().Public())
	for name, tt := range map[string]struct {
		value any
		want  counterfoil.Reason
	}{
		"no object":                  {"x", counterfoil.ReasonTokenMalformed},
		"null":                       {json.RawMessage("null"), counterfoil.ReasonTokenMalformed},
		"empty":                      {members{}, counterfoil.ReasonTokenInvalid},
		"another kind":               {members{"kid": "k1"}, counterfoil.ReasonTokenInvalid},
		"a whole key":                {members{"jwk": json.RawMessage(josetest.JWK(ecOther().Public()))}, counterfoil.ReasonTokenInvalid},
		"jkt is a number":            {members{"jkt": 1}, counterfoil.ReasonTokenMalformed},
		"jkt is empty":               {members{"jkt": ""}, counterfoil.ReasonTokenMalformed},
		"x5t is an array":            {members{"x5t#S256": []string{"x"}}, counterfoil.ReasonTokenMalformed},
		"a key, and another kind":    {members{"jkt": jkt, "kid": "k1"}, ""},
		"a key, and a certificate":   {members{"jkt": jkt, "x5t#S256": strings.Repeat("A", 43)}, counterfoil.ReasonTokenCertificate},
		"the thumbprint of nothing":  {members{"jkt": strings.Repeat("A", 43)}, counterfoil.ReasonTokenProof},
		"the thumbprint with a tail": {members{"jkt": jkt + "="}, counterfoil.ReasonTokenProof},
	} {
		t.Run(name, func(t *testing.T) {
			token := r.boundTo(tt.value)
			a := r.send(r.prove(r.call(token), token, nil))
			if tt.want != "" {
				r.refused(a, tt.want, token)
			}
			if (a.status == 200) != (tt.want == "") || a.status != 200 && a.status != 401 {
				t.Errorf("%d, %+v", a.status, a.event)
			}
		})
	}
}

func TestNoncesOfTheGuard(t *testing.T) {
	key := counterfoil.Secret(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	demand := func(key counterfoil.Secret) func(*guard.Config) {
		return func(c *guard.Config) { c.DPoPNonce, c.DPoPNonceKey = true, key }
	}
	p, d := must(provider.Builtin("oauth2")), dialects()["oauth2"]
	r, fellow, stranger := newRigFor(t, p, d, demand(key)), newRigFor(t, p, d, demand(key)), newRigFor(t, p, d, demand(""))
	token := r.keyBound()

	a := r.send(r.prove(r.call(token), token, nil))
	r.refused(a, counterfoil.ReasonTokenProofNonce, token)
	nonce := a.header.Get("DPoP-Nonce")
	if want := `DPoP error="use_dpop_nonce", algs="ES256 RS256 PS256 EdDSA"`; nonce == "" || a.header.Get("WWW-Authenticate") != want || a.status != 401 {
		t.Fatalf("%d %v", a.status, a.header)
	}
	with := members{"nonce": nonce}
	for name, one := range map[string]*rig{"the guard": r, "one with its key": fellow} {
		if a := one.send(one.prove(one.call(token), token, with)); a.status != 200 || a.header.Get("DPoP-Nonce") != "" {
			t.Errorf("%s: %d, %+v, %v", name, a.status, a.event, a.header)
		}
	}
	stranger.refused(stranger.send(stranger.prove(stranger.call(token), token, with)), counterfoil.ReasonTokenProofNonce)
	r.refused(r.send(r.prove(r.call(token), token, members{"nonce": "guessed"})), counterfoil.ReasonTokenProofNonce)

	r.clock.Turn(5 * time.Minute) // the next nonce, while the last one is valid
	a = r.send(r.prove(r.call(token), token, with))
	next := a.header.Get("DPoP-Nonce")
	if a.status != 200 || next == "" || next == nonce {
		t.Errorf("%d, %v", a.status, a.header)
	}
	r.clock.Turn(5 * time.Minute)
	r.refused(r.send(r.prove(r.call(token), token, with)), counterfoil.ReasonTokenProofNonce)
	if a := r.send(r.prove(r.call(token), token, members{"nonce": next})); a.status != 200 {
		t.Errorf("%d, %+v", a.status, a.event)
	}
}

// TestURLOfAProof: what the proof names is compared with what was asked for on
// the wire, wherever the guard is mounted.
func TestURLOfAProof(t *testing.T) {
	for _, tt := range []struct {
		name, url string // of the configuration
		target    string // of the request line
		host      string
		htu       string
		want      bool
	}{
		{"the request's own", "", "/v1/orders?size=1", "api.example", "https://api.example/v1/orders", true},
		{"with another query", "", "/v1/orders?size=1", "api.example", "https://api.example/v1/orders?size=2", true},
		{"without the part that is stripped", "", "/v1/orders", "api.example", "https://api.example/orders", false},
		{"encoded as it was sent", "", "/v1/a%2Fb", "api.example", "https://api.example/v1/a%2fb", true},
		{"a slash is not an encoded one", "", "/v1/a%2Fb", "api.example", "https://api.example/v1/a/b", false},
		{"the absolute form", "", "https://api.example/v1/orders", "api.example", "https://api.example/v1/orders", true},
		{"a configured origin", "https://api.example", "/v1/orders", "10.0.0.7:8443", "https://api.example/v1/orders", true},
		{"a configured origin, and the Host", "https://api.example", "/v1/orders", "evil.example", "https://evil.example/v1/orders", false},
		{"a configured path", "https://api.example/shop/", "/v1/orders", "inner", "https://api.example/shop/v1/orders", true},
		{"a Host that is a path", "", "/v1/orders", "api.example/v1/other?", "https://api.example/v1/other", false},
		{"a Host with a user", "", "/v1/orders", "user@api.example", "https://api.example/v1/orders", false},
		{"no Host", "", "/v1/orders", "", "https:///v1/orders", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.URL, c.EncodedSlash = tt.url, true })
			h := http.StripPrefix("/v1", r.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })))
			token := r.keyBound()
			req := httptest.NewRequest("GET", "/v1/", nil)
			u := must(url.ParseRequestURI(tt.target))
			req.RequestURI, req.Host, req.URL = tt.target, tt.host, u
			r.prove(req, token, members{"htu": tt.htu})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if got := w.Code != 401; got != tt.want {
				t.Errorf("%d, %+v", w.Code, r.events)
			}
		})
	}
}

// A request line in the absolute form, as it comes from the wire.
func TestAbsoluteFormOnTheWire(t *testing.T) {
	r := newRig(t, "oauth2")
	token := r.keyBound()
	req := r.prove(r.call(token), token, nil)
	conn := must(tls.Dial("tcp", strings.TrimPrefix(r.server.URL, "https://"), &tls.Config{InsecureSkipVerify: true}))
	defer conn.Close()
	_, err := fmt.Fprintf(conn, "GET %s/ HTTP/1.1\r\nHost: other.example\r\nAuthorization: %s\r\nDPoP: %s\r\n\r\n", r.server.URL, req.Header.Get("Authorization"), req.Header.Get("DPoP"))
	if err != nil {
		t.Fatal(err)
	}
	if line := must(bufio.NewReader(conn).ReadString('\n')); !strings.Contains(line, "200") {
		t.Errorf("%q", line)
	}
}

// certificate is a self-signed client certificate.
func certificate(name string) tls.Certificate {
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour)}
	return *testkeys.Certificate(ecOther(), template, nil)
}

// as returns a client of the rig's server that shows a certificate.
func (r *rig) as(certs ...tls.Certificate) *http.Client {
	transport := r.server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = certs
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTokensBoundToACertificate(t *testing.T) {
	mine, others := certificate("mine"), certificate("another")
	for name, d := range dialects() {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin(name)), d)
			token := r.boundTo(members{"x5t#S256": jose.CertificateThumbprint(mine.Leaf)})
			send := func(token string, certs ...tls.Certificate) int {
				resp := must(r.as(certs...).Do(r.call(token)))
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body)
				return resp.StatusCode
			}
			for i := range 2 { // verified, then remembered
				if got := send(token, mine); got != 200 {
					t.Errorf("call %d with the certificate: %d, %+v", i, got, r.events)
				}
				if got := send(token, others); got == 200 {
					t.Errorf("call %d with another certificate: %d", i, got)
				}
				r.refused(r.send(r.call(token)), counterfoil.ReasonTokenCertificate, token)
			}
			if got := send(r.token(nil), others); got != 200 {
				t.Errorf("a bearer token with some certificate: %d", got)
			}
		})
	}
}

// A token that is bound to both needs both.
func TestTokenBoundToKeyAndCertificate(t *testing.T) {
	mine := certificate("mine")
	r := newRig(t, "oauth2")
	token := r.boundTo(members{"jkt": josetest.Thumbprint(ecOther().Public()), "x5t#S256": jose.CertificateThumbprint(mine.Leaf)})
	r.refused(r.send(r.prove(r.call(token), token, nil)), counterfoil.ReasonTokenCertificate)
	for _, proved := range []bool{true, false} {
		req := r.call(token)
		if proved {
			r.prove(req, token, nil)
		}
		resp := must(r.as(mine).Do(req))
		resp.Body.Close()
		if (resp.StatusCode == 200) != proved {
			t.Errorf("with a proof %v: %d", proved, resp.StatusCode)
		}
	}
}

func TestNewChecksWhatBindingNeeds(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*guard.Config)
		want   string
	}{
		"plain URL":                {func(c *guard.Config) { c.URL = "http://api.example" }, "Config.URL must be an https URL"},
		"URL with a query":         {func(c *guard.Config) { c.URL = "https://api.example/?a=b" }, "Config.URL must be an https URL"},
		"a header and no proxy":    {func(c *guard.Config) { c.Proxies.CertificateHeader = "Client-Cert" }, "no trusted proxy"},
		"everybody a proxy":        {func(c *guard.Config) { c.Proxies.Networks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }, "is every address"},
		"an address and no proxy":  {func(c *guard.Config) { c.Proxies.AddressHeader = "Forwarded" }, "no trusted proxy"},
		"an unknown form":          {func(c *guard.Config) { c.Proxies.CertificateForm = "pem" }, `"pem" is not one of`},
		"a short key":              {func(c *guard.Config) { c.DPoPNonce, c.DPoPNonceKey = true, "c2hvcnQ=" }, "Config.DPoPNonceKey must be 32 random bytes"},
		"negative room for proofs": {func(c *guard.Config) { c.MaxProofs = -1 }, "Config.MaxProofs must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: &keyring{}}
			tt.change(&cfg)
			if _, err := guard.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c2hvcnQ") {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

const several = "extends: oauth2\nname: several\naccess_token: {signing_algorithm: ES256, signing_algorithms: [ES256, RS256, PS256]}\n"

// TestSeveralAlgorithms: those of the description and no others, each with a key
// that is published for it.
func TestSeveralAlgorithms(t *testing.T) {
	ps := rsaOther().(*rsa.PrivateKey)
	set := string(must(jose.MarshalSet([]jose.PublicKey{
		{ID: "es", Algorithm: jose.ES256, Key: ecKey().Public()},
		{ID: "rs", Algorithm: jose.RS256, Key: rsaKey().Public()},
		{ID: "ps", Algorithm: jose.PS256, Key: ps.Public()},
	})))
	// The same keys without a word on what they are for.
	silent := strings.NewReplacer(`"alg":"RS256",`, "", `"alg":"PS256",`, "", `"alg":"ES256",`, "").Replace(set)
	if silent == set {
		t.Fatal(set)
	}
	pub := newPublisher(t)
	pub.serve(answerSet(set))
	remote := pub.remote(nil)
	sources := map[string]guard.Keys{"static": must(guard.StaticKeys([]byte(set))), "remote": remote}
	open := must(guard.StaticKeys([]byte(silent)))
	claims := dialects()["oauth2"].claims.String()
	sign := func(algorithm, kid string) string {
		header := `{"alg":"` + algorithm + `","kid":"` + kid + `","typ":"at+jwt"}`
		if algorithm == jose.PS256 {
			key := ps
			if kid == "rs" {
				key = rsaKey().(*rsa.PrivateKey)
			}
			return josetest.PS256(key, header, claims)
		}
		key := map[string]crypto.Signer{"es": ecKey(), "rs": rsaKey(), "ps": ps}[kid]
		return josetest.Token(key, header, claims)
	}
	reason := func(keys guard.Keys, description, token string) (got counterfoil.Reason) {
		g := must(guard.New(guard.Config{Provider: parse(t, "several", description), Issuer: issuer, Keys: keys, Clock: pub.clock,
			OnEvent: func(_ context.Context, e counterfoil.Event) { got = e.Reason }}))
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		for range 2 {
			g.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), req)
		}
		return got
	}
	for _, tt := range []struct {
		algorithm, kid string
		strict, open   counterfoil.Reason // by what the key set says
	}{
		{jose.ES256, "es", "", ""},
		{jose.RS256, "rs", "", ""},
		{jose.PS256, "ps", "", ""},
		{jose.PS256, "rs", counterfoil.ReasonTokenAlgorithm, ""},
		{jose.RS256, "ps", counterfoil.ReasonTokenAlgorithm, ""},
		{jose.RS256, "es", counterfoil.ReasonTokenAlgorithm, counterfoil.ReasonTokenSignature},
	} {
		token := sign(tt.algorithm, tt.kid)
		for name, keys := range sources {
			if got := reason(keys, several, token); got != tt.strict {
				t.Errorf("%s with the key %s of a %s set: %q, want %q", tt.algorithm, tt.kid, name, got, tt.strict)
			}
		}
		if got := reason(open, several, token); got != tt.open {
			t.Errorf("%s with the key %s of a silent set: %q, want %q", tt.algorithm, tt.kid, got, tt.open)
		}
		if got := reason(open, "extends: oauth2\nname: several\n", token); (got == counterfoil.ReasonTokenAlgorithm) != (tt.algorithm != jose.ES256) {
			t.Errorf("%s where only ES256 is described: %q", tt.algorithm, got)
		}
	}
	for id, algorithm := range map[string]string{"rs": jose.RS256, "ps": jose.PS256} {
		if _, err := remote.PublicKey(t.Context(), id, algorithm); err != nil {
			t.Errorf("%s for %s: %v", id, algorithm, err)
		}
	}
}

// A key that is published for another algorithm from now on verifies no token of
// the old one, though the token is remembered and the key is the same.
func TestAlgorithmOfAKeyChanges(t *testing.T) {
	set := func(algorithm string) http.HandlerFunc {
		return answerSet(string(must(jose.MarshalSet([]jose.PublicKey{{ID: "k1", Algorithm: algorithm, Key: rsaKey().Public()}}))))
	}
	pub := newPublisher(t)
	pub.serve(set(jose.RS256))
	keys := pub.remote(nil)
	r := newRigFor(t, parse(t, "several", several), dialects()["oauth2"], func(c *guard.Config) { c.Keys, c.Clock, c.Liveness, c.Directory = keys, pub.clock, nil, nil })
	token := josetest.Token(rsaKey(), `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, dialects()["oauth2"].claims.String())
	for range 2 {
		if got := r.reason(token); got != "" {
			t.Fatalf("%q", got)
		}
	}
	pub.serve(set(jose.PS256))
	pub.turn(5 * time.Minute)
	if got := r.reason(token); got != counterfoil.ReasonTokenAlgorithm {
		t.Errorf("%q", got)
	}
}
