package provider_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Each rule of a description at its bound: what is right there is taken, and one
// step further is refused with words.
func TestRules(t *testing.T) {
	const (
		path   = "  path: /auth/v2/token\n" // of the token endpoint
		v2     = "    path: /v2\n"          // of the API
		token  = "      - {name: X-Token, from: token}\n"
		shapes = "    refusals:\n"
		first  = "name: acme\n"
		apis   = "apis:\n"
	)
	claims := func(list string) string { return "access_token:\n  claims: [" + list + "]\napis:\n" }
	const right = "{name: iss, from: issuer}, {name: sub, from: client_id}, {name: exp, from: expires_at}, {name: iat, from: issued_at}, {name: scope, from: scope}"
	for _, tt := range []struct{ name, from, to, refused string }{
		{"name of 63 letters", first, "name: " + strings.Repeat("a", 63) + "\n", ""},
		{"name of 64 letters", first, "name: " + strings.Repeat("a", 64) + "\n", "must be lower-case letters"},
		{"title of 200 bytes", first, first + "title: " + strings.Repeat("a", 200) + "\n", ""},
		{"title of 201 bytes", first, first + "title: " + strings.Repeat("a", 201) + "\n", "200 bytes at most"},
		{"limit of 1", path, path + "  limits: {body: 1, client_id: 1, client_secret: 1, scope: 1}\n", ""},
		{"limit of -1", path, path + "  limits: {body: -1}\n", "from 1 to 1048576"},
		{"limit of a megabyte", path, path + "  limits: {client_id: 1048576}\n", ""},
		{"limit of more", path, path + "  limits: {scope: 1048577}\n", "from 1 to 1048576"},
		{"lifetime of a second", path, path + "  lifetime: 1s\n", ""},
		{"lifetime of less", path, path + "  lifetime: 999ms\n", "from 1s to 720h"},
		{"lifetime of none", path, path + "  lifetime: 0s\n", "from 1s to 720h"},
		{"lifetime of 30 days", path, path + "  lifetime: 720h\n", ""},
		{"lifetime of more", path, path + "  lifetime: 720h1s\n", "from 1s to 720h"},
		{"lifetime of half seconds", path, path + "  lifetime: 1500ms\n", "whole seconds"},
		{"share of 1", path, path + "  reuse_percent: 1\n", ""},
		{"share of 0", path, path + "  reuse_percent: 0\n", "reuse_percent cannot be 0: leave it out"},
		{"limit of 0", path, path + "  limits: {client_id: 0}\n", "the limit client_id cannot be 0: leave it out"},
		{"share of -1", path, path + "  reuse_percent: -1\n", "from 1 to 90"},
		{"share of 90", path, path + "  reuse_percent: 90\n", ""},
		{"share of 91", path, path + "  reuse_percent: 91\n", "from 1 to 90"},
		{"resource of 500 bytes", path, path + "  resources: ['https://a/" + strings.Repeat("a", 490) + "']\n", ""},
		{"resource of 501 bytes", path, path + "  resources: ['https://a/" + strings.Repeat("a", 491) + "']\n", "RFC 8707"},
		{"resource twice", path, path + "  resources: ['https://a', 'https://b', 'https://a']\n", "named once"},
		{"resource with a fragment", path, path + "  resources: ['https://a#b']\n", "without a fragment"},
		{"resource that is a path", path, path + "  resources: [/a]\n", "absolute URI"},
		{"token type of none", path, path + "  response: {token_type: ''}\n", "token_type is missing"},
		{"fields without the token", path, path + "  response: {fields: [token_type]}\n", "must include access_token"},
		{"fields without the type", path, path + "  response: {fields: [access_token]}\n", "must include token_type"},
		{"no-store in capitals", path, path + "  response: {headers: {Cache-Control: 'private, NO-STORE'}}\n", ""},
		{"header of all that may be seen", path, path + "  response: {headers: {Cache-Control: no-store, X-A: ' !~'}}\n", ""},
		{"no-store under another name", path, path + "  response: {headers: {Cache-Control: private, Pragma: no-store}}\n", "must set Cache-Control"},
		{"no method", path, path + "  client_authentication: []\n", "client_authentication is missing"},
		{"URL with a fragment", path, path + "  url: https://a/b#c\n", "must be an https URL"},
		{"URL with a user", path, path + "  url: https://u:p@a/b\n", "must be an https URL"},
		{"URL without a host", path, path + "  url: https:///b\n", "must be an https URL"},
		{"URL", path, path + "  url: https://a/b?c=d\n", ""},
		{"issuer", path, path + "  issuer: https://a\n", ""},
		{"issuer without a scheme", path, path + "  issuer: a.example\n", "must be an https URL"},
		{"assertions for the issuer", path, path + "  assertion_audience: issuer\n", ""},
		{"assertions for the token endpoint", path, path + "  assertion_audience: token_url\n", ""},
		{"assertions for another", path, path + "  assertion_audience: https://a\n", "token_url"},
		{"scope that must be and is", path, path + "  scope: {must_include: [orders]}\n", ""},
		{"scope that must be and is not", path, path + "  scope: {must_include: [invoices]}\n", `"invoices" is not listed`},
		{"header from a token at the endpoint", path, path + "  headers: [{name: X-A, from: token}]\n", "is not allowed here"},
		{"API key at the endpoint without a shape", path, path + "  headers: [{name: X-A, from: api_key}]\n", "errors has no shape for api_key_invalid"},
		{"fixed header at the endpoint without a shape", path, path + "  headers: [{name: X-A, value: b}]\n", "errors has no shape for header_missing"},
		{"header of both kinds", path, path + "  headers: [{name: X-A, from: api_key, value: b}]\n", "either from or value"},

		{"claims", apis, claims(right), ""},
		{"claims of not_before", apis, claims(strings.Replace(right, "issued_at", "not_before", 1)), ""},
		{"claims of neither", apis, claims(strings.Replace(right, ", {name: iat, from: issued_at}", "", 1)), "revocation depends on it"},
		{"claims of a scope list", apis, claims(strings.Replace(right, "from: scope}", "from: scope_list}", 1)), ""},
		{"claims without scopes", apis, claims(strings.Replace(right, ", {name: scope, from: scope}", "", 1)), "one whose source is scope or scope_list"},
		{"claims without an issuer", apis, claims(strings.Replace(right, "{name: iss, from: issuer}, ", "", 1)), "one whose source is issuer"},
		{"claims without a client", apis, claims(strings.Replace(right, "{name: sub, from: client_id}, ", "", 1)), "one whose source is client_id"},
		{"claims without an end", apis, claims(strings.Replace(right, "{name: exp, from: expires_at}, ", "", 1)), "one whose source is expires_at"},
		{"claim twice", apis, claims(right + ", {name: a, value: 1}, {name: a, value: 2}"), `a second claim is called "a"`},
		{"claim of neither", apis, claims(right + ", {name: a}"), "either from or value"},
		{"claim of both", apis, claims(right + ", {name: a, from: audience, value: b}"), "either from or value"},
		{"claim of a number", apis, claims(right + ", {name: a, value: 0}"), ""},
		{"claim of no text", apis, claims(right + ", {name: a, value: ''}"), "either from or value"},
		{"status with a type", apis, claims(right + ", {name: status, from: status}"), ""},
		{"type without its member", apis, "access_token:\n  header: [alg, kid]\napis:\n", "go together"},
		{"member without its type", apis, "access_token:\n  type: ''\napis:\n", "go together"},
		{"header without kid", apis, "access_token:\n  header: [alg, typ]\napis:\n", "must include kid"},
		{"header without alg", apis, "access_token:\n  header: [kid, typ]\napis:\n", "must include alg"},
		{"header member twice", apis, "access_token:\n  header: [alg, kid, typ, kid]\napis:\n", "names a member twice"},
		{"replace with a token id", apis, "  policy: replace\napis:\n", ""},

		{"API of another's name", shapes, shapes, ""},
		{"base path that is a beginning", v2, "    path: /v2/x\n    base_path: /v2\n", ""},
		{"base path that is no directory", v2, "    path: /v2/x\n    base_path: /v\n", "path must begin with base_path"},
		{"base path of everything", v2, "    path: /v2/x\n    base_path: /\n", ""},
		{"path without a slash", v2, "    path: v2\n", "must be a plain path"},
		{"path with a slash at the end", v2, "    path: /v2/\n", ""},
		{"path with two", v2, "    path: /v2//x\n", "must be a plain path"},
		{"token that is optional", token, "      - {name: X-Token, from: token, presence: optional}\n", "must require a header whose source is token"},
		{"scheme of what is no token", token, token + "      - {name: X-A, value: b, scheme: Bearer}\n", "belong to a header whose source is token"},
		{"bare of what is no token", token, token + "      - {name: X-A, value: b, bare: true}\n", "belong to a header whose source is token"},
		{"header twice, in another case", token, token + "      - {name: x-token, value: b}\n", "a second header is called"},
		{"fixed header without a shape", token, token + "      - {name: X-A, value: b}\n", "no shape for header_missing"},
		{"fixed header with a shape", token, token + "      - {name: X-A, value: b}\n    X: y\n", "unknown field"},
		{"tenant without a shape", token, token + "      - {name: X-A, from: tenant}\n", "no shape for tenant_missing"},
		{"API key without a shape", token, token + "      - {name: X-A, from: api_key}\n", "no shape for api_key_invalid"},
		{"header value from space", token, token + "      - {name: X-A, value: ' !~'}\n", "no shape for header_missing"},
		{"header value with a tab", token, token + "      - {name: X-A, value: \"a\\tb\"}\n", "must be printable ASCII"},
		{"header value with a deleted character", token, token + "      - {name: X-A, value: \"a\\x7f\"}\n", "must be printable ASCII"},
		{"calls of 100,000", v2, v2 + "    requests_per_minute: 100000\n", ""},
		{"calls of more", v2, v2 + "    requests_per_minute: 100001\n", "requests_per_minute must be"},
		{"safe calls", v2, v2 + "    safe_calls: [{method: POST, path: '/a/{id}/b-_.~%20'}, {method: SEARCH, path: /}]\n", ""},
		{"safe call without a slash", v2, v2 + "    safe_calls: [{method: POST, path: a}]\n", "is not a path: write each segment"},
		{"safe call with a query", v2, v2 + "    safe_calls: [{method: POST, path: '/a?b=c'}]\n", "is not a path: write each segment"},
		{"safe call with half a brace", v2, v2 + "    safe_calls: [{method: POST, path: '/a{id}'}]\n", "is not a path: write each segment"},
		{"safe call of a method in small letters", v2, v2 + "    safe_calls: [{method: post, path: /a}]\n", "is not an HTTP method"},
		{"safe call without a method", v2, v2 + "    safe_calls: [{path: /a}]\n", `the field "method" is missing`},
		{"safe calls of a GraphQL API", "    kind: rest\n" + v2, "    kind: graphql\n" + v2 + "    safe_calls: [{method: POST, path: /}]\n", "belongs to a REST API"},
		{"safe documents of a GraphQL API", "    kind: rest\n" + v2, "    kind: graphql\n" + v2 + "    safe_documents: none\n", ""},
		{"safe documents of a REST API", v2, v2 + "    safe_documents: queries\n", "belongs to a GraphQL API"},
		{"safe documents of another kind", "    kind: rest\n" + v2, "    kind: graphql\n" + v2 + "    safe_documents: mutations\n", "(allowed: queries, none)"},
		{"leeway of 0", v2, v2 + "    leeway: 0s\n", "leeway cannot be 0: leave it out"},
		{"leeway of 10 minutes", v2, v2 + "    leeway: 10m\n", ""},
		{"leeway of more", v2, v2 + "    leeway: 10m1s\n", "leeway must be 10m at most"},
		{"refusal of 400", "status: 418", "status: 400", ""},
		{"refusal of 399", "status: 418", "status: 399", "from 400 to 599"},
		{"refusal of 599", "status: 418", "status: 599", ""},
		{"refusal of 600", "status: 418", "status: 600", "from 400 to 599"},
		{"API beside the token endpoint", v2, "    path: /auth/v2/tokens\n", ""},
		{"API at the token endpoint", v2, "    path: /auth/v2/token\n", "would cover the token endpoint"},
		{"GraphQL API at the token endpoint", "    kind: rest\n" + v2, "    kind: graphql\n    path: /auth/v2/token\n", "the path is that of token_endpoint.path"},
		{"GraphQL API above the token endpoint", "    kind: rest\n" + v2, "    kind: graphql\n    path: /auth\n", ""},
		{"API beside an endpoint of every realm", v2, "    path: /revocations2\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(small, tt.from) {
				t.Fatalf("the row replaces %q, which is not in the description", tt.from)
			}
			text := []byte(strings.Replace(small, tt.from, tt.to, 1))
			_, err := provider.Parse("acme.yaml", text)
			marked := bySchema(t, text)
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused == "" && marked != nil:
				t.Errorf("the schema marks what is right: %v", marked)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("got %v, want %q in it", err, tt.refused)
			}
		})
	}
}

// An API does not demand an audience that no token of the realm has: every call
// would be refused.
func TestAudienceOfAnAPI(t *testing.T) {
	const aud, own, resources = "  audience: [stock, ledger]\n", "  claims: [{name: iss, from: issuer}, {name: sub, from: client_id}, {name: exp, from: expires_at}, " +
		"{name: iat, from: issued_at}, {name: scope, from: scope}]\n", "  resources: ['https://stock.example/']\n"
	for _, tt := range []struct{ name, endpoint, token, audience, refused string }{
		{"one of the tokens' own", "", aud, "ledger", ""},
		{"none of the tokens' own", "", aud, "orders", `no token has the audience "orders": choose from stock, ledger, or add it to access_token.audience`},
		{"a resource", resources, aud, "https://stock.example/", ""},
		{"none of either", resources, aud, "https://issuer.example", "choose from stock, ledger, https://stock.example/, or"},
		{"what may be the issuer", "", "", "https://issuer.example", ""},
		{"what is no issuer", "", "", "stock", "choose from the issuer, or"},
		{"of tokens without an audience", "", own, "stock", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(small, "apis:\n", tt.endpoint+"access_token:\n  type: at+jwt\n"+tt.token+"apis:\n", 1)
			_, err := provider.Parse("acme.yaml", []byte(strings.Replace(text, "    path: /v2\n", "    path: /v2\n    audience: "+tt.audience+"\n", 1)))
			if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("got %v, want %q in it", err, tt.refused)
			}
		})
	}
}

// A second API has a name and a path of its own.
func TestSecondAPI(t *testing.T) {
	_, api, _ := strings.Cut(small, "apis:\n")
	second := func(name, path string) string {
		return small + strings.Replace(strings.Replace(api, "name: orders", "name: "+name, 1), "path: /v2", "path: "+path, 1)
	}
	p := described(t, second("invoices", "/v3"))
	for name, want := range map[string]string{"orders": "/v2", "invoices": "/v3"} {
		if a, ok := p.API(name); !ok || a.Path != want {
			t.Errorf("%s is %+v, %v", name, a, ok)
		}
	}
	for _, name := range []string{"", "payments"} {
		if a, ok := p.API(name); ok || a != nil {
			t.Errorf("%q of two is %+v", name, a)
		}
	}
	if a, ok := described(t, small).API(""); !ok || a.Name != "orders" {
		t.Errorf("the only one is %+v, %v", a, ok)
	}
	for text, want := range map[string]string{
		second("orders", "/v3"):    `a second API is called "orders"`,
		second("invoices", "/v2"):  "the path is that of apis[0].path",
		second("invoices", "/v2/"): "the path is that of apis[0].path",
	} {
		if _, err := provider.Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// What a description leaves out is what its fields say.
func TestDefaults(t *testing.T) {
	p := described(t, small)
	e, a := p.TokenEndpoint, p.APIs[0]
	if e.ReusePercent != 50 || e.Limits != (provider.Limits{Body: 16 << 10, ClientID: 256, ClientSecret: 256, Scope: 1024}) ||
		e.Policy != provider.PolicyIndependent || e.GrantTypeIn != provider.PlaceBody || e.AssertionAudience != provider.AssertionAudienceIssuer || e.Scope.Parameter != provider.PresenceOptional {
		t.Errorf("token endpoint: %+v", e)
	}
	if a.Leeway != 30*time.Second || a.Title != "acme" || a.BasePath != "/v2" || a.Health.Method != "GET" || a.Example != a.Health || a.Headers[0].Presence != provider.PresenceRequired {
		t.Errorf("API: %+v", a)
	}
	p = described(t, strings.NewReplacer("kind: rest", "kind: graphql", "    path: /v2\n", "    path: /v2\n    health: {path: /h}\n    example: {path: /e}\n    leeway: 1s\n",
		"from: token}", "from: token, presence: required}").Replace(small))
	if a := p.APIs[0]; a.Health.Method != "POST" || a.Example != (provider.Call{Method: "POST", Path: "/e"}) || a.Leeway != time.Second {
		t.Errorf("API: %+v", a)
	}
	p = described(t, strings.Replace(small, "    path: /v2\n", "    path: /v2\n    health: {method: HEAD, path: /h}\n", 1))
	if a := p.APIs[0]; a.Health.Method != "HEAD" || a.Example != a.Health {
		t.Errorf("API: %+v", a)
	}
	// The algorithm of a token without a wish is always one of those that guards
	// accept, in the first place unless the list says otherwise.
	for text, want := range map[string]string{
		"": "[ES256]", "signing_algorithm: RS256": "[RS256]", "signing_algorithms: [RS256, PS256]": "[ES256 RS256 PS256]",
		"signing_algorithms: [RS256, ES256]": "[RS256 ES256]", "signing_algorithms: [RS256]": "[ES256 RS256]",
	} {
		if text != "" {
			text = "access_token:\n  " + text + "\n"
		}
		p := described(t, strings.Replace(small, "apis:\n", text+"apis:\n", 1))
		if got := strings.Join(strings.Fields(strings.ReplaceAll(strings.Trim(strings.Join(words(p.AccessToken.SigningAlgorithms), " "), " "), ",", "")), " "); "["+got+"]" != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if p := described(t, strings.Replace(small, "extends: oauth2", "extends: identityserver", 1)); p.AccessToken.SigningAlgorithm != provider.AlgorithmRS256 {
		t.Errorf("it extends one of %s", p.AccessToken.SigningAlgorithm)
	}
}

func words(list []provider.Algorithm) (all []string) {
	for _, a := range list {
		all = append(all, string(a))
	}
	return all
}

// Headers and claims are found by their source.
func TestLookups(t *testing.T) {
	p := builtin(t, "altrata")
	for source, want := range map[provider.HeaderSource]string{provider.HeaderFromToken: "Authorization", provider.HeaderFromAPIKey: "x-api-key", provider.HeaderFromTenant: ""} {
		if h, ok := p.APIs[0].Header(source); !strings.EqualFold(h.Name, want) || ok != (want != "") {
			t.Errorf("%s is %+v, %v", source, h, ok)
		}
		if got := p.Needs(source); got != (want != "") {
			t.Errorf("needs %s: %v", source, got)
		}
	}
	if p.AccessToken.Claim(provider.FromTokenID) != "jti" || p.AccessToken.Claim(provider.FromTenants) != "" {
		t.Errorf("claims %+v", p.AccessToken.Claims)
	}
	keyed := strings.Replace(small, "  errors:\n", "  headers: [{name: X-Key, from: api_key}]\n  errors:\n    api_key_invalid: {status: 403, body: no}\n", 1)
	if p := described(t, keyed); !p.Needs(provider.HeaderFromAPIKey) || p.Needs(provider.HeaderFromTenant) {
		t.Error("a header of the token endpoint is a need, too")
	}
}

// A file of exactly the longest size is read.
func TestLongestDescription(t *testing.T) {
	line := "# " + strings.Repeat("x", 1021) + "\n"
	text := small + strings.Repeat(line, (provider.MaxSize-len(small))/len(line))
	text += "#" + strings.Repeat("x", provider.MaxSize-len(text)-1)
	if p, err := provider.Parse("p.yaml", []byte(text)); err != nil || p.Source().Builtin || len(p.Source().Text) != provider.MaxSize {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	var problems provider.Problems
	if _, err := provider.Parse("p.yaml", []byte(text+"x")); !errors.As(err, &problems) {
		t.Errorf("%d bytes: %v", len(text)+1, err)
	}
	if p := builtin(t, "oauth2"); !p.Source().Builtin || p.Source().File != "catalog/oauth2.yaml" {
		t.Errorf("the catalog's own is from %+v", p.Source())
	}
}

// An override of one claim leaves the others, and the list of the description.
func TestOverrideOfTheFirstClaim(t *testing.T) {
	base := builtin(t, "oauth2")
	first := base.AccessToken.Claims[0]
	d, err := base.Override(provider.Overrides{Claims: []provider.Claim{{Name: first.Name, From: first.From}, {Name: "one", Value: 1}, {Name: "two", Value: 2}}})
	if err != nil || len(d.AccessToken.Claims) != len(base.AccessToken.Claims)+2 || d.AccessToken.Claims[0].Name != first.Name {
		t.Errorf("%+v, %v", d, err)
	}
	if same, err := base.Override(provider.Overrides{Lifetime: time.Minute}); err != nil || &same.AccessToken.Claims[0] != &base.AccessToken.Claims[0] {
		t.Errorf("claims that nobody overrides are copied, %v", err)
	}
	_, err = base.Override(provider.Overrides{Claims: []provider.Claim{{Name: "a", Value: 1}, {Name: "b", Value: 2}, {Name: "b", Value: 3}}})
	var problems provider.Problems
	if !errors.As(err, &problems) || len(problems) < 1 || problems[0].Way[0] != "claims" || problems[0].Way[1] != 2 {
		t.Errorf("%v", err)
	}
	// A mistake that no override makes has no way.
	broken := *base
	broken.Name = "Not A Name"
	if _, err := broken.Override(provider.Overrides{}); !errors.As(err, &problems) || problems[0].Way != nil || problems[0].Error() != problems[0].Message {
		t.Errorf("%v", err)
	}
	broken = *base
	broken.APIs = append(broken.APIs[:0:0], broken.APIs...)
	broken.APIs[0].Scopes = counterfoil.Scopes{"none"}
	if _, err := broken.Override(provider.Overrides{}); !errors.As(err, &problems) || len(problems[0].Way) != 1 || problems[0].Way[0] != "scopes" {
		t.Errorf("%v", err)
	}
}
