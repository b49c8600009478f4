package client_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/client"
)

// Sources that share a cache see at once what one of them has cleared, dropped
// or renewed; another client's token stays.
func TestSourcesShareACache(t *testing.T) {
	w := newWorld(t)
	cache := client.Memory()
	shared := func(id string) *client.Source {
		c := w.config("oauth2")
		c.ClientID, c.Cache = id, cache
		return w.source(c)
	}
	a, b, other := shared("one"), shared("one"), shared("other")
	equal(t, "token of a", w.must(a), "token-1")
	equal(t, "token of b", w.must(b), "token-1")
	equal(t, "token of another client", w.must(other), "token-2")

	if err := a.Clear(w.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "b after a was cleared", w.must(b), "token-3")
	equal(t, "a after that", w.must(a), "token-3")
	equal(t, "another client's", w.must(other), "token-2")

	token, err := b.Token(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.Drop(w.ctx, token)
	equal(t, "b after its token was rejected", w.must(b), "token-4")
	equal(t, "a after that", w.must(a), "token-4")
	a.Drop(w.ctx, token)
	equal(t, "a after the old token was rejected again", w.must(a), "token-4")

	if err := cache.Clear(w.ctx, ""); err != nil {
		t.Fatal(err)
	}
	equal(t, "a after all were cleared", w.must(a), "token-5")
	equal(t, "b after that", w.must(b), "token-5")
	equal(t, "another client's after all were cleared", w.must(other), "token-6")
}
