package outbound

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// How long key sets are kept.
const (
	defaultFresh = 5 * time.Minute
	minFresh     = time.Minute
	maxFresh     = 15 * time.Minute
	stale        = time.Hour        // since the set was fetched
	retry        = 10 * time.Second // between fetches for unknown keys
	failing      = 5 * time.Second  // that a failure is remembered
	maxSets      = 1000
)

var errUnusable = errors.New("the set has no key that can be used")

// NoSetError says that the fetch of a set failed, and that there is no older one
// that may serve.
type NoSetError struct{ Err error }

func (e *NoSetError) Error() string { return "key set: " + e.Err.Error() }

// Unwrap returns why.
func (e *NoSetError) Unwrap() error { return e.Err }

// KeySets are the JWK Sets at any number of URLs (RFC 7517 section 5), such as
// the jwks_uri of clients (RFC 7591 section 2), kept in memory. It is safe for
// concurrent use. It remembers the 1,000 URLs that were used last.
type KeySets struct {
	fetcher *Fetcher
	clock   counterfoil.Clock
	log     *slog.Logger

	mu     sync.Mutex
	byURL  map[string]*list.Element
	recent list.List // of *keySet, the last used in front
}

// keySet is what is known of one URL. KeySets.mu guards it.
type keySet struct {
	url          string
	keys         []jose.PublicKey
	fresh, until time.Time     // until which keys need no fetch, and serve at all
	ended        time.Time     // when the last fetch ended; zero before it did
	failure      error         // of the last fetch
	flight       chan struct{} // closed when the fetch in the air ends; nil when none is
	leftOut      jose.LeftOutLog
	trouble      time.Time // when a failure was logged last
}

// NewKeySets returns the key sets that fetcher can reach. A nil clock is the
// system's. The logger gets failed fetches and keys that were left out.
func NewKeySets(fetcher *Fetcher, c counterfoil.Clock, log *slog.Logger) *KeySets {
	if c == nil {
		c = clock.System
	}
	return &KeySets{fetcher: fetcher, clock: c, log: log, byURL: map[string]*list.Element{}}
}

// Keys returns the keys of the set at url whose ID is kid, or all when kid is
// "". None and no error means that the set has no such key.
//
// A set is used for as long as its answer allows, from 1 to 15 minutes, 5 when
// it does not say. For an ID that is not in it, it is fetched again, once in 10
// seconds at most, whoever asks. While its source is down, or answers without a
// key that can be used, the last set serves until an hour after it was fetched; a
// failure is remembered for 5 seconds. One fetch at a time is in the air for a
// URL, and it does not end with the ctx of who caused it. Errors are those of
// Get, of jose.ParseSet, or ctx's; in a *NoSetError where a fetch failed and no
// older set may serve.
func (s *KeySets) Keys(ctx context.Context, url, kid string) ([]jose.PublicKey, error) {
	if _, err := s.fetcher.check(url); err != nil { // takes no room in memory
		return nil, fmt.Errorf("key set: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set, now := s.set(url), s.clock.Now()
	keys := set.named(kid, now)
	known := len(keys) > 0 || (kid == "" && set.loaded(now))
	if known && now.Before(set.fresh) {
		return keys, nil
	}
	s.fetch(set, now)
	if known && set.failure != nil {
		return keys, nil // down: nobody waits for what only may come back
	}
	if set.flight != nil {
		if err := s.wait(ctx, set.flight); err != nil {
			return nil, err
		}
		keys = set.named(kid, s.clock.Now())
	}
	switch {
	case len(keys) > 0 || set.failure == nil:
		return keys, nil
	case set.loaded(s.clock.Now()):
		return nil, fmt.Errorf("key set: %w", set.failure) // not "no such key": nobody can tell
	}
	return nil, &NoSetError{set.failure}
}

// wait returns when the flight has ended, or the context with an error. The
// caller holds the lock, and has it again afterwards.
func (s *KeySets) wait(ctx context.Context, flight <-chan struct{}) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("key set: %w", ctx.Err())
	}
}

// set returns what is known of url, from now on the last used. The caller holds
// the lock.
func (s *KeySets) set(url string) *keySet {
	if e, ok := s.byURL[url]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*keySet)
	}
	if s.recent.Len() >= maxSets {
		// Its fetch, when one is in the air, ends for those who wait for it.
		oldest := s.recent.Remove(s.recent.Back()).(*keySet)
		delete(s.byURL, oldest.url)
	}
	set := &keySet{url: url}
	s.byURL[url] = s.recent.PushFront(set)
	return set
}

// loaded reports whether there is a set that may serve.
func (k *keySet) loaded(now time.Time) bool { return now.Before(k.until) }

// named returns the keys that may serve and are called kid, all when it is "".
func (k *keySet) named(kid string, now time.Time) []jose.PublicKey {
	if !k.loaded(now) {
		return nil
	}
	var keys []jose.PublicKey
	for _, key := range k.keys {
		if kid == "" || key.ID == kid {
			keys = append(keys, key)
		}
	}
	return slices.Clip(keys)
}

// fetch starts a fetch of set unless one is in the air or the last was too
// recent. The caller holds the lock.
func (s *KeySets) fetch(set *keySet, now time.Time) {
	pause := retry
	if set.failure != nil {
		pause = failing
	}
	if set.flight != nil || (!set.ended.IsZero() && now.Sub(set.ended) < pause) {
		return
	}
	flight := make(chan struct{})
	set.flight = flight
	go func() {
		// Of no caller's context; the fetcher's timeout ends it.
		doc, err := s.fetcher.Get(context.Background(), set.url, "application/jwk-set+json, application/json")
		var keys []jose.PublicKey
		var left []jose.LeftOut
		if err == nil {
			keys, left, err = jose.ParseSet(doc.Body)
			set.leftOut.Warn(s.log, now, set.url, len(keys), left)
		}
		if err == nil && len(keys) == 0 {
			// A source that is being restarted, rather than one that trusts none
			// of its keys any more.
			err = errUnusable
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(flight)
		set.flight, set.ended, set.failure = nil, s.clock.Now(), nil
		if err != nil {
			set.failure = err
			s.tell(set, err)
			return
		}
		// Counted from when it was asked for: the answer is no newer than that.
		set.keys, set.fresh, set.until = keys, now.Add(lifetime(doc.MaxAge)), now.Add(stale)
	}()
}

// tell logs a failed fetch, of one URL once a minute. The caller holds the lock.
func (s *KeySets) tell(set *keySet, err error) {
	if since := set.ended.Sub(set.trouble); !set.trouble.IsZero() && since >= 0 && since < time.Minute {
		return
	}
	set.trouble = set.ended
	s.log.Error("key set: fetch failed", "url", set.url, "error", err, "last_set_serves", set.loaded(set.ended))
}

// lifetime is how long a set is fresh.
func lifetime(maxAge time.Duration) time.Duration {
	if maxAge < 0 {
		return defaultFresh
	}
	return min(max(maxAge, minFresh), maxFresh)
}
