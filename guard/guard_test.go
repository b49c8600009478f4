package guard_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

func TestNewSaysWhatIsMissing(t *testing.T) {
	open := func(name string) *provider.Provider { return must(provider.Builtin(name)) }
	keys, clients := &keyring{}, &registry{}
	for _, tt := range []struct {
		name string
		cfg  guard.Config
		want string
	}{
		{"nothing", guard.Config{}, "Config.Provider is missing"},
		{"no such API", guard.Config{Provider: open("a55"), API: "walets", Issuer: issuer, Keys: keys}, `no API "walets": Config.API must be one of ["wallets"]`},
		{"no issuer", guard.Config{Provider: open("a55"), Keys: keys}, "Config.Issuer is missing"},
		{"no keys", guard.Config{Provider: open("a55"), Issuer: issuer}, "Config.Keys is missing"},
		{"negative cache", guard.Config{Provider: open("a55"), Issuer: issuer, Keys: keys, CacheSize: -1}, "Config.CacheSize must not be negative"},
		{"policy replace", guard.Config{Provider: open("altrata"), Issuer: issuer, Keys: keys}, "Config.Liveness is missing: a new token of altrata replaces the last one"},
		{"tenants", guard.Config{Provider: open("engagifii"), Issuer: issuer, Keys: keys}, "Config.Directory is missing: the API events has tenants"},
		{"API keys", guard.Config{Provider: parse(t, "keys", withAPIKey), Issuer: issuer, Keys: keys}, "Config.Directory is missing: the API api demands API keys"},
		{"a description made by hand", guard.Config{Provider: &provider.Provider{APIs: []provider.API{{Name: "api"}}}, Issuer: issuer, Keys: keys}, "Config.Provider is incomplete"},
		{"a description without an issuer", guard.Config{Provider: without(open("oauth2"), provider.FromIssuer), Issuer: issuer, Keys: keys}, "no claim from issuer"},
		{"enough", guard.Config{Provider: open("altrata"), Issuer: issuer, Keys: keys, Liveness: clients, Directory: clients}, ""},
		{"enough without liveness", guard.Config{Provider: open("a55"), Issuer: issuer, Keys: keys}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := guard.New(tt.cfg)
			switch {
			case tt.want == "" && (err != nil || g == nil):
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// without leaves a claim out of a description.
func without(p *provider.Provider, source provider.ClaimSource) *provider.Provider {
	p.AccessToken.Claims = slices.DeleteFunc(p.AccessToken.Claims, func(c provider.Claim) bool { return c.From == source })
	return p
}

func parse(t *testing.T, name, text string) *provider.Provider {
	t.Helper()
	p, err := provider.Parse(name+".yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const withAPIKey = `
extends: oauth2
name: keyed
apis:
  - name: api
    kind: rest
    path: /api
    headers:
      - {name: x-api-key, from: api_key}
      - {name: Authorization, from: token, scheme: Bearer}
    refusals:
      token_missing: {status: 401}
      token_invalid: {status: 401}
      scope_insufficient: {status: 403}
      api_key_invalid: {status: 403}
      unavailable: {status: 503}
`

// A provider that only this text knows: other header names, claim names, forms
// and refusals, tenants in the token. No Go code knows it.
const harbour = `
extends: oauth2
name: harbour
scopes:
  - {name: berth, description: Book berths}
access_token:
  signing_algorithm: ES256
  header: [alg, kid, typ]
  type: harbour+jwt
  audience: [quay, crane]
  claims:
    - {name: who, from: client_id}
    - {name: iss, from: issuer}
    - {name: until, from: expires_at}
    - {name: since, from: issued_at}
    - {name: may, from: scope_list}
    - {name: ports, from: tenants}
    - {name: aud, from: audience}
    - {name: rev, value: 7}
apis:
  - name: berths
    kind: rest
    path: /berths
    leeway: 5s
    headers:
      - {name: X-Port, from: tenant}
      - {name: X-Ticket, from: token}
      - {name: X-Dialect, value: harbour, presence: optional}
    scopes: [berth]
    refusals:
      token_missing: {status: 418, headers: {Content-Type: text/plain}, body: "no {header}"}
      token_invalid: {status: 422, body: '["bad {header}"]'}
      token_expired: {status: 410}
      scope_insufficient: {status: 402, headers: {X-Need: "{scope}", Cache-Control: "no-store, private"}}
      tenant_missing: {status: 421, body: "which port?"}
      header_missing: {status: 406, body: "{header}"}
      unavailable: {status: 504}
`

func TestAProviderThatIsOnlyText(t *testing.T) {
	d := dialect{key: ecKey, other: ecOther, header: members{"alg": "ES256", "kid": "k1", "typ": "harbour+jwt"},
		claims: members{"who": client, "iss": issuer, "until": start.Unix() + 60, "since": start.Unix(), "may": []string{"berth"}, "ports": []string{"oslo", "riga"}, "aud": "crane", "rev": 7}}
	r := newRigFor(t, parse(t, "harbour", harbour), d)
	call := func(token string) *http.Request {
		req := must(http.NewRequest("GET", r.server.URL, nil))
		req.Header.Set("X-Ticket", token)
		req.Header.Set("X-Port", "riga")
		return req
	}
	if a := r.send(call(r.token(nil))); a.status != 200 || r.seen.ClientID != client || r.seen.Tenant != "riga" || r.seen.TokenID != "" {
		t.Fatalf("%d, %+v, %+v", a.status, a.event, r.seen)
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		body   string
		reason counterfoil.Reason
	}{
		{"no port", func(q *http.Request) { q.Header = http.Header{} }, 421, "which port?", counterfoil.ReasonTenantMissing},
		{"two ports", func(q *http.Request) { q.Header.Add("X-Port", "oslo") }, 406, "X-Port", counterfoil.ReasonHeaderInvalid},
		{"another's port", func(q *http.Request) { q.Header.Set("X-Port", "rotterdam") }, 421, "which port?", counterfoil.ReasonTenantDenied},
		{"long port", func(q *http.Request) { q.Header.Set("X-Port", strings.Repeat("p", 2000)) }, 421, "which port?", counterfoil.ReasonTenantDenied},
		{"no ticket", func(q *http.Request) { q.Header.Del("X-Ticket") }, 418, "no X-Ticket", counterfoil.ReasonTokenMissing},
		{"a scheme where none belongs", func(q *http.Request) { q.Header.Set("X-Ticket", "Bearer "+r.token(nil)) }, 422, `["bad X-Ticket"]`, counterfoil.ReasonTokenMalformed},
		{"other type", func(q *http.Request) {
			q.Header.Set("X-Ticket", r.token(func(h, _ members) { h["typ"] = "at+jwt" }))
		}, 422, `["bad X-Ticket"]`, counterfoil.ReasonTokenUse},
		{"expired", func(q *http.Request) { q.Header.Set("X-Ticket", r.claim("until", start.Unix()-5)) }, 410, "", counterfoil.ReasonTokenExpired},
		{"other revision", func(q *http.Request) { q.Header.Set("X-Ticket", r.claim("rev", 8)) }, 422, `["bad X-Ticket"]`, counterfoil.ReasonTokenUse},
		{"no ports in the token", func(q *http.Request) { q.Header.Set("X-Ticket", r.claim("ports", nil)) }, 421, "which port?", counterfoil.ReasonTenantDenied},
		{"ports are an object", func(q *http.Request) { q.Header.Set("X-Ticket", r.claim("ports", members{"riga": 1})) }, 422, `["bad X-Ticket"]`, counterfoil.ReasonTokenMalformed},
		{"may nothing", func(q *http.Request) { q.Header.Set("X-Ticket", r.claim("may", []string{})) }, 402, "", counterfoil.ReasonScopeInsufficient},
		{"other dialect", func(q *http.Request) { q.Header.Set("X-Dialect", "sea") }, 406, "X-Dialect", counterfoil.ReasonHeaderInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := call(r.token(nil))
			tt.change(req)
			a := r.send(req)
			if a.status != tt.status || a.body != tt.body || a.event.Reason != tt.reason {
				t.Errorf("%d %q, event %+v", a.status, a.body, a.event)
			}
		})
	}
	a := r.send(call(r.claim("may", []string{})))
	if a.header.Get("X-Need") != "berth" || a.header.Get("Cache-Control") != "no-store, private" {
		t.Errorf("headers %v", a.header)
	}
}

// A description that never speaks of other headers has no shape for a wrong one.
func TestTenantTwiceWithoutAShapeOfItsOwn(t *testing.T) {
	d := dialects()["engagifii"]
	text := strings.NewReplacer("      - {name: X-Dialect, value: harbour, presence: optional}\n", "",
		"      header_missing: {status: 406, body: \"{header}\"}\n", "").Replace(harbour)
	r := newRigFor(t, parse(t, "harbour", text), d)
	req := must(http.NewRequest("GET", r.server.URL, nil))
	req.Header["X-Port"] = []string{"riga", "riga"}
	if a := r.send(req); a.status != 421 || a.event.Reason != counterfoil.ReasonTenantMissing {
		t.Errorf("%d, %+v", a.status, a.event)
	}
}

// Two APIs of one provider: the audience tells their tokens apart.
func TestAudienceOfTheConfiguration(t *testing.T) {
	d := dialects()["oauth2"]
	r := newRig(t, "oauth2")
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Audience: "orders", Keys: r.keys, Clock: r.clock}))
	for audience, status := range map[string]int{"orders": 200, d.claims["aud"].(string): 401} {
		w := httptest.NewRecorder()
		g.Handler(http.NotFoundHandler()).ServeHTTP(w, r.call(r.claim("aud", audience)))
		if got := w.Code; (got == 404) != (status == 200) {
			t.Errorf("audience %s: %d", audience, got)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	for _, size := range []int{1, 20, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t, "oauth2")
			g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: r.keys, Clock: r.clock, CacheSize: size}))
			h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			call := func(token string) int {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r.call(token))
				return w.Code
			}
			const tokens = 250
			for i := range tokens {
				if code := call(r.claim("jti", fmt.Sprint(i))); code != 200 {
					t.Fatalf("token %d: %d", i, code)
				}
				call(r.claim("iss", fmt.Sprint(i))) // refused, so not remembered
			}
			s := g.Stats()
			if s.Entries > size || s.Entries == 0 || s.Evictions != tokens-uint64(s.Entries) || s.Misses != 2*tokens || s.Hits != 0 {
				t.Errorf("%+v", s)
			}
			last := r.claim("jti", "last")
			call(last)
			call(last)
			if s := g.Stats(); s.Hits != 1 {
				t.Errorf("a token that came twice: %+v", s)
			}
		})
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	r := newRig(t, "engagifii")
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("engagifii")), Issuer: issuer, Keys: r.keys, Liveness: r.registry, Directory: r.registry, Clock: r.clock, CacheSize: 4,
		Limits: guard.Limits{Client: 1000}}))
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p, _ := counterfoil.PrincipalFrom(req.Context())
		_, _ = fmt.Fprint(w, p.TokenID, p.Tenant)
	}))
	var tokens []string
	for i := range 8 {
		tokens = append(tokens, r.claim("jti", fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 200 {
				n, tenant := (i+worker)%len(tokens), []string{"TENANT123", "TENANT456"}[i%2]
				req := r.call(tokens[n])
				req.Header.Set("tenant-code", tenant)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				if want := fmt.Sprint(n) + tenant; w.Body.String() != want {
					t.Errorf("got %q, want %q", w.Body.String(), want)
				}
			}
		})
	}
	wg.Wait()
}

func TestFailuresAreLoggedWholeAndHiddenOutside(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, "altrata")
	r.registry.err = errors.New("connection to db-7 refused")
	var event counterfoil.Event
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("altrata")), Issuer: issuer, Keys: r.keys, Liveness: r.registry, Directory: r.registry, Clock: r.clock,
		Logger: slog.New(slog.NewTextHandler(&log, nil)), OnEvent: func(_ context.Context, e counterfoil.Event) { event = e }}))
	w := httptest.NewRecorder()
	req := r.call(r.token(nil))
	req.RemoteAddr, req.Header["User-Agent"] = "[2001:db8::1]:443", []string{"a\x00\r\n\xff" + strings.Repeat("é", 300)}
	g.Handler(http.NotFoundHandler()).ServeHTTP(w, req)
	if w.Code != 503 || strings.Contains(w.Body.String(), "db-7") || !strings.Contains(log.String(), "db-7") || !strings.Contains(event.Detail, "db-7") {
		t.Errorf("%d %s, log %s, event %+v", w.Code, w.Body, log.String(), event)
	}
	if event.Address != "2001:db8::1" || len(event.UserAgent) > 256 || !strings.HasPrefix(event.UserAgent, `a\u0000\u000d\u000a\xffé`) {
		t.Errorf("address %q, agent of %d bytes %q", event.Address, len(event.UserAgent), event.UserAgent)
	}
	if strings.Contains(log.String(), r.token(nil)[:40]) {
		t.Error("the token is in the log")
	}
	if event.Time != start || event.ClientID != client {
		t.Errorf("event %+v", event)
	}
}

func FuzzBearer(f *testing.F) {
	d := dialects()["altrata"]
	keys := &keyring{keys: map[string]crypto.PublicKey{"k1": d.key().Public()}}
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("altrata")), Issuer: issuer, Keys: keys, Liveness: guard.Unchecked{}, Directory: &registry{}}))
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a guess got through") }))
	for _, seed := range []string{"", "Bearer", "bearer ", "Bearer a.b.c", "Bearer  e30.e30.e30", "eyJhbGciOiJSUzI1NiJ9.e30.AA", "Basic a:b", "Bearer \xff"} {
		f.Add(seed, "key-1")
	}
	f.Fuzz(func(t *testing.T, authorization, apiKey string) {
		req := httptest.NewRequest("POST", "/", nil)
		req.Header["Authorization"], req.Header["X-Api-Key"] = []string{authorization}, []string{apiKey}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != 401 && w.Code != 403 {
			t.Fatalf("%d", w.Code)
		}
	})
}

// FuzzClaims signs whatever payload comes: nothing in it may make the guard
// panic or let another issuer through.
func FuzzClaims(f *testing.F) {
	r := dialects()["oauth2"]
	keys := &keyring{keys: map[string]crypto.PublicKey{"k1": ecKey().Public()}}
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: keys}))
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if p, _ := counterfoil.PrincipalFrom(req.Context()); p.Claims["iss"] != issuer || p.ClientID == "" || p.Expires.IsZero() {
			panic("let through")
		}
	}))
	f.Add(r.claims.String())
	f.Add(`{"iss":"` + issuer + `","exp":1e400,"aud":[[]],"client_id":{}}`)
	f.Add(`{"exp":"1","nbf":-1,"scope":[1]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Authorization", "Bearer "+josetest.Token(ecKey(), r.header.String(), payload))
		h.ServeHTTP(httptest.NewRecorder(), req)
	})
}

// A guard away from its issuer learns a client's tenants from the tokens, if the
// realm overrides its claims as the guard does.
func TestTenantsOfAGuardElsewhere(t *testing.T) {
	p := must(provider.Builtin("engagifii"))
	alone := func(c *guard.Config) { c.Directory = nil }
	if _, err := guard.New(guard.Config{Provider: p, Issuer: issuer, Keys: &keyring{}}); err == nil || !strings.Contains(err.Error(), "do not name them") {
		t.Errorf("without the claim: %v", err)
	}
	p = must(p.Override(provider.Overrides{Claims: []provider.Claim{{Name: "tenants", From: provider.FromTenants}}}))
	r := newRigFor(t, p, dialects()["engagifii"], alone)
	if a := r.send(r.call(r.claim("tenants", []string{"TENANT123"}))); a.status != 200 || r.seen.Tenant != "TENANT123" {
		t.Errorf("%d, %+v", a.status, a.event)
	}
	if a := r.send(r.call(r.claim("tenants", []string{"TENANT456"}))); a.event.Reason != counterfoil.ReasonTenantDenied {
		t.Errorf("%d, %+v", a.status, a.event)
	}
}
