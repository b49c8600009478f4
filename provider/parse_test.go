package provider_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// small is a complete description of a provider that is not in the catalog.
const small = `extends: oauth2
name: acme
scopes:
  - {name: orders, description: Read orders}
token_endpoint:
  path: /auth/v2/token
  errors:
    invalid_client: {status: 403, body: '{"fault":"who are you"}'}
apis:
  - name: orders
    kind: rest
    path: /v2
    headers:
      - {name: X-Token, from: token}
    scopes: [orders]
    refusals:
      token_missing: {status: 418}
      token_invalid: {status: 419, body: no}
      scope_insufficient: {status: 420}
      unavailable: {status: 503}
`

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct {
		name, from, to string
		want           []string // in the error
	}{
		{"unknown field", "  path: /auth/v2/token", "  pth: /auth/v2/token",
			[]string{`acme.yaml:6:3: unknown field "pth" (allowed: path, url, grant_type_in`}},
		{"unknown field in a list", "    kind: rest", "    kind: rest\n    colour: red",
			[]string{`acme.yaml:12:5: unknown field "colour" (allowed: name, title, kind`}},
		{"word that is not on the list", "kind: rest", "kind: soap", []string{`:11:11: kind: "soap" is not understood here (allowed: graphql, rest)`}},
		{"missing name", "name: acme\n", "", []string{`acme.yaml:1:1: the field "name" is missing`}},
		{"missing status", "{status: 418}", "{body: x}", []string{`acme.yaml:17:23: the field "status" is missing`}},
		{"status that is success", "status: 418", "status: 200", []string{`:17:23: the status of a refusal must be from 400 to 599`}},
		{"unknown reason", "token_missing:", "token_mising:", []string{
			`acme.yaml:17:7: unknown reason "token_mising" (allowed: token_missing, token_invalid`, `refusals has no shape for token_missing`}},
		{"reason of the other end", "invalid_client:", "tenant_denied:", []string{`:8:5: unknown reason "tenant_denied" (allowed: invalid_request,`}},
		{"text where a number belongs", "status: 418", "status: teapot", []string{`:17:31: status: "teapot" is not a whole number`}},
		{"number where text belongs", "body: no}", "body: 12}", []string{`body: this must be text: put it into quotes`}},
		{"list where text belongs", "path: /v2", "path: [a]", []string{`:12:11: path: this must be a single value`}},
		{"text where a list belongs", "scopes: [orders]", "scopes: orders", []string{`:15:13: scopes: this must be a list`}},
		{"key without a value", "    path: /v2", "    path:", []string{`:12:5: "path" has no value`}},
		{"extends a stranger", "extends: oauth2", "extends: okta", []string{`acme.yaml:1:1: extends "okta", which is not in the catalog; a file is named as in ./okta.yaml (allowed: a55, ahotu, altrata, cognito, `}},
		{"extends a file from memory", "extends: oauth2", "extends: ./base.yaml", []string{`acme.yaml:1:1: extends "./base.yaml": only a description that is a file itself can extend a file`}},
		{"scope that is not listed", "scopes: [orders]", "scopes: [invoices]", []string{`:15:5: the scope "invoices" is not listed under scopes`}},
		{"path that climbs", "path: /v2", "path: /v2/../admin", []string{`:12:5: "/v2/../admin" must be a plain path`}},
		{"plain HTTP", "  path: /auth/v2/token", "  path: /t\n  url: http://example.com/t", []string{`:7:3: "http://example.com/t" must be an https URL`}},
		{"header with neither source nor value", "{name: X-Token, from: token}", "{name: X-Token}", []string{"give either from or value", "an API must require a header whose source is token"}},
		{"header name with a space", "name: X-Token", "name: X Token", []string{`"X Token" is not a header name`}},
		{"header value that splits the answer", "{status: 418}", `{status: 418, headers: {X-A: "b\r\nSet-Cookie: c=d"}}`, []string{"the value of header X-A must be printable ASCII"}},
		{"duplicate key", "name: acme\n", "name: acme\nname: other\n", []string{"acme.yaml:3:1:"}},
		{"anchor", "scopes: [orders]", "scopes: &s [orders]", []string{"anchors, aliases, tags and merge keys are not understood"}},
		{"not YAML", "name: acme", "name: [acme", []string{"acme.yaml:"}},
		{"invalid lifetime", "  path: /auth/v2/token", "  path: /t\n  lifetime: 1 hour", []string{`:7:13: lifetime: "1 hour" is not a length of time: write for example 30s, 55m or 8h`}},
		{"replace without a token id", "apis:\n", "  policy: replace\naccess_token:\n  claims: [{name: iss, from: issuer}, {name: c, from: client_id}, {name: exp, from: expires_at}, {name: s, from: scope}]\napis:\n",
			[]string{"the policy replace needs a claim whose source is token_id"}},
		{"status list without a type", "extends: oauth2\nname: acme\n", "extends: cognito\nname: acme\naccess_token:\n  claims: [{name: iss, from: issuer}, {name: sub, from: client_id}, {name: exp, from: expires_at}, {name: iat, from: issued_at}, {name: scope, from: scope}, {name: status, from: status}]\n",
			[]string{"a claim whose source is status needs access_token.type"}},
		{"title that is more than a line", "name: acme\n", "name: acme\ntitle: \"a\\nb\"\n", []string{"this must be one line of visible text"}},
		{"method that is a command", "    path: /v2\n", "    path: /v2\n    example: {method: 'GET;id', path: /}\n", []string{`"GET;id" is not an HTTP method`}},
		{"path that is a command", "    path: /v2\n", "    path: /v2\n    example: {path: '/$(id)'}\n", []string{`"/$(id)" is not a path`}},
		{"setting that a shell acts upon", "apis:\n", "variables: [{name: PROMPT_COMMAND, value: id}]\napis:\n", []string{`"PROMPT_COMMAND" is not a name for a setting`}},
		{"negative limit", "    path: /v2\n", "    path: /v2\n    requests_per_minute: -1\n", []string{"requests_per_minute must be from 0"}},
		{"absurd limit", "    path: /v2\n", "    path: /v2\n    requests_per_minute: 900000000000\n", []string{"requests_per_minute must be from 0"}},
		{"API over everything", "    path: /v2\n", "    path: /\n", []string{"would cover the token endpoint"}},
		{"API over the token endpoint", "    path: /v2\n", "    path: /auth\n", []string{"would cover the token endpoint"}},
		{"API over an endpoint of every realm", "    path: /v2\n", "    path: /status-lists/v2\n", []string{"every realm has /.well-known, /introspect, /revoke, /revocations, /status-lists, /leaked of its own"}},
		{"explorer at an endpoint of every realm", "    path: /v2\n", "    path: /v2\n    explorer: /revocations\n", []string{"of its own: choose another path"}},
		{"tokens from an endpoint of every realm", "  path: /auth/v2/token", "  path: /introspect", []string{":6:3: every realm has /.well-known"}},
		{"explorer where the API is", "    path: /v2\n", "    path: /v2\n    explorer: /v2/\n", []string{"the path is that of"}},
		{"cacheable tokens", "  path: /auth/v2/token", "  path: /t\n  response:\n    headers: {Cache-Control: public}", []string{"must set Cache-Control with no-store"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !strings.Contains(small, row.from) {
				t.Fatalf("the row replaces %q, which is not in the description", row.from)
			}
			_, err := provider.Parse("acme.yaml", []byte(strings.Replace(small, row.from, row.to, 1)))
			var problems provider.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want problems", err)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	p, err := provider.Parse("acme.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.TokenEndpoint.Path; got != "/auth/v2/token" {
		t.Errorf("its own path became %q", got)
	}
	if got := p.TokenEndpoint.Refusal(counterfoil.ReasonWrongSecret); got.Status != 403 || got.Body != `{"fault":"who are you"}` {
		t.Errorf("its own refusal became %+v", got)
	}
	if got := p.TokenEndpoint.Refusal(counterfoil.ReasonScopeNotAllowed).Body; got != `{"error":"invalid_scope"}` {
		t.Errorf("the inherited refusal became %q", got)
	}
	if p.AccessToken.SigningAlgorithm != provider.AlgorithmES256 || p.Title != "acme" || p.TokenEndpoint.Limits.Body != 16<<10 {
		t.Errorf("not completed: %+v", p)
	}
	base, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	if base.TokenEndpoint.Path != "/token" || base.TokenEndpoint.Refusal(counterfoil.ReasonInvalidClient).Status != 401 {
		t.Error("extending the catalog entry changed it")
	}
}

func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(file, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := provider.Open(file); err != nil || p.Source().File != file {
		t.Errorf("file: got %v, %v", p, err)
	}
	if p, err := provider.Open("a55"); err != nil || p.Name != "a55" {
		t.Errorf("catalog: got %v, %v", p, err)
	}
	if _, err := provider.Open("a56"); err == nil || !strings.Contains(err.Error(), "choose from a55, ahotu") {
		t.Errorf("unknown name: got %v", err)
	}
	if _, err := provider.Open("./a56.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, []byte("# "+strings.Repeat("x", provider.MaxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Open(big); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("big file: got %v", err)
	}
}

// The client learns from a refusal's shape what it means.
func TestReasonIsTheWayBack(t *testing.T) {
	for _, name := range provider.Names() {
		p, err := provider.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		for reason, shape := range p.TokenEndpoint.Errors {
			if shape.Body == "" {
				continue
			}
			got := p.TokenEndpoint.Reason(shape.Status, []byte(shape.Body+"\n"))
			if back := p.TokenEndpoint.Refusal(got); back.Status != shape.Status || back.Body != shape.Body {
				t.Errorf("%s: %s was recognised as %q, which looks different", name, reason, got)
			}
		}
	}
	a55, _ := provider.Builtin("a55")
	if got := a55.TokenEndpoint.Reason(400, []byte(`{"error":"invalid_client"}`)); got != counterfoil.ReasonInvalidClient {
		t.Errorf("got %q", got)
	}
	if got := a55.TokenEndpoint.Reason(400, []byte(`<html>`)); got != "" {
		t.Errorf("HTML was recognised as %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range provider.Names() {
		p, err := provider.Builtin(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.Source().Text)
	}
	for _, s := range []string{"", "a", "- a", "name: &a [*a]", "extends: oauth2\nname: a", "? a\n: b", "name: a\n---\nname: b", "apis: [[]]", "<<: {a: b}", "token_endpoint: {errors: {a: }}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := provider.Parse("f.yaml", text)
		if (p == nil) == (err == nil) {
			t.Fatalf("got %v and %v", p, err)
		}
		var problems provider.Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0 || strings.Count(err.Error(), "\n") != len(problems)-1) {
			t.Fatalf("the error is not one line for each problem: %q", err)
		}
	})
}
