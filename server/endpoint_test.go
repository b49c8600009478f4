package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// The descriptions of these tests: tokens that are answered again, and tokens
// that are in a status list.
const (
	replaced = "extends: oauth2\nname: replaced\ntoken_endpoint: {policy: replace}\n"
	reused   = "extends: oauth2\nname: reused\ntoken_endpoint: {policy: reuse}\n"
	listed   = `
extends: oauth2
name: listed
access_token:
  claims:
    - {name: iss, from: issuer}
    - {name: exp, from: expires_at}
    - {name: client_id, from: client_id}
    - {name: iat, from: issued_at}
    - {name: jti, from: token_id}
    - {name: scope, from: scope}
    - {name: status, from: status}
`
	// undated tokens have nbf for their only date.
	undated = `
extends: oauth2
name: undated
access_token:
  claims:
    - {name: iss, from: issuer}
    - {name: nbf, from: not_before}
    - {name: exp, from: expires_at}
    - {name: client_id, from: client_id}
    - {name: jti, from: token_id}
    - {name: scope, from: scope}
`
	// nameless tokens cannot be revoked one by one.
	nameless = `
extends: oauth2
name: nameless
access_token:
  claims:
    - {name: iss, from: issuer}
    - {name: exp, from: expires_at}
    - {name: client_id, from: client_id}
    - {name: iat, from: issued_at}
    - {name: scope, from: scope}
`
)

// resourceServer makes a client that may look at every token of a realm.
func (h *house) resourceServer(realm string) clients.Credentials {
	h.t.Helper()
	return h.client(clients.NewClient{Realm: realm, ID: "api", Settings: store.Settings{ResourceServer: true, Scopes: counterfoil.Scopes{"read"}}})
}

// post sends a form to a path below the realm's base URL.
func (h *house) post(path string, form url.Values, header http.Header) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// as returns the headers of a client that authenticates as the guide of the
// realm tells, for a request about a token.
func (h *house) as(realm string, c clients.Credentials) http.Header {
	header := http.Header{"Authorization": {basic(c.ClientID, c.ClientSecret.Reveal())}}
	switch realm {
	case "altrata":
		header.Set("X-Api-Key", c.APIKey.Reveal())
	case "custom":
		header.Set("X-Version", "7")
	}
	return header
}

func (h *house) introspect(realm, token string, header http.Header) answer {
	h.t.Helper()
	return h.post("/"+realm+"/introspect", url.Values{"token": {token}, "token_type_hint": {"access_token"}}, header)
}

func (h *house) revoke(realm, token string, header http.Header) answer {
	h.t.Helper()
	return h.post("/"+realm+"/revoke", url.Values{"token": {token}, "token_type_hint": {"anything"}}, header)
}

const inactive = `{"active":false}`

// wantActive looks whether a token is active for its own client.
func (h *house) wantActive(realm, token string, want bool) {
	h.t.Helper()
	got := h.introspect(realm, token, h.as(realm, h.creds[realm]))
	if active := got.body != inactive; got.status != http.StatusOK || active != want {
		h.t.Errorf("the token is answered %d %s, want it active: %v", got.status, got.body, want)
	}
}

// TestIntrospection compares all that is said of an active token.
func TestIntrospection(t *testing.T) {
	h := newHouse(t)
	now := h.clock.Now().Unix()
	for realm, more := range map[string]map[string]any{
		"oauth2":    {"aud": h.url + "/oauth2", "scope": "read write"},
		"altrata":   {"aud": "profiles", "scope": "profiles:read", "token_type": "bearer", "exp": float64(now + 8*3600)},
		"engagifii": {"aud": "EventsApi", "scope": "EventsApi", "nbf": float64(now)},
		"ahotu":     {"iss": cognitoIssuer, "scope": "events:read"},
	} {
		t.Run(realm, func(t *testing.T) {
			token := h.token(realm)
			want := map[string]any{
				"active": true, "iss": h.url + "/" + realm, "sub": "good", "client_id": "good", "token_type": "Bearer",
				"exp": float64(now + 3600), "iat": float64(now), "jti": principal(t, token).TokenID,
			}
			for name, value := range more {
				want[name] = value
			}
			got := h.introspect(realm, token, h.as(realm, h.creds[realm]))
			var said map[string]any
			if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != http.StatusOK || !reflect.DeepEqual(said, want) {
				t.Errorf("got %d %s, want %v", got.status, got.body, want)
			}
			wantHeaders(t, got, map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"})
		})
	}
}

func TestIntrospectionOfTenants(t *testing.T) {
	h := newHouseOf(t, nil, "custom")
	c := h.client(clients.NewClient{Realm: "custom", ID: "two", Settings: store.Settings{Scopes: counterfoil.Scopes{"a", "b"}, Tenants: []string{"T1", "T 2"}}})
	got := h.do("custom", &ask{method: http.MethodPost, body: "grant_type=client_credentials", header: h.as("custom", c)})
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("%s: %v", got.body, err)
	}
	h.keep(body.Token)
	said := h.introspect("custom", body.Token, h.as("custom", c)).body
	for _, want := range []string{`"tenants":["T1","T 2"]`, `"aud":["one","two"]`, `"scope":"a b"`} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is not in %s", want, said)
		}
	}
}

// TestWhoMayIntrospect: a client its own tokens, a resource server all, with its
// credentials or with a token; and nobody learns why a token is not active.
func TestWhoMayIntrospect(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "a55")
	good, api := h.as("oauth2", h.creds["oauth2"]), h.resourceServer("oauth2")
	other := h.client(clients.NewClient{Realm: "oauth2", ID: "other", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
	token, foreign := h.token("oauth2"), h.token("a55")
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	apiToken, otherToken := h.tokenOf("oauth2", api), h.tokenOf("oauth2", other)
	dot := strings.LastIndexByte(token, '.')
	forged := token[:dot+1] + strings.Repeat("A", len(token)-dot-1)

	for name, row := range map[string]struct {
		token  string
		header http.Header
		active bool
	}{
		"its own":                        {token, good, true},
		"a resource server's":            {token, h.as("oauth2", api), true},
		"a resource server with a token": {token, bearer(apiToken), true},
		"another client's":               {token, h.as("oauth2", other), false},
		"of another realm":               {foreign, h.as("oauth2", api), false},
		"with another signature":         {forged, h.as("oauth2", api), false},
		"no token":                       {"x", good, false},
		"a long one":                     {strings.Repeat("x", 20_000), good, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.introspect("oauth2", row.token, row.header)
			if got.status != http.StatusOK || (got.body != inactive) != row.active {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	for name, row := range map[string]struct {
		token  string
		status int
		reason counterfoil.Reason
	}{
		"a token of no resource server": {otherToken, http.StatusForbidden, counterfoil.ReasonScopeInsufficient},
		"no token":                      {"x", http.StatusUnauthorized, counterfoil.ReasonTokenInvalid},
		"a token of another realm":      {foreign, http.StatusUnauthorized, counterfoil.ReasonTokenInvalid},
	} {
		t.Run("with "+name, func(t *testing.T) {
			got := h.introspect("oauth2", token, bearer(row.token))
			if got.status != row.status || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer error=") {
				t.Errorf("got %d %s, %v", got.status, got.body, got.header)
			}
			h.wantLast(counterfoil.EventTokenRefused, row.reason, "/introspect")
		})
	}
	if got := h.revoke("oauth2", token, bearer(apiToken)); got.status != http.StatusUnauthorized {
		t.Errorf("a bearer token revokes: %d %s", got.status, got.body)
	}
}

// tokenOf returns a token of a client of the realm.
func (h *house) tokenOf(realm string, c clients.Credentials) string {
	h.t.Helper()
	got := h.do(realm, &ask{method: http.MethodPost, header: http.Header{}, mediaType: "application/x-www-form-urlencoded", form: url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}, "scope": {"read"},
	}})
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Token == "" {
		h.t.Fatalf("%d %s", got.status, got.body)
	}
	h.keep(body.Token)
	return body.Token
}

// wantLast compares the last event of the record.
func (h *house) wantLast(kind string, reason counterfoil.Reason, detail string) {
	h.t.Helper()
	events := h.recorded()
	for len(events) > 1 && events[len(events)-1].Type == counterfoil.EventTokenIntrospected { // counted by the minute
		events = events[:len(events)-1]
	}
	last := events[len(events)-1]
	if last.Type != kind || last.Reason != reason || !strings.Contains(last.Detail, detail) {
		h.t.Errorf("the last record is %+v", last)
	}
}

// TestInactive: a token that was active is not any more.
func TestInactive(t *testing.T) {
	for name, end := range map[string]func(h *house, token string){
		"revoked":  func(h *house, token string) { h.revoke("oauth2", token, h.as("oauth2", h.creds["oauth2"])) },
		"expired":  func(h *house, _ string) { h.clock.Turn(time.Hour) },
		"disabled": func(h *house, _ string) { _ = h.clients.SetDisabled(h.t.Context(), "test", "oauth2", "good", true) },
		"deleted":  func(h *house, _ string) { _ = h.clients.Delete(h.t.Context(), "test", "oauth2", "good") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, "oauth2")
			api, token := h.as("oauth2", h.resourceServer("oauth2")), h.token("oauth2")
			if got := h.introspect("oauth2", token, api); got.body == inactive {
				t.Fatal("the token is not active to begin with")
			}
			end(h, token)
			if got := h.introspect("oauth2", token, api); got.status != http.StatusOK || got.body != inactive {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	t.Run("replaced", func(t *testing.T) {
		h := newHouseOf(t, nil, "altrata")
		first := h.token("altrata")
		h.wantActive("altrata", first, true)
		second := h.token("altrata")
		h.wantActive("altrata", first, false)
		h.wantActive("altrata", second, true)
	})
}

// TestEndpointRefuses: both endpoints refuse as the token endpoint does, and the
// refusal is recorded.
func TestEndpointRefuses(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	c, token := h.creds["oauth2"], h.token("oauth2")
	good := func() url.Values {
		return url.Values{"token": {token}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}}
	}
	for _, path := range []string{"/introspect", "/revoke"} {
		for name, row := range map[string]struct {
			change func(url.Values, http.Header) string
			status int
			reason counterfoil.Reason
			body   string
		}{
			"no token":             {func(f url.Values, _ http.Header) string { f.Del("token"); return "" }, 400, counterfoil.ReasonInvalidRequest, `{"error":"invalid_request"}`},
			"no credentials":       {func(f url.Values, _ http.Header) string { f.Del("client_secret"); return "" }, 401, counterfoil.ReasonCredentialsMissing, `{"error":"invalid_client"}`},
			"wrong secret":         {func(f url.Values, _ http.Header) string { f.Set("client_secret", "x"); return "" }, 401, counterfoil.ReasonWrongSecret, `{"error":"invalid_client"}`},
			"unknown client":       {func(f url.Values, _ http.Header) string { f.Set("client_id", "x"); return "" }, 401, counterfoil.ReasonUnknownClient, `{"error":"invalid_client"}`},
			"repeated parameter":   {func(f url.Values, _ http.Header) string { f.Add("token", "x"); return "" }, 400, counterfoil.ReasonRepeatedParameter, ""},
			"JSON":                 {func(_ url.Values, h http.Header) string { h.Set("Content-Type", "application/json"); return "" }, 415, counterfoil.ReasonUnsupportedMediaType, ""},
			"two ways to say who":  {func(_ url.Values, h http.Header) string { h.Set("Authorization", basic("good", "x")); return "" }, 400, counterfoil.ReasonMultipleCredentials, ""},
			"token in the query":   {func(url.Values, http.Header) string { return "?token=x" }, 400, counterfoil.ReasonMisplacedParameter, ""},
			"secret in the query":  {func(url.Values, http.Header) string { return "?client_secret=x" }, 400, counterfoil.ReasonMisplacedParameter, ""},
			"too large":            {func(f url.Values, _ http.Header) string { f.Set("x", strings.Repeat("x", 40_000)); return "" }, 413, counterfoil.ReasonRequestTooLarge, ""},
			"too many parameters":  {func(f url.Values, _ http.Header) string { fill(f, 40); return "" }, 400, counterfoil.ReasonMalformedRequest, ""},
			"client of no secrets": {func(f url.Values, _ http.Header) string { f.Set("client_secret", strings.Repeat("x", 300)); return "" }, 401, counterfoil.ReasonCredentialsMalformed, ""},
		} {
			t.Run(path[1:]+" "+name, func(t *testing.T) {
				form, header := good(), http.Header{}
				query := row.change(form, header)
				got := h.post("/oauth2"+path+query, form, header)
				if got.status != row.status || row.body != "" && got.body != row.body || !strings.Contains(got.body, `"error"`) {
					t.Errorf("got %d %s", got.status, got.body)
				}
				if cached := got.header.Get("Cache-Control"); cached != "no-store" {
					t.Errorf("Cache-Control is %q", cached)
				}
				h.wantLast(counterfoil.EventTokenRefused, row.reason, path)
			})
		}
		if got := h.get(t, http.MethodGet, "/oauth2"+path); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
			t.Errorf("GET %s got %d, Allow %q", path, got.status, got.header.Get("Allow"))
		}
	}
	h.wantActive("oauth2", token, true)
	for _, path := range []string{"/introspect", "/revoke"} {
		for _, charset := range []string{"UTF-8", "utf8", "ISO-8859-1"} {
			if got := h.post("/oauth2"+path, good(), http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=" + charset}}); got.status != http.StatusOK {
				t.Errorf("%s: a form in %s got %d %s", path, charset, got.status, got.body)
			}
		}
	}
	if got := h.post("/oauth2/revoke", good(), http.Header{"Authorization": {"Bearer stale"}}); got.status != http.StatusOK {
		t.Errorf("credentials in the body beside a stale token got %d %s", got.status, got.body)
	}
}

func fill(f url.Values, n int) {
	for i := range n {
		f.Set(strings.Repeat("x", i+1), "y")
	}
}

// A client that was changed by another process is looked at as it is, not as the
// token endpoint remembers it: no record would tell.
func TestEndpointsLookAtTheClientItself(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	token, as := h.token("oauth2"), h.as("oauth2", h.creds["oauth2"])
	h.wantActive("oauth2", token, true)
	if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "good", true); err != nil {
		t.Fatal(err)
	}
	for _, got := range []answer{h.introspect("oauth2", token, as), h.revoke("oauth2", token, as)} {
		if got.status != http.StatusUnauthorized {
			t.Errorf("a disabled client got %d %s", got.status, got.body)
		}
	}
}

// TestRevocation: the token is dead when the answer leaves, what is no token is
// answered alike, and nothing happens to others' tokens.
func TestRevocation(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	as := h.as("oauth2", h.creds["oauth2"])
	other := h.client(clients.NewClient{Realm: "oauth2", ID: "other", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
	token, next := h.token("oauth2"), h.token("oauth2")

	got := h.revoke("oauth2", token, h.as("oauth2", other))
	if got.status != http.StatusBadRequest || got.body != `{"error":"invalid_request"}` {
		t.Errorf("another client's token: %d %s", got.status, got.body)
	}
	h.wantLast(counterfoil.EventTokenRefused, counterfoil.ReasonInvalidRequest, "/revoke: the token of another client")
	h.wantActive("oauth2", token, true)

	if got = h.revoke("oauth2", token, as); got.status != http.StatusOK || got.body != "" {
		t.Errorf("got %d %q", got.status, got.body)
	}
	wantHeaders(t, got, map[string]string{"Cache-Control": "no-store"})
	h.wantLast(counterfoil.EventTokenRevoked, "", "")
	events := h.recorded()
	if last := events[len(events)-1]; last.TokenID != principal(t, token).TokenID || last.ClientID != "good" || !last.Success || last.Address == "" {
		t.Errorf("recorded %+v", last)
	}
	h.wantActive("oauth2", token, false)
	h.wantActive("oauth2", next, true)

	for name, text := range map[string]string{"again": token, "no token": "x", "half a token": token[:len(token)/2]} {
		if got := h.revoke("oauth2", text, as); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	h.clock.Turn(2 * time.Hour)
	if got := h.revoke("oauth2", next, as); got.status != http.StatusOK {
		t.Errorf("an expired token: %d %s", got.status, got.body)
	}
	for _, e := range h.recorded()[len(events):] {
		if e.Type != counterfoil.EventTokenIntrospected { // counted by the minute
			t.Errorf("a revocation without an effect is recorded as %+v", e)
		}
	}
}

// Tokens without a name cannot be revoked apart: the endpoint is not there, and
// the metadata does not name it. The feed, which has clients too, is there.
func TestRevocationNeedsNames(t *testing.T) {
	h := newHouseOf(t, nil, "nameless")
	as := h.as("nameless", h.creds["nameless"])
	h.wantActive("nameless", h.token("nameless"), true)
	if got := h.revoke("nameless", "x", as); got.status != http.StatusNotFound {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := h.get(t, http.MethodGet, "/nameless/.well-known/oauth-authorization-server"); strings.Contains(strings.Replace(got.body, `"revocation_feed_endpoint":"`+h.url+`/nameless/revocations",`, "", 1), "revocation") {
		t.Errorf("the metadata has %s", got.body)
	}
}

// A token that is answered again under the policy "reuse" is not once it is
// revoked, whichever client revoked it.
func TestRevokedIsNotReused(t *testing.T) {
	for name, revoke := range map[string]func(h *house, token string){
		"by its client": func(h *house, token string) { h.revoke("reused", token, h.as("reused", h.creds["reused"])) },
		"by another process": func(h *house, token string) {
			err := h.store.RevokeToken(h.t.Context(), store.Revocation{Realm: "reused", ClientID: "good", TokenID: principal(h.t, token).TokenID, Expires: h.clock.Now().Add(time.Hour)},
				counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: h.clock.Now(), Realm: "reused", ClientID: "good"})
			if err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, "reused")
			first := h.token("reused")
			if again := h.token("reused"); again != first {
				t.Fatal("the token was not answered again")
			}
			revoke(h, first)
			h.wantActive("reused", first, false)
			second := h.token("reused")
			if second == first {
				t.Error("the revoked token was answered again")
			}
			h.wantActive("reused", second, true)
			if again := h.token("reused"); again != second {
				t.Error("the new token is not answered again")
			}
		})
	}
}

// faulty is a store whose RevokeToken fails.
type faulty struct {
	store.Store
	err error
}

func (s *faulty) RevokeToken(context.Context, store.Revocation, counterfoil.Event) error {
	return s.err
}

// One token more than are revoked apart ends all that the client has, and only
// those.
func TestRevocationOfOneTooMany(t *testing.T) {
	h := newHouseOf(t, func(s store.Store) store.Store { return &faulty{s, store.ErrTooManyRevocations} }, "oauth2")
	as := h.as("oauth2", h.creds["oauth2"])
	first, second := h.token("oauth2"), h.token("oauth2")
	if got := h.revoke("oauth2", first, as); got.status != http.StatusOK {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	h.wantLast(counterfoil.EventTokensRevoked, "", "10000 are revoked one by one already")
	h.wantActive("oauth2", first, false)
	h.wantActive("oauth2", second, false)
	third := h.token("oauth2")
	h.wantActive("oauth2", third, true)
	// A revoked token cannot revoke another one.
	if got := h.revoke("oauth2", first, as); got.status != http.StatusOK {
		t.Fatalf("again: %d %s", got.status, got.body)
	}
	h.wantActive("oauth2", third, true)
	// Within the same second it takes one more, but not for ever: the iat of new
	// tokens must not run away from the clock.
	n := 0
	for ; n < 20; n++ {
		got := h.revoke("oauth2", third, as)
		if got.status == http.StatusServiceUnavailable {
			break
		}
		h.wantActive("oauth2", third, false)
		third = h.token("oauth2")
		h.wantActive("oauth2", third, true)
	}
	if n < 5 || n == 20 {
		t.Errorf("refused after %d", n)
	}
	h.clock.Turn(10 * time.Second)
	if got := h.revoke("oauth2", third, as); got.status != http.StatusOK {
		t.Errorf("later: %d %s", got.status, got.body)
	}
	h.wantActive("oauth2", third, false)
}

func TestRevocationFails(t *testing.T) {
	h := newHouseOf(t, func(s store.Store) store.Store { return &faulty{s, errors.New("disk full")} }, "oauth2")
	token := h.token("oauth2")
	got := h.revoke("oauth2", token, h.as("oauth2", h.creds["oauth2"]))
	if got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "disk") || !strings.Contains(h.log.String(), "disk full") {
		t.Errorf("got %d %s; the log has %s", got.status, got.body, h.log.String())
	}
	h.wantActive("oauth2", token, true)
}
