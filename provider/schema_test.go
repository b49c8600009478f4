package provider_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(provider.Schema()))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", whole); err != nil {
		return nil, err
	}
	return c.Compile("schema.json")
})

// bySchema is what an editor says of a description.
func bySchema(t testing.TB, text []byte) error {
	t.Helper()
	s, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(inJSON)))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestSchemaTakesTheCatalog(t *testing.T) {
	for _, name := range provider.Names() {
		if err := bySchema(t, builtin(t, name).Source().Text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"small": small, "least": least, "two lines": "extends: ./base.yaml\nname: acme\n"} {
		if err := bySchema(t, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an editor can know to be wrong it marks, and so does the check.
func TestSchemaRefuses(t *testing.T) {
	for _, row := range []struct{ name, from, to string }{
		{"unknown key", "  path: /auth/v2/token", "  pth: /auth/v2/token"},
		{"unknown key in a list", "    kind: rest", "    kind: rest\n    colour: red"},
		{"key without a value", "    path: /v2", "    path:"},
		{"word outside its list", "kind: rest", "kind: soap"},
		{"no name", "name: acme\n", ""},
		{"name in capitals", "name: acme\n", "name: Acme\n"},
		{"no status", "{status: 418}", "{body: x}"},
		{"status of success", "status: 418", "status: 200"},
		{"status that is text", "status: 418", "status: teapot"},
		{"unknown reason", "token_missing:", "token_mising:"},
		{"reason of the other end", "invalid_client:", "tenant_denied:"},
		{"number where text belongs", "body: no}", "body: 12}"},
		{"list where text belongs", "path: /v2", "path: [a]"},
		{"text where a list belongs", "scopes: [orders]", "scopes: orders"},
		{"stranger to extend", "extends: oauth2", "extends: okta"},
		{"nothing to extend", "extends: oauth2\n", ""},
		{"plain HTTP", "  path: /auth/v2/token", "  path: /t\n  url: http://example.com/t"},
		{"header of neither kind", "{name: X-Token, from: token}", "{name: X-Token}"},
		{"header of both kinds", "{name: X-Token, from: token}", "{name: X-Token, from: token, value: x}"},
		{"header name with a space", "name: X-Token", "name: X Token"},
		{"header value of two lines", "{status: 418}", `{status: 418, headers: {X-A: "b\r\nSet-Cookie: c=d"}}`},
		{"length of time in words", "  path: /auth/v2/token", "  path: /t\n  lifetime: 1 hour"},
		{"length of time without a unit", "  path: /auth/v2/token", "  path: /t\n  lifetime: 3600"},
		{"path without a slash", "    path: /v2\n", "    path: v2\n"},
		{"method that is a command", "    path: /v2\n", "    path: /v2\n    example: {method: 'GET;id', path: /}\n"},
		{"setting that a shell acts upon", "apis:\n", "variables: [{name: PROMPT_COMMAND, value: id}]\napis:\n"},
		{"limit that is negative", "    path: /v2\n", "    path: /v2\n    requests_per_minute: -1\n"},
		{"limit of more", "  path: /auth/v2/token", "  path: /t\n  limits: {scope: 1048577}"},
		{"share of more", "  path: /auth/v2/token", "  path: /t\n  reuse_percent: 91"},
		{"no method", "  path: /auth/v2/token", "  path: /t\n  client_authentication: []"},
		{"safe call with a query", "    path: /v2\n", "    path: /v2\n    safe_calls: [{method: POST, path: '/a?b=c'}]\n"},
		{"claim of a share", "apis:\n", "access_token: {claims: [{name: a, value: 1.5}]}\napis:\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !strings.Contains(small, row.from) {
				t.Fatalf("the row replaces %q, which is not in the description", row.from)
			}
			text := []byte(strings.Replace(small, row.from, row.to, 1))
			if bySchema(t, text) == nil {
				t.Error("the schema takes it")
			}
			if _, err := provider.Parse("acme.yaml", text); err == nil {
				t.Error("the check takes it")
			}
		})
	}
}

// A mark in an editor where the check finds nothing is a lie.
func FuzzSchemaIsNotStricter(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(least))
	for _, name := range provider.Names() {
		f.Add(builtinText(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := provider.Parse("f.yaml", text); err == nil && !strings.Contains(string(text), "-0") {
			if err := bySchema(t, text); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		}
	})
}

func builtinText(t testing.TB, name string) []byte {
	p, err := provider.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p.Source().Text
}

// least is a description that extends nothing, with what is required and one
// element in each list.
const least = `name: acme
scopes:
  - {name: orders, description: Read orders}
token_endpoint:
  path: /token
  client_authentication: [client_secret_basic]
  headers:
    - {name: X-Key, from: api_key}
  lifetime: 1h
  response:
    token_type: Bearer
    fields: [access_token, token_type]
    headers: {Cache-Control: no-store}
  errors:
    invalid_request: {status: 400}
    invalid_client: {status: 400}
    unsupported_grant_type: {status: 400}
    invalid_scope: {status: 400}
    rate_limited: {status: 400}
    server_error: {status: 400}
    unavailable: {status: 400}
    api_key_invalid: {status: 400}
access_token:
  signing_algorithm: RS256
  header: [alg, kid]
  claims:
    - {name: iss, from: issuer}
    - {name: sub, from: client_id}
    - {name: exp, from: expires_at}
    - {name: iat, from: issued_at}
    - {name: scope, from: scope}
apis:
  - name: orders
    kind: rest
    path: /orders
    safe_calls:
      - {method: POST, path: /search}
    headers:
      - {name: Authorization, from: token}
    refusals:
      token_missing: {status: 400}
      token_invalid: {status: 400}
      scope_insufficient: {status: 400}
      unavailable: {status: 400}
  - name: graph
    kind: graphql
    path: /graph
    headers:
      - {name: Authorization, from: token}
    refusals:
      token_missing: {status: 400}
      token_invalid: {status: 400}
      scope_insufficient: {status: 400}
      unavailable: {status: 400}
variables:
  - {name: ACME_ID, from: client_id}
`

// reference is docs/provider.md and the description whose fields it is held to.
type reference struct {
	t        *testing.T
	sections map[string]string
	whole    *provider.Provider
	seen     map[string]bool
}

// headings are those under which a type's fields stand.
var headings = map[string]string{
	"Provider": "The description", "Scope": "scopes", "TokenEndpoint": "token_endpoint", "ScopeParameter": "scope", "Limits": "limits",
	"Response": "response", "AccessToken": "access_token", "Claim": "claims", "API": "apis", "SafeCall": "safe_calls", "Call": "calls",
	"Header": "headers", "Refusal": "refusals", "Variable": "variables",
}

// The page names each field once, in the order of the code, with the words, units
// and bounds that may stand there, and with what holds where it is left out.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../docs/provider.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{t: t, sections: map[string]string{}, seen: map[string]bool{}}
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(string(page), -1)[1:] {
		title, text, _ := strings.Cut(part, "\n")
		r.sections[title] = text
	}
	if r.whole, err = provider.Parse("least.yaml", []byte(least)); err != nil {
		t.Fatal(err)
	}
	r.structure(reflect.ValueOf(*r.whole), nil)
	for name, heading := range headings {
		if !r.seen[name] {
			t.Errorf("the page has a section %q for the type %s, which no description holds", heading, name)
		}
	}
	if tables := strings.Count(string(page), "| field | value | default | meaning |"); tables != len(headings) {
		t.Errorf("the page has %d tables for %d types", tables, len(headings))
	}
	r.reasons("token_endpoint", "properties", "token_endpoint", "properties", "errors", "properties")
	r.reasons("apis", "definitions", "API", "properties", "refusals", "properties")
	for _, said := range []string{"# yaml-language-server: $schema=provider.schema.json", "counterfoil provider schema > provider.schema.json", fmt.Sprintf("at most %d KiB", provider.MaxSize>>10)} {
		if !strings.Contains(string(page), said) {
			t.Errorf("the page does not say %q", said)
		}
	}
}

var row = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.*?) \\| (.*?) \\| (.*) \\|$")

// structure compares the table of a struct's type with the struct at the way of the
// description.
func (r *reference) structure(v reflect.Value, way []any) {
	t := v.Type()
	r.seen[t.Name()] = true
	rows := row.FindAllStringSubmatch(r.sections[headings[t.Name()]], -1)
	var keys, named []string
	for _, f := range reflect.VisibleFields(t) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" {
			keys = append(keys, key)
		}
	}
	for _, row := range rows {
		named = append(named, row[1])
	}
	if !slices.Equal(keys, named) {
		r.t.Errorf("%s: the page names %v, the code has %v", t.Name(), named, keys)
		return
	}
	for _, f := range reflect.VisibleFields(t) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" {
			row := rows[slices.Index(keys, key)]
			way := append(slices.Clone(way), key)
			r.values(f.Type, row[2], way)
			r.fallback(v, f, row[3], way)
			r.below(v.FieldByIndex(f.Index), way)
		}
	}
}

// below goes on with what a field holds.
func (r *reference) below(v reflect.Value, way []any) {
	switch {
	case v.Kind() == reflect.Struct:
		r.structure(v, way)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		if v.Len() == 0 {
			r.t.Fatalf("%v is empty: nothing to hold the page to", way)
		}
		r.structure(v.Index(0), append(way, 0))
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.Struct:
		reason := slices.MinFunc(v.MapKeys(), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		r.structure(v.MapIndex(reason), append(way, reason.String()))
	}
}

var code = regexp.MustCompile("`([^`]+)`")

// values holds the value column to a field's type and bounds.
func (r *reference) values(t reflect.Type, cell string, way []any) {
	var said []string
	for _, found := range code.FindAllStringSubmatch(cell, -1) {
		said = append(said, found[1])
	}
	kind := t
	if kind.Kind() == reflect.Slice {
		kind = kind.Elem()
	}
	worded, hasWords := reflect.Zero(kind).Interface().(interface{ Words() []string })
	bounds := regexp.MustCompile(`(\d+) to (\d+)`).FindStringSubmatch(cell)
	switch {
	case hasWords:
		if !slices.Equal(said, worded.Words()) {
			r.t.Errorf("%v: the page says %v, the code %v", way, said, worded.Words())
		}
	case t == reflect.TypeFor[time.Duration]():
		longest, err := time.ParseDuration(said[len(said)-1])
		if err != nil || !strings.Contains(cell, "length of time") {
			r.t.Errorf("%v: %q tells no bound", way, cell)
		}
		r.takes(way, longest.String(), true)
		r.takes(way, (longest + time.Second).String(), false)
	case t.Kind() == reflect.Int:
		if bounds == nil || !regexp.MustCompile(`bytes|percent|calls|status`).MatchString(cell) {
			r.t.Errorf("%v: %q tells no bound or no unit", way, cell)
			return
		}
		least, _ := strconv.Atoi(bounds[1])
		most, _ := strconv.Atoi(bounds[2])
		r.takes(way, least, true)
		r.takes(way, most, true)
		r.takes(way, most+1, false)
		r.takes(way, -1, false)
	case t.Kind() == reflect.Bool:
		if !slices.Equal(said, []string{"true", "false"}) {
			r.t.Errorf("%v: the page says %v", way, said)
		}
	}
	if list := t.Kind() == reflect.Slice; list != strings.HasPrefix(cell, "list of ") {
		r.t.Errorf("%v: the page says %q of a %s", way, cell, t)
	}
}

// fallback holds the default column to what a description has that leaves the field
// out.
func (r *reference) fallback(v reflect.Value, f reflect.StructField, cell string, way []any) {
	given := r.given(way)
	switch {
	case cell == "required":
		if !given {
			r.t.Errorf("%v is required and can be left out", way)
		} else {
			r.takes(way, nil, false)
		}
		return
	case given:
		if f.Tag.Get("check") == "required" || !strings.Contains(f.Tag.Get("yaml"), "omitempty") {
			r.t.Errorf("%v: the page says %q of what is required", way, cell)
		}
		return
	case cell == "see there":
		return
	}
	got := v.FieldByIndex(f.Index)
	if f.Name == "SafeDocuments" {
		got = reflect.ValueOf(r.whole.APIs[1].SafeDocuments) // of the GraphQL API
	}
	want := ""
	name := code.FindStringSubmatch(cell)
	switch {
	case cell == "none":
		if !got.IsZero() {
			r.t.Errorf("%v: the page says none, the code %v", way, got)
		}
		return
	case strings.HasPrefix(cell, "as the description's"):
		want = r.whole.Title
	case strings.HasPrefix(cell, "as `"):
		for _, other := range reflect.VisibleFields(v.Type()) {
			if key, _, _ := strings.Cut(other.Tag.Get("yaml"), ","); key == name[1] {
				want = fmt.Sprint(v.FieldByIndex(other.Index))
			}
		}
	case name != nil:
		want = name[1]
	}
	if got := strings.Trim(fmt.Sprint(got), "[]"); got != strings.Trim(want, "[]") {
		r.t.Errorf("%v: the page says %q, the code has %q", way, cell, got)
	}
}

// given reports whether least has a value at the way.
func (r *reference) given(way []any) bool {
	_, ok := r.at(r.document(), way[:len(way)-1])[way[len(way)-1].(string)]
	return ok
}

func (r *reference) document() map[string]any {
	var whole map[string]any
	if err := yaml.Unmarshal([]byte(least), &whole); err != nil {
		r.t.Fatal(err)
	}
	return whole
}

// at returns the mapping at the way, and makes it if it is missing.
func (r *reference) at(whole map[string]any, way []any) map[string]any {
	var here any = whole
	for _, step := range way {
		switch step := step.(type) {
		case int:
			here = here.([]any)[step]
		case string:
			m := here.(map[string]any)
			if m[step] == nil {
				m[step] = map[string]any{}
			}
			here = m[step]
		}
	}
	return here.(map[string]any)
}

// takes sets a value in least, or leaves it out, and looks at what the check and,
// where they are to refuse, the schema say.
func (r *reference) takes(way []any, value any, want bool) {
	whole := r.document()
	last := way[len(way)-1].(string)
	m := r.at(whole, way[:len(way)-1])
	if m[last] = value; value == nil {
		delete(m, last)
	}
	text, err := json.MarshalIndent(whole, "", " ")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := provider.Parse("least.yaml", text); (err == nil) != want {
		r.t.Errorf("%v: %v: got %v, want taken: %v", way, value, err, want)
	}
	_, number := value.(int)
	if err := bySchema(r.t, text); (err == nil) != want && (want || value == nil || number) {
		r.t.Errorf("%v: %v: the schema says %v, want taken: %v", way, value, err, want)
	}
}

// reasons compares those that a section names with those of the schema.
func (r *reference) reasons(section string, way ...any) {
	var schema map[string]any
	if err := json.Unmarshal([]byte(provider.Schema()), &schema); err != nil {
		r.t.Fatal(err)
	}
	known := r.at(schema, way)
	text := regexp.MustCompile(`(?ms)^Reasons in .*?\n\n- .*?\n\n`).FindString(r.sections[section] + "\n\n")
	like := map[string]string{}
	for _, group := range regexp.MustCompile("(?m)^- like `(\\w+)`: ((?:.*\\n)(?:  .*\\n)*)").FindAllStringSubmatch(text, -1) {
		for _, found := range code.FindAllStringSubmatch(group[2], -1) {
			like[found[1]] = group[1]
		}
	}
	named := map[string]bool{}
	for _, found := range code.FindAllStringSubmatch(text, -1) {
		named[found[1]] = true
	}
	for reason := range known {
		if !named[reason] {
			r.t.Errorf("the page does not name the reason %s under %s", reason, section)
		}
		if parent := string(counterfoil.Reason(reason).Parent()); like[reason] != parent {
			r.t.Errorf("the page says that %s under %s is like %q, which is %q", reason, section, like[reason], parent)
		}
	}
	for word := range named {
		if _, ok := known[word]; !ok && !slices.Contains([]string{"errors", "refusals", "api_key", "tenant"}, word) {
			r.t.Errorf("the page names %s under %s, which is no reason there", word, section)
		}
	}
	if len(known) < 20 {
		r.t.Errorf("the schema has %d reasons under %s", len(known), section)
	}
}
