package gqlhttp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
)

// TestRemembered: documents are remembered up to a number and a size, the ones
// that were used last, and each once.
func TestRemembered(t *testing.T) {
	name := func(n int) string { return fmt.Sprintf("{ echo } # %d", n) }
	d := newDocuments()
	for n := range cachedDocuments {
		d.Add(t.Context(), name(n), &ast.QueryDocument{})
	}
	if !d.holds(name(0)) || d.order.Len() != cachedDocuments {
		t.Errorf("%d of %d documents are remembered", d.order.Len(), cachedDocuments)
	}
	first := &ast.QueryDocument{}
	d.Add(t.Context(), "again", first)
	d.Add(t.Context(), "again", &ast.QueryDocument{})
	if got, ok := d.Get(t.Context(), "again"); !ok || got != first || d.order.Len() != cachedDocuments {
		t.Errorf("a document that was added twice is another, or has two places: %d are remembered", d.order.Len())
	}
	if d.holds(name(0)) || !d.holds(name(1)) {
		t.Error("another than the oldest has gone")
	}
	if _, ok := d.Get(t.Context(), name(1)); !ok {
		t.Error("a document has gone")
	}
	d.Add(t.Context(), "one more", &ast.QueryDocument{})
	if !d.holds(name(1)) || d.holds(name(2)) {
		t.Error("another has gone than the one that was not used for longest")
	}
	for n, want := range map[int]bool{cachedBytes: true, cachedBytes + 1: false} {
		text := strings.Repeat("x", n)
		d.Add(t.Context(), text, &ast.QueryDocument{})
		if got := d.holds(text); got != want {
			t.Errorf("a document of %d bytes is remembered: %v", n, got)
		}
	}
}
