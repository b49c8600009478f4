package gqlhttp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

// chain nests n children below a node.
func chain(n int) string {
	return "{ nodes(n: 1) " + strings.Repeat("{ child ", n) + "{ id }" + strings.Repeat(" }", n+1)
}

// aliases repeats a field under n names.
func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d: echo", i)
	}
	return b.String()
}

// doubling is a document whose fragments double n times: 2^n fields.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("{ ...f0 }")
	for i := range n {
		fmt.Fprintf(&b, " fragment f%d on Query { ...f%d ...f%d }", i, i+1, i+1)
	}
	fmt.Fprintf(&b, " fragment f%d on Query { echo }", n)
	return b.String()
}

func TestLimits(t *testing.T) {
	srv, _ := start(t)
	for _, test := range []struct{ name, query, code, message string }{
		{"depth at the limit", chain(10), "", ""},
		{"depth over the limit", chain(11), gqlhttp.TooComplex, `nest deeper than 12 (at "id")`},
		{"depth 100", chain(100), gqlhttp.TooComplex, "nest deeper than 12"},
		{"depth through inline fragments", strings.Replace(chain(11), "{ child", "{ ... { child", 1) + " }", gqlhttp.TooComplex, "nest deeper"},
		{"aliases at the limit", "{" + aliases(30) + " }", "", ""},
		{"aliases over the limit", "{" + aliases(31) + " }", gqlhttp.TooComplex, "more than 30 aliases"},
		{"10,000 aliases", "{" + aliases(10_000) + " }", gqlhttp.TooComplex, "more than 4000 tokens"},
		{"aliases in a fragment", "{ n1: nodes(n: 1) { ...f } nodes(n: 1) { ...f } } fragment f on Node {" + strings.ReplaceAll(aliases(15), "echo", "id") + " }", gqlhttp.TooComplex, "more than 30 aliases"},
		{"an alias that is the name", "{ " + strings.Repeat("echo: echo ", 40) + "}", "", ""},
		{"fields over the limit", "{ " + strings.Repeat("echo ", 401) + "}", gqlhttp.TooComplex, "more than 400 fields"},
		{"fragments that double", doubling(30), gqlhttp.TooComplex, "more than 400 fields"},
		{"a fragment that spreads itself", "{ ...f } fragment f on Query { ...f }", gqlhttp.ValidationFailed, "spreads itself"},
		{"fragments in a circle", "{ ...f } fragment f on Query { echo ...g } fragment g on Query { ... { ...f } }", gqlhttp.ValidationFailed, "spreads itself"},
		{"a circle that nobody enters", "{ echo } fragment f on Query { ...f }", gqlhttp.ValidationFailed, "never used"},
		{"a fragment that is not there", "{ ...f }", gqlhttp.ValidationFailed, "not in the document"},
		{"operations over the limit", strings.Repeat("query q { echo } ", 11), gqlhttp.TooComplex, "11 operations and the limit is 10"},
		{"values at the limit", "{ nodes(n: 20000) { id } }", "", ""},
		{"values over the limit", "{ nodes(n: 10001) { id child { id } } }", gqlhttp.TooComplex, "may cost 30003 and the limit is 20000"},
		{"values beyond an integer", "{ nodes(n: 2147483647) { id } b: nodes(n: 2147483647) { id } }", gqlhttp.TooComplex, "may cost 4294967294 "},
		{"defer", "{ ... @defer { echo } }", gqlhttp.ValidationFailed, "@defer is not supported"},
		{"mutation", "mutation { echo }", gqlhttp.ValidationFailed, ""},
		{"introspection twice into fields", "{ __schema { types { fields { type { fields { name } } } } } }", gqlhttp.TooComplex, "once"},
		{"types eight wrappers deep", "{ __schema { types { fields { args { type {" + strings.Repeat("ofType {", 9) + "kind" + strings.Repeat("}", 9) + "} } } } } }", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := ask(t, srv, test.query)
			if test.code == "" {
				if a.status != 200 || len(a.Errors) > 0 {
					t.Fatalf("answer is %d %.500s", a.status, a.text)
				}
				return
			}
			if a.status != 400 || a.code() != test.code || !strings.Contains(a.Errors[0].Message, test.message) {
				t.Errorf("answer is %d %.500s, want %s: %s", a.status, a.text, test.code, test.message)
			}
			if a.Data != nil {
				t.Errorf("a refused document has data: %.500s", a.text)
			}
		})
	}
}

// What validation compares most grows with the square of the fields: at the
// limit of fields it has to stay below a tenth of a second.
func BenchmarkWorstDocument(b *testing.B) {
	srv, _ := start(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a := ask(b, srv, fmt.Sprintf("{ %s } # %d", strings.Repeat("nodes(n: 1) { id } ", 199), i))
		if len(a.Errors) > 0 {
			b.Fatal(a.text)
		}
	}
}

// A remembered document is counted against the values of its variables each
// time.
func TestRememberedDocument(t *testing.T) {
	srv, _ := start(t)
	for _, test := range []struct {
		n    string
		code string
	}{{"3", ""}, {"20001", gqlhttp.TooComplex}, {"3", ""}} {
		a := send(t, srv, request(t, "POST", srv.URL,
			`{"query":"query($n: Int!) { nodes(n: $n) { id } }","variables":{"n":`+test.n+`}}`, "Content-Type", "application/json"))
		if test.code == "" && len(a.Errors) > 0 || test.code != "" && a.code() != test.code {
			t.Errorf("n = %s: answer is %s", test.n, a.text)
		}
	}
}

// More documents than are remembered, each of them twice.
func TestManyDocuments(t *testing.T) {
	srv, _ := start(t)
	for i := range 600 {
		a := ask(t, srv, fmt.Sprintf("{ echo(n: %d) }", i/2))
		if want := fmt.Sprintf(`{"echo":%d}`, i/2); string(a.Data) != want {
			t.Fatalf("answer is %s, want %s", a.text, want)
		}
	}
}
