package guard_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// change makes a right call wrong.
type change func(*rig, *http.Request)

func drop(name string) change { return func(_ *rig, r *http.Request) { r.Header.Del(name) } }

func set(name, value string) change {
	return func(_ *rig, r *http.Request) { r.Header.Set(name, value) }
}

func twice(name, value string) change {
	return func(_ *rig, r *http.Request) { r.Header.Add(name, value) }
}

func claim(name string, value any) change {
	return func(rig *rig, r *http.Request) { r.Header.Set("Authorization", "Bearer "+rig.claim(name, value)) }
}

// The refusals of each catalog provider, to the byte. Where the provider's
// guide shows one it is the guide's.
func TestRefusalsAreTheProviders(t *testing.T) {
	const (
		graphql401 = `{"errors":[{"message":"Unauthorized","extensions":{"code":"UNAUTHENTICATED"}}]}`
		graphql403 = `{"errors":[{"message":"Forbidden","extensions":{"code":"FORBIDDEN"}}]}`
		plain      = "Bearer"
		invalid    = `Bearer error="invalid_token"`
		expired    = `Bearer error="invalid_token", error_description="The access token expired"`
	)
	type want struct {
		provider, name string
		change         change
		status         int
		challenge      string
		body           string
		reason         counterfoil.Reason
	}
	late := func(rig *rig, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+rig.claim("exp", start.Add(-time.Hour).Unix()))
	}
	keysDown := func(rig *rig, _ *http.Request) { rig.keys.change(func(k *keyring) { k.err = errors.New("down") }) }
	registryDown := func(rig *rig, _ *http.Request) { rig.registry.change(func(g *registry) { g.err = errors.New("down") }) }
	replaced := func(rig *rig, _ *http.Request) {
		rig.registry.change(func(g *registry) { g.dead["token-1"] = true })
	}
	for _, tt := range []want{
		{"ahotu", "no token", drop("Authorization"), 401, plain, graphql401, counterfoil.ReasonTokenMissing},
		{"ahotu", "bad token", set("Authorization", "Bearer abc"), 401, invalid, graphql401, counterfoil.ReasonTokenMalformed},
		{"ahotu", "expired token", late, 401, invalid, graphql401, counterfoil.ReasonTokenExpired},
		{"ahotu", "scope too small", claim("scope", "events:drafts"), 403, `Bearer error="insufficient_scope", scope="events:read"`, graphql403, counterfoil.ReasonScopeInsufficient},
		{"ahotu", "ID token", claim("token_use", "id"), 401, invalid, graphql401, counterfoil.ReasonTokenUse},
		{"ahotu", "keys unavailable", keysDown, 503, "", `{"errors":[{"message":"Service unavailable","extensions":{"code":"SERVICE_UNAVAILABLE"}}]}`, counterfoil.ReasonUnavailable},

		{"altrata", "no API key and no token", func(_ *rig, r *http.Request) { r.Header = http.Header{} }, 403, "", `{"message":"Forbidden"}`, counterfoil.ReasonAPIKeyMissing},
		{"altrata", "API key of another client", set("x-api-key", "key-of-another"), 403, "", `{"message":"Forbidden"}`, counterfoil.ReasonAPIKeyInvalid},
		{"altrata", "API key twice", twice("x-api-key", "key-1"), 403, "", `{"message":"Forbidden"}`, counterfoil.ReasonAPIKeyInvalid},
		{"altrata", "no token", drop("Authorization"), 401, plain, graphql401, counterfoil.ReasonTokenMissing},
		{"altrata", "token of an API elsewhere", claim("aud", "wealth"), 401, invalid, graphql401, counterfoil.ReasonTokenAudience},
		{"altrata", "replaced token", replaced, 401, invalid, graphql401, counterfoil.ReasonTokenReplaced},
		{"altrata", "scope too small", claim("scope", ""), 403, `Bearer error="insufficient_scope", scope="profiles:read"`, graphql403, counterfoil.ReasonScopeInsufficient},
		{"altrata", "registry down", registryDown, 503, "", `{"message":"Service Unavailable"}`, counterfoil.ReasonUnavailable},

		{"engagifii", "no token", drop("Authorization"), 401, plain, `{"error":"invalid_token","error_description":"The access token is missing"}`, counterfoil.ReasonTokenMissing},
		{"engagifii", "bad token", set("Authorization", "Bearer abc"), 401, invalid, `{"error":"invalid_token","error_description":"The access token is invalid"}`, counterfoil.ReasonTokenMalformed},
		{"engagifii", "expired token", late, 401, expired, `{"error":"invalid_token","error_description":"The access token expired"}`, counterfoil.ReasonTokenExpired},
		{"engagifii", "no api-version", drop("api-version"), 400, "", `{"error":{"code":"MISSING_HEADER","message":"The header api-version is required"}}`, counterfoil.ReasonHeaderMissing},
		{"engagifii", "other api-version", set("api-version", "2.0"), 400, "", `{"error":{"code":"INVALID_HEADER","message":"The header api-version has a value that is not supported"}}`, counterfoil.ReasonHeaderInvalid},
		{"engagifii", "no tenant", drop("tenant-code"), 400, "", `{"error":{"code":"MISSING_TENANT","message":"Tenant code header is required"}}`, counterfoil.ReasonTenantMissing},
		{"engagifii", "empty tenant", set("tenant-code", ""), 400, "", `{"error":{"code":"MISSING_TENANT","message":"Tenant code header is required"}}`, counterfoil.ReasonTenantMissing},
		{"engagifii", "tenant of another", set("tenant-code", "TENANT999"), 403, "", `{"error":{"code":"TENANT_FORBIDDEN","message":"The client is not granted this tenant"}}`, counterfoil.ReasonTenantDenied},
		{"engagifii", "tenant in another case", set("tenant-code", "tenant123"), 403, "", `{"error":{"code":"TENANT_FORBIDDEN","message":"The client is not granted this tenant"}}`, counterfoil.ReasonTenantDenied},
		{"engagifii", "tenant twice", twice("tenant-code", "TENANT123"), 400, "", `{"error":{"code":"INVALID_HEADER","message":"The header tenant-code has a value that is not supported"}}`, counterfoil.ReasonHeaderInvalid},
		{"engagifii", "no content type", drop("Content-Type"), 400, "", `{"error":{"code":"MISSING_HEADER","message":"The header Content-Type is required"}}`, counterfoil.ReasonHeaderMissing},
		{"engagifii", "form type", set("Content-Type", "application/x-www-form-urlencoded"), 400, "", `{"error":{"code":"INVALID_HEADER","message":"The header Content-Type has a value that is not supported"}}`, counterfoil.ReasonHeaderInvalid},
		{"engagifii", "two content types", twice("Content-Type", "application/json"), 400, "", `{"error":{"code":"INVALID_HEADER","message":"The header Content-Type has a value that is not supported"}}`, counterfoil.ReasonHeaderInvalid},
		{"engagifii", "no content type, length unknown", func(_ *rig, r *http.Request) {
			r.Header.Del("Content-Type")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), -1
		}, 400, "", `{"error":{"code":"MISSING_HEADER","message":"The header Content-Type is required"}}`, counterfoil.ReasonHeaderMissing},
		{"engagifii", "nothing at all: the first names the refusal", func(_ *rig, r *http.Request) { r.Header = http.Header{} }, 401, plain, `{"error":"invalid_token","error_description":"The access token is missing"}`, counterfoil.ReasonTokenMissing},
		{"engagifii", "scope too small", claim("scope", []string{"OtherApi"}), 403, `Bearer error="insufficient_scope", scope="EventsApi"`, `{"error":"insufficient_scope","error_description":"The access token lacks a scope that is needed"}`, counterfoil.ReasonScopeInsufficient},
		{"engagifii", "registry down", registryDown, 503, "", `{"error":{"code":"UNAVAILABLE","message":"Try again later"}}`, counterfoil.ReasonUnavailable},

		{"a55", "no token", drop("Authorization"), 401, plain, `{"error":{"code":"UNAUTHORIZED","message":"An access token is required"}}`, counterfoil.ReasonTokenMissing},
		{"a55", "expired token", late, 401, invalid, `{"error":{"code":"UNAUTHORIZED","message":"The access token is invalid or has expired"}}`, counterfoil.ReasonTokenExpired},
		{"a55", "scope too small", claim("scope", "other"), 403, `Bearer error="insufficient_scope", scope="wallets:read"`, `{"error":{"code":"FORBIDDEN","message":"The access token lacks a scope that is needed"}}`, counterfoil.ReasonScopeInsufficient},
		{"a55", "other media type", func(_ *rig, r *http.Request) {
			r.Header.Set("Content-Type", "application/xml")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("<a/>")), 4
		}, 415, "", `{"error":{"code":"UNSUPPORTED_MEDIA_TYPE","message":"The header Content-Type must be application/json"}}`, counterfoil.ReasonHeaderInvalid},
		{"a55", "keys unavailable", keysDown, 503, "", `{"error":{"code":"UNAVAILABLE","message":"Try again later"}}`, counterfoil.ReasonUnavailable},

		{"oauth2", "no token", drop("Authorization"), 401, plain, "", counterfoil.ReasonTokenMissing},
		{"oauth2", "token twice", twice("Authorization", "Bearer abc"), 401, invalid, `{"error":"invalid_token"}`, counterfoil.ReasonTokenRepeated},
		{"oauth2", "expired token", late, 401, expired, `{"error":"invalid_token","error_description":"The access token expired"}`, counterfoil.ReasonTokenExpired},
		{"oauth2", "not yet valid", claim("iat", start.Add(time.Minute).Unix()), 401, invalid, `{"error":"invalid_token"}`, counterfoil.ReasonTokenNotYetValid},
		{"oauth2", "keys unavailable", keysDown, 503, "", `{"error":"temporarily_unavailable"}`, counterfoil.ReasonUnavailable},
	} {
		t.Run(tt.provider+"/"+tt.name, func(t *testing.T) {
			r := newRig(t, tt.provider)
			r.works()
			req := r.call(r.token(nil))
			tt.change(r, req)
			a := r.send(req)
			r.refused(a, tt.reason, req.Header.Get("Authorization"))
			if a.status != tt.status || a.body != tt.body || a.header.Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%d %q\n%s", a.status, a.header.Get("WWW-Authenticate"), a.body)
			}
			if mediaType := a.header.Get("Content-Type"); (mediaType == "application/json") != (a.body != "") {
				t.Errorf("Content-Type is %q", mediaType)
			}
			r.keys.change(func(k *keyring) { k.err = nil })
			r.registry.change(func(g *registry) { g.err, g.dead = nil, map[string]bool{} })
			r.works()
		})
	}
}

func TestPrincipalAndEventOfAnAllowedCall(t *testing.T) {
	for name := range dialects() {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, name)
			req := r.call(r.token(nil))
			req.Header.Set("User-Agent", "agent\u202e/1")
			a := r.send(req)
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			p := r.seen
			if p.Provider != name || p.Issuer != issuer || p.ClientID != client || p.TokenID != r.claims["jti"] || !p.Expires.Equal(start.Add(time.Hour)) {
				t.Errorf("principal %+v", p)
			}
			if p.Tenant != r.callHeaders["tenant-code"] || p.Claims["jti"] != r.claims["jti"] {
				t.Errorf("tenant %q, claims %v", p.Tenant, p.Claims)
			}
			if want := (counterfoil.Event{Type: counterfoil.EventCallAllowed, Time: start, Realm: name, ClientID: client, Success: true,
				TokenID: p.TokenID, Address: "127.0.0.1", UserAgent: `agent\u202e/1`, Resource: a.event.Resource}); a.event != want || !strings.HasSuffix(want.Resource, " /") {
				t.Errorf("event %+v", a.event)
			}
		})
	}
}

// The record of a refusal names the client only when the token has proved it.
func TestEventNamesOnlyAProvedClient(t *testing.T) {
	r := newRig(t, "engagifii")
	for name, tt := range map[string]struct {
		token  string
		client string
	}{
		"expired":       {r.claim("exp", start.Add(-time.Hour).Unix()), client},
		"other issuer":  {r.claim("iss", "https://evil.example"), ""},
		"wrong key":     {r.token(nil)[:len(r.token(nil))-10] + "AAAAAAAAAA", ""},
		"small scope":   {r.claim("scope", []string{}), client},
		"not our API's": {r.claim("aud", "other"), client},
	} {
		if a := r.send(r.call(tt.token)); a.event.Success || a.event.ClientID != tt.client {
			t.Errorf("%s: event %+v", name, a.event)
		}
	}
}

// A request without content needs no Content-Type, at any API; what it has says
// nothing.
func TestNoContentNeedsNoMediaType(t *testing.T) {
	all := map[string]*rig{"engagifii": newRig(t, "engagifii"), "a55": newRig(t, "a55"), "one of its own": newRigFor(t, parse(t, "typed", typed), dialects()["oauth2"])}
	for _, row := range []struct {
		name, method string
		mediaTypes   []string
		body         string
		length       int64 // -1 where the framing does not tell
	}{
		{"GET as Go and Java send it", "GET", nil, "", 0},
		{"GET with the media type of JSON", "GET", []string{"application/json"}, "", 0},
		{"GET with another media type", "GET", []string{"text/plain"}, "", 0},
		{"GET with two media types", "GET", []string{"application/json", "text/plain"}, "", 0},
		{"HEAD", "HEAD", nil, "", 0},
		{"DELETE", "DELETE", nil, "", 0},
		{"POST of nothing", "POST", nil, "", 0},
		{"POST of nothing as a form", "POST", []string{"application/x-www-form-urlencoded"}, "", 0},
		{"chunks of nothing", "GET", nil, "", -1},
		{"chunks of JSON", "POST", []string{"application/json"}, `{"PageSize":5}`, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, r := range all {
				r.t = t
				req := r.call(r.token(nil))
				req.Method, req.Body, req.ContentLength = row.method, nil, row.length
				if req.Header["Content-Type"] = row.mediaTypes; row.length != 0 {
					req.Body = io.NopCloser(strings.NewReader(row.body))
				}
				if a := r.send(req); a.status != 200 {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			}
		})
	}
}

const typed = `
extends: oauth2
name: typed
apis:
  - name: things
    kind: rest
    path: /things
    headers:
      - {name: Content-Type, value: application/json}
      - {name: Authorization, from: token, scheme: Bearer}
    refusals:
      token_missing: {status: 401}
      token_invalid: {status: 401}
      scope_insufficient: {status: 403}
      header_missing: {status: 400}
      unavailable: {status: 503}
`

// The guard looks at the first byte of a content whose length it is not told:
// the API still gets all of it.
func TestContentOfUnknownLengthArrivesWhole(t *testing.T) {
	r := newRig(t, "a55")
	text := strings.Repeat("0123456789", 100)
	req := r.call(r.token(nil))
	req.Method, req.Body, req.ContentLength = "POST", io.NopCloser(strings.NewReader(text)), -1
	req.Header.Del("Content-Type")
	w := httptest.NewRecorder()
	r.guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
		if body := must(io.ReadAll(got.Body)); string(body) != text {
			t.Errorf("the API read %d bytes: %.20s…", len(body), body)
		}
		if err := got.Body.Close(); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A header that is there with another value is not called missing.
func TestWrongHeaderIsNotCalledRequired(t *testing.T) {
	for _, name := range provider.Names() {
		p := must(provider.Builtin(name))
		for _, api := range p.APIs {
			for _, h := range api.Headers {
				for _, reason := range []counterfoil.Reason{counterfoil.ReasonHeaderInvalid, counterfoil.ReasonAPIKeyInvalid, counterfoil.ReasonTenantDenied, counterfoil.ReasonTokenInvalid} {
					if text := api.Refusal(reason).Body; strings.Contains(text, "is required") || strings.Contains(text, "missing") {
						t.Errorf("%s: a wrong %s is answered %s", name, h.Name, text)
					}
				}
			}
		}
		for _, reason := range []counterfoil.Reason{counterfoil.ReasonHeaderInvalid, counterfoil.ReasonAPIKeyInvalid} {
			if text := p.TokenEndpoint.Refusal(reason).Body; strings.Contains(text, "is required") || strings.Contains(text, "missing") {
				t.Errorf("%s: a wrong header of a token request is answered %s", name, text)
			}
		}
	}
}

// Altrata's own example sends the token without the word Bearer.
func TestBareToken(t *testing.T) {
	for name, status := range map[string]int{"altrata": 200, "oauth2": 401, "a55": 401} {
		r := newRig(t, name)
		req := r.call("")
		req.Header.Set("Authorization", r.token(nil))
		if a := r.send(req); a.status != status {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestEveryMethodIsACall(t *testing.T) {
	r := newRig(t, "oauth2")
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "TRACE", "PURGE"} {
		req := r.call(r.token(nil))
		req.Method = method
		if a := r.send(req); a.status != 200 {
			t.Errorf("%s with a token: %d", method, a.status)
		}
		req = r.call("")
		req.Method = method
		req.Header.Del("Authorization")
		if a := r.send(req); a.status != 401 {
			t.Errorf("%s without a token: %d", method, a.status)
		}
	}
}
