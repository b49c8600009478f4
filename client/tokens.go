package client

import (
	"context"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

const (
	// dropsPerMinute bounds how many tokens are dropped: an API that rejects every
	// token must not become a loop of token requests.
	dropsPerMinute = 5
	// maxRejected bounds how many rejected tokens are remembered.
	maxRejected = 2 * dropsPerMinute
)

// tokens decide which token is in use.
type tokens struct {
	states
	cache Cache
	clock counterfoil.Clock
	// scheme precedes the token in the header of a call; "" for none.
	scheme string
	drops  *limiter // of tokens dropped long before their renewal
}

func newTokens(cache Cache, clock counterfoil.Clock, scheme string) *tokens {
	ts := &tokens{cache: cache, clock: clock, scheme: scheme, drops: newLimiter(dropsPerMinute)}
	ts.last.Store(&state{})
	return ts
}

// usable reports whether t, which a cache may have made up, can be used: a token
// from the future dates from when some clock was wrong.
func (ts *tokens) usable(t counterfoil.Token, now time.Time) bool {
	return t.Value != "" && clocks.Before(now, t.Expires) && !inFuture(t.Issued, now) && t.Lifetime() > 0 && t.Lifetime() <= maxLifetime &&
		!slices.Contains(ts.load().rejected, t.Value)
}

// adopt makes t, loaded from p when its counter was changes, the token in use,
// unless one that was issued later is, and returns the state with the token in
// use. before is the token that was in use when the work that brought t began.
func (ts *tokens) adopt(p *place, t counterfoil.Token, changes uint64, before *held) *state {
	var unused *place
	after, _ := ts.change(func(st *state) bool {
		now, old := ts.clock.Now(), st.held
		h := ts.hold(p, t, now)
		unused = nil
		if old.live(now) && old.place.key == p.key {
			switch {
			case old.token.Value == t.Value && (before == nil || before.token.Value != t.Value):
				return false // another has adopted it meanwhile
			case old.token.Value == t.Value, p.endsWith(old.token, t):
				// If the provider returns the same token until it expires, or the
				// certificate that all tokens are bound to expires, another request
				// soon would be a loop. So the next time is the last call, then the
				// expiry.
				if left := clocks.Left(now, old.ends); old.token.Value == t.Value && left < clocks.Left(now, h.ends) {
					h.serves(now, left)
				}
				h.renewal = h.lastCall
				if !clocks.Before(now, h.lastCall) {
					h.renewal = h.ends
				}
			case old.issued.After(t.Issued) && !inFuture(old.issued, now): // not from when the clock was wrong
				st.seen = changes
				return true
			}
		}
		st.held, st.until, st.seen, st.counted, st.failures = h, h.renewal, changes, false, 0
		if st.former != p {
			unused = st.former
			st.former = nil
		}
		return true
	})
	if unused != nil {
		unused.retire()
	}
	return after
}

// hold returns t as a token in use from now.
func (ts *tokens) hold(p *place, t counterfoil.Token, now time.Time) *held {
	h := &held{token: t, authorization: t.Value.Reveal(), place: p, issued: t.Issued}
	h.token.Issued, h.token.Expires = t.Issued.Round(0), t.Expires.Round(0) // callers may compare them with wall-clock times
	if ts.scheme != "" {
		h.authorization = ts.scheme + " " + h.authorization
	}
	h.serves(now, min(clocks.Left(now, t.Expires), t.Lifetime()))
	return h
}

// look returns the state after checking whether others have changed the cache
// since st: without a token in use if they have cleared it.
func (ts *tokens) look(ctx context.Context, st *state, now time.Time) *state {
	h := st.held
	if h == nil {
		return st
	}
	changes := h.place.changes.Load()
	if changes == st.seen {
		return st
	}
	t, ok, err := ts.cache.Load(ctx, h.place.key)
	switch {
	case err != nil: // perhaps this caller's: the next one tries again
		return st
	case !ok:
		if after, removed := ts.remove(h, now, changes, 0); removed {
			return after
		}
	case t.Value != h.token.Value && ts.usable(t, now):
		ts.replaced(h, now, changes)
		return ts.adopt(h.place, t, changes, h)
	}
	after, _ := ts.change(func(st *state) bool {
		if st.held == h {
			st.seen = changes
		}
		return st.held == h
	})
	return after
}

// postpone moves the time up to which h is used without any check, unless another
// has moved it from at.
func (ts *tokens) postpone(h *held, at, to time.Time) bool {
	_, moved := ts.change(func(st *state) bool {
		if st.held != h || !st.until.Equal(at) {
			return false
		}
		st.until = to
		return true
	})
	return moved
}

// rest lets h be used without any check up to its renewal.
func (ts *tokens) rest(h *held) {
	ts.change(func(st *state) bool {
		if st.held == h {
			st.until = h.renewal
		}
		return st.held == h
	})
}

// remove takes h out of use, unless another has, and counts that. The counter of
// its place is changes by now, or has grown by at least own.
func (ts *tokens) remove(h *held, now time.Time, changes, own uint64) (after *state, removed bool) {
	var grown uint64
	after, removed = ts.change(func(st *state) bool {
		if st.held != h {
			return false
		}
		grown = max(changes, st.seen+own) - st.seen
		if st.counted {
			grown = 0
		}
		st.held = nil
		return true
	})
	if removed {
		ts.count(h, now, grown)
	}
	return after, removed
}

// replaced counts, once, that others have replaced h.
func (ts *tokens) replaced(h *held, now time.Time, changes uint64) {
	var grown uint64
	if _, first := ts.change(func(st *state) bool {
		if st.held != h || st.counted || !h.early(now) {
			return false
		}
		grown, st.counted = max(changes, st.seen)-st.seen, true
		return true
	}); first {
		ts.count(h, now, grown)
	}
}

// count counts that h's token was given up early, by this Source or by others
// that share the cache, whose counter has grown: each token that was given up has
// changed it twice, when it was removed and when the next was stored.
func (ts *tokens) count(h *held, now time.Time, grown uint64) {
	if !h.early(now) {
		return
	}
	for range min((grown+1)/2, dropsPerMinute) {
		ts.drops.take(now)
	}
}

// invalidate takes the token that an API has rejected out of use, here and in the
// cache, unless too many were in the last minute. It reports whether that was the
// token in use and has no successor yet, and the error of the cache.
func (ts *tokens) invalidate(ctx context.Context, rejected counterfoil.Token) (dropped bool, err error) {
	st, now := ts.load(), ts.clock.Now()
	h := st.held
	if h == nil || h.token.Value != rejected.Value {
		return false, nil
	}
	changes := h.place.changes.Load()
	t, ok, err := ts.cache.Load(ctx, h.place.key)
	replaced := err == nil && ok && t.Value != rejected.Value && ts.usable(t, now)
	if !replaced && h.early(now) && ts.drops.wait(now) > 0 {
		return false, nil
	}
	ts.reject(rejected.Value)
	if _, removed := ts.remove(h, now, changes, 1); !removed {
		return false, nil
	}
	if replaced {
		ts.adopt(h.place, t, changes, h)
		return false, nil
	}
	return true, ts.cache.Drop(ctx, h.place.key, rejected)
}

// reject remembers a token that an API has rejected, as one of the last
// maxRejected: the cache may still return it.
func (ts *tokens) reject(token counterfoil.Secret) {
	ts.change(func(st *state) bool {
		st.rejected = append([]counterfoil.Secret{token}, st.rejected[:min(len(st.rejected), maxRejected-1)]...)
		return true
	})
}

// forget takes the token out of use.
func (ts *tokens) forget() {
	ts.change(func(st *state) bool {
		st.held = nil
		return true
	})
}
