package guard_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	issuer = "https://issuer.example"
	client = "client-1"
)

var start = time.Unix(1_800_000_000, 0)

var (
	rsaKey   = sync.OnceValue(testkeys.RSA)
	rsaOther = sync.OnceValue(testkeys.RSA)
	ecKey    = sync.OnceValue(testkeys.EC)
	ecOther  = sync.OnceValue(testkeys.EC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// members is a JSON object that a test changes before it is signed.
type members map[string]any

func (m members) String() string { return string(must(json.Marshal(m))) }

// dialect is what a call of each catalog provider looks like, spelled out from
// the providers' guides rather than taken from the descriptions.
type dialect struct {
	key, other  func() crypto.Signer
	header      members
	claims      members
	method      string
	callHeaders map[string]string
}

func dialects() map[string]dialect {
	now := start.Unix()
	cognito := func(scope string) members {
		return members{"sub": client, "token_use": "access", "scope": scope, "auth_time": now, "iss": issuer, "exp": now + 3600,
			"iat": now, "version": 2, "jti": "7f5c0e9a-0000-4000-8000-000000000001", "client_id": client}
	}
	rfc9068 := func(audience, scope string) members {
		return members{"iss": issuer, "exp": now + 3600, "aud": audience, "sub": client, "client_id": client, "iat": now, "jti": "token-1", "scope": scope}
	}
	return map[string]dialect{
		"ahotu": {rsaKey, rsaOther, members{"kid": "k1", "alg": "RS256"}, cognito("events:read"), "POST",
			map[string]string{"Content-Type": "application/json"}},
		"a55": {rsaKey, rsaOther, members{"kid": "k1", "alg": "RS256"}, cognito("wallets:read"), "GET",
			map[string]string{"Content-Type": "application/json"}},
		"altrata": {rsaKey, rsaOther, members{"alg": "RS256", "kid": "k1", "typ": "at+jwt"}, rfc9068("profiles", "profiles:read"), "POST",
			map[string]string{"Content-Type": "application/json", "x-api-key": "key-1"}},
		"engagifii": {rsaKey, rsaOther, members{"alg": "RS256", "kid": "k1", "typ": "at+jwt"},
			members{"nbf": now, "exp": now + 3600, "iss": issuer, "aud": "EventsApi", "client_id": client, "jti": "0123456789ABCDEF0123456789ABCDEF", "iat": now, "scope": []string{"EventsApi"}},
			"POST", map[string]string{"Content-Type": "application/json", "api-version": "1.0", "tenant-code": "TENANT123"}},
		"oauth2": {ecKey, ecOther, members{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, rfc9068(issuer, ""), "GET", nil},
	}
}

// keyring is Keys that a test changes.
type keyring struct {
	mu   sync.Mutex
	keys map[string]crypto.PublicKey
	err  error
}

func (k *keyring) PublicKey(_ context.Context, id, _ string) (crypto.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	if key, ok := k.keys[id]; ok {
		return key, nil
	}
	return nil, guard.ErrKeyUnknown
}

func (k *keyring) change(f func(*keyring)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k)
}

// registry is a Liveness and a Directory that a test changes.
type registry struct {
	mu      sync.Mutex
	dead    map[string]bool
	tenants []string
	apiKey  counterfoil.Secret
	err     error
}

func (r *registry) Live(_ context.Context, p *counterfoil.Principal, _ counterfoil.Secret) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && (p.ClientID != client || r.dead[p.TokenID]) {
		return &counterfoil.Error{Reason: counterfoil.ReasonTokenInvalid}
	}
	return r.err
}

func (r *registry) Tenants(context.Context, string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tenants, r.err
}

func (r *registry) APIKey(_ context.Context, clientID string, key counterfoil.Secret) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return clientID == client && key == r.apiKey, r.err
}

func (r *registry) change(f func(*registry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// rig is a guarded API on a TLS listener.
type rig struct {
	t testing.TB
	dialect
	guard    *guard.Guard
	clock    *clock.Manual
	keys     *keyring
	registry *registry
	server   *httptest.Server

	mu     sync.Mutex
	events []counterfoil.Event
	seen   *counterfoil.Principal
}

func newRig(t *testing.T, name string) *rig {
	t.Helper()
	return newRigFor(t, must(provider.Builtin(name)), dialects()[name])
}

// newRigFor guards an API of p; changes are made to the guard's configuration.
func newRigFor(t testing.TB, p *provider.Provider, d dialect, changes ...func(*guard.Config)) *rig {
	t.Helper()
	r := &rig{t: t, dialect: d, clock: clock.NewManual(start),
		keys:     &keyring{keys: map[string]crypto.PublicKey{"k1": d.key().Public()}},
		registry: &registry{dead: map[string]bool{}, tenants: []string{"TENANT123", "TENANT456"}, apiKey: "key-1"}}
	cfg := guard.Config{
		Provider: p, Issuer: issuer, Keys: r.keys, Liveness: r.registry, Directory: r.registry, Clock: r.clock, Logger: slog.New(slog.DiscardHandler),
		OnEvent: func(_ context.Context, e counterfoil.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	}
	for _, change := range changes {
		change(&cfg)
	}
	var err error
	if r.guard, err = guard.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(r.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p, ok := counterfoil.PrincipalFrom(req.Context())
		if !ok {
			t.Error("the API was called without a principal")
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = p
		_, _ = io.WriteString(w, "hello")
	})))
	r.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

// token returns the dialect's token after change, which may be nil.
func (r *rig) token(change func(header, claims members)) string {
	header, claims := members{}, members{}
	for k, v := range r.header {
		header[k] = v
	}
	for k, v := range r.claims {
		claims[k] = v
	}
	if change != nil {
		change(header, claims)
	}
	return josetest.Token(r.key(), header.String(), claims.String())
}

// claim returns a token with one claim of another value; nil leaves it out.
func (r *rig) claim(name string, value any) string {
	return r.token(func(_, c members) {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	})
}

// call returns a request that is right but for its token; a POST has a body.
func (r *rig) call(token string) *http.Request {
	var body io.Reader
	if r.method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	req := must(http.NewRequest(r.method, r.server.URL+"/", body))
	for name, value := range r.callHeaders {
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	body   string
	event  counterfoil.Event
}

func (r *rig) send(req *http.Request) answer {
	r.t.Helper()
	r.mu.Lock()
	r.events = nil
	r.mu.Unlock()
	resp, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(must(io.ReadAll(resp.Body)))}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch len(r.events) {
	case 1:
		a.event = r.events[0]
	case 0: // refused before the guard, by net/http
	default:
		r.t.Fatalf("one call left %d events", len(r.events))
	}
	return a
}

// works checks that a right call gets through, whatever came before.
func (r *rig) works() {
	r.t.Helper()
	if a := r.send(r.call(r.token(nil))); a.status != 200 || a.body != "hello" || !a.event.Success {
		r.t.Fatalf("a right call got %d %q, event %+v", a.status, a.body, a.event)
	}
}

// refused checks a refusal's reason, and that it says nothing that it was told.
func (r *rig) refused(a answer, reason counterfoil.Reason, secrets ...string) {
	r.t.Helper()
	if a.event.Reason != reason || a.event.Success || a.event.Type != counterfoil.EventCallRefused {
		r.t.Errorf("event %+v, want the reason %s", a.event, reason)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
	}
	all := fmt.Sprint(a.status, a.header, a.body, a.event)
	for _, s := range secrets {
		if len(s) > 8 && strings.Contains(all, s) {
			r.t.Errorf("the refusal repeats the request: %s", all)
		}
	}
}
