package provider

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// checker walks a description beside the Go types that it is decoded into, and
// notes what has no place in them: unknown keys, words outside a list, missing
// keys inside list elements, and YAML that hides what it means.
type checker struct {
	file     string
	problems Problems
}

var (
	provideType  = reflect.TypeFor[Provider]()
	durationType = reflect.TypeFor[time.Duration]()
)

// worded is a string type that lists its words.
type worded interface{ words() []string }

func (c *checker) add(pos *token.Position, allowed []string, format string, args ...any) {
	c.problems = append(c.problems, &Problem{File: c.file, Line: pos.Line, Column: pos.Column, Allowed: allowed, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) sorted() Problems {
	slices.SortStableFunc(c.problems, func(a, b *Problem) int {
		return (a.Line-b.Line)*1000 + (a.Column - b.Column)
	})
	return c.problems
}

// node checks one value against the type that it is decoded into.
func (c *checker) node(n ast.Node, t reflect.Type) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		c.add(n.GetToken().Position, nil, "anchors, aliases, tags and merge keys are not understood here: write the value out")
		return
	}
	switch {
	case t.Implements(reflect.TypeFor[worded]()):
		c.word(n, reflect.Zero(t).Interface().(worded).words())
	case t == durationType:
		c.duration(n)
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		c.mapping(n, t)
	case t.Kind() == reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			c.add(n.GetToken().Position, nil, "this must be a list: one \"- …\" for each element, or [a, b]")
			return
		}
		for _, v := range seq.Values {
			c.node(v, t.Elem())
		}
	default:
		c.scalar(n, t)
	}
}

func (c *checker) word(n ast.Node, words []string) {
	if v := n.GetToken().Value; isCollection(n) || !slices.Contains(words, v) {
		c.add(n.GetToken().Position, words, "%q is not understood here", v)
	}
}

func (c *checker) duration(n ast.Node) {
	if d, err := time.ParseDuration(n.GetToken().Value); err != nil || d < 0 || isCollection(n) {
		c.add(n.GetToken().Position, nil, "%q is not a length of time: write for example 30s, 55m or 8h", n.GetToken().Value)
	}
}

func (c *checker) scalar(n ast.Node, t reflect.Type) {
	pos, v := n.GetToken().Position, n.GetToken().Value
	if isCollection(n) {
		c.add(pos, nil, "this must be a single value")
		return
	}
	_, isInt := n.(*ast.IntegerNode)
	_, isBool := n.(*ast.BoolNode)
	_, isFloat := n.(*ast.FloatNode)
	_, isNull := n.(*ast.NullNode)
	switch t.Kind() {
	case reflect.Int:
		if !isInt {
			c.add(pos, nil, "%q is not a whole number", v)
		}
	case reflect.Bool:
		if !isBool {
			c.add(pos, []string{"true", "false"}, "%q is neither true nor false", v)
		}
	case reflect.String:
		if isInt || isBool || isFloat || isNull {
			c.add(pos, nil, "%s must be text: put it into quotes", v)
		}
	case reflect.Interface:
		if isFloat || isNull || isBool {
			c.add(pos, nil, "%s must be text or a whole number", v)
		}
	}
}

func isCollection(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return true
	}
	return false
}

// mapping checks the keys of a mapping, then its values.
func (c *checker) mapping(n ast.Node, t reflect.Type) {
	entries := entriesOf(n)
	if _, empty := n.(*ast.MappingNode); entries == nil && !empty {
		c.add(n.GetToken().Position, keysOf(t), "this must be a mapping of \"key: value\" lines")
		return
	}
	if t.Kind() == reflect.Map {
		for _, e := range entries {
			c.node(e.Value, t.Elem())
		}
		return
	}
	seen := map[string]bool{}
	start := n.GetToken().Position
	for i, e := range entries {
		key := keyOf(e)
		if i == 0 {
			start = e.Key.GetToken().Position
		}
		field, ok := fieldOf(t, key)
		switch {
		case !ok:
			c.add(e.Key.GetToken().Position, keysOf(t), "unknown field %q", key)
		case e.Value == nil || e.Value.Type() == ast.NullType:
			c.add(e.Key.GetToken().Position, nil, "%q has no value: give it one or leave the line out", key)
		default:
			c.node(e.Value, field.Type)
		}
		seen[key] = true
	}
	for _, f := range reflect.VisibleFields(t) {
		if key := keyName(f); f.Tag.Get("check") == "required" && !seen[key] {
			c.add(start, nil, "the field %q is missing", key)
		}
	}
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if keyName(f) == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// keyName is the key of a field, or "" when it is not decoded.
func keyName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func keysOf(t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for _, f := range reflect.VisibleFields(t) {
		if key := keyName(f); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}
