package gqlhttp

import (
	"errors"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
)

// Limits bounds one request. Counts are of the document with its fragments
// expanded where they are spread, over all its operations.
type Limits struct {
	// Body is the size of a POST's body or of a GET's URL query, in bytes.
	Body int
	// Tokens is the number of lexical tokens in the document.
	Tokens int
	// Operations is the number of operations in the document.
	Operations int
	// Depth is how deep fields nest. Below __schema and __type twice as deep is
	// allowed, because tools ask for types eight wrappers deep.
	Depth int
	// Aliases is the number of fields that are given another name.
	Aliases int
	// Fields is the number of fields and fragments.
	Fields int
	// Complexity is what the operation may cost, when every page and list is as
	// full as its arguments allow: one for each value that it returns, and more for
	// a page (see PageCost).
	Complexity int
}

// DefaultLimits allows the queries that people and GraphiQL write.
var DefaultLimits = Limits{
	Body: 128 << 10, Tokens: 4000, Operations: 10,
	Depth: 12, Aliases: 30, Fields: 400, Complexity: 20_000,
}

// What a page costs beyond its values. One value takes some 2 µs, to read a row
// some 25 µs, and to find a page and count the rows of all pages some 400 µs.
const (
	costOfPage = 200
	costOfRow  = 12
)

// PageCost returns the cost of a page of so many rows, of which no page has more
// than most, and of the values of each: for the complexity functions of a schema.
func PageCost(size, most int32, values int) int {
	return costOfPage + int(min(max(size, 1), most))*(costOfRow+min(values, MaxCost))
}

// MaxCost is more than any limit: costs are multiplied without overflow if none is
// larger.
const MaxCost = 1 << 30

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	for _, f := range []struct{ have, other *int }{
		{&l.Body, &d.Body}, {&l.Tokens, &d.Tokens}, {&l.Operations, &d.Operations}, {&l.Depth, &d.Depth},
		{&l.Aliases, &d.Aliases}, {&l.Fields, &d.Fields}, {&l.Complexity, &d.Complexity},
	} {
		if *f.have <= 0 {
			*f.have = *f.other
		}
	}
	return l
}

// check parses and counts a document. Its own work is bounded by the limits.
func (l Limits) check(query string) *errorOnWire {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: query}, l.Tokens)
	var syntax *gqlerror.Error
	if errors.As(err, &syntax) {
		if strings.HasPrefix(syntax.Message, "exceeded token limit") {
			return coded(TooComplex, "the document has more than %d tokens", l.Tokens)
		}
		syntax.Extensions = map[string]any{"code": "GRAPHQL_PARSE_FAILED"}
		return syntax
	} else if err != nil {
		return coded("GRAPHQL_PARSE_FAILED", "the document is not well-formed GraphQL")
	}
	if n := len(doc.Operations); n > l.Operations {
		return coded(TooComplex, "the document has %d operations and the limit is %d", n, l.Operations)
	}
	c := &counter{limits: l, doc: doc, used: map[string]bool{}}
	for _, op := range doc.Operations {
		if err := c.selections(op.SelectionSet, place{}); err != nil {
			return err
		}
	}
	for _, f := range doc.Fragments {
		if !c.used[f.Name] {
			return coded(ValidationFailed, "fragment %q is never used", f.Name)
		}
	}
	return nil
}

// counter walks a document. Every step increments fields, so that it ends at
// their limit whatever the fragments refer to.
type counter struct {
	limits          Limits
	doc             *ast.QueryDocument
	used            map[string]bool
	within          []string // fragments being expanded, outermost first
	fields, aliases int
}

// place is where in the document a selection stands.
type place struct {
	depth  int
	schema bool // below __schema or __type
	lists  int  // of those that introspection multiplies by
}

func (c *counter) selections(set ast.SelectionSet, at place) *errorOnWire {
	for _, sel := range set {
		c.fields++
		if c.fields > c.limits.Fields {
			return coded(TooComplex, "the document has more than %d fields and fragments, fragments expanded", c.limits.Fields)
		}
		var err *errorOnWire
		switch sel := sel.(type) {
		case *ast.Field:
			err = c.field(sel, at)
		case *ast.InlineFragment:
			if err = noDefer(sel.Directives); err == nil {
				err = c.selections(sel.SelectionSet, at)
			}
		case *ast.FragmentSpread:
			if err = noDefer(sel.Directives); err == nil {
				err = c.spread(sel, at)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *counter) field(f *ast.Field, at place) *errorOnWire {
	if f.Alias != "" && f.Alias != f.Name {
		if c.aliases++; c.aliases > c.limits.Aliases {
			return coded(TooComplex, "the document has more than %d aliases, fragments expanded", c.limits.Aliases)
		}
	}
	limit := c.limits.Depth
	at.depth++
	switch f.Name {
	case "__schema", "__type":
		at.schema = true
	case "fields", "inputFields", "interfaces", "possibleTypes":
		at.lists++
	}
	if at.schema {
		limit *= 2
		if at.lists > 1 {
			return coded(TooComplex, "introspection goes from a type to its fields once, not on to their types' fields (at %q)", f.Name)
		}
	}
	if at.depth > limit {
		return coded(TooComplex, "fields nest deeper than %d (at %q)", limit, f.Name)
	}
	return c.selections(f.SelectionSet, at)
}

func (c *counter) spread(s *ast.FragmentSpread, at place) *errorOnWire {
	if slices.Contains(c.within, s.Name) {
		return coded(ValidationFailed, "fragment %q spreads itself", s.Name)
	}
	f := c.doc.Fragments.ForName(s.Name)
	if f == nil {
		return coded(ValidationFailed, "fragment %q is not in the document", s.Name)
	}
	c.used[s.Name] = true
	c.within = append(c.within, s.Name)
	err := c.selections(f.SelectionSet, at)
	c.within = c.within[:len(c.within)-1]
	return err
}

// noDefer refuses incremental delivery: one request has one response here.
func noDefer(directives ast.DirectiveList) *errorOnWire {
	if directives.ForName("defer") != nil {
		return coded(ValidationFailed, "@defer is not supported")
	}
	return nil
}
