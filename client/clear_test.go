package client_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
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

// A provider that answers the same token again, and says an hour each time, does
// not make it live longer for those who take it from the cache.
func TestSameTokenInASharedCache(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, _ int) { give(rw, 1, "3600") })
	c := w.config("oauth2")
	c.Cache = client.Memory()
	first := w.source(c)
	w.must(first)
	w.clock.Turn(56 * time.Minute)
	w.must(first)
	w.eventually("the token is renewed", func() bool { return w.asked() == 2 && ownGoroutines() == "" })
	later := w.source(c)
	token, err := later.Token(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "token requests", w.asked(), 2)
	equal(t, "end of the token for who comes later", token.Expires, theStart.Add(time.Hour))
	w.answers(nil)
	w.clock.Turn(4 * time.Minute)
	equal(t, "token after that", w.must(later), "token-3")
}

// named is a cache that tells the key it is used with.
type named struct {
	client.Cache
	key atomic.Pointer[string]
}

func (n *named) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	n.key.Store(&key)
	return n.Cache.Renew(ctx, key, r)
}

// A token that was issued before the one in use, which a process that was held up
// has put into the cache, is not gone back to; one that was issued later is used.
func TestOlderTokenInASharedCache(t *testing.T) {
	w := newWorld(t)
	cache := &named{Cache: client.Memory()}
	c := w.config("oauth2")
	c.Cache = cache
	s := w.source(c)
	equal(t, "token", w.must(s), "token-1")
	put := func(value string, issued time.Time) {
		_, err := cache.Cache.Renew(w.ctx, *cache.key.Load(), cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
			return counterfoil.Token{Value: counterfoil.Secret(value), Type: "Bearer", Issued: issued, Expires: issued.Add(time.Hour)}, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	put("older", theStart.Add(-time.Minute))
	equal(t, "token beside an older one", w.must(s), "token-1")
	put("newer", theStart.Add(time.Second))
	equal(t, "token beside a newer one", w.must(s), "newer")
	equal(t, "token requests", w.asked(), 1)
}
