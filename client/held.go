package client

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	// A token is renewed maxMargin before its end, or a marginShare of its
	// lifetime where that is less, so that a short token is not always stale.
	maxMargin   = 300 * time.Second
	marginShare = 5
	// jitterShare of the margin is the most by which renewal is earlier still,
	// so that processes that started together do not renew together.
	jitterShare = 10
	// Callers wait for the renewal lastCall before expiry, or a lastShare of the
	// lifetime if that is less: a token sent so late may arrive after its
	// expiry.
	lastCall  = 10 * time.Second
	lastShare = 50
)

// entry is a place in the cache.
type entry struct {
	key     string
	changes *atomic.Uint64
	// base carries the token requests, and the calls with the tokens obtained.
	base http.RoundTripper
	// certificate identifies the certificate that base presents, with its
	// intermediates; ends is its expiry by the provider's clock. "" and the zero
	// time without one.
	certificate string
	ends        time.Time
}

// held is a token in use. It goes through four times, each a moment:
//
//	taken … renewal … lastCall … ends
//	in use | in use while it is renewed | callers wait briefly for the renewal, then use it | never used again
//
// They have a monotonic reading beside that of the wall clock, and are reached
// when the first of the two clocks says so: the wall clock can be set back, and
// the other stands still while the machine is suspended.
type held struct {
	token counterfoil.Token
	// authorization is the token as sent in the API's header.
	authorization string
	entry         *entry
	// issued is when the token was issued, with the monotonic reading that token
	// lacks; a token from elsewhere has none.
	issued   time.Time
	renewal  time.Time
	lastCall time.Time
	ends     time.Time
	// until is the time up to which the token is used without any check: its
	// renewal, then the next attempt.
	until atomic.Pointer[time.Time]
	// seen is the entry's counter when the token was taken from it.
	seen atomic.Uint64
	// counted says that its early end was counted.
	counted atomic.Bool
}

func (h *held) live(now time.Time) bool { return h != nil && clocks.Before(now, h.ends) }

// usable reports whether t, which a cache may have made up, can be used: a token
// from the future dates from when some clock was wrong.
func (s *Source) usable(t counterfoil.Token, now time.Time) bool {
	return t.Value != "" && clocks.Before(now, t.Expires) && !ahead(t.Issued, now) && t.Lifetime() > 0 && t.Lifetime() <= maxLifetime &&
		!s.isRejected(t)
}

// ahead reports whether at is in the future, by the wall clock.
func ahead(at, now time.Time) bool { return at.Round(0).After(now.Round(0).Add(minSkew)) }

// adopt makes t, loaded from e when its counter was changes, the token in use,
// unless one that was issued later is. before is the token that was in use when
// the work that brought t began.
func (s *Source) adopt(e *entry, t counterfoil.Token, changes uint64, before *held) *held {
	h := &held{token: t, authorization: t.Value.Reveal(), entry: e, issued: t.Issued}
	h.token.Issued, h.token.Expires = t.Issued.Round(0), t.Expires.Round(0) // callers may compare them with wall-clock times
	for _, ch := range s.headers {
		switch {
		case ch.from != provider.HeaderFromToken:
		case s.prover != nil:
			h.authorization = schemeDPoP + " " + h.authorization
		case ch.scheme != "":
			h.authorization = ch.scheme + " " + h.authorization
		}
	}
	h.seen.Store(changes)
	s.mu.Lock()
	defer s.mu.Unlock()
	now, old := s.cfg.Clock.Now(), s.held.Load()
	h.serves(now, min(clocks.Left(now, t.Expires), t.Lifetime()))
	if old.live(now) && old.entry.key == e.key {
		switch {
		case old.token.Value == t.Value && (before == nil || before.token.Value != t.Value):
			return old // another has adopted it meanwhile
		case old.token.Value == t.Value, e.endsWith(old.token, t):
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
		case old.issued.After(t.Issued) && !ahead(old.issued, now): // not from when the clock was wrong
			old.seen.Store(changes)
			return old
		}
	}
	h.until.Store(&h.renewal)
	s.failures = 0
	s.held.Store(h)
	if s.former != nil && s.former != e {
		s.former.retire()
		s.former = nil
	}
	return h
}

// serves determines the times of h's token, which has left from now.
func (h *held) serves(now time.Time, left time.Duration) {
	early := margin(h.token)
	early += rand.N(early/jitterShare + 1)
	h.ends = now.Add(left)
	h.renewal = h.ends.Add(-early)
	h.lastCall = h.ends.Add(-min(lastCall, h.token.Lifetime()/lastShare))
}

func margin(t counterfoil.Token) time.Duration { return min(maxMargin, t.Lifetime()/marginShare) }

// look returns the token in use after checking whether others have changed the
// cache: nil if they have cleared it.
func (s *Source) look(ctx context.Context, h *held, now time.Time) *held {
	if h == nil {
		return nil
	}
	changes := h.entry.changes.Load()
	if changes == h.seen.Load() {
		return h
	}
	t, ok, err := s.cfg.Cache.Load(ctx, h.entry.key)
	switch {
	case err != nil: // perhaps this caller's: the next one tries again
		return h
	case !ok && s.held.CompareAndSwap(h, nil):
		s.gone(h, now, changes)
		return nil
	case ok && t.Value != h.token.Value && s.usable(t, now):
		s.gone(h, now, changes)
		return s.adopt(h.entry, t, changes, h)
	}
	h.seen.Store(changes)
	return s.held.Load()
}

// early reports whether h's token would have been used much longer. An expiry
// bounds itself, and a fleet's renewals briefly look like one.
func (h *held) early(now time.Time) bool {
	return clocks.Before(now, h.ends.Add(-2*margin(h.token)))
}

// gone counts, once, that h's token was given up early, by this Source or by
// others that share the cache, whose counter is changes by now: each token that
// was given up since has changed it twice, when it was removed and when the next
// was stored.
func (s *Source) gone(h *held, now time.Time, changes uint64) {
	if !h.early(now) || !h.counted.CompareAndSwap(false, true) {
		return
	}
	for range min((changes-h.seen.Load()+1)/2, dropsPerMinute) {
		s.drops.take(now)
	}
}
