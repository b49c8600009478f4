package provider

import (
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/counterfoil/counterfoil/internal/strict"
)

// MaxSize bounds a description, in bytes.
const MaxSize = 256 << 10

// Source is where a description came from.
type Source struct {
	// File is its name: a path, or "catalog/NAME.yaml".
	File string
	// Builtin tells that the description is one of the catalog.
	Builtin bool
	// Text is the description as it was written.
	Text []byte
}

// Source returns where p came from, as it was written.
func (p *Provider) Source() Source { return p.source }

// Problems are all mistakes that were found in a description, in the order of
// its lines; Problem is one of them, with its file, line and what is allowed.
type (
	Problems = strict.Problems
	Problem  = strict.Problem
)

// Open returns the provider of the catalog called nameOrFile or, when that has
// a dot or a slash in it, reads the file. Mistakes in a file are Problems.
func Open(nameOrFile string) (*Provider, error) {
	if !strings.ContainsAny(nameOrFile, `./\`) {
		return Builtin(nameOrFile)
	}
	return Read(nameOrFile)
}

// Read reads a description from a file. Mistakes are Problems.
func Read(file string) (*Provider, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	return Parse(file, text)
}

// Parse reads a description. Mistakes are Problems, which name file.
func Parse(file string, text []byte) (*Provider, error) {
	if len(text) > MaxSize {
		return nil, Problems{{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %d bytes", MaxSize)}}
	}
	doc, err := strict.Parse[Provider](file, text)
	if err != nil {
		return nil, err
	}
	var own Provider
	if err := doc.Into(&own); err != nil {
		return nil, err
	}
	p := &own
	if own.Extends != "" {
		base := extended(doc, own.Extends)
		if base == nil {
			return nil, doc.Err()
		}
		if p, err = merge(doc, base); err != nil {
			return nil, err
		}
	}
	p.source = Source{File: file, Text: text}
	defaults(p)
	(&validator{problems: doc, p: p}).provider()
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// extended returns the catalog entry that doc extends; nil, with a problem
// noted, when there is none to extend.
func extended(doc *strict.Document, name string) *Provider {
	base, err := Builtin(name)
	switch {
	case err != nil:
		doc.Fail(at("extends"), generic(), "extends %q, which is not in the catalog", name)
		return nil
	case base.Extends != "":
		doc.Fail(at("extends"), generic(), "%q extends another provider itself", name)
		return nil
	}
	return base
}

// merge decodes doc over base. Decoding replaces maps whole, so what they had
// is put back where doc says nothing else.
func merge(doc *strict.Document, base *Provider) (*Provider, error) {
	p := *base
	p.Title = ""
	if len(p.AccessToken.SigningAlgorithms) == 1 {
		p.AccessToken.SigningAlgorithms = nil // the default, made of what doc may replace
	}
	if err := doc.Into(&p); err != nil {
		return nil, err
	}
	p.TokenEndpoint.Errors = union(p.TokenEndpoint.Errors, base.TokenEndpoint.Errors)
	p.TokenEndpoint.Response.Headers = union(p.TokenEndpoint.Response.Headers, base.TokenEndpoint.Response.Headers)
	return &p, nil
}

func union[K comparable, V any](own, base map[K]V) map[K]V {
	all := maps.Clone(base)
	maps.Copy(all, own)
	return all
}
