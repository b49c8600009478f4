package client_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// ownAPIs are descriptions that say more, or less, than those of the catalog.
const (
	ownREST = "    kind: rest\n    safe_calls:\n      - {method: POST, path: '/orders/{id}/search'}\n      - {method: REPORT, path: /}\n"
	ownBare = "    kind: rest\n"
	ownNone = "    kind: graphql\n    safe_documents: none\n"
	ownForm = "    kind: graphql\n    base_path: /\n"
	ownText = `extends: oauth2
name: acme
apis:
  - name: orders
    path: /v2
    headers:
      - {name: Authorization, from: token, scheme: Bearer}
      - {name: Content-Type, value: %s, presence: optional}
    refusals:
      token_missing: {status: 401}
      token_invalid: {status: 401}
      scope_insufficient: {status: 403}
      header_missing: {status: 400}
      unavailable: {status: 503}
%s`
)

// described is the configuration of a catalog entry's client, or of one whose API
// is described in part.
func (w *world) described(what, mediaType string) client.Config {
	if !strings.Contains(what, "\n") {
		return w.config(what)
	}
	c := w.config("oauth2")
	p, err := provider.Parse("acme.yaml", fmt.Appendf(nil, ownText, mediaType, what))
	if err != nil {
		w.t.Fatal(err)
	}
	c.Provider, c.APIURL = p, w.api.URL+"/v2"
	if what == ownForm {
		c.APIURL = w.api.URL
	}
	return c
}

// aQuery is a GraphQL request that only reads.
const aQuery = `{"query":"query Q($n: Int = 1) { events(page: $n) { ...F } } fragment F on Event { id }","operationName":"Q","variables":{"n":2},"extensions":null}`

// The guide of engagifii repeats POST /event/list, and a GraphQL query changes
// nothing: both were given up at the first 503. What is not certain is sent once.
func TestSafeCallsAreRetried(t *testing.T) {
	const list, json = "/api/1.0/event/list", "application/json"
	mutation := func(document string) string { return fmt.Sprintf(`{"query":%q}`, document) }
	for _, row := range []struct {
		name, api, method, url string
		headers                string // "Name: value|Name: value"
		body                   string
		again                  bool
	}{
		{"the list of events", "engagifii", "POST", list, "", `{"PageNumber":1}`, true},
		{"with a slash and a query", "engagifii", "POST", list + "/?x=1", "", "{}", true},
		{"without a body", "engagifii", "POST", list, "", "", true},
		{"a path below", "engagifii", "POST", list + "/x", "", "{}", false},
		{"a path above", "engagifii", "POST", "/api/1.0/event", "", "{}", false},
		{"a path that is encoded", "engagifii", "POST", "/api/1.0/event%2Flist", "", "{}", false},
		{"a path that leads elsewhere", "engagifii", "POST", list + "/../x", "", "{}", false},
		{"another method", "engagifii", "PATCH", list, "", "{}", false},
		{"a method that overrides", "engagifii", "POST", list, "X-HTTP-Method-Override: DELETE", "{}", false},
		{"a GraphQL query where there is none", "engagifii", "POST", "/graphql", "", aQuery, false},
		{"any one segment", ownREST, "POST", "/v2/orders/o%201/search", "", "x", true},
		{"no segment", ownREST, "POST", "/v2/orders//search", "", "x", false},
		{"two segments", ownREST, "POST", "/v2/orders/a/b/search", "", "x", false},
		{"two segments, encoded", ownREST, "POST", "/v2/orders/a%2Fb/search", "", "x", false},
		{"a segment that climbs", ownREST, "POST", "/v2/orders/../search", "", "x", false},
		{"a segment that climbs, encoded", ownREST, "POST", "/v2/orders/%2e%2e/search", "", "x", false},
		{"a safe method of its own", ownREST, "REPORT", "/v2", "", "x", true},
		{"a description that names none", ownBare, "POST", "/v2/orders/a/search", "", "x", false},

		{"a query", "ahotu", "POST", "/graphql", "", aQuery, true},
		{"a query in short", "ahotu", "POST", "/graphql", "Content-Type: application/json; charset=UTF-8", `{"query":"{ a }"}`, true},
		{"a query at the explorer", "altrata", "POST", "/v1/graphiql/", "", aQuery, true},
		{"a query, with the last slash", "altrata", "POST", "/v1/graphql/", "", aQuery, true},
		{"a query at another path", "altrata", "POST", "/v1/other", "", aQuery, false},
		{"a query below a base path", ownForm, "POST", "/v2", "", aQuery, true},
		{"a query at the base path", ownForm, "POST", "/", "", aQuery, false},
		{"a query where none is safe", ownNone, "POST", "/v2", "", aQuery, false},
		{"several queries", "ahotu", "POST", "/graphql", "", `{"query":"query A { a } query B { b }","operationName":"B"}`, true},
		{"words in strings, comments and names", "ahotu", "POST", "/graphql", "", mutation("# mutation {\n{ mutation(a: \"} mutation { b }\", b: \"\"\"\\\"\"\" subscription {\"\"\") { subscription } }"), true},
		{"a batch of queries", "ahotu", "POST", "/graphql", "", " [" + aQuery + ",\n" + aQuery + "]", true},
		{"extensions of nothing", "ahotu", "POST", "/graphql", "", `{"query":"{ a }","extensions":{}}`, true},

		{"a mutation", "ahotu", "POST", "/graphql", "", mutation("mutation { pay }"), false},
		{"a mutation with a key", "ahotu", "POST", "/graphql", "Idempotency-Key: 1", mutation("mutation { pay }"), true},
		{"a mutation behind a query", "ahotu", "POST", "/graphql", "", `{"query":"query A { a } mutation B { pay }","operationName":"A"}`, false},
		{"a mutation behind a comment that CR ends", "ahotu", "POST", "/graphql", "", mutation("{ a } # \rmutation { pay }"), false},
		{"a mutation behind a comment that an older draft ends", "ahotu", "POST", "/graphql", "", mutation("{ a } # \u2028mutation { pay }"), false},
		{"a mutation behind a block string", "ahotu", "POST", "/graphql", "", mutation("{ a(b: \"\"\"\\\"\"\"\"\"\") } mutation { pay }"), false},
		{"a mutation behind a fragment", "ahotu", "POST", "/graphql", "", mutation("fragment F on Q { a } mutation { ...F }"), false},
		{"a mutation behind a byte order mark", "ahotu", "POST", "/graphql", "", mutation("\ufeff mutation { pay }"), false},
		{"a mutation in a batch", "ahotu", "POST", "/graphql", "", "[" + aQuery + "," + mutation("mutation { pay }") + "]", false},
		{"a mutation as a member of an escaped name", "ahotu", "POST", "/graphql", "", `{"query":"{ a }","\u0071uery":"mutation { pay }"}`, false},
		{"a mutation before a member of its name", "ahotu", "POST", "/graphql", "", `{"query":"mutation { pay }","query":"{ a }"}`, false},
		{"a mutation behind 1 MiB of nothing", "ahotu", "POST", "/graphql", "", aQuery + strings.Repeat(" ", 1<<20) + mutation("mutation { pay }"), false},
		{"a member in another case", "ahotu", "POST", "/graphql", "", `{"query":"{ a }","Query":"mutation { pay }"}`, false},
		{"a mutation in the URL", "ahotu", "POST", "/graphql?query=mutation%7Bpay%7D", "", aQuery, false},
		{"a subscription", "ahotu", "POST", "/graphql", "", mutation("subscription { a }"), false},
		{"a subscription behind a query", "ahotu", "POST", "/graphql", "", mutation("query A { a } subscription B { b }"), false},
		{"a persisted query", "ahotu", "POST", "/graphql", "", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}`, false},
		{"a persisted query beside another", "ahotu", "POST", "/graphql", "", `{"query":"{ a }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}`, false},
		{"a document by its id", "ahotu", "POST", "/graphql", "", `{"documentId":"ab","query":"{ a }"}`, false},
		{"no document", "ahotu", "POST", "/graphql", "", `{"query":""}`, false},
		{"a null document", "ahotu", "POST", "/graphql", "", `{"query":null}`, false},
		{"fragments alone", "ahotu", "POST", "/graphql", "", mutation("fragment F on Q { a }"), false},
		{"a schema", "ahotu", "POST", "/graphql", "", mutation("{ a } type T { a: Int }"), false},
		{"a document that is broken", "ahotu", "POST", "/graphql", "", mutation("{ a "), false},
		{"an empty batch", "ahotu", "POST", "/graphql", "", "[]", false},
		{"a batch in a batch", "ahotu", "POST", "/graphql", "", "[[" + aQuery + "]]", false},
		{"text behind the object", "ahotu", "POST", "/graphql", "", aQuery + aQuery, false},
		{"no UTF-8", "ahotu", "POST", "/graphql", "", "{\"query\":\"{ a(b: \\\"\xff\\\") }\"}", false},
		{"no body", "ahotu", "POST", "/graphql", "", "", false},
		{"no JSON", "ahotu", "POST", "/graphql", "Content-Type: application/graphql", "{ a }", false},
		{"a form", "ahotu", "POST", "/graphql", "Content-Type: application/x-www-form-urlencoded", `{"query":"{ a }","variables":{"x":"&query=mutation{pay}&"}}`, false},
		{"another charset", "ahotu", "POST", "/graphql", "Content-Type: application/json; charset=utf-16", aQuery, false},
		{"two media types", "ahotu", "POST", "/graphql", "Content-Type: application/json|Content-Type: text/plain", aQuery, false},
		{"a body that is compressed", "ahotu", "POST", "/graphql", "Content-Encoding: gzip", aQuery, false},
		{"a deep document", "ahotu", "POST", "/graphql", "", mutation(strings.Repeat("{a", 300_000)), false},
		{"a body of 1 MiB", "ahotu", "POST", "/graphql", "", aQuery + strings.Repeat(" ", 1<<20-len(aQuery)), true},
		{"a body of more than 1 MiB", "ahotu", "POST", "/graphql", "", aQuery + strings.Repeat(" ", 1<<20-len(aQuery)+1), false},
		{"a long query", "ahotu", "POST", "/graphql", "", `{"query":"{ a }","variables":{"x":"` + strings.Repeat("x", 1<<19) + `"}}`, true},

		{"GET of a query", "ahotu", "GET", "/graphql?query=%7Ba%7D", "", "", true},
		{"GET of a mutation", "ahotu", "GET", "/graphql?query=mutation%7Bpay%7D", "", "", false},
		{"GET of two documents", "ahotu", "GET", "/graphql?query=%7Ba%7D&query=mutation%7Bpay%7D", "", "", false},
		{"GET of what is no query", "ahotu", "GET", "/graphql?query=%zz", "", "", false},
		{"GET without a document", "ahotu", "GET", "/graphql", "", "", true},
		{"GET of another path", "ahotu", "GET", "/other?query=mutation%7Bpay%7D", "", "", true},
		{"GET of a query where none is safe", ownNone, "GET", "/v2?query=%7Ba%7D", "", "", false},
		{"GET of a query with all that belongs to it", "ahotu", "GET", "/graphql/?query=%7Ba%7D&operationName=&variables=%7B%7D&extensions=%7B%7D", "", "", true},
		{"GET of a document by its id", "ahotu", "GET", "/graphql?documentId=abc", "", "", false},
		{"GET of a document by its id in the path", "ahotu", "GET", "/graphql/abc", "", "", false},
		{"GET of a persisted query", "ahotu", "GET", `/graphql?extensions=%7B%22persistedQuery%22%3A%7B%7D%7D`, "", "", false},
		{"GET of a query beside a persisted one", "ahotu", "GET", `/graphql?query=%7Ba%7D&extensions=%7B%22persistedQuery%22%3A%7B%7D%7D`, "", "", false},
		{"GET of a query with extensions that are no object", "ahotu", "GET", "/graphql?query=%7Ba%7D&extensions=x", "", "", false},
		{"GET of a query beside another parameter", "ahotu", "GET", "/graphql?query=%7Ba%7D&id=1", "", "", false},
		{"GET of a mutation in another case", "ahotu", "GET", "/graphql?QUERY=mutation%7Bpay%7D", "", "", false},
		{"GET of a mutation under an encoded name", "ahotu", "GET", "/graphql?query=%7Ba%7D&%71uery=mutation%7Bpay%7D", "", "", false},
		{"GET with a mutation as its body", "ahotu", "GET", "/graphql", "", mutation("mutation { pay }"), false},
		{"GET of a query with a mutation as its body", "ahotu", "GET", "/graphql?query=%7Ba%7D", "", mutation("mutation { pay }"), false},
		{"GET of a mutation with a key", "ahotu", "GET", "/graphql?query=mutation%7Bpay%7D", "Idempotency-Key: 1", "", true},
		{"GET of a mutation at the explorer", "altrata", "GET", "/v1/graphiql?query=mutation%7Bpay%7D", "", "", false},
		{"GET of a mutation by another way to the path", "ahotu", "GET", "/x/..//GraphQL?query=mutation%7Bpay%7D", "", "", false},
		{"GET of a mutation by an encoded path", "ahotu", "GET", "/%67raphql?query=mutation%7Bpay%7D", "", "", false},
		{"GET of a mutation with a parameter of the path", "ahotu", "GET", "/graphql;a=b?query=mutation%7Bpay%7D", "", "", false},
		{"HEAD of a mutation", "ahotu", "HEAD", "/graphql?query=mutation%7Bpay%7D", "", "", false},
		{"OPTIONS of a mutation", "ahotu", "OPTIONS", "/graphql?query=mutation%7Bpay%7D", "", "", false},
		{"OPTIONS", "ahotu", "OPTIONS", "/graphql", "", "", true},
		{"PUT of a mutation", "ahotu", "PUT", "/graphql", "", mutation("mutation { pay }"), false},
		{"PUT of a query", "ahotu", "PUT", "/graphql", "", aQuery, false},
		{"DELETE", "ahotu", "DELETE", "/graphql", "", "", false},
		{"PUT with a key", "ahotu", "PUT", "/graphql", "Idempotency-Key: 1", mutation("mutation { pay }"), true},
		{"PUT at another path", "ahotu", "PUT", "/other", "", "x", true},
		{"GET of a query as another method", "ahotu", "GET", "/graphql?query=%7Ba%7D", "X-HTTP-Method-Override: POST", "", false},
		{"GET", ownBare, "GET", "/v2/orders", "", "", true},
		{"PUT of a body that is compressed", ownBare, "PUT", "/v2/orders", "Content-Encoding: gzip", "x", true},
		{"GET as POST", ownBare, "GET", "/v2/orders", "X-HTTP-Method-Override: POST", "", false},
		{"PUT as PATCH", ownBare, "PUT", "/v2/orders", "X-HTTP-Method: PATCH", "x", false},
		{"DELETE as POST", ownBare, "DELETE", "/v2/orders", "X-Method-Override: POST", "", false},
		{"GET as POST, with underscores", ownBare, "GET", "/v2/orders", "X_HTTP_Method_Override: POST", "", false},
		{"GET as POST with a key", ownBare, "GET", "/v2/orders", "X-HTTP-Method-Override: POST|Idempotency-Key: 1", "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onCall = failing(1, 503)
			req, err := http.NewRequestWithContext(w.ctx, row.method, w.api.URL+row.url, strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			for header := range strings.SplitSeq(row.headers, "|") {
				if name, value, ok := strings.Cut(header, ": "); ok {
					req.Header.Add(name, value)
				}
			}
			resp, waits, err := w.patient(w.source(w.described(row.api, json)), req)
			if err != nil {
				t.Fatal(err)
			}
			status, calls := 503, 1
			if row.again {
				status, calls = 200, 2
			}
			equal(t, "status", resp.StatusCode, status)
			if !near(waits, []time.Duration{2 * time.Second}[:calls-1]...) {
				t.Errorf("waited %v for %d calls", waits, calls)
			}
			equal(t, "calls", len(w.calls), calls)
			for i, c := range w.calls {
				equal(t, fmt.Sprint("whole body of call ", i+1), c.body == row.body, true)
			}
		})
	}
}

// The guide's waits, and each way in which a call fails for a while.
func TestSafeCallsAreRetriedAsOthers(t *testing.T) {
	const s = time.Second
	for _, api := range []string{"engagifii", "ahotu", "altrata"} {
		for _, code := range []int{408, 429, 500, 502, 503, 504, 0} {
			t.Run(fmt.Sprint(api, " ", code), func(t *testing.T) {
				w := newWorld(t)
				c := w.config(api)
				url, body := c.APIURL, aQuery
				if api == "engagifii" {
					url, body = c.APIURL+"/api/1.0/event/list", "{}"
				}
				w.onCall = func(rw http.ResponseWriter, r seen, n int) {
					if code == 0 {
						panic(http.ErrAbortHandler)
					}
					rw.WriteHeader(code)
				}
				req, _ := http.NewRequestWithContext(w.ctx, "POST", url, strings.NewReader(body))
				resp, waits, err := w.patient(w.source(c), req)
				if code == 0 != (err != nil) || err == nil && resp.StatusCode != code {
					t.Errorf("got %v, %v", resp, err)
				}
				if !near(waits, 2*s, 4*s, 8*s) {
					t.Errorf("waited %v", waits)
				}
				equal(t, "calls", len(w.calls), 4)
			})
		}
	}
}

// A body is read for what it says however it can be sent again; one that cannot,
// or that does not come, is sent once.
func TestQueriesInBodiesOfAllKinds(t *testing.T) {
	long := fmt.Sprintf(`{"query":"{ a }","variables":{"x":%q}}`, strings.Repeat("x", 1<<20))
	for _, row := range []struct {
		name  string
		body  io.Reader
		calls int
	}{
		{"GetBody", bytes.NewReader([]byte(aQuery)), 2},
		{"Seeker", seeking{strings.NewReader(aQuery)}, 2},
		{"plain reader", &slow{[]byte(aQuery)}, 2},
		{"Seeker of more than 1 MiB", seeking{strings.NewReader(long)}, 1},
		{"plain reader of more than 1 MiB", &slow{[]byte(long)}, 1},
		{"plain reader that fails", io.MultiReader(strings.NewReader(aQuery), &faulty{1}), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onCall = failing(1, 503)
			s := w.source(w.config("ahotu"))
			req, _ := http.NewRequestWithContext(w.ctx, "POST", w.api.URL+"/graphql", row.body)
			_, _, err := w.patient(s, req)
			if (err != nil) != (row.calls == 0) {
				t.Errorf("got %v", err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if n := len(w.calls); n != row.calls && row.calls > 0 || n > 1 && row.calls == 0 {
				t.Errorf("%d calls, want %d", n, row.calls)
			}
			for i, c := range w.calls {
				if row.calls == 2 {
					equal(t, fmt.Sprint("body of call ", i+1), c.body, aQuery)
				}
			}
		})
	}
}

// A query whose body stays away is not waited for: the answer stands.
func TestQueryWhoseBodyHangs(t *testing.T) {
	w := newWorld(t)
	s := w.source(w.config("ahotu"))
	w.must(s)
	hanging, release := io.Pipe()
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		_ = r.Body.Close()
		return &http.Response{StatusCode: 503, Body: io.NopCloser(strings.NewReader("not now"))}, nil
	})
	req, _ := http.NewRequestWithContext(w.ctx, "POST", w.api.URL+"/graphql", struct{ io.Reader }{hanging})
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	var resp *http.Response
	w.eventually("the answer comes", func() bool {
		w.clock.Turn(100 * time.Millisecond)
		select {
		case resp = <-answered:
			return true
		default:
			return false
		}
	})
	equal(t, "answer", fmt.Sprint(resp.StatusCode, " ", text(t, resp)), "503 not now")
	_ = release.Close()
}
