package provider_test

import (
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/provider"
)

func TestCatalogIsComplete(t *testing.T) {
	for _, name := range provider.Names() {
		t.Run(name, func(t *testing.T) {
			p, err := provider.Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != name {
				t.Errorf("catalog/%s.yaml names itself %q", name, p.Name)
			}
		})
	}
}

// Whoever gives Builtin a file is told what reads files.
func TestBuiltinReadsNoFiles(t *testing.T) {
	for name, want := range map[string]string{"./acme.yaml": "Open reads a description from a file", "a5": "choose from a55, "} {
		if _, err := provider.Builtin(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", name, err, want)
		}
	}
}
