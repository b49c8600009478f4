package server_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

var (
	cognitoHeaders = map[string]string{
		"Content-Type": "application/json;charset=UTF-8", "Cache-Control": "no-cache, no-store, max-age=0, must-revalidate",
		"Pragma": "no-cache", "Expires": "0",
	}
	identityHeaders = map[string]string{
		"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store, no-cache, max-age=0", "Pragma": "no-cache",
	}
	plainHeaders = map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
)

// The forms of identifiers, as regular expressions.
const (
	uuidForm   = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	hexForm    = `[0-9A-F]{32}`
	base64Form = `[A-Za-z0-9+/]{43}=`
	printForm  = `[A-Za-z0-9_-]{43}`
)

const cognitoClaims = `{"sub":"good","token_use":"access","scope":"SCOPE","auth_time":NOW,"iss":"ISS","exp":EXP,"iat":NOW,"version":2,"jti":"` + uuidForm + `","client_id":"good"}`

const cognitoStart = "eyJraWQiOi"

const adminScopes = "clients:read clients:write keys:read keys:write tokens:revoke audit:read"

// TestTokenResponse compares what each provider's guide promises, to the byte:
// upper-case words stand for values of the test, identifiers for their form.
func TestTokenResponse(t *testing.T) {
	rows := []struct {
		realm, algorithm string
		headers          map[string]string
		lifetime         time.Duration
		body             string
		protected        string
		claims           string
	}{
		{"ahotu", "RS256", cognitoHeaders, time.Hour,
			`{"access_token":"TOKEN","expires_in":3600,"token_type":"Bearer"}`,
			`{"kid":"` + base64Form + `","alg":"RS256"}`,
			strings.NewReplacer("SCOPE", "events:read", "ISS", cognitoIssuer).Replace(cognitoClaims)},
		{"a55", "RS256", cognitoHeaders, time.Hour,
			`{"access_token":"TOKEN","expires_in":3600,"token_type":"Bearer"}`,
			`{"kid":"` + base64Form + `","alg":"RS256"}`,
			strings.NewReplacer("SCOPE", "wallets:read", "ISS", cognitoIssuer).Replace(cognitoClaims)},
		{"cognito", "RS256", cognitoHeaders, time.Hour,
			`{"access_token":"TOKEN","expires_in":3600,"token_type":"Bearer"}`,
			`{"kid":"` + base64Form + `","alg":"RS256"}`,
			strings.NewReplacer("SCOPE", "read write", "ISS", "BASE").Replace(cognitoClaims)},
		{"engagifii", "RS256", identityHeaders, time.Hour,
			`{"access_token":"TOKEN","expires_in":3600,"token_type":"Bearer","scope":"EventsApi"}`,
			`{"alg":"RS256","kid":"` + hexForm + `","typ":"at\+jwt"}`,
			`{"nbf":NOW,"exp":EXP,"iss":"BASE","aud":"EventsApi","client_id":"good","jti":"` + hexForm + `","iat":NOW,"scope":\["EventsApi"\]}`},
		{"identityserver", "RS256", identityHeaders, time.Hour,
			`{"access_token":"TOKEN","expires_in":3600,"token_type":"Bearer","scope":"read write"}`,
			`{"alg":"RS256","kid":"` + hexForm + `","typ":"at\+jwt"}`,
			`{"nbf":NOW,"exp":EXP,"iss":"BASE","aud":"BASE","client_id":"good","jti":"` + hexForm + `","iat":NOW,"scope":\["read","write"\]}`},
		{"altrata", "RS256", plainHeaders, 8 * time.Hour,
			`{"access_token":"TOKEN","expires_in":28800,"token_type":"bearer"}`,
			`{"alg":"RS256","kid":"` + printForm + `","typ":"at\+jwt"}`,
			`{"iss":"BASE","exp":EXP,"aud":"profiles","sub":"good","client_id":"good","iat":NOW,"jti":"` + uuidForm + `","scope":"profiles:read"}`},
		{"oauth2", "ES256", plainHeaders, time.Hour,
			`{"access_token":"TOKEN","token_type":"Bearer","expires_in":3600,"scope":"read write"}`,
			`{"alg":"ES256","kid":"` + printForm + `","typ":"at\+jwt"}`,
			`{"iss":"BASE","exp":EXP,"aud":"BASE","sub":"good","client_id":"good","iat":NOW,"jti":"` + uuidForm + `","scope":"read write"}`},
		{"counterfoil", "ES256", plainHeaders, 15 * time.Minute,
			`{"access_token":"TOKEN","token_type":"Bearer","expires_in":900,"scope":"` + adminScopes + `"}`,
			`{"alg":"ES256","kid":"` + printForm + `","typ":"at\+jwt"}`,
			`{"iss":"BASE","exp":EXP,"aud":"BASE","sub":"good","client_id":"good","iat":NOW,"jti":"` + uuidForm + `","scope":"` + adminScopes + `"}`},
	}
	h := newHouse(t)
	if len(rows) != len(provider.Names()) {
		t.Errorf("%d rows for the %d providers of the catalog", len(rows), len(provider.Names()))
	}
	for _, row := range rows {
		t.Run(row.realm, func(t *testing.T) {
			got := h.do(row.realm, h.good(row.realm))
			token := tokenIn(t, got)
			h.keep(token)
			if want := strings.Replace(row.body, "TOKEN", token, 1); got.status != http.StatusOK || got.body != want {
				t.Errorf("got  %d %s\nwant 200 %s", got.status, got.body, want)
			}
			headers := maps.Clone(row.headers)
			headers["Ratelimit-Policy"], headers["Ratelimit"] = `"client";q=30000;w=60`, `"client";r=29999;t=1`
			wantHeaders(t, got, headers)
			now := h.clock.Now()
			fill := strings.NewReplacer("BASE", h.url+"/"+row.realm, "NOW", strconv.FormatInt(now.Unix(), 10), "EXP", strconv.FormatInt(now.Add(row.lifetime).Unix(), 10))
			wantForm(t, "protected header", part(t, token, 0), row.protected)
			wantForm(t, "claims", part(t, token, 1), fill.Replace(row.claims))
			if cognito := row.headers["Expires"] != ""; cognito != strings.HasPrefix(token, cognitoStart) {
				t.Errorf("the token starts %s", token[:10])
			}
			h.verify(row.realm, row.algorithm, token)
			h.wantIssued(t, row.realm, token, now)
		})
	}
}

func tokenIn(t *testing.T, got answer) string {
	t.Helper()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Token == "" {
		t.Fatalf("no token in %d %s", got.status, got.body)
	}
	return body.Token
}

// wantHeaders checks all headers but those of net/http.
func wantHeaders(t *testing.T, got answer, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if v := got.header.Values(name); len(v) != 1 || v[0] != value {
			t.Errorf("header %s is %q, want %q", name, v, value)
		}
	}
	for name, value := range got.header {
		if _, ok := want[name]; !ok && name != "Date" && name != "Content-Length" && name != "Connection" {
			t.Errorf("unexpected header %s: %q", name, value)
		}
	}
}

func wantForm(t *testing.T, what, got, form string) {
	t.Helper()
	if !regexp.MustCompile("^" + form + "$").MatchString(got) {
		t.Errorf("%s is %s\nwant %s", what, got, form)
	}
}

// verify checks the token with the key that the realm publishes, and with the
// one that it hands to a guard.
func (h *house) verify(realm, algorithm, token string) {
	h.t.Helper()
	resp, err := h.http.Get(h.url + "/" + realm + "/.well-known/jwks.json")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
		h.t.Fatal(err)
	}
	keys, left, err := jose.ParseSet(raw)
	if err != nil || len(left) > 0 || len(keys) != 1 {
		h.t.Fatalf("%d keys, %v left out, %v in %s", len(keys), left, err, raw)
	}
	parsed, err := jose.Parse(token, algorithm)
	if err != nil || parsed.KeyID != keys[0].ID {
		h.t.Fatalf("kid %q, published %q, %v", parsed.KeyID, keys[0].ID, err)
	}
	own, err := h.server.Issuer(realm).PublicKey(h.t.Context(), parsed.KeyID, algorithm)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, key := range []any{keys[0].Key, own} {
		if _, err := parsed.Verify(key); err != nil {
			h.t.Errorf("verify: %v", err)
		}
	}
	var unknown *counterfoil.Error
	for _, algorithm := range []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		var other *counterfoil.Error
		_, err := h.server.Issuer(realm).PublicKey(h.t.Context(), parsed.KeyID, algorithm)
		if suits := algorithm == parsed.Algorithm(); suits != (err == nil) || !suits && (!errors.As(err, &other) || other.Reason != counterfoil.ReasonTokenAlgorithm) {
			h.t.Errorf("the key of a token of %s for %s: %v", parsed.Algorithm(), algorithm, err)
		}
	}
	if other, err := h.server.Issuer(realm).PublicKey(h.t.Context(), "other", parsed.Algorithm()); other != nil || !errors.As(err, &unknown) || unknown.Reason != counterfoil.ReasonTokenKeyUnknown {
		h.t.Errorf("an unknown kid has the key %v, %v", other, err)
	}
}

// wantIssued looks for the record of a token.
func (h *house) wantIssued(t *testing.T, realm, token string, now time.Time) {
	t.Helper()
	var claims struct {
		ID string `json:"jti"`
	}
	if err := json.Unmarshal([]byte(part(t, token, 1)), &claims); err != nil {
		t.Fatal(err)
	}
	events := h.recorded()
	last := events[len(events)-1].Event
	want := counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: now.Round(0).UTC(), Realm: realm, ClientID: "good", Success: true,
		TokenID: claims.ID, Address: "127.0.0.1", UserAgent: "good/1", Method: "client_secret_post", Scope: "read write",
		Credential: last.Credential,
	}
	if realm == "altrata" {
		want.Method = "client_secret_basic"
	}
	if p, err := provider.Builtin(realm); err == nil && len(p.ScopeNames()) > 0 {
		want.Scope = p.ScopeNames().String()
	}
	if realm == "ahotu" { // whose guide has clients ask for one
		want.Scope = "events:read"
	}
	if c, err := h.store.Client(t.Context(), realm, "good"); err != nil || len(c.Secrets) != 1 || c.Secrets[0].ID != last.Credential {
		t.Errorf("the secret %q is not the one that was used: %v", last.Credential, err)
	}
	if last != want {
		t.Errorf("got  %+v\nwant %+v", last, want)
	}
	want.Time = now // with its monotonic reading
	if heard := h.events[len(h.events)-1]; heard != want {
		t.Errorf("heard %+v", heard)
	}
}

const custom = `
name: custom
title: A provider of the test
scopes:
  - {name: a, description: first}
  - {name: b, description: second}
token_endpoint:
  path: /custom
  grant_type_in: body
  media_type: optional
  client_authentication: [client_secret_basic]
  basic_encoding: raw
  headers:
    - {name: X-Version, value: "7"}
    - {name: X-Key, from: api_key, presence: optional}
  scope: {parameter: optional, must_include: [b]}
  lifetime: 90s
  policy: replace
  response:
    token_type: Bearer
    fields: [scope, token_type, access_token]
    headers: {Cache-Control: no-store, X-Dialect: custom}
  errors:
    invalid_request: {status: 422, body: 'bad'}
    header_missing: {status: 428, headers: {X-Header: "{header}"}, body: 'send {header}'}
    api_key_invalid: {status: 403}
    invalid_client: {status: 401, headers: {Content-Type: text/plain}, body: 'who?'}
    unsupported_grant_type: {status: 400, body: 'grant'}
    invalid_scope: {status: 400, body: 'scope'}
    rate_limited: {status: 429}
    server_error: {status: 500}
    unavailable: {status: 503}
access_token:
  signing_algorithm: EdDSA
  header: [typ, alg, kid]
  type: JWT
  key_id: hex
  token_id: hex
  audience: [one, two]
  claims:
    - {name: iss, from: issuer}
    - {name: azp, from: client_id}
    - {name: iat, from: issued_at}
    - {name: exp, from: expires_at}
    - {name: aud, from: audience}
    - {name: jti, from: token_id}
    - {name: scp, from: scope_list}
    - {name: tenants, from: tenants}
    - {name: n, value: -3}
    - {name: s, value: "a \"b\" ü"}
apis: []
`

// TestProviderOfTextOnly serves a dialect that no Go code knows.
func TestProviderOfTextOnly(t *testing.T) {
	h := newHouseOf(t, nil, "custom")
	c := h.client(clients.NewClient{Realm: "custom", ID: "käse", Settings: store.Settings{Scopes: counterfoil.Scopes{"a", "b"}, Tenants: []string{"T1", "T 2"}}})
	good := func() *ask {
		return &ask{method: http.MethodPost, body: "grant_type=client_credentials", header: http.Header{
			"X-Version": {"7"}, "Authorization": {basic("käse", c.ClientSecret.Reveal())},
		}}
	}
	got := h.do("custom", good())
	token := tokenIn(t, got)
	if want := `{"scope":"a b","token_type":"Bearer","access_token":"` + token + `"}`; got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
	wantHeaders(t, got, map[string]string{"Cache-Control": "no-store", "X-Dialect": "custom", "Content-Type": "text/plain; charset=utf-8",
		"Ratelimit-Policy": `"client";q=30000;w=60`, "Ratelimit": `"client";r=29999;t=1`})
	wantForm(t, "protected header", part(t, token, 0), `{"typ":"JWT","alg":"EdDSA","kid":"`+hexForm+`"}`)
	iat := strconv.FormatInt(h.clock.Now().Unix(), 10)
	exp := strconv.FormatInt(h.clock.Now().Add(90*time.Second).Unix(), 10)
	wantForm(t, "claims", part(t, token, 1), `{"iss":"`+h.url+`/custom","azp":"käse","iat":`+iat+`,"exp":`+exp+`,"aud":\["one","two"\],"jti":"`+hexForm+`","scp":\["a","b"\],"tenants":\["T1","T 2"\],"n":-3,"s":"a \\"b\\" ü"}`)
	h.verify("custom", "EdDSA", token)

	none := h.client(clients.NewClient{Realm: "custom", ID: "none", Settings: store.Settings{Scopes: counterfoil.Scopes{"b"}}})
	token = tokenIn(t, h.do("custom", &ask{method: http.MethodPost, body: "grant_type=client_credentials", header: h.as("custom", none)}))
	h.keep(token)
	wantForm(t, "claims without tenants", part(t, token, 1), `{"iss":"`+h.url+`/custom","azp":"none","iat":`+iat+`,"exp":`+exp+`,"aud":\["one","two"\],"jti":"`+hexForm+`","scp":\["b"\],"n":-3,"s":"a \\"b\\" ü"}`)

	for name, row := range map[string]struct {
		change func(*ask)
		status int
		body   string
		reason counterfoil.Reason
	}{
		"header missing":      {func(a *ask) { a.header.Del("X-Version") }, 428, "send X-Version", counterfoil.ReasonHeaderMissing},
		"header wrong":        {func(a *ask) { a.header.Set("X-Version", "8") }, 428, "send X-Version", counterfoil.ReasonHeaderInvalid},
		"header twice":        {func(a *ask) { a.header["X-Version"] = []string{"7", "7"} }, 428, "send X-Version", counterfoil.ReasonHeaderInvalid},
		"optional key wrong":  {func(a *ask) { a.header.Set("X-Key", "nonsense") }, 403, "", counterfoil.ReasonAPIKeyInvalid},
		"scope must include":  {func(a *ask) { a.body += "&scope=a" }, 400, "scope", counterfoil.ReasonInvalidScope},
		"post is not in it":   {func(a *ask) { a.header.Del("Authorization"); a.body += "&client_id=x&client_secret=y" }, 401, "who?", counterfoil.ReasonMethodNotAccepted},
		"grant type comes 1.": {func(a *ask) { a.header.Del("Authorization"); a.body = "grant_type=password" }, 400, "grant", counterfoil.ReasonUnsupportedGrantType},
	} {
		t.Run(name, func(t *testing.T) {
			a := good()
			row.change(a)
			got := h.do("custom", a)
			if got.status != row.status || got.body != row.body {
				t.Errorf("got %d %q, want %d %q", got.status, got.body, row.status, row.body)
			}
			h.wantRefused(t, row.reason)
			if again := h.do("custom", good()); again.status != http.StatusOK {
				t.Errorf("then a good request got %d %s", again.status, again.body)
			}
		})
	}
}

// wantRefused checks that the newest record is a refusal for that reason.
func (h *house) wantRefused(t *testing.T, reason counterfoil.Reason) counterfoil.Event {
	t.Helper()
	events := h.recorded()
	last := events[len(events)-1].Event
	if last.Type != counterfoil.EventTokenRefused || last.Reason != reason || last.Success || last.Address != "127.0.0.1" || !last.Time.Equal(h.clock.Now()) {
		t.Errorf("the record is %+v, want a refusal for %s", last, reason)
	}
	return last
}

// TestNoScopes: a client without scopes gets a token without the claim, because
// a scope of no tokens does not exist (RFC 6749 section 3.3).
func TestNoScopes(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	c := h.client(clients.NewClient{Realm: "oauth2", ID: "bare"})
	a := h.good("oauth2")
	a.form.Set("client_id", "bare")
	a.form.Set("client_secret", c.ClientSecret.Reveal())
	got := h.do("oauth2", a)
	token := tokenIn(t, got)
	if strings.Contains(got.body, "scope") || strings.Contains(part(t, token, 1), "scope") {
		t.Errorf("a scope in %s or %s", got.body, part(t, token, 1))
	}
}

// TestRefusalIsNoFailure: what a caller does wrong is recorded and not logged.
func TestRefusalIsNoFailure(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	a := h.good("oauth2")
	a.credentials("good", "guess-of-a-secret")
	if got := h.do("oauth2", a); got.status != http.StatusUnauthorized {
		t.Errorf("got %d", got.status)
	}
	h.wantRefused(t, counterfoil.ReasonWrongSecret)
	if log := h.log.String(); strings.Contains(log, "ERROR") {
		t.Errorf("logged %s", log)
	}
}
