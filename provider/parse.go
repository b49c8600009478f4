package provider

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/strict"
)

// MaxSize bounds a description, in bytes.
const MaxSize = 256 << 10

// Source is where a description came from.
type Source struct {
	// File is its name: a path, or "catalog/NAME.yaml".
	File string
	// Builtin is true if the description is one of the catalog.
	Builtin bool
	// Text is the text of the description.
	Text []byte
}

// Source returns where p came from, with its text.
func (p *Provider) Source() Source { return p.source }

// Problems are all mistakes in a description, in the order of its lines. A Problem
// is one of them, with its file, line and what is allowed.
type (
	Problems = strict.Problems
	Problem  = strict.Problem
)

// Open returns the provider of the catalog called nameOrFile or, if that contains a
// dot or a slash, reads the file. Mistakes in a file are Problems.
func Open(nameOrFile string) (*Provider, error) {
	if namesFile(nameOrFile) {
		return Read(nameOrFile)
	}
	return Builtin(nameOrFile)
}

// Read reads a description from a file, and the files that it extends. It refuses
// a file that is writable by everyone. Mistakes are Problems.
func Read(file string) (*Provider, error) { return read([]string{file}) }

// read reads the last file of a chain in which each is extended by the one before.
func read(chain []string) (*Provider, error) {
	file := chain[len(chain)-1]
	f, err := files.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read provider: %w", err)
	}
	return parse(file, text, chain)
}

// Parse reads a description, which may extend the catalog but no file. Mistakes
// are Problems, which name file.
func Parse(file string, text []byte) (*Provider, error) { return parse(file, text, nil) }

// parse reads a description, which is the last file of the chain; the chain is
// empty if the description is not a file.
func parse(file string, text []byte, chain []string) (*Provider, error) {
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
	zeros(doc, &own)
	p := &own
	if own.Extends != "" {
		base, err := extended(doc, own.Extends, chain)
		if err != nil {
			return nil, err
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

// zeros refuses an explicit 0 that would be taken for the default.
func zeros(doc *strict.Document, own *Provider) {
	refuse := func(is bool, way []any, name string) {
		if is && doc.Has(way) {
			doc.Fail(way, nil, "%s cannot be 0: leave it out for the default", name)
		}
	}
	t := &own.TokenEndpoint
	refuse(t.ReusePercent == 0, at("token_endpoint", "reuse_percent"), "reuse_percent")
	for name, limit := range t.Limits.byName() {
		refuse(limit == 0, at("token_endpoint", "limits", name), "the limit "+name)
	}
	for i := range own.APIs {
		refuse(own.APIs[i].Leeway == 0, at("apis", i, "leeway"), "leeway")
	}
}

// maxChain bounds the files of a chain in which each extends the next.
const maxChain = 8

// extended returns what doc extends: a catalog entry or, as in [Open], a file in
// the directory of the last one of the chain or below. Mistakes in that file are
// reported with its name.
func extended(doc *strict.Document, name string, chain []string) (*Provider, error) {
	fail := func(allowed []string, format string, args ...any) (*Provider, error) {
		doc.Fail(at("extends"), allowed, format, args...)
		return nil, doc.Err()
	}
	if !namesFile(name) {
		base, err := Builtin(name)
		if err != nil {
			return fail(Names(), "extends %q, which is not in the catalog; a file is named as in ./%s.yaml", name, name)
		}
		return base, nil
	}
	if chain == nil {
		return fail(Names(), "extends %q: only a description that is a file itself can extend a file", name)
	}
	if !filepath.IsLocal(name) {
		return fail(nil, "extends %q: the file must be in the directory of this one or below it, and named from there", name)
	}
	file := filepath.Join(filepath.Dir(chain[len(chain)-1]), name)
	if at := slices.IndexFunc(chain, func(other string) bool { return filepath.Clean(other) == file }); at >= 0 {
		return fail(nil, "extends %q, and so itself: %s", name, strings.Join(append(slices.Clone(chain[at:]), file), " extends "))
	}
	if len(chain) == maxChain {
		return fail(nil, "extends %q, which would be one file too many: %d may extend one another", name, maxChain)
	}
	base, err := read(append(slices.Clone(chain), file))
	if _, mistaken := errors.AsType[Problems](err); err != nil && !mistaken {
		return fail(nil, "extends %q, which cannot be read: %v", name, errors.Unwrap(err))
	}
	return base, err
}

// namesFile reports whether word names a file and not a catalog entry.
func namesFile(word string) bool { return strings.ContainsAny(word, `./\\`) }

// merge decodes doc over base. Decoding replaces whole maps, so entries of base
// that doc does not replace are put back.
func merge(doc *strict.Document, base *Provider) (*Provider, error) {
	p := *base
	p.Title = ""
	if len(p.AccessToken.SigningAlgorithms) == 1 {
		p.AccessToken.SigningAlgorithms = nil // the default follows SigningAlgorithm, which doc may replace
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
