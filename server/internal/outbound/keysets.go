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

// NoSetError says that the fetch of a set failed, and that no older one may be
// used.
type NoSetError struct{ Err error }

// Error returns the message.
func (e *NoSetError) Error() string { return "key set: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NoSetError) Unwrap() error { return e.Err }

// KeySets are the JWK Sets at any number of URLs (RFC 7517 section 5), such as
// the jwks_uri of clients (RFC 7591 section 2), kept in memory. It is safe for
// concurrent use. It remembers the 1,000 most recently used URLs.
type KeySets struct {
	fetcher *Fetcher
	clock   counterfoil.Clock
	log     *slog.Logger

	mu     sync.Mutex
	byURL  map[string]*list.Element
	recent list.List // of *keySet, the last used in front
}

// keySet is the state of one URL. KeySets.mu guards it.
type keySet struct {
	url          string
	keys         []jose.PublicKey
	fresh, until time.Time     // until which keys need no fetch, and serve at all
	ended        time.Time     // when the last fetch ended; zero before it did
	failure      error         // of the last fetch
	flight       chan struct{} // closed when the fetch in progress ends; nil without one
	leftOut      jose.LeftOutLog
	trouble      time.Time // when a failure was logged last
}

// NewKeySets returns the key sets that fetcher can reach. A nil clock is the
// system's. Failed fetches and keys that were left out are logged.
func NewKeySets(fetcher *Fetcher, c counterfoil.Clock, log *slog.Logger) *KeySets {
	if c == nil {
		c = clock.System
	}
	return &KeySets{fetcher: fetcher, clock: c, log: log, byURL: map[string]*list.Element{}}
}

// Keys returns the keys of the set at url whose ID is kid, or all when kid is
// "". No keys and no error means that the set has no such key.
//
// A set is used for as long as its answer allows, from 1 to 15 minutes, 5 by
// default. For an unknown ID it is fetched again, at most once in 10 seconds.
// While its source is down, or answers without a usable key, the last set is
// used until an hour after it was fetched; a failure is remembered for 5
// seconds. One fetch at a time is in progress for a URL, and it does not end
// with the ctx of the caller that caused it. Errors are those of Get, of
// jose.ParseSet, or ctx's; in a *NoSetError where a fetch failed and no older
// set may be used.
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
		return keys, nil // down: do not wait for a source that may not come back
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
		return nil, fmt.Errorf("key set: %w", set.failure) // not "no such key": that is unknown
	}
	return nil, &NoSetError{set.failure}
}

// wait returns when the flight has ended, or with an error when the context
// has. The caller holds the lock before and after.
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

// set returns the state of url and marks it as the most recently used. The
// caller holds the lock.
func (s *KeySets) set(url string) *keySet {
	if e, ok := s.byURL[url]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*keySet)
	}
	if s.recent.Len() >= maxSets {
		// Its fetch, when one is in progress, still ends for its waiters.
		oldest := s.recent.Remove(s.recent.Back()).(*keySet)
		delete(s.byURL, oldest.url)
	}
	set := &keySet{url: url}
	s.byURL[url] = s.recent.PushFront(set)
	return set
}

// loaded reports whether there is a set that may be used.
func (k *keySet) loaded(now time.Time) bool { return now.Before(k.until) }

// named returns the usable keys with that kid, all when it is "".
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

// fetch starts a fetch of set unless one is in progress or the last was too
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
		// Not with a caller's context; the fetcher's timeout ends it.
		doc, err := s.fetcher.Get(context.Background(), set.url, "application/jwk-set+json, application/json")
		var keys []jose.PublicKey
		var left []jose.LeftOut
		if err == nil {
			keys, left, err = jose.ParseSet(doc.Body)
			set.leftOut.Warn(s.log, now, set.url, len(keys), left)
		}
		if err == nil && len(keys) == 0 {
			// The source is probably restarting, rather than revoking all of its
			// keys.
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
		// Counted from the time of the request: the answer may be no newer.
		set.keys, set.fresh, set.until = keys, now.Add(lifetime(doc.MaxAge)), now.Add(stale)
	}()
}

// tell logs a failed fetch, at most once a minute per URL. The caller holds
// the lock.
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
