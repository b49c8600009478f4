package gqlhttp_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp/internal/probe"
)

func TestHTTP(t *testing.T) {
	srv, _ := start(t)
	const (
		echo = `{"query":"{ echo }"}`
		bad  = `{"query":"{ nothing }"}`
		gr   = "application/graphql-response+json"
	)
	js := []string{"Content-Type", "application/json"}
	get := "?query=" + url.QueryEscape("query($n: Int) { echo(n: $n) }")
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		media, code              string
	}{
		{"post", "POST", "", echo, js, 200, "application/json", ""},
		{"post in the other media type", "POST", "", echo, append(js, "Accept", gr), 200, gr, ""},
		{"prefers the named type when equal", "POST", "", echo, append(js, "Accept", "application/json, "+gr), 200, gr, ""},
		{"prefers the heavier type", "POST", "", echo, append(js, "Accept", "application/json, "+gr+";q=0.5"), 200, "application/json", ""},
		{"wildcard is json", "POST", "", echo, append(js, "Accept", "text/html, */*;q=0.1"), 200, "application/json", ""},
		{"nothing acceptable", "POST", "", echo, append(js, "Accept", "text/html"), 406, "application/json", "NOT_ACCEPTABLE"},
		{"json refused by weight", "POST", "", echo, append(js, "Accept", "application/json;q=0"), 406, "application/json", "NOT_ACCEPTABLE"},
		{"another charset wanted", "POST", "", echo, append(js, "Accept", "application/json;charset=latin1"), 406, "application/json", "NOT_ACCEPTABLE"},
		{"weight that is no number", "POST", "", echo, append(js, "Accept", "application/json;q=NaN"), 406, "application/json", "NOT_ACCEPTABLE"},
		{"invalid query as json", "POST", "", bad, js, 200, "application/json", "GRAPHQL_VALIDATION_FAILED"},
		{"invalid query in the other type", "POST", "", bad, append(js, "Accept", gr), 400, gr, "GRAPHQL_VALIDATION_FAILED"},
		{"syntax error", "POST", "", `{"query":"{"}`, append(js, "Accept", gr), 400, gr, "GRAPHQL_PARSE_FAILED"},
		{"form", "POST", "", "query=%7Becho%7D", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"form of nothing but a brace", "POST", "", "%7B", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"JSON as curl sends it", "POST", "", echo, []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, "application/json", ""},
		{"JSON as a form with a charset", "POST", "", " " + echo, []string{"Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"}, 200, "application/json", ""},
		{"JSON without a type", "POST", "", echo, nil, 200, "application/json", ""},
		{"JSON in utf8", "POST", "", echo, []string{"Content-Type", "application/json; charset=utf8"}, 200, "application/json", ""},
		{"JSON in quoted UTF-8", "POST", "", echo, []string{"Content-Type", `application/json; charset="UTF-8"`}, 200, "application/json", ""},
		{"plain text", "POST", "", echo, []string{"Content-Type", "text/plain"}, 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"multipart", "POST", "", echo, []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"no type and no JSON", "POST", "", "{ echo }", nil, 400, "application/json", "BAD_REQUEST"},
		{"utf8 wanted", "POST", "", echo, append(js, "Accept", "application/json; charset=utf8"), 200, "application/json", ""},
		{"nothing without a type", "POST", "", "", nil, 400, "application/json", "BAD_REQUEST"},
		{"nothing as a form", "POST", "", "", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, "application/json", "BAD_REQUEST"},
		{"nothing as plain text", "POST", "", "", []string{"Content-Type", "text/plain"}, 400, "application/json", "BAD_REQUEST"},
		{"spaces only", "POST", "", " \n", nil, 400, "application/json", "BAD_REQUEST"},
		{"another charset", "POST", "", echo, []string{"Content-Type", "application/json; charset=utf-16"}, 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"compressed", "POST", "", echo, append(js, "Content-Encoding", "gzip"), 415, "application/json", "UNSUPPORTED_MEDIA_TYPE"},
		{"empty body", "POST", "", "", js, 400, "application/json", "BAD_REQUEST"},
		{"batch", "POST", "", "[" + echo + "]", js, 400, "application/json", "BAD_REQUEST"},
		{"text after the object", "POST", "", echo + "{}", js, 400, "application/json", "BAD_REQUEST"},
		{"not utf-8", "POST", "", "{\"query\":\"{ echo } #\xff\"}", js, 400, "application/json", "BAD_REQUEST"},
		{"null query", "POST", "", `{"query":null}`, js, 400, "application/json", "BAD_REQUEST"},
		{"blank query", "POST", "", `{"query":" "}`, js, 400, "application/json", "BAD_REQUEST"},
		{"variables that are a list", "POST", "", `{"query":"{echo}","variables":[1]}`, js, 400, "application/json", "BAD_REQUEST"},
		{"too large", "POST", "", `{"query":"{ echo } #` + strings.Repeat("x", 128<<10) + `"}`, js, 413, "application/json", "PAYLOAD_TOO_LARGE"},
		{"put", "PUT", "", echo, js, 405, "application/json", "METHOD_NOT_ALLOWED"},
		{"another path", "POST", "/other", echo, js, 404, "application/json", "NOT_FOUND"},
		{"get", "GET", get + "&variables=" + url.QueryEscape(`{"n": 3}`), "", nil, 200, "application/json", ""},
		{"get with empty variables", "GET", get + "&variables=", "", nil, 200, "application/json", ""},
		{"get with variables that are no object", "GET", get + "&variables=3", "", nil, 400, "application/json", "BAD_REQUEST"},
		{"get with text after the variables", "GET", get + "&variables=" + url.QueryEscape("{}{}"), "", nil, 400, "application/json", "BAD_REQUEST"},
		{"get without query", "GET", "", "", nil, 400, "application/json", "BAD_REQUEST"},
		{"get with two queries", "GET", get + "&query=x", "", nil, 400, "application/json", "BAD_REQUEST"},
		{"get too long", "GET", get + "&x=" + strings.Repeat("x", 128<<10), "", nil, 414, "application/json", "URI_TOO_LONG"},
		{"operation that is not there", "POST", "", `{"query":"query a { echo }","operationName":"b"}`, append(js, "Accept", gr), 400, gr, "GRAPHQL_VALIDATION_FAILED"},
		{"number that is too large", "POST", "", `{"query":"{ echo(n: 4294967296) }"}`, append(js, "Accept", gr), 200, gr, "BAD_USER_INPUT"},
		{"variable that is too large", "POST", "", `{"query":"query($n: Int) { echo(n: $n) }","variables":{"n":1e99}}`, append(js, "Accept", gr), 400, gr, "GRAPHQL_VALIDATION_FAILED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := send(t, srv, request(t, test.method, srv.URL+"/"+strings.TrimPrefix(test.path, "/"), test.body, test.headers...))
			if a.status != test.status || a.header.Get("Content-Type") != test.media+"; charset=utf-8" {
				t.Errorf("answer is %d %s, want %d %s", a.status, a.header.Get("Content-Type"), test.status, test.media)
			}
			if test.code == "" && len(a.Errors) > 0 || test.code != "" && a.code() != test.code {
				t.Errorf("answer is %s, want the code %q", a.text, test.code)
			}
			if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers are %v", a.header)
			}
		})
	}
}

// The samples of a guide print a request with nothing in it.
func TestEmptyBodyIsToldOfTheQuery(t *testing.T) {
	srv, _ := start(t)
	for _, body := range []string{"", "\n", "{}", `{"query":null}`} {
		a := send(t, srv, request(t, "POST", srv.URL, body))
		if a.status != 400 || len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, `"query" is missing`) {
			t.Errorf("%q is answered %d %s", body, a.status, a.text)
		}
	}
}

// Two media types are none: what stands behind one of them may have been meant
// for somebody else.
func TestTwoMediaTypes(t *testing.T) {
	srv, _ := start(t)
	req := request(t, "POST", srv.URL, `{"query":"{ echo }"}`)
	req.Header["Content-Type"] = []string{"application/json", "text/plain"}
	if a := send(t, srv, req); a.status != 415 || a.header.Get("Accept-Post") != "application/json" {
		t.Errorf("answered %d %s", a.status, a.text)
	}
}

func TestAllow(t *testing.T) {
	srv, _ := start(t)
	a := send(t, srv, request(t, "DELETE", srv.URL, ""))
	if a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	a = send(t, srv, request(t, "HEAD", srv.URL+"?query=%7Becho%7D", ""))
	if a.status != 200 || a.text != "" {
		t.Errorf("HEAD answers %d %q", a.status, a.text)
	}
}

func TestWithoutPrincipal(t *testing.T) {
	h := gqlhttp.New(gqlhttp.Config{Schema: probe.NewExecutableSchema(probe.Schema())})
	srv := httptest.NewTLSServer(h)
	defer srv.Close()
	a := ask(t, srv, "{ echo }")
	if a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" || a.Data != nil {
		t.Errorf("answer is %d %s", a.status, a.text)
	}
}

// An error that was not meant for the caller, and a panic, are the log's alone.
func TestInternalErrorsStayInside(t *testing.T) {
	for _, field := range []string{"fail", "panic"} {
		t.Run(field, func(t *testing.T) {
			srv, log := start(t)
			a := ask(t, srv, "{ echo "+field+" }")
			if a.status != 200 || a.code() != gqlhttp.Internal || a.Errors[0].Message != "internal server error" {
				t.Errorf("answer is %d %s", a.status, a.text)
			}
			if strings.Contains(a.text, "disk") || !strings.Contains(log.String(), probe.Cause) {
				t.Errorf("answer is %s, log is %s", a.text, log)
			}
			if string(a.Data) != `{"echo":1,"`+field+`":null}` || a.Errors[0].Path[0] != field {
				t.Errorf("the rest of the answer is lost: %s", a.text)
			}
		})
	}
}

func TestErrorForTheCaller(t *testing.T) {
	srv, log := start(t)
	a := ask(t, srv, "{ refuse }")
	if a.code() != gqlhttp.Forbidden || a.Errors[0].Message != "not for you" || log.String() != "" {
		t.Errorf("answer is %s, log is %s", a.text, log)
	}
}

func TestFewErrors(t *testing.T) {
	srv, _ := start(t)
	a := ask(t, srv, "{ "+strings.Repeat("wrong ", 400)+"}")
	if len(a.Errors) != 11 || a.Errors[10].Message != "and 390 more errors" {
		t.Errorf("answer has %d errors: %.2000s", len(a.Errors), a.text)
	}
}
