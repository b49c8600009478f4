package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	jsonBody  = "application/json"
	patchBody = "application/merge-patch+json"
)

// What HTTP itself can get wrong has one answer each, and changes nothing.
func TestWrongRequests(t *testing.T) {
	const billing = "/v1/realms/acme/clients/billing"
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		says                     string
	}{
		{"nothing there", "GET", "/v2", "", nil, 404, "nothing at this path"},
		{"slashes at the end", "GET", "/v1/realms//", "", nil, 404, "nothing at this path"},
		{"slashes only", "GET", "//", "", nil, 404, "nothing at this path"},
		{"path that is not clean", "GET", "/v1//realms", "", nil, 404, "nothing at this path"},
		{"path that leads back", "GET", "/v1/x/../realms", "", nil, 404, "nothing at this path"},
		{"client without a name", "DELETE", "/v1/realms/acme/clients/", "", nil, 405, "use GET or POST here"},
		{"client without a name, below it", "POST", "/v1/realms/acme/clients//disable", "", nil, 404, "nothing at this path"},
		{"wrong method", "PUT", billing, "", nil, 405, "use DELETE or GET or PATCH here"},
		{"no content type", "POST", "/v1/realms/acme/clients", "{}", nil, 415, "Content-Type: application/json"},
		{"form", "POST", "/v1/realms/acme/clients", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "Content-Type: application/json"},
		{"other charset", "POST", "/v1/realms/acme/clients", "{}", []string{"Content-Type", "application/json; charset=latin1"}, 415, "UTF-8"},
		{"compressed", "POST", "/v1/realms/acme/clients", "{}", []string{"Content-Type", jsonBody, "Content-Encoding", "gzip"}, 415, "Content-Encoding"},
		{"patch as plain JSON", "PATCH", billing, "{}", []string{"Content-Type", jsonBody}, 415, "merge-patch+json"},
		{"no body", "POST", "/v1/realms/acme/clients", "", []string{"Content-Type", jsonBody}, 400, "not JSON"},
		{"half a body", "POST", "/v1/realms/acme/clients", `{"name":`, []string{"Content-Type", jsonBody}, 400, "not JSON"},
		{"two bodies", "POST", "/v1/realms/acme/clients", `{}{}`, []string{"Content-Type", jsonBody}, 400, "more than one"},
		{"not UTF-8", "POST", "/v1/realms/acme/clients", "{\"name\":\"\xff\"}", []string{"Content-Type", jsonBody}, 400, "not UTF-8"},
		{"a list", "POST", "/v1/realms/acme/clients", `[]`, []string{"Content-Type", jsonBody}, 422, "must be an object"},
		{"null", "POST", "/v1/realms/acme/clients", `null`, []string{"Content-Type", jsonBody}, 422, "must be an object"},
		{"deep", "POST", "/v1/realms/acme/clients", strings.Repeat(`{"tokens":`, 40) + "1" + strings.Repeat("}", 40), []string{"Content-Type", jsonBody}, 400, "nested deeper"},
		{"deep lists", "POST", "/v1/realms/acme/clients", strings.Repeat("[", 17) + strings.Repeat("]", 17), []string{"Content-Type", jsonBody}, 400, "nested deeper than 16"},
		{"lists that are not too deep", "POST", "/v1/realms/acme/clients", strings.Repeat("[", 16) + strings.Repeat("]", 16), []string{"Content-Type", jsonBody}, 422, "must be an object"},
		{"one mistake", "POST", "/v1/realms/acme/clients", `{"a":1}`, []string{"Content-Type", jsonBody}, 422, "the request has a mistake"},
		{"two mistakes", "POST", "/v1/realms/acme/clients", `{"a":1,"b":1}`, []string{"Content-Type", jsonBody}, 422, "the request has 2 mistakes"},
		{"more mistakes than are told", "POST", "/v1/realms/acme/clients", unknownMembers(21), []string{"Content-Type", jsonBody}, 422, "the request has 20 mistakes"},
		{"a member twice", "POST", "/v1/realms/acme/clients", `{"name":"a","n\u0061me":"b"}`, []string{"Content-Type", jsonBody}, 400, "appears twice"},
		{"a member in another case", "POST", "/v1/realms/acme/clients", `{"Name":"a"}`, []string{"Content-Type", jsonBody}, 422, `"pointer":"/Name"`},
		{"an unknown member", "POST", "/v1/realms/acme/clients", `{"tokens":{"a/b":1}}`, []string{"Content-Type", jsonBody}, 422, `"pointer":"/tokens/a~1b"`},
		{"an unknown member with control characters", "POST", "/v1/realms/acme/clients", `{"a\u0000b":1}`, []string{"Content-Type", jsonBody}, 422, `unknown member`},
		{"an unknown member with the longest name that is shown", "POST", "/v1/realms/acme/clients", `{"` + strings.Repeat("a", 40) + `":1}`, []string{"Content-Type", jsonBody}, 422, `"/` + strings.Repeat("a", 40) + `"`},
		{"an unknown member with a longer name", "POST", "/v1/realms/acme/clients", `{"` + strings.Repeat("a", 41) + `":1}`, []string{"Content-Type", jsonBody}, 422, `"/` + strings.Repeat("a", 40) + `…"`},
		{"too large", "POST", "/v1/realms/acme/clients", `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, []string{"Content-Type", jsonBody}, 413, "longer than 1048576"},
		{"an unknown parameter", "GET", "/v1/realms/acme/clients?serach=x", "", nil, 400, `\"serach\" is unknown: allowed are after`},
		{"a parameter where there is none", "GET", "/v1/realms?x=1", "", nil, 400, "no query parameters"},
		{"a parameter twice", "GET", "/v1/realms/acme/clients?limit=1&limit=2", "", nil, 400, "2 times"},
		{"a malformed query", "GET", "/v1/realms/acme/clients?search=%zz", "", nil, 400, "malformed"},
		{"a limit that is no number", "GET", "/v1/realms/acme/clients?limit=many", "", nil, 400, "whole number"},
		{"a negative limit", "GET", "/v1/events?limit=-1", "", nil, 400, "whole number"},
		{"an unknown status", "GET", "/v1/realms/acme/clients?status=ended", "", nil, 400, "enabled, disabled or expired"},
		{"a time that is none", "GET", "/v1/realms/acme/clients?idle_since=90d", "", nil, 400, "idle_since: it must be a time"},
		{"a flag that is none", "POST", "/v1/realms/acme/imports?format=plain&dry_run=1", "x", []string{"Content-Type", "text/csv"}, 400, "true or false"},
		{"If-Match of another kind", "PATCH", billing, "{}", []string{"Content-Type", patchBody, "If-Match", `W/"1"`}, 400, "one ETag"},
		{"If-Match with a list", "PATCH", billing, "{}", []string{"Content-Type", patchBody, "If-Match", `"1", "2"`}, 400, "one ETag"},
		{"If-Match twice", "PATCH", billing, "{}", []string{"Content-Type", patchBody, "If-Match", "*", "If-Match", "*"}, 400, "one ETag"},
		{"If-Match where it has no meaning", "DELETE", billing, "", []string{"If-Match", `"1"`}, 400, "no meaning"},
		{"an old ETag", "PATCH", billing, `{"name":"x"}`, []string{"Content-Type", patchBody, "If-Match", `"9"`}, 412, "another version"},
		{"a negative overlap", "POST", billing + "/secrets", `{"overlap":"-1h"}`, []string{"Content-Type", jsonBody}, 422, "/overlap"},
		{"an overlap that is a number", "POST", billing + "/secrets", `{"overlap":24}`, []string{"Content-Type", jsonBody}, 422, "must be a string"},
		{"an end that is missing", "PATCH", billing + "/secrets/" + secretID, `{}`, []string{"Content-Type", jsonBody}, 422, "/ends"},
		{"the same id again", "POST", "/v1/realms/acme/clients", `{"client_id":"billing"}`, []string{"Content-Type", jsonBody}, 409, "already"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "acme", "billing", "orders:read")
			before := p.last(t)
			got := ask(t, p.serve(t, allScopes), row.method, row.path, row.body, row.headers...)
			if got.status != row.status || !strings.Contains(got.body, row.says) || strings.Count(got.body, "\n") != 1 {
				t.Errorf("%d %s\nwant %d with %q", got.status, got.body, row.status, row.says)
			}
			if got.status == 405 && got.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if p.last(t) != before {
				t.Errorf("recorded %+v", p.last(t))
			}
		})
	}
}

// unknownMembers returns an object with so many.
func unknownMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"x%d":1`, i)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// A change names the version that it is of, any, or none; what comes back has
// the next one.
func TestVersions(t *testing.T) {
	for name, headers := range map[string][]string{
		"none": nil, "any": {"If-Match", "*"}, "the one that there is": {"If-Match", `"1"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "acme", "billing", "orders:read")
			ts := p.serve(t, allScopes)
			const path = "/v1/realms/acme/clients/billing"
			for _, row := range []struct {
				method, body string
				headers      []string
				etag         string
			}{
				{"GET", "", nil, `"1"`},
				{"PATCH", `{"name":"x"}`, append(headers, "Content-Type", patchBody), `"2"`},
				{"GET", "", nil, `"2"`},
			} {
				got := ask(t, ts, row.method, path, row.body, row.headers...)
				if got.status != 200 || got.header.Get("ETag") != row.etag {
					t.Errorf("%s: %d with the ETag %q, want %q: %s", row.method, got.status, got.header.Get("ETag"), row.etag, got.body)
				}
			}
		})
	}
}

// A caller who goes away fills no log; what was cancelled although he is there
// does.
func TestCallerWhoIsGone(t *testing.T) {
	for name, gone := range map[string]bool{"gone": true, "there": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			here, leave := context.WithCancel(t.Context())
			if gone {
				leave()
			}
			defer leave()
			p.local = admin.New(admin.Config{Store: cancelled{p.store}, Realms: func() []server.Realm { return p.realms }, Actor: "root", Clock: p.clock})
			h := p.handler(t)
			ctx := counterfoil.WithPrincipal(here, &counterfoil.Principal{Scopes: allScopes})
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "GET", "/v1/realms/acme/clients/billing", nil))
			if logged := p.log.Len() > 0; rec.Code != 500 || logged == gone {
				t.Errorf("answered %d, the log says %q", rec.Code, p.log.String())
			}
		})
	}
}

// cancelled is a store that reads no client to its end.
type cancelled struct{ store.Store }

func (cancelled) Client(context.Context, string, string) (store.Client, error) {
	return store.Client{}, context.Canceled
}

// A client id may hold any visible character; in a path it is one segment.
func TestClientIDsInPaths(t *testing.T) {
	for _, id := range []string{"a/b", "a//b", "../x", "a/../../../../x", "%2F", "a b", "a+b", "a?b#c", "a&b=c;d", "Grüße", "日本", ".a.", "...", "~!$'()*,:@[]|", `"\`} {
		t.Run(id, func(t *testing.T) {
			bothWays(t, func(t *testing.T, w way) {
				ctx := t.Context()
				made, _, err := w.CreateClient(ctx, "acme", admin.NewClient{ID: id})
				if err != nil || made.ID != id {
					t.Fatalf("made %q, error %v", made.ID, err)
				}
				if c := must(w.Client(ctx, "acme", id))(t); c.ID != id {
					t.Errorf("%q", c.ID)
				}
				if page := must(w.Clients(ctx, store.ClientQuery{Realm: "acme", Search: id}))(t); len(page.Clients) != 1 {
					t.Errorf("search found %d", len(page.Clients))
				}
				if err := errors.Join(w.DisableClient(ctx, "acme", id), w.EndSecret(ctx, "acme", id, made.Secrets[0].ID, day), w.DeleteClient(ctx, "acme", id)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Paths that differ by the last slash are both served.
func TestLastSlash(t *testing.T) {
	p := newPlace(t)
	ts := p.serve(t, allScopes)
	for _, row := range []struct {
		method, path, body, kind string
		status                   int
	}{
		{"GET", "/", "", "", 200},
		{"GET", "/v1/openapi.json/", "", "", 200},
		{"GET", "/v1/realms/", "", "", 200},
		{"POST", "/v1/realms/acme/clients/", `{"client_id":"a/b/"}`, jsonBody, 201},
		{"GET", "/v1/realms/acme/clients/?limit=1", "", "", 200},
		{"GET", "/v1/realms/acme/clients/a%2Fb%2F/", "", "", 200},
		{"GET", "/v1/realms/acme/clients/a%2Fb%2F", "", "", 200},
		{"GET", "/v1/realms/acme/clients/a%2Fb/", "", "", 404},
		{"PATCH", "/v1/realms/acme/clients/a%2Fb%2F/", `{"name":"x"}`, patchBody, 200},
		{"POST", "/v1/realms/acme/clients/a%2Fb%2F/secrets/", `{}`, jsonBody, 201},
		{"POST", "/v1/realms/acme/clients/a%2Fb%2F/disable/", "", "", 204},
		{"DELETE", "/v1/realms/acme/clients/a%2Fb%2F/", "", "", 204},
		{"GET", "/v1/realms/acme/keys/", "", "", 200},
		{"GET", "/v1/events/", "", "", 200},
	} {
		var headers []string
		if row.kind != "" {
			headers = []string{"Content-Type", row.kind}
		}
		if got := ask(t, ts, row.method, row.path, row.body, headers...); got.status != row.status {
			t.Errorf("%s %s: %d, want %d: %s", row.method, row.path, got.status, row.status, got.body)
		}
	}
}

// UTF-8 is UTF-8 under the name that many programs give it.
func TestCharsetOfJSON(t *testing.T) {
	ts := newPlace(t).serve(t, allScopes)
	for _, charset := range []string{"utf-8", "UTF8", `"utf-8"`} {
		if got := ask(t, ts, "POST", "/v1/realms/acme/clients", "{}", "Content-Type", jsonBody+"; charset="+charset); got.status != http.StatusCreated {
			t.Errorf("%s is answered %d %s", charset, got.status, got.body)
		}
	}
}

// Nothing is served without a principal, wherever the handler is mounted.
func TestWithoutGuard(t *testing.T) {
	p := newPlace(t)
	h := p.handler(t)
	for route := range admin.Routes() {
		method, path, _ := strings.Cut(route, " ")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, strings.NewReplacer("{", "", "}", "").Replace(path), nil))
		if rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), `"server_error"`) {
			t.Errorf("%s is answered %d: %s", route, rec.Code, rec.Body)
		}
	}
	if !strings.Contains(p.log.String(), "did not pass a guard") {
		t.Errorf("the log says %s", p.log.String())
	}
}

// Each operation takes its scopes, and no other.
func TestScopes(t *testing.T) {
	p := newPlace(t)
	nobody := p.serve(t, nil)
	for route, scopes := range admin.Routes() {
		t.Run(route, func(t *testing.T) {
			method, path, _ := strings.Cut(route, " ")
			path = strings.NewReplacer("{realm}", "acme", "{client}", "nobody", "{secret}", "x").Replace(path)
			if len(scopes) == 0 {
				if got := ask(t, nobody, method, path, ""); got.status != 200 {
					t.Errorf("without scopes: %d %s", got.status, got.body)
				}
				return
			}
			want := fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(scopes, " "))
			for _, scope := range scopes {
				others := p.serve(t, slices.DeleteFunc(slices.Clone(allScopes), func(s string) bool { return s == scope }))
				if got := ask(t, others, method, path, ""); got.status != 403 || got.header.Get("WWW-Authenticate") != want || !strings.Contains(got.body, scope) {
					t.Errorf("with all scopes but %s: %d %s %s", scope, got.status, got.header.Get("WWW-Authenticate"), got.body)
				}
			}
			if got := ask(t, p.serve(t, scopes), method, path, ""); got.status == 403 {
				t.Errorf("with its scopes: %d %s", got.status, got.body)
			}
		})
	}
	if e := p.last(t); e.Type != counterfoil.EventKeyCreated { // by keys:write
		t.Errorf("recorded %+v", e)
	}
}

// No write tells what the caller may not read: what it answers to a token that may
// write and not read has nothing of the client.
func TestNoWriteReads(t *testing.T) {
	const billing, kind = "/v1/realms/acme/clients/billing", "Content-Type"
	writes := counterfoil.Scopes{"clients:write", "keys:write", "tokens:revoke"}
	answers := map[string]string{}
	for route, scopes := range admin.Routes() {
		if method, _, _ := strings.Cut(route, " "); method != "GET" {
			answers[route] = scopes.String()
		}
	}
	for _, row := range []struct{ route, path, body, media string }{
		{"POST /v1/realms/{realm}/clients", "/v1/realms/acme/clients", `{"client_id":"billing"}`, jsonBody},
		{"PATCH /v1/realms/{realm}/clients/{client}", billing, `{}`, patchBody},
		{"POST /v1/realms/{realm}/clients/{client}/secrets", billing + "/secrets", `{}`, jsonBody},
		{"POST /v1/realms/{realm}/clients/{client}/api-keys", billing + "/api-keys", `{}`, jsonBody},
		{"PATCH /v1/realms/{realm}/clients/{client}/secrets/{secret}", billing + "/secrets/" + secretID, `{"ends":"2026-07-01T13:00:00Z"}`, jsonBody},
		{"DELETE /v1/realms/{realm}/clients/{client}/secrets/{secret}", billing + "/secrets/" + secretID, "", ""},
		{"POST /v1/realms/{realm}/clients/{client}/disable", billing + "/disable", "", ""},
		{"POST /v1/realms/{realm}/clients/{client}/enable", billing + "/enable", "", ""},
		{"POST /v1/realms/{realm}/clients/{client}/revoke", billing + "/revoke", "", ""},
		{"POST /v1/realms/{realm}/imports", "/v1/realms/acme/imports?format=plain&dry_run=true&replace=true", "client_id,name\nbilling,x\n", "text/csv"},
		{"POST /v1/realms/{realm}/keys", "/v1/realms/acme/keys", `{}`, jsonBody},
		{"POST /v1/blocks/lift", "/v1/blocks/lift", `{}`, jsonBody},
		{"POST /v1/alerts/acknowledge", "/v1/alerts/acknowledge", `{"all":true}`, jsonBody},
		{"POST /v1/silences", "/v1/silences", `{"all":true,"for":"1h"}`, jsonBody},
		{"DELETE /v1/silences/{silence}", "/v1/silences/1", "", ""},
		{"DELETE /v1/realms/{realm}/clients/{client}", billing, "", ""},
	} {
		delete(answers, row.route)
		p := newPlace(t)
		p.have(t, "acme", "billing", "orders:read")
		var headers []string
		if row.media != "" {
			headers = []string{kind, row.media}
		}
		got := ask(t, p.serve(t, writes), strings.Fields(row.route)[0], row.path, row.body, headers...)
		for _, told := range []string{"Billing", "orders:read", `"name"`, `"version"`, `"created"`, "signing", `"algorithm"`} {
			if strings.Contains(got.body, told) {
				t.Errorf("%s tells %s: %d %s", row.route, told, got.status, got.body)
			}
		}
		if got.header.Get("ETag") != "" {
			t.Errorf("%s tells the version", row.route)
		}
		if shows := strings.Contains(admin.Routes()[row.route].String(), ":read"); shows != (got.status == 403) {
			t.Errorf("%s is answered %d %s", row.route, got.status, got.body)
		}
	}
	if len(answers) > 0 {
		t.Errorf("nothing was asked of %v", answers)
	}
}

// In the realm of the Admin API, no client extends its own scopes, takes over
// one that is more, or shuts him out.
func TestNobodyRisesAbove(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(t *testing.T, s admin.Service) error
	}{
		{"create one with more", func(t *testing.T, s admin.Service) error {
			n := admin.NewClient{}
			n.Scopes = []string{"clients:write", "keys:write"}
			_, _, err := s.CreateClient(t.Context(), "ops", n)
			return err
		}},
		{"give itself more", func(t *testing.T, s admin.Service) error {
			_, err := s.ChangeClient(t.Context(), "ops", "boss", 0, []byte(`{"scopes":["clients:write","keys:write"]}`))
			return err
		}},
		{"change one that has more", func(t *testing.T, s admin.Service) error {
			_, err := s.ChangeClient(t.Context(), "ops", "chief", 0, []byte(`{"scopes":[],"authentication":{"thumbprints":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}}`))
			return err
		}},
		{"rotate the secret of one that has more", func(t *testing.T, s admin.Service) error {
			_, err := s.RotateSecret(t.Context(), "ops", "chief", clients.Rotation{})
			return err
		}},
		{"rotate its API key", func(t *testing.T, s admin.Service) error {
			_, err := s.RotateAPIKey(t.Context(), "ops", "chief", clients.Rotation{})
			return err
		}},
		{"end its secret", func(t *testing.T, s admin.Service) error {
			return s.EndSecret(t.Context(), "ops", "chief", secretID, day)
		}},
		{"disable it", func(t *testing.T, s admin.Service) error { return s.DisableClient(t.Context(), "ops", "chief") }},
		{"enable it", func(t *testing.T, s admin.Service) error { return s.EnableClient(t.Context(), "ops", "chief") }},
		{"delete it", func(t *testing.T, s admin.Service) error { return s.DeleteClient(t.Context(), "ops", "chief") }},
		{"revoke its tokens", func(t *testing.T, s admin.Service) error { return s.RevokeTokens(t.Context(), "ops", "chief") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "ops", "chief", allScopes...)
			before := p.last(t)
			var problem *admin.Problem
			err := row.do(t, p.remote(t, counterfoil.Scopes{"clients:read", "clients:write", "tokens:revoke"}))
			if !errors.As(err, &problem) || problem.Status != 403 || problem.Code != "insufficient_scope" {
				t.Errorf("error %v", err)
			}
			if p.last(t) != before {
				t.Errorf("recorded %+v", p.last(t))
			}
			// With all of the other's scopes, or at the machine, all is well.
			for _, s := range []admin.Service{p.remote(t, allScopes), p.local} {
				if err := row.do(t, s); err != nil && !errors.As(err, &problem) {
					t.Error(err)
				} else if err != nil && problem.Status == 403 {
					t.Errorf("%T: %v", s, err)
				}
			}
		})
	}
}

// A failure of the database is told to the log, and to the caller not at all.
func TestFailures(t *testing.T) {
	p := newPlace(t)
	ts := p.serve(t, allScopes)
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	got := ask(t, ts, "GET", "/v1/realms/acme/clients", "")
	if got.status != 500 || !strings.Contains(got.body, "see its log") || strings.Contains(got.body, "sql") {
		t.Errorf("%d %s", got.status, got.body)
	}
	ts.Close()
	if !strings.Contains(p.log.String(), "admin request failed") {
		t.Errorf("the log says %s", p.log.String())
	}
	_, err := (&admin.Remote{URL: ts.URL, HTTP: ts.Client()}).Realms(t.Context())
	var problem *admin.Problem
	if err == nil || errors.As(err, &problem) {
		t.Errorf("a server that is gone: %v", err)
	}
}

// What answers may be something else than a Counterfoil.
func TestForeignAnswers(t *testing.T) {
	for _, row := range []struct {
		name, media, body string
		status            int
		says              string
	}{
		{"a web page", "text/html", "<html>", 200, "not that of a Counterfoil server"},
		{"a guard", "application/json", `{"error":"invalid_token"}`, 401, "the Admin API answers 401"},
		{"a problem of someone else", "application/problem+json", `{"title":"x"}`, 503, "the Admin API answers 503"},
		{"nothing", "", "", 204, "not that of a Counterfoil server"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", row.media)
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.body))
			}))
			defer ts.Close()
			_, err := (&admin.Remote{URL: ts.URL, HTTP: ts.Client()}).Realms(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v", err)
			}
		})
	}
}
