package queries_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/counterfoil/counterfoil/client/internal/queries"
)

// documents are seeds of the fuzz test, and what is to be said of them.
var documents = map[string]bool{
	"{ a }":             true,
	"query { a }":       true,
	"query zZ_09 { a }": true,
	"query Q($a: [Int!]! = [1, -2.5e+3], $b: I = {c: {d: [{}]}} @d) @e(f: {g: \"}\"}) @h { a: b(c: $a) @include(if: true) { ... { d } ...F ... on T @x { e } } }": true,
	"fragment F on T @a { b } {...F}":                                                 true,
	"fragment query on mutation { subscription } query on { a }":                      true,
	"query mutation { a } query subscription @query { mutation }":                     true,
	"\t,\r\n# a\r{ a # \"\n} #":                                                       true,
	`{ a(b: "\" } mutation {", c: "", d: """ "" \""" } mutation { """, e: """""" ) }`: true,
	`{ a(b: """\\\""" } mutation { """) }`:                                            true,
	`{ a(b: "\u0022 \\") }`:                                                           true,
	"{ a(b: \"\"\"\r\n\t\"\"\") }":                                                    true,

	"":                                           false,
	"# { a }":                                    false,
	"fragment F on T { a }":                      false,
	"mutation { a }":                             false,
	"subscription { a }":                         false,
	"{ a } mutation { b }":                       false,
	"mutation { b } { a }":                       false,
	"{ a } # \rmutation { b }":                   false,
	"{ a } # \nmutation { b }":                   false,
	"{ a } # \u2028 mutation { b }":              false,
	"{ a } # \u0085 mutation { b }":              false,
	"query A @b(c: \"{\") mutation { d }":        false,
	"query A mutation { d }":                     false,
	"query A (a: 1) mutation { d }":              false,
	"query A { a } B { b }":                      false,
	"query A { a } type B { b: C }":              false,
	`{ a(b: """\""""""") } mutation { b }`:       false,
	`{ a(b: "\\") } mutation { b }`:              false,
	`{ a(b: """""""c: 1) } mutation { b } #") }`: false, // two parsers, two meanings
	"{ a(b: \"\n\") }":                           false,
	"{ a(b: \"}\n":                               false,
	`{ a(b: "`:                                   false,
	`{ a(b: "c`:                                  false,
	`{ a(b: "\`:                                  false,
	`{ a(b: """c`:                                false,
	"{ a } \ufeff mutation { b }":                false,
	"\ufeff{ a }":                                false,
	"{ a } \x00":                                 false,
	"{ a } \x00 mutation { b }":                  false,
	"{ a(b: \"\x00\") }":                         false,
	"{ a ) }":                                    false,
	"{ a(b: [)] }":                               false,
	"{ a }}":                                     false,
	"{ a":                                        false,
	"{ a } ; mutation { b }":                     false,
	"query":                                      false,
	"query @":                                    false,
	"query 1 { a }":                              false,
	"Query { a }":                                false,
	"MUTATION { a }":                             false,
	"\"a\" query { a }":                          false,
	"extend type A { b: C }":                     false,
}

func TestOnly(t *testing.T) {
	for document, want := range documents {
		if got := queries.Only(document); got != want {
			t.Errorf("%q: got %v, want %v", document, got, want)
		}
	}
	for _, long := range []string{strings.Repeat("{a", 500_000), strings.Repeat("{a(b:[", 100_000), "{a(b:" + strings.Repeat(`"" `, 300_000), strings.Repeat("#\n", 500_000), strings.Repeat(`"`, 1<<20)} {
		if queries.Only(long) {
			t.Errorf("%.20q… is taken", long)
		}
	}
	if !queries.Only("{" + strings.Repeat("a{", 300_000) + "b" + strings.Repeat("}", 300_001)) {
		t.Error("a deep query is not taken")
	}
}

// What the parser takes for a mutation or a subscription is never taken for
// queries; what it takes for queries is, but for a byte order mark, for
// characters that end a comment in some drafts, and for quotation marks in a row.
func FuzzOnly(f *testing.F) {
	for document := range documents {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: document}, 10_000)
		if err != nil {
			_ = queries.Only(document)
			return
		}
		all := len(doc.Operations) > 0 && !slices.ContainsFunc(doc.Operations, func(o *ast.OperationDefinition) bool { return o.Operation != ast.Query })
		switch got := queries.Only(document); {
		case got && !all:
			t.Errorf("%q is taken for queries", document)
		case !got && all && !strings.ContainsAny(document, "\ufeff\u0085\u2028\u2029") && !strings.Contains(document, `""""`):
			t.Errorf("%q is not taken for queries", document)
		}
	})
}
