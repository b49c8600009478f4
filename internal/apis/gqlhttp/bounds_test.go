package gqlhttp_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

// TestBounds: what stands at a limit is let through, and one more is not.
func TestBounds(t *testing.T) {
	srv, _ := start(t)
	const size = 128 << 10
	query := "?query=" + url.QueryEscape("{ echo }") + "&x="
	filled := func(n int) string { return query + strings.Repeat("x", n-len(query)+1) } // without the question mark
	operations := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "query q%d { echo } ", i)
		}
		return fmt.Sprintf(`{"query":%q,"operationName":"q0"}`, b.String())
	}
	body := func(n int) string {
		const begin, end = `{"query":"{ echo } #`, `"}`
		return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
	}
	js := []string{"Content-Type", "application/json"}
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"URL at the limit", "GET", filled(size), "", nil, 200, ""},
		{"URL over the limit", "GET", filled(size + 1), "", nil, 414, "URI_TOO_LONG"},
		{"body at the limit", "POST", "", body(size), js, 200, ""},
		{"body over the limit", "POST", "", body(size + 1), js, 413, "PAYLOAD_TOO_LARGE"},
		{"operations at the limit", "POST", "", operations(10), js, 200, ""},
		{"operations over the limit", "POST", "", operations(11), js, 200, gqlhttp.TooComplex},
		{"a weight of 0 is none", "POST", "", `{"query":"{ echo }"}`, append(js, "Accept", "application/json;q=0, */*;q=0.5"), 406, "NOT_ACCEPTABLE"},
		{"a weight of 1 is the most", "POST", "", `{"query":"{ echo }"}`, append(js, "Accept", "application/json;q=1"), 200, ""},
		{"a weight above 1 is none", "POST", "", `{"query":"{ echo }"}`, append(js, "Accept", "application/json;q=1.1"), 406, "NOT_ACCEPTABLE"},
		{"a negative weight is none", "POST", "", `{"query":"{ echo }"}`, append(js, "Accept", "application/json;q=-0.1"), 406, "NOT_ACCEPTABLE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := send(t, srv, request(t, test.method, srv.URL+"/"+test.path, test.body, test.headers...))
			if a.status != test.status || test.code == "" && len(a.Errors) > 0 || test.code != "" && a.code() != test.code {
				t.Errorf("answer is %d %.300s, want %d %s", a.status, a.text, test.status, test.code)
			}
		})
	}
}

// TestAsManyErrorsAsThereMayBe: ten errors are answered as they are.
func TestAsManyErrorsAsThereMayBe(t *testing.T) {
	srv, _ := start(t)
	for _, n := range []int{1, 9, 10, 11} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, " wrong%d", i)
		}
		a := ask(t, srv, "{"+b.String()+" }")
		if want := min(n, 11); len(a.Errors) != want {
			t.Errorf("%d errors are answered as %d: %.500s", n, len(a.Errors), a.text)
		}
		if last := a.Errors[len(a.Errors)-1].Message; strings.HasPrefix(last, "and ") != (n > 10) {
			t.Errorf("of %d errors the last says %q", n, last)
		}
	}
}
