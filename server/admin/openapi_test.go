package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/admin"
)

// The document has the handler's routes and scopes, and no others.
func TestDocumentHasTheRoutes(t *testing.T) {
	doc, routes := document(t), admin.Routes()
	seen := map[string]bool{}
	for path, item := range doc.Paths {
		for method, operation := range item {
			route := strings.ToUpper(method) + " " + path
			seen[route] = true
			want, ok := routes[route]
			if !ok {
				t.Errorf("the handler has no %s", route)
				continue
			}
			if len(operation.Security) != 1 || !slices.Equal(operation.Security[0]["oauth2"], want) {
				t.Errorf("%s: the handler asks for %q, the document for %v", route, want, operation.Security)
			}
		}
	}
	for route := range routes {
		if !seen[route] {
			t.Errorf("the document has no %s", route)
		}
	}
	// The scopes are those that a realm of the catalog's description grants.
	own := slices.Sorted(maps.Keys(doc.Components.SecuritySchemes.OAuth2.Flows.ClientCredentials.Scopes))
	granted := slices.Sorted(slices.Values(described(t, "counterfoil").ScopeNames()))
	if !slices.Equal(own, granted) {
		t.Errorf("the document has the scopes %v, the description %v", own, granted)
	}
}

// Every example of the document does what it is an example of. Answers are held
// to the document by the place that serves them.
func TestDocumentExamples(t *testing.T) {
	doc := document(t)
	run := 0
	for path, item := range doc.Paths {
		for method, operation := range item {
			media := slices.Sorted(maps.Keys(operation.RequestBody.Content))
			if len(media) == 0 {
				media = []string{""}
			}
			for _, m := range media {
				example := operation.RequestBody.Content[m].Example
				if m != "" && example == nil {
					continue // told by another media type of the same operation
				}
				run++
				t.Run(method+" "+path+" "+m, func(t *testing.T) {
					body, isText := example.(string)
					if example != nil && !isText {
						text := must(json.Marshal(example))(t)
						body = string(text)
						if err := doc.schema(text, "paths", path, method, "requestBody", "content", m, "schema"); err != nil {
							t.Errorf("the example is not what its schema says: %v", err)
						}
					}
					p := newPlace(t)
					p.have(t, "acme", "billing", "orders:read")
					p.silence(t)
					target, query := path, url.Values{}
					for _, parameter := range operation.Parameters {
						if name, ok := strings.CutPrefix(parameter.Ref, "#/components/parameters/"); ok {
							parameter = doc.Components.Parameters[name]
						}
						switch value := fmt.Sprint(parameter.Example); {
						case parameter.Example == nil:
						case parameter.In == "path":
							target = strings.ReplaceAll(target, "{"+parameter.Name+"}", value)
						case parameter.In == "query":
							query.Set(parameter.Name, value)
						}
					}
					var headers []string
					if m != "" {
						headers = []string{"Content-Type", m}
					}
					got := ask(t, p.serve(t, allScopes), strings.ToUpper(method), target+"?"+query.Encode(), body, headers...)
					if _, ok := operation.Responses[fmt.Sprint(got.status)]; !ok || got.status > 299 {
						t.Errorf("answered %d %s", got.status, got.body)
					}
				})
			}
		}
	}
	if run < len(admin.Routes()) {
		t.Errorf("%d examples of %d operations", run, len(admin.Routes()))
	}
}

// A request provokes each code of the document, and the document has no other.
func TestDocumentCodes(t *testing.T) {
	doc := document(t)
	const billing, keys = "/v1/realms/acme/clients/billing", "/v1/realms/acme/keys"
	json, patch := []string{"Content-Type", jsonBody}, []string{"Content-Type", patchBody, "If-Match", `"9"`}
	rows := map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"malformed_request":      {"GET", "/v1/realms?x=1", "", nil, 400},
		"insufficient_scope":     {"GET", billing, "", nil, 403},
		"exceeds_own":            {"POST", "/v1/realms/ops/clients", `{"resource_server":true}`, json, 403},
		"not_found":              {"GET", "/v1/realms/acme/clients/nobody", "", nil, 404},
		"no_such_secret":         {"PATCH", billing + "/secrets/none", `{"ends":"2026-07-01T12:00:00Z"}`, json, 404},
		"no_such_alert":          {"POST", "/v1/alerts/acknowledge", `{"ids":[9]}`, json, 404},
		"no_such_silence":        {"DELETE", "/v1/silences/9", "", nil, 404},
		"no_such_realm":          {"GET", "/v1/realms/nowhere/clients", "", nil, 404},
		"method_not_allowed":     {"PUT", billing, "", nil, 405},
		"already_exists":         {"POST", "/v1/realms/acme/clients", `{"client_id":"billing"}`, json, 409},
		"conflict":               {"POST", keys, `{}`, json, 409},
		"changed":                {"PATCH", billing, `{"name":"x"}`, patch, 412},
		"request_too_large":      {"POST", "/v1/realms/acme/clients", strings.Repeat(" ", 1<<20+1), json, 413},
		"unsupported_media_type": {"POST", "/v1/realms/acme/clients", "{}", nil, 415},
		"invalid":                {"POST", "/v1/realms/acme/clients", "[]", json, 422},
		"server_error":           {"GET", billing, "", nil, 500},
		"too_many_streams":       {"GET", "/v1/events", "", []string{"Accept", "text/event-stream"}, 503},
	}
	documented := slices.Sorted(slices.Values(doc.Components.Schemas.Problem.Properties.Code.Enum))
	if provoked := slices.Sorted(maps.Keys(rows)); !slices.Equal(documented, provoked) {
		t.Errorf("the document has the codes %v, the test provokes %v", documented, provoked)
	}
	for code, row := range rows {
		t.Run(code, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "acme", "billing", "orders:read")
			ts := p.serve(t, allScopes)
			switch code {
			case "insufficient_scope":
				ts = p.serve(t, nil)
			case "conflict": // with the key that waits to be activated
				for range 2 {
					ask(t, ts, "POST", keys, `{}`, json...)
				}
			case "too_many_streams":
				follow(t, ts, 32)
			case "server_error":
				if err := p.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			got := ask(t, ts, row.method, row.path, row.body, row.headers...)
			if got.status != row.status || !strings.Contains(got.body, `"code":"`+code+`"`) {
				t.Errorf("answered %d %s, want %d", got.status, got.body, row.status)
			}
		})
	}
}

// An answer that is not as the document says is found: the check can fail.
func TestDocumentIsStrict(t *testing.T) {
	doc := document(t)
	place := func() []string {
		return []string{"paths", "/v1/realms", "get", "responses", "200", "content", "application/json", "schema"}
	}
	const realm = `{"name":"a","provider":"b","issuer":"c","token_url":"d","scopes":[],"tenants":[],"api_keys":false,"signing_algorithms":[],"policy":"e","lifetime":"1h"}`
	for text, good := range map[string]bool{
		`{"realms":[` + realm + `]}`:                                                  true,
		`{"realms":[` + strings.Replace(realm, `"name"`, `"nam"`, 1) + `]}`:           false,
		`{"realms":[` + strings.Replace(realm, `"scopes":[]`, `"scopes":1`, 1) + `]}`: false,
		`{"realms":[],"more":1}`:                                                      false,
		`{}`:                                                                          false,
	} {
		if err := doc.schema([]byte(text), place()...); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
