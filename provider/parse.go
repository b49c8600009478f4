package provider

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxSize bounds a description, in bytes.
const MaxSize = 256 << 10

// Source is where a description came from.
type Source struct {
	// File is its name: a path, or "catalog/NAME.yaml".
	File string
	// Text is the description as it was written.
	Text []byte
}

// Source returns where p came from, as it was written.
func (p *Provider) Source() Source { return p.source }

// Problem is one mistake in a description.
type Problem struct {
	File         string
	Line, Column int
	// Message says what is wrong.
	Message string
	// Allowed lists what may stand there instead, where that is a short list.
	Allowed []string
}

// Error returns "FILE:LINE:COLUMN: message (allowed: …)" on one line.
func (p *Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if len(p.Allowed) > 0 {
		s += " (allowed: " + strings.Join(p.Allowed, ", ") + ")"
	}
	return s
}

// Problems are all mistakes that were found in a description, in the order of
// its lines.
type Problems []*Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Open returns the provider of the catalog called nameOrFile or, when that has
// a dot or a slash in it, reads the file. Mistakes in a file are Problems.
func Open(nameOrFile string) (*Provider, error) {
	if !strings.ContainsAny(nameOrFile, `./\`) {
		return Builtin(nameOrFile)
	}
	f, err := os.Open(nameOrFile)
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	return Parse(nameOrFile, text)
}

// Parse reads a description. Mistakes are Problems, which name file.
func Parse(file string, text []byte) (*Provider, error) {
	if len(text) > MaxSize {
		return nil, Problems{{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %d bytes", MaxSize)}}
	}
	doc, err := parseDocument(file, text)
	if err != nil {
		return nil, err
	}
	c := &checker{file: file}
	c.mapping(doc, provideType)
	if len(c.problems) > 0 {
		return nil, c.sorted()
	}
	p := &Provider{}
	base, err := extended(file, doc, p)
	if err != nil {
		return nil, err
	}
	if err := yaml.NodeToValue(doc, p); err != nil {
		return nil, Problems{problemOf(file, err)}
	}
	if base != nil {
		inherit(p, base)
	}
	p.source = Source{File: file, Text: text}
	defaults(p)
	v := &validator{checker: c, doc: doc, p: p}
	v.provider()
	if len(c.problems) > 0 {
		return nil, c.sorted()
	}
	return p, nil
}

// parseDocument returns the one mapping that text must be.
func parseDocument(file string, text []byte) (ast.Node, error) {
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Problems{problemOf(file, err)}
	}
	one := func(line int, msg string) error {
		return Problems{{File: file, Line: line, Column: 1, Message: msg}}
	}
	var doc ast.Node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.NullType || d.Body.Type() == ast.CommentType {
			continue
		}
		if doc != nil {
			return nil, one(d.Body.GetToken().Position.Line, "a second document: a file describes one provider")
		}
		doc = d.Body
	}
	if doc == nil {
		return nil, one(1, "the file is empty: start with \"name:\", or copy what 'counterfoil provider show oauth2' prints")
	}
	return doc, nil
}

// extended decodes into p the catalog entry that doc extends, if any, and
// returns another copy of it.
func extended(file string, doc ast.Node, p *Provider) (*Provider, error) {
	var head struct {
		Extends string `yaml:"extends"`
	}
	if err := yaml.NodeToValue(doc, &head); err != nil {
		return nil, Problems{problemOf(file, err)}
	}
	if head.Extends == "" {
		return nil, nil
	}
	pos := position(doc, "extends")
	for _, name := range Names() {
		if name != head.Extends {
			continue
		}
		base, err := Builtin(name)
		if err != nil {
			return nil, err
		}
		if base.Extends != "" {
			return nil, Problems{{File: file, Line: pos.Line, Column: pos.Column, Message: fmt.Sprintf("%q extends another provider itself: extend %q", name, base.Extends)}}
		}
		copied := *base
		*p = copied
		p.Title = ""
		return base, nil
	}
	return nil, Problems{{File: file, Line: pos.Line, Column: pos.Column,
		Message: fmt.Sprintf("extends %q, which is not in the catalog", head.Extends), Allowed: generic()}}
}

// inherit completes the mappings of p, which decoding replaces whole, from base.
func inherit(p, base *Provider) {
	p.TokenEndpoint.Errors = union(p.TokenEndpoint.Errors, base.TokenEndpoint.Errors)
	p.TokenEndpoint.Response.Headers = union(p.TokenEndpoint.Response.Headers, base.TokenEndpoint.Response.Headers)
}

func union[K comparable, V any](own, base map[K]V) map[K]V {
	all := make(map[K]V, len(own)+len(base))
	for k, v := range base {
		all[k] = v
	}
	for k, v := range own {
		all[k] = v
	}
	return all
}

// problemOf turns an error of the YAML package into a Problem.
func problemOf(file string, err error) *Problem {
	p := &Problem{File: file, Line: 1, Column: 1, Message: err.Error()}
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

// position returns where the value at keys stands below doc, or the nearest of
// the mappings around it.
func position(doc ast.Node, keys ...any) *token.Position {
	node := doc
	pos := &token.Position{Line: 1, Column: 1}
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			entry := entryOf(node, key)
			if entry == nil {
				return pos
			}
			pos, node = entry.Key.GetToken().Position, entry.Value
		case int:
			seq, ok := node.(*ast.SequenceNode)
			if !ok || key >= len(seq.Values) {
				return pos
			}
			node = seq.Values[key]
			pos = node.GetToken().Position
			if entries := entriesOf(node); len(entries) > 0 {
				pos = entries[0].Key.GetToken().Position
			}
		}
	}
	return pos
}

func entryOf(node ast.Node, key string) *ast.MappingValueNode {
	for _, e := range entriesOf(node) {
		if keyOf(e) == key {
			return e
		}
	}
	return nil
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
