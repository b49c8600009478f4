package importer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/importer"
)

// rowsOf is a file of JSON Lines with so many clients.
func rowsOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"client_id":"client-%06d","client_secret":"%032x3f6a0c9b1e7d4825a0b6c3f19e8d7042","name":"Client number %d","scopes":["read"],"labels":{"team":"t%d"}}`+"\n", i, i*7919, i, i%50)
	}
	return b.String()
}

// BenchmarkImport imports 2,000 clients into an empty realm.
func BenchmarkImport(b *testing.B) {
	text := rowsOf(2000)
	b.ReportAllocs()
	for b.Loop() {
		r := newRealm(b, nil)
		f, err := importer.Open("plain", strings.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		report, err := importer.Apply(b.Context(), r.clients, f, r.options)
		if err != nil || report.Count(importer.OutcomeCreated) != 2000 {
			b.Fatal(report.Count(importer.OutcomeCreated), err)
		}
		if err := report.Close(); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
