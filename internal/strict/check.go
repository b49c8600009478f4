package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

var durationType = reflect.TypeFor[time.Duration]()

// worded is a string type that lists its words.
type worded interface{ Words() []string }

// node checks one value against the type that it is decoded into, and reports
// whether it fits. Callers replace a value that does not fit by null, so that the
// rest can still be decoded and checked.
func (d *Document) node(n ast.Node, t reflect.Type) bool {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.wrong(n.GetToken().Position, nil, "anchors, aliases, tags and merge keys are not understood here: write the value out")
		return false
	}
	switch {
	case t.Implements(reflect.TypeFor[worded]()):
		return d.word(n, reflect.Zero(t).Interface().(worded).Words())
	case t == durationType:
		return d.duration(n)
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return d.mapping(n, t)
	case t.Kind() == reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.wrong(n.GetToken().Position, nil, "this must be a list: one \"- …\" for each element, or [a, b]")
			return false
		}
		for i, v := range seq.Values {
			if !d.node(v, t.Elem()) {
				seq.Values[i] = ast.Null(v.GetToken())
			}
		}
		return true
	default:
		return d.scalar(n, t)
	}
}

func (d *Document) word(n ast.Node, words []string) bool {
	v := n.GetToken().Value
	fits := !isCollection(n) && slices.Contains(words, v)
	if !fits {
		d.wrong(n.GetToken().Position, words, "%q is not understood here", v)
	}
	return fits
}

func (d *Document) duration(n ast.Node) bool {
	if length, err := time.ParseDuration(n.GetToken().Value); err != nil || length < 0 || isCollection(n) {
		d.wrong(n.GetToken().Position, nil, "%q is not a length of time: write for example 30s, 55m or 8h", n.GetToken().Value)
		return false
	}
	return true
}

func (d *Document) scalar(n ast.Node, t reflect.Type) bool {
	pos, v, before := n.GetToken().Position, n.GetToken().Value, len(d.problems)
	if isCollection(n) {
		d.wrong(pos, nil, "this must be a single value")
		return false
	}
	_, isInt := n.(*ast.IntegerNode)
	_, isBool := n.(*ast.BoolNode)
	_, isFloat := n.(*ast.FloatNode)
	_, isNull := n.(*ast.NullNode)
	switch t.Kind() {
	case reflect.Int:
		if !isInt {
			d.wrong(pos, nil, "%q is not a whole number", v)
		}
	case reflect.Bool:
		if !isBool {
			d.wrong(pos, []string{"true", "false"}, "%q is neither true nor false", v)
		}
	case reflect.String:
		if isInt || isBool || isFloat || isNull {
			d.wrong(pos, nil, "this must be text: put it into quotes") // and it may be a secret: do not repeat it
		}
	case reflect.Interface:
		if isFloat || isNull || isBool {
			d.wrong(pos, nil, "%s must be text or a whole number", v)
		}
	}
	return len(d.problems) == before
}

func isCollection(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return true
	}
	return false
}

// mapping checks the keys of a mapping, then its values.
func (d *Document) mapping(n ast.Node, t reflect.Type) bool {
	entries := entriesOf(n)
	if _, empty := n.(*ast.MappingNode); entries == nil && !empty {
		d.wrong(n.GetToken().Position, keysOf(t), "this must be a mapping of \"key: value\" lines")
		return false
	}
	if t.Kind() == reflect.Map {
		for _, e := range entries {
			d.entry(e, t.Elem())
		}
		return true
	}
	seen := map[string]bool{}
	for _, e := range entries {
		key := keyOf(e)
		field, ok := fieldOf(t, key)
		switch {
		case !ok:
			d.add(e.Key.GetToken().Position, keysOf(t), "unknown field %q", key)
		case e.Value == nil || e.Value.Type() == ast.NullType:
			d.add(e.Key.GetToken().Position, nil, "%q has no value: give it one or leave the line out", key)
		default:
			d.entry(e, field.Type)
		}
		seen[key] = true
	}
	for _, f := range reflect.VisibleFields(t) {
		if key := keyName(f); f.Tag.Get("check") == "required" && !seen[key] {
			d.add(startOf(n), nil, "the field %q is missing", key)
		}
	}
	return true
}

// wrong records that a value is of another type, with its key.
func (d *Document) wrong(pos *token.Position, allowed []string, format string, args ...any) {
	d.add(pos, allowed, "%s", keyed(d.key, fmt.Sprintf(format, args...)))
}

// keyed puts the key of a value before a message about it.
func keyed(key, message string) string {
	if key == "" {
		return message
	}
	return key + ": " + message
}

// entry checks the value of a mapping's entry.
func (d *Document) entry(e *ast.MappingValueNode, t reflect.Type) {
	above := d.key
	d.key = keyOf(e)
	defer func() { d.key = above }()
	if !d.node(e.Value, t) {
		e.Value = ast.Null(e.Value.GetToken())
	}
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if key != "" && keyName(f) == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// keyName returns the key of a field, or "" if it is not decoded.
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
