package gqlhttp

import (
	"container/list"
	"context"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
)

// The bounds of the documents that a Handler caches. A larger document is parsed
// each time.
const (
	cachedDocuments = 256
	cachedBytes     = 8 << 10
)

// documents caches the documents that passed all checks, and evicts the least
// recently used. Programs send the same documents repeatedly.
type documents struct {
	mu     sync.Mutex
	order  *list.List // of *document, the most recently used in front
	byText map[string]*list.Element
}

type document struct {
	text   string
	parsed *ast.QueryDocument
}

func newDocuments() *documents {
	return &documents{order: list.New(), byText: map[string]*list.Element{}}
}

// holds reports whether text is remembered.
func (d *documents) holds(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byText[text] != nil
}

// Get implements graphql.Cache.
func (d *documents) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	el := d.byText[text]
	if el == nil {
		return nil, false
	}
	d.order.MoveToFront(el)
	return el.Value.(*document).parsed, true
}

// Add implements graphql.Cache.
func (d *documents) Add(_ context.Context, text string, parsed *ast.QueryDocument) {
	if len(text) > cachedBytes {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byText[text] != nil {
		return
	}
	d.byText[text] = d.order.PushFront(&document{text, parsed})
	if d.order.Len() > cachedDocuments {
		last := d.order.Remove(d.order.Back()).(*document)
		delete(d.byText, last.text)
	}
}
