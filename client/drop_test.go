package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// lagging is a cache that others read behind the times: each of its answers can be
// set apart from what it holds.
type lagging struct {
	client.Cache
	// loads and finds are what Load and Renew show in place of what is there; nil
	// for that itself.
	loads, finds *counterfoil.Token
	loadErr      error
	key          string
	drops        int
}

func (l *lagging) Load(ctx context.Context, key string) (counterfoil.Token, bool, error) {
	l.key = key
	switch {
	case l.loadErr != nil:
		return counterfoil.Token{}, false, l.loadErr
	case l.loads != nil:
		return *l.loads, l.loads.Value != "", nil
	}
	return l.Cache.Load(ctx, key)
}

func (l *lagging) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	if l.finds != nil && r.Accept(*l.finds) {
		return *l.finds, nil
	}
	return l.Cache.Renew(ctx, key, r)
}

func (l *lagging) Drop(ctx context.Context, key string, rejected counterfoil.Token) error {
	l.drops++
	return l.Cache.Drop(ctx, key, rejected)
}

// dropping is a Source with a lagging cache.
func dropping(t *testing.T) (*world, *lagging, *client.Source) {
	w := newWorld(t)
	c := w.config("oauth2")
	l := &lagging{Cache: client.Memory()}
	c.Cache = l
	return w, l, w.source(c)
}

// tokenOf returns the token of s, which has to be had.
func (w *world) tokenOf(s *client.Source) counterfoil.Token {
	w.t.Helper()
	token, err := s.Token(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// A cache that lags behind goes on showing the token that an API has rejected: it
// is not taken into use again, wherever the cache shows it.
func TestDroppedTokenThatTheCacheStillShows(t *testing.T) {
	for _, row := range []struct {
		name string
		lag  func(*world, *lagging, *client.Source, counterfoil.Token)
	}{
		{"to Load", func(_ *world, l *lagging, _ *client.Source, old counterfoil.Token) { l.loads = &old }},
		{"to Renew", func(_ *world, l *lagging, _ *client.Source, old counterfoil.Token) { l.finds = &old }},
		{"to both", func(_ *world, l *lagging, _ *client.Source, old counterfoil.Token) { l.loads, l.finds = &old, &old }},
		{"to who looks again because of a change", func(w *world, l *lagging, s *client.Source, old counterfoil.Token) {
			w.must(s)
			old.Issued, old.Expires = old.Issued.Add(time.Second), old.Expires.Add(time.Second) // newer than what is in use
			l.loads = &old
			l.Changes(l.key).Add(1)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, l, s := dropping(t)
			old := w.tokenOf(s)
			s.Invalidate(w.ctx, old)
			row.lag(w, l, s, old)
			for range 3 {
				equal(t, "token after the first was rejected", w.must(s), "token-2")
			}
			equal(t, "token requests", w.asked(), 2)
		})
	}
}

// A cache that lags shows a rejected token in place of another that is rejected in
// its turn: that one is not replaced by the first.
func TestDropIsNotMendedWithTheTokenDroppedBefore(t *testing.T) {
	w, l, s := dropping(t)
	first := w.tokenOf(s)
	s.Invalidate(w.ctx, first)
	second := w.tokenOf(s)
	l.loads, l.finds = &first, &first
	s.Invalidate(w.ctx, second)
	equal(t, "token after both were rejected", w.must(s), "token-3")
	equal(t, "tokens taken out of the cache", l.drops, 2)
}

// A token that has been renewed since stays, also while the cache cannot say that
// it has been.
func TestDropOfATokenThatIsNotInUse(t *testing.T) {
	for _, row := range []struct {
		name string
		lag  func(*lagging)
	}{
		{"the cache has the new one", func(*lagging) {}},
		{"the cache is lost", func(l *lagging) { l.loadErr = client.ErrCacheLost }},
		{"the cache shows none", func(l *lagging) { l.loads = &counterfoil.Token{} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, l, s := dropping(t)
			old := w.tokenOf(s)
			s.Invalidate(w.ctx, old)
			for range 2 { // the second look sees the first one's own change
				equal(t, "token", w.must(s), "token-2")
			}
			row.lag(l)
			dropped := l.drops
			for range 100 {
				s.Invalidate(w.ctx, old)
				s.Invalidate(w.ctx, counterfoil.Token{})
				s.Invalidate(w.ctx, counterfoil.Token{Value: "a stranger"})
			}
			equal(t, "token in use", w.must(s), "token-2")
			equal(t, "token requests", w.asked(), 2)
			equal(t, "tokens taken out of the cache", l.drops, dropped)
			l.loadErr, l.loads = nil, nil
			for range 4 { // the places for rejected tokens are all there
				s.Invalidate(w.ctx, w.tokenOf(s))
			}
			equal(t, "token after four more were rejected", w.must(s), "token-6")
			n := 0
			for _, e := range w.seenEvents() {
				if e.Type == counterfoil.EventTokenDropped {
					n++
				}
			}
			equal(t, "events of dropped tokens", n, 5)
		})
	}
}

// While a caller's call was under way others have renewed the token: the 401 to
// the old one costs no new token, whatever becomes of the cache.
func TestLate401WhileTheCacheIsLost(t *testing.T) {
	w, l, s := dropping(t)
	old := w.tokenOf(s)
	arrived, renewed := make(chan struct{}), make(chan struct{})
	w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
		if r.Header.Get("Authorization") == "Bearer "+old.Value.Reveal() {
			close(arrived)
			<-renewed
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}
	answered := make(chan int)
	go func() {
		resp, err := s.Client().Post(w.api.URL, "", nil)
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-arrived
	s.Invalidate(w.ctx, old)
	equal(t, "token", w.must(s), "token-2")
	l.loadErr = errors.New("away")
	close(renewed)
	equal(t, "status of the call", <-answered, 200)
	equal(t, "token", w.must(s), "token-2")
	equal(t, "token requests", w.asked(), 2)
}

// What another holder of the cache has put there in place of the rejected token is
// taken into use, and nothing is dropped.
func TestDropOfATokenThatOthersHaveReplaced(t *testing.T) {
	w, l, s := dropping(t)
	old := w.tokenOf(s)
	newer := old
	newer.Value, newer.Issued, newer.Expires = "theirs", old.Issued.Add(time.Second), old.Expires.Add(time.Second)
	l.loads = &newer
	for range 100 { // costs none of the places for rejected tokens
		s.Invalidate(w.ctx, old)
	}
	equal(t, "token", w.must(s), "theirs")
	equal(t, "token requests", w.asked(), 1)
	equal(t, "tokens taken out of the cache", l.drops, 0)
	l.loads = nil
	s.Invalidate(w.ctx, w.tokenOf(s))
	equal(t, "token after theirs was rejected", w.must(s), "token-2")
}
