// Package strict decodes YAML that people write, and reports every mistake in it:
// unknown keys, missing keys and words that are not in a list, with file, line and
// column, and what is allowed there. It is internal and makes no compatibility
// promise.
//
// A Go type says what is allowed. Its fields have the keys as `yaml:"key"`; a field
// with `check:"required"` must be set; a string type with a method Words lists its
// words.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Problem is one mistake in a file, or, without File, in a value.
type Problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Allowed lists what is allowed instead, if that is a short list.
	Allowed []string `json:"allowed,omitempty"`
	// Way is the path to the mistake from the top of the value if there is no file:
	// keys of mappings and indexes of lists.
	Way []any `json:"way,omitempty"`
}

// Error returns "FILE:LINE:COLUMN: message (allowed: …)" on one line.
func (p *Problem) Error() string {
	s := p.Message
	if p.File != "" {
		s = fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	}
	if len(p.Allowed) > 0 {
		s += " (allowed: " + strings.Join(p.Allowed, ", ") + ")"
	}
	return s
}

// Problems are all mistakes in a file, in the order of its lines.
type Problems []*Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Document is a file whose form was checked.
type Document struct {
	file     string
	body     ast.Node
	problems Problems
	key      string // of the entry of a mapping whose form is being checked
}

// Parse checks that text is one mapping that fits the type T. The error is
// Problems. If text could be read, Parse returns a document with them, so that the
// caller can add further problems: see Has.
func Parse[T any](file string, text []byte) (*Document, error) {
	d := &Document{file: file}
	text, err := files.Text(text)
	if err != nil {
		d.add(&token.Position{Line: 1, Column: 1}, nil, "%v", err)
		return nil, d.problems
	}
	if line := tooLong(text); line > 0 {
		d.add(&token.Position{Line: line, Column: 1}, nil, "this line is longer than %d bytes: fold it", maxLine)
		return nil, d.problems
	}
	if line := tooDeep(text); line > 0 {
		d.add(&token.Position{Line: line, Column: 1}, nil, "this nests deeper than %d levels", maxDepth)
		return nil, d.problems
	}
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Problems{d.problemOf(err)}
	}
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType:
		case d.body != nil:
			d.add(doc.Body.GetToken().Position, nil, "a second document: one file holds one")
			return nil, d.problems
		default:
			d.body = doc.Body
		}
	}
	if d.body == nil {
		d.add(&token.Position{Line: 1, Column: 1}, keysOf(reflect.TypeFor[T]()), "the file is empty")
		return nil, d.problems
	}
	d.node(d.body, reflect.TypeFor[T]())
	return d, d.Err()
}

// Decode checks text against T and returns its value. The error is Problems.
func Decode[T any](file string, text []byte) (*T, error) {
	d, err := Parse[T](file, text)
	if err != nil {
		return nil, err
	}
	into := new(T)
	return into, d.Into(into)
}

// Into decodes the document into a value, over its present content: mappings that
// are structs are merged, everything else is replaced.
func (d *Document) Into(v any) error {
	if err := yaml.NodeToValue(d.body, v); err != nil {
		p := d.problemOf(err)
		p.Message = keyed(keyAt(d.body, p.Line, p.Column), p.Message)
		return Problems{p}
	}
	return nil
}

// keyAt returns the key of the value that begins at a position, or "".
func keyAt(node ast.Node, line, column int) string {
	at := func(n ast.Node) bool {
		if n == nil {
			return false
		}
		pos := n.GetToken().Position
		return pos.Line == line && pos.Column == column
	}
	for _, e := range entriesOf(node) {
		if seq, ok := e.Value.(*ast.SequenceNode); at(e.Value) || ok && slices.ContainsFunc(seq.Values, at) {
			return keyOf(e)
		}
		if key := keyAt(e.Value, line, column); key != "" {
			return key
		}
	}
	if seq, ok := node.(*ast.SequenceNode); ok {
		for _, v := range seq.Values {
			if key := keyAt(v, line, column); key != "" {
				return key
			}
		}
	}
	return ""
}

// Fail records a problem with the value at the way: keys of mappings and indexes of
// lists, from the top.
func (d *Document) Fail(way []any, allowed []string, format string, args ...any) {
	d.add(d.position(way), allowed, format, args...)
}

// Has reports whether there is a value at the way.
func (d *Document) Has(way []any) bool {
	node := d.find(way)
	return node != nil && node.Type() != ast.NullType
}

// Told reports whether a problem with the value at the way was recorded: it is
// missing, or of another type.
func (d *Document) Told(way []any) bool {
	node := d.find(way)
	return node != nil && node.Type() == ast.NullType
}

// find returns the value at the way, or nil.
func (d *Document) find(way []any) ast.Node {
	node := d.body
	for _, step := range way {
		var found ast.Node
		switch step := step.(type) {
		case string:
			for _, e := range entriesOf(node) {
				if keyOf(e) == step {
					found = e.Value
				}
			}
		case int:
			if seq, ok := node.(*ast.SequenceNode); ok && step < len(seq.Values) {
				found = seq.Values[step]
			}
		}
		if found == nil {
			return nil
		}
		node = found
	}
	return node
}

// Line returns the line of the value at the way, or of the nearest of the mappings
// around it.
func (d *Document) Line(way ...any) int { return d.position(way).Line }

// Err returns the Problems that were recorded, sorted by line, or nil.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b *Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.problems
}

func (d *Document) add(pos *token.Position, allowed []string, format string, args ...any) {
	d.problems = append(d.problems, &Problem{
		File: d.file, Line: pos.Line, Column: pos.Column, Allowed: allowed, Message: fmt.Sprintf(format, args...),
	})
}

// problemOf converts an error of the YAML package to a Problem.
func (d *Document) problemOf(err error) *Problem {
	p := &Problem{File: d.file, Line: 1, Column: 1, Message: err.Error()}
	var y yaml.Error
	if errors.As(err, &y) {
		p.Message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	p.Message, _, _ = strings.Cut(p.Message, "\n")
	return p
}

// position returns the position of the value at the way, or of the nearest of the
// mappings around it.
func (d *Document) position(way []any) *token.Position {
	node, pos := d.body, &token.Position{Line: 1, Column: 1}
	for _, step := range way {
		switch step := step.(type) {
		case string:
			i := slices.IndexFunc(entriesOf(node), func(e *ast.MappingValueNode) bool { return keyOf(e) == step })
			if i < 0 {
				return pos
			}
			entry := entriesOf(node)[i]
			pos, node = entry.Key.GetToken().Position, entry.Value
		case int:
			seq, ok := node.(*ast.SequenceNode)
			if !ok || step >= len(seq.Values) {
				return pos
			}
			node = seq.Values[step]
			pos = startOf(node)
		}
	}
	return pos
}

// startOf returns the start of a value; for a mapping, of its first key.
func startOf(node ast.Node) *token.Position {
	if entries := entriesOf(node); len(entries) > 0 {
		return entries[0].Key.GetToken().Position
	}
	return node.GetToken().Position
}

func keyOf(e *ast.MappingValueNode) string { return e.Key.GetToken().Value }

// entriesOf returns the entries of a mapping, nil for any other node.
func entriesOf(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}
