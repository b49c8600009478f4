package server_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// The keys of the tests of authentication methods.
var (
	ecKey      = sync.OnceValue(testkeys.EC)
	strangeKey = sync.OnceValue(testkeys.EC)
	rsKey      = sync.OnceValue(testkeys.RSA)
	edKey      = sync.OnceValue(testkeys.Ed25519)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// newGate opens a house with the realm oauth2, which asks for certificates, as
// change wants it.
func newGate(t *testing.T, change func(*server.Config)) *house {
	t.Helper()
	return newGateBy(t, clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 5e8, time.UTC)), change)
}

// newGateBy opens a house like newGate, by a clock of the caller's.
func newGateBy(t *testing.T, c *clock.Manual, change func(*server.Config)) *house {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, store: db, clock: c, creds: map[string]clients.Credentials{}}
	t.Cleanup(func() {
		h.searchSecrets()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	h.url, h.server = h.open(change)
	h.http = trusting(nil)
	h.creds["oauth2"] = h.client(clients.NewClient{Realm: "oauth2", ID: "good", Settings: store.Settings{Scopes: counterfoil.Scopes{"read", "write"}}})
	return h
}

// open starts a server on the house's database, and returns where it is.
func (h *house) open(change func(*server.Config)) (string, *server.Server) {
	h.t.Helper()
	mux := http.NewServeMux()
	ts := httptest.NewUnstartedServer(mux)
	ts.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	ts.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(&h.log, nil), slog.LevelError)
	ts.StartTLS()
	config := server.Config{
		Store: h.store, Clock: h.clock, Logger: slog.New(slog.NewJSONHandler(&h.log, nil)), OnEvent: h.onEvent, EachRefusal: true, Limits: monitored,
		Realms: []server.Realm{{Name: "oauth2", Provider: must(provider.Builtin("oauth2")), BaseURL: ts.URL + "/oauth2", Issuer: "https://issuer.example"}},
	}
	if change != nil {
		change(&config)
	}
	h.clients = clients.New(h.store, h.clock, rulesOf(config.Realms...))
	s, err := server.New(h.t.Context(), config)
	if err != nil {
		h.t.Fatal(err)
	}
	mux.Handle("/oauth2/", http.StripPrefix("/oauth2", s.Handler("oauth2")))
	h.t.Cleanup(func() {
		ts.Close()
		if err := s.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return ts.URL, s
}

// trusting returns an HTTP client that has the certificate, or none, and trusts
// any server: what is tested is the server's trust.
func trusting(certificate *tls.Certificate) *http.Client {
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 64, DisableKeepAlives: true}}
}

// workload adds a client that authenticates in some way but by its secret.
func (h *house) workload(id string, how store.Authentication) {
	h.t.Helper()
	h.client(clients.NewClient{Realm: "oauth2", ID: id, Settings: store.Settings{Scopes: counterfoil.Scopes{"read", "write"}, Authentication: how}})
}

// claims are members of a JSON object.
type claims map[string]any

// but returns the claims with others, or without those that are nil there.
func (c claims) but(changes claims) claims {
	all := maps.Clone(c)
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func (c claims) String() string { return string(must(json.Marshal(c))) }

// own are the claims of an assertion that is right.
func (h *house) own(id string) claims {
	now := h.clock.Now().Unix()
	return claims{"iss": id, "sub": id, "aud": "https://issuer.example", "exp": now + 60, "iat": now, "jti": rand.Text()}
}

// signed returns a token of the claims in the manner of the key.
func signed(key crypto.Signer, kid string, c claims) string {
	header := claims{"alg": map[bool]string{true: "ES256"}[isEC(key)], "kid": kid}
	switch key.(type) {
	case *rsa.PrivateKey:
		header["alg"] = "RS256"
	case ed25519.PrivateKey:
		header["alg"] = "EdDSA"
	}
	if kid == "" {
		delete(header, "kid")
	}
	return josetest.Token(key, header.String(), c.String())
}

func isEC(key crypto.Signer) bool { _, ok := key.(*ecdsa.PrivateKey); return ok }

// jwks returns a JWK Set of public keys, each with the kid that is before it;
// none where that is "".
func jwks(pairs ...any) string {
	var keys []string
	for i := 0; i < len(pairs); i += 2 {
		var k claims
		if err := json.Unmarshal([]byte(josetest.JWK(pairs[i+1].(crypto.Signer).Public())), &k); err != nil {
			panic(err)
		}
		if kid := pairs[i].(string); kid != "" {
			k["kid"] = kid
		}
		keys = append(keys, k.String())
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// asserting is a token request with an assertion.
func (h *house) asserting(assertion string, more ...string) *ask {
	h.keep(assertion)
	a := &ask{method: http.MethodPost, mediaType: "application/x-www-form-urlencoded", header: http.Header{"User-Agent": {"good/1"}}, form: url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}}
	for i := 0; i < len(more); i += 2 {
		a.form.Set(more[i], more[i+1])
	}
	return a
}

// wantToken sends the request and returns the claims of the token.
func (h *house) wantToken(t *testing.T, a *ask) (claims, answer) {
	t.Helper()
	got := h.do("oauth2", a)
	if got.status != http.StatusOK {
		events := h.recorded()
		t.Fatalf("got %d %s; the record is %+v", got.status, got.body, events[len(events)-1].Event)
	}
	token := tokenIn(t, got)
	h.keep(token)
	var c claims
	if err := json.Unmarshal([]byte(part(t, token, 1)), &c); err != nil {
		t.Fatal(err)
	}
	return c, got
}

// wantInvalid sends the request, which is refused as invalid_client for the
// reason, and returns the record.
func (h *house) wantInvalid(t *testing.T, a *ask, reason counterfoil.Reason) counterfoil.Event {
	t.Helper()
	before := len(h.recorded())
	got := h.do("oauth2", a)
	if got.status != http.StatusUnauthorized || got.body != `{"error":"invalid_client"}` {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if after := len(h.recorded()); after != before+1 {
		t.Errorf("%d records of one request", after-before)
	}
	return h.wantRefused(t, reason)
}

// source is a place on the network that answers as it is told.
type source struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
}

func newSource(t *testing.T, answer http.HandlerFunc) *source {
	s := &source{answer: answer}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *source) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *source) host() string { return strings.TrimPrefix(s.URL, "https://") }

func (s *source) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// serving answers with a document.
func serving(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// at sends a request to the server at a URL and returns the answer's status.
func (h *house) at(ctx context.Context, base string, a *ask) (int, string, error) {
	r := h.request(ctx, "oauth2", a)
	r.URL = must(url.Parse(base + "/oauth2/token"))
	resp, err := h.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// signers make tokens of a header and a payload with the test's own keys, by
// algorithm.
var signers = map[string]func(header, payload string) string{
	"ES256": func(h, p string) string { return josetest.Token(ecKey(), h, p) },
	"RS256": func(h, p string) string { return josetest.Token(rsKey(), h, p) },
	"PS256": func(h, p string) string { return josetest.PS256(rsKey().(*rsa.PrivateKey), h, p) },
	"EdDSA": func(h, p string) string { return josetest.Token(edKey(), h, p) },
	// RFC 9864
	"Ed25519": func(h, p string) string { return josetest.Token(edKey(), h, p) },
	"HS256":   func(h, p string) string { return josetest.MAC([]byte(josetest.JWK(ecKey().Public())), h, p) },
}

// proofFor are the claims of a DPoP proof that is right.
func (h *house) proofFor(url string) claims {
	return claims{"htm": "POST", "htu": url, "iat": h.clock.Now().Unix(), "jti": rand.Text()}
}

// proof makes a DPoP proof with the key.
func proof(key crypto.Signer, c claims) string {
	return josetest.Token(key, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+josetest.JWK(key.Public())+`}`, c.String())
}

// certificate makes one of a template, signed by the issuer, or by itself.
func (h *house) certificate(key crypto.Signer, template *x509.Certificate, issuer *tls.Certificate) *tls.Certificate {
	h.t.Helper()
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = h.clock.Now().Add(-time.Hour), h.clock.Now().Add(time.Hour)
	}
	c := testkeys.Certificate(key, *template, issuer)
	if issuer != nil && !bytes.Equal(issuer.Leaf.RawIssuer, issuer.Leaf.RawSubject) {
		c.Certificate = append(c.Certificate, issuer.Certificate...) // a root is not sent
	}
	return c
}

// selfSigned makes a certificate without an authority.
func (h *house) selfSigned(key crypto.Signer, template *x509.Certificate) *tls.Certificate {
	if template == nil {
		template = &x509.Certificate{Subject: pkix.Name{CommonName: "job"}}
	}
	return h.certificate(key, template, nil)
}

// thumbprint is x5t#S256 of a certificate (RFC 8705 section 3.1).
func thumbprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certified is a token request that shows nothing but a certificate.
func certified(id string, more ...string) *ask {
	a := &ask{method: http.MethodPost, mediaType: "application/x-www-form-urlencoded", header: http.Header{"User-Agent": {"good/1"}}, form: url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id},
	}}
	for i := 0; i < len(more); i += 2 {
		a.form.Set(more[i], more[i+1])
	}
	return a
}
