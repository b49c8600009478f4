package provider_test

import (
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
