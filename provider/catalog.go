package provider

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed catalog/*.yaml
var catalog embed.FS

// Names returns the names of the catalog, sorted.
func Names() []string { return slices.Clone(names()) }

var names = sync.OnceValue(func() []string {
	entries, err := catalog.ReadDir("catalog")
	if err != nil {
		panic(err) // the catalog is compiled in
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yaml")
	}
	slices.Sort(names)
	return names
})

// Builtin returns the provider of that name from the embedded catalog. The caller
// must not change it. See [Open] for files.
func Builtin(name string) (*Provider, error) {
	if namesFile(name) {
		return nil, fmt.Errorf("no provider of the catalog is called %q: Open reads a description from a file", name)
	}
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("no provider is called %q: choose from %s, or name a file", name, strings.Join(Names(), ", "))
	}
	file := path.Join("catalog", name+".yaml")
	text, err := catalog.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p, err := Parse(file, text)
	if err == nil {
		p.source.Builtin = true
	}
	return p, err
}
