package guard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// A token that has expired makes room for another one, and is not taken for that
// one afterwards.
func TestExpiredTokenIsNotTakenForItsSuccessor(t *testing.T) {
	r := newRig(t, "oauth2")
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: r.keys, Clock: r.clock, CacheSize: 1}))
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p, _ := counterfoil.PrincipalFrom(req.Context())
		w.Header().Set("X-Token", p.TokenID)
	}))
	call := func(token string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.call(token))
		return w.Code, w.Header().Get("X-Token")
	}
	short := r.token(func(_, c members) { c["jti"], c["exp"] = "short", start.Unix()+60 })
	long := r.claim("jti", "long")
	want := func(when, token string, status int, id string) {
		t.Helper()
		if code, got := call(token); code != status || got != id {
			t.Errorf("%s: %d as %q, want %d as %q", when, code, got, status, id)
		}
	}
	want("at first", short, 200, "short")
	r.clock.Turn(2 * time.Minute)
	want("expired", short, 401, "")
	for range 2 {
		want("the next one", long, 200, "long")
		want("expired, beside the next one", short, 401, "")
	}
}

// The time of issue of a token is its iat, not its nbf: tokens that were issued to
// the client before are revoked by it.
func TestIssuedIsNotNotBefore(t *testing.T) {
	r := newRig(t, "engagifii")
	for _, off := range []int64{-20, 20} {
		r.mu.Lock()
		r.seen = nil
		r.mu.Unlock()
		token := r.token(func(_, c members) { c["iat"], c["nbf"] = start.Unix()-20, start.Unix()-20+off })
		if a := r.send(r.call(token)); a.status != 200 || !r.seen.Issued.Equal(start.Add(-20*time.Second)) {
			t.Errorf("serves %d seconds after it was issued: %d, issued %v", off, a.status, r.seen)
		}
	}
}

// A fixed value is compared exactly; only a media type has no case.
func TestCaseOfFixedHeaders(t *testing.T) {
	text := strings.Replace(harbour, "presence: optional}", "presence: required}", 1)
	g := must(guard.New(guard.Config{Provider: parse(t, "harbour", text), Issuer: issuer, Keys: &keyring{}}))
	// The token is checked once all headers are there.
	for value, status := range map[string]int{"harbour": 422, "Harbour": 406, "HARBOUR": 406, " harbour": 406, "harbour;x": 406} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header = http.Header{"X-Port": {"riga"}, "X-Ticket": {"no token"}, "X-Dialect": {value}}
		w := httptest.NewRecorder()
		g.Handler(http.NotFoundHandler()).ServeHTTP(w, req)
		if w.Code != status {
			t.Errorf("%q: %d %s, want %d", value, w.Code, w.Body, status)
		}
	}
	r := newRig(t, "engagifii")
	for _, value := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"} {
		req := r.call(r.token(nil))
		req.Header.Set("Content-Type", value)
		if a := r.send(req); a.status != 200 {
			t.Errorf("%q: %d %s", value, a.status, a.body)
		}
	}
}

// An API key or a tenant that is longer than any is refused without a request to
// the directory.
func TestLongestCredentials(t *testing.T) {
	keyed := newRigFor(t, parse(t, "keyed", withAPIKey), dialects()["oauth2"])
	tenants := newRig(t, "engagifii")
	for size, taken := range map[int]bool{1 << 10: true, 1<<10 + 1: false} {
		value := strings.Repeat("k", size)
		keyed.registry.change(func(r *registry) { r.apiKey = counterfoil.Secret(value) })
		req := keyed.call(keyed.token(nil))
		req.Header.Set("x-api-key", value)
		if a := keyed.send(req); (a.status == 200) != taken || !taken && a.event.Reason != counterfoil.ReasonAPIKeyInvalid {
			t.Errorf("an API key of %d bytes: %d, %+v", size, a.status, a.event)
		}
		tenants.registry.change(func(r *registry) { r.tenants = []string{value} })
		req = tenants.call(tenants.token(nil))
		req.Header.Set("tenant-code", value)
		if a := tenants.send(req); (a.status == 200) != taken || !taken && a.event.Reason != counterfoil.ReasonTenantDenied {
			t.Errorf("a tenant of %d bytes: %d, %+v", size, a.status, a.event)
		}
	}
}

// A token may be as long as its parser takes it, and no longer.
func TestLongestToken(t *testing.T) {
	r := newRig(t, "oauth2")
	taken := map[int]bool{}
	longest := func(pad int) string {
		return r.token(func(_, c members) { c["pad"] = strings.Repeat("x", pad) })
	}
	for pad := (jose.MaxToken - len(longest(0))) * 3 / 4; pad < jose.MaxToken && !taken[jose.MaxToken+1]; pad++ {
		for kid := range 3 { // a payload alone does not come to every length
			id := "k1" + strings.Repeat("x", kid)
			r.keys.change(func(k *keyring) { k.keys[id] = r.key().Public() })
			token := r.token(func(h, c members) { h["kid"], c["pad"] = id, strings.Repeat("x", pad) })
			a := r.send(r.call(token))
			if ok := len(token) <= jose.MaxToken; (a.status == 200) != ok || !ok && a.event.Reason != counterfoil.ReasonTokenMalformed {
				t.Fatalf("a token of %d bytes: %d, %+v", len(token), a.status, a.event)
			}
			taken[len(token)] = true
		}
	}
	if !taken[jose.MaxToken] || !taken[jose.MaxToken+1] {
		t.Errorf("no token is as long as the longest, or a byte longer")
	}
}
