package client_test

import (
	"context"
	"errors"
	"fmt"
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
	b.Invalidate(w.ctx, token)
	equal(t, "b after its token was rejected", w.must(b), "token-4")
	equal(t, "a after that", w.must(a), "token-4")
	a.Invalidate(w.ctx, token)
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

// between is a cache in whose steps others get a turn.
type between struct {
	client.Cache
	renewed, clearing func()
	load              func(context.Context) error
	loaded            func()
}

func (b *between) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	t, err := b.Cache.Renew(ctx, key, r)
	if b.renewed != nil {
		b.renewed()
	}
	return t, err
}

func (b *between) Clear(ctx context.Context, prefix string) error {
	if b.clearing != nil {
		b.clearing()
	}
	return b.Cache.Clear(ctx, prefix)
}

func (b *between) Load(ctx context.Context, key string) (counterfoil.Token, bool, error) {
	if b.load != nil {
		if err := b.load(ctx); err != nil {
			return counterfoil.Token{}, false, err
		}
	}
	t, ok, err := b.Cache.Load(ctx, key)
	if b.loaded != nil {
		b.loaded()
	}
	return t, ok, err
}

// A caller that finds the new token in the cache before the flight that put it
// there takes it into use: that is no provider who answers the same token again.
func TestMarginOfATokenThatTwoAdopt(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	b := &between{Cache: client.Memory()}
	c.Cache = b
	s := w.source(c)
	var renewals atomic.Int32
	var adopted atomic.Value
	b.renewed = func() {
		if renewals.Add(1) == 2 {
			adopted.Store(w.must(s))
		}
	}
	w.must(s)
	w.clock.Turn(56 * time.Minute)
	w.must(s)
	w.eventually("the renewal is over", func() bool { return w.asked() == 2 && ownGoroutines() == "" })
	equal(t, "what a caller found meanwhile", adopted.Load(), any("token-2"))
	w.clock.Turn(56 * time.Minute)
	equal(t, "token at the margin", w.must(s), "token-2")
	w.eventually("it is renewed at the margin", func() bool { return w.asked() == 3 })
}

// What others change right after a Source has looked at the cache, and before it
// has taken what it saw into use, is seen at the next call.
func TestChangeRightAfterALook(t *testing.T) {
	for _, row := range []struct {
		name string
		// fresh says that the Source has no token yet.
		fresh bool
		// look makes s look at the cache, where "theirs" is in place of old.
		look func(w *world, s *client.Source, old counterfoil.Token)
	}{
		{"because of a change", false, func(w *world, s *client.Source, _ counterfoil.Token) { equal(w.t, "token seen", w.must(s), "theirs") }},
		{"because its token was rejected", false, func(w *world, s *client.Source, old counterfoil.Token) { s.Invalidate(w.ctx, old) }},
		{"because it has none yet", true, func(w *world, s *client.Source, _ counterfoil.Token) { equal(w.t, "token seen", w.must(s), "theirs") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			n := &named{Cache: client.Memory()}
			b := &between{Cache: n}
			c := w.config("oauth2")
			c.Cache = b
			s := w.source(c)
			old := w.tokenOf(s)
			put := func(value string, after time.Duration) {
				_, err := n.Cache.Renew(w.ctx, *n.key.Load(), cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
					return counterfoil.Token{Value: counterfoil.Secret(value), Type: "Bearer", Issued: theStart.Add(after), Expires: theStart.Add(2*time.Hour + after)}, nil
				}))
				if err != nil {
					t.Error(err)
				}
			}
			put("theirs", time.Second)
			b.loaded = func() {
				b.loaded = nil
				put("their next", 2*time.Second)
			}
			if row.fresh {
				s = w.source(c)
			}
			row.look(w, s, old)
			equal(t, "token of the next call", w.must(s), "their next")
			equal(t, "token requests", w.asked(), 1)
		})
	}
	t.Run("after its own renewal", func(t *testing.T) {
		w := newWorld(t)
		b := &between{Cache: client.Memory()}
		c := w.config("oauth2")
		c.Cache = b
		s := w.source(c)
		b.renewed = func() {
			b.renewed = nil
			must(b.Cache.Clear(w.ctx, ""))
		}
		w.must(s)
		equal(t, "token after it was cleared", w.must(s), "token-2")
	})
}

// Two calls are answered 401 at a time: the token that the one has got meanwhile
// is not taken out of use by the other, and one token is told as dropped.
func TestTwoDropsAtATime(t *testing.T) {
	w := newWorld(t)
	b := &between{Cache: client.Memory()}
	c := w.config("oauth2")
	c.Cache = b
	s := w.source(c)
	old := w.tokenOf(s)
	b.loaded = func() {
		b.loaded = nil
		s.Invalidate(w.ctx, old)
		equal(t, "token that the one has got", w.must(s), "token-2")
	}
	s.Invalidate(w.ctx, old)
	equal(t, "token in use", w.must(s), "token-2")
	dropped := 0
	for _, e := range w.seenEvents() {
		if e.Type == counterfoil.EventTokenDropped {
			dropped++
		}
	}
	equal(t, "events of dropped tokens", dropped, 1)
	equal(t, "token requests", w.asked(), 2)
}

// The API rejects every token of one Source, or of all who share the cache: about
// 5 a minute are dropped by all of them.
func TestDropsOfAllAreBounded(t *testing.T) {
	for bad := range 4 {
		t.Run(fmt.Sprint(bad+1, " of 4 are rejected"), func(t *testing.T) {
			w := newWorld(t)
			w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
				if r.URL.Path == "/bad" {
					rw.WriteHeader(http.StatusUnauthorized)
				}
			}
			cache := client.Memory()
			var all []*client.Source
			for range 4 {
				c := w.config("oauth2")
				c.Cache = cache
				all = append(all, w.source(c))
			}
			for range 60 {
				for i, s := range all {
					path := "/good"
					if i <= bad {
						path = "/bad"
					}
					w.get(s.Client(), w.api.URL+path).Body.Close()
				}
				w.clock.Turn(time.Second)
			}
			// The first, and 5; what a Source does not know yet of the others may be one more.
			if n := w.asked(); n < 2 || n > 6+bad {
				t.Errorf("%d token requests in a minute, want %d at most", n, 6+bad)
			}
		})
	}
}

// One rejected token and an outage: the places for rejected tokens are not used
// up by requests that bring none.
func TestOutageAfterARejectedToken(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	token, err := s.Token(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.answers(status(503, ""))
	s.Invalidate(w.ctx, token)
	for range 10 {
		w.turning(time.Second, func() { w.fails(s) })
		w.clock.Turn(20 * time.Second)
	}
	w.answers(nil)
	w.must(s)
}

// With a time limit below the backoff, failures are paused over all the same.
func TestShortTimeoutsDoNotHammer(t *testing.T) {
	w := newWorld(t)
	w.answers(status(503, ""))
	c := w.config("oauth2")
	c.Timeout = 100 * time.Millisecond
	s := w.source(c)
	for end := w.clock.Now().Add(time.Minute); w.clock.Now().Before(end); w.clock.Turn(100 * time.Millisecond) {
		w.turning(10*time.Millisecond, func() { w.fails(s) })
	}
	if n := w.asked(); n < 3 || n > 16 {
		t.Errorf("%d token requests in a minute of outage, want 16 at most", n)
	}
	w.answers(nil)
	w.clock.Turn(16 * time.Second)
	w.must(s)
}

// Without a token, an outage is asked about again after 1, 2, 4, 8 and 16 s at the
// latest, and no sooner than half of that.
func TestPausesOfAnOutage(t *testing.T) {
	w := newWorld(t)
	w.answers(status(503, ""))
	c := w.config("oauth2")
	c.Timeout = 100 * time.Millisecond
	s := w.source(c)
	most := time.Second
	for n := range 20 {
		w.turning(10*time.Millisecond, func() { w.fails(s) })
		e := w.fails(s) // the one that is remembered
		if e.RetryAfter < most/2 || e.RetryAfter > most {
			t.Errorf("failure %d stands for %v, want %v to %v", n+1, e.RetryAfter, most/2, most)
		}
		w.clock.Turn(e.RetryAfter)
		most = min(2*most, 16*time.Second)
	}
}

// A token from a time when some clock was wrong is not believed.
func TestTokenFromTheFuture(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Cache = client.Memory()
	w.clock.Turn(24 * time.Hour) // ahead by a day
	w.must(w.source(c))
	w.clock.Turn(-24 * time.Hour) // and mended
	equal(t, "token of a new Source", w.must(w.source(c)), "token-2")
}

// insists is a cache that shows one token under each key.
type insists struct {
	client.Cache
	token counterfoil.Token
}

func (i insists) Load(context.Context, string) (counterfoil.Token, bool, error) {
	return i.token, true, nil
}

// A token of times that none has is not taken from a cache, which may have made it
// up.
func TestTokenOfImpossibleTimes(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for _, row := range []struct {
		name            string
		issued, expires time.Duration // from now
		taken           bool
	}{
		{"an hour old", -time.Hour, time.Hour, true},
		{"about to end", -time.Hour, time.Nanosecond, true},
		{"ended", -time.Hour, 0, false},
		{"without a life", time.Second, time.Second, false},
		{"that ends before it was got", 2 * time.Second, time.Second, false},
		{"of 30 days", 0, month, true},
		{"of more", 0, month + 1, false},
		{"of a clock 2 s ahead", 2 * time.Second, time.Hour, true},
		{"of one further ahead", 2*time.Second + 1, time.Hour, false},
	} {
		w := newWorld(t)
		c, now := w.config("oauth2"), w.clock.Now()
		c.Cache = insists{client.Memory(), counterfoil.Token{Value: "shown", Type: "Bearer", Issued: now.Add(row.issued), Expires: now.Add(row.expires)}}
		equal(t, "a token "+row.name+" is taken", w.must(w.source(c)) == "shown", row.taken)
	}
}

// What a caller takes out of the cache while it is being cleared does not stay.
func TestClearWhileOthersCall(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	inner, path := dirCache(t) // whose counter stands still
	b := &between{Cache: inner}
	c.Cache = b
	s := w.source(c)
	w.must(s)
	b.clearing = func() { equal(t, "token while it is cleared", w.must(s), "token-1") }
	if err := s.Clear(w.ctx); err != nil {
		t.Fatal(err, path)
	}
	b.clearing = nil
	equal(t, "token when it is cleared", w.must(s), "token-2")
}

// A caller who leaves while the cache is looked at keeps nothing from the others.
func TestChangeThatOneCallerMissed(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	b := &between{Cache: client.Memory(), load: func(ctx context.Context) error { return ctx.Err() }}
	c.Cache = b
	s := w.source(c)
	w.must(s)
	if err := b.Cache.Clear(w.ctx, ""); err != nil {
		t.Fatal(err)
	}
	left, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := s.Token(left); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	equal(t, "token of the next", w.must(s), "token-2")
}
