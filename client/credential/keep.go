package credential

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/client/internal/flight"
	"github.com/counterfoil/counterfoil/internal/clock"
)

const (
	// The wait after a failed fetch doubles from minPause to maxPause.
	minPause = time.Second
	maxPause = 30 * time.Second
)

var errNothing = errors.New("credential: Keep was given no SecretFunc: open one with credential.Open")

// KeepOptions are the times of Keep. The zero value works.
type KeepOptions struct {
	// Fresh is how long a value is returned without checking its source, and so
	// how late a rotated secret can be noticed; default 30 s.
	Fresh time.Duration
	// MaxStale is how much longer the last value is used while its source fails;
	// default 1 hour, negative for not at all.
	MaxStale time.Duration
	// Limit bounds one fetch; default 10 s.
	Limit time.Duration
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// Keep returns a SecretFunc that caches the value of f, for values that are slow
// to obtain: those of a secret manager, a keyring, a command.
//
// A fresh value costs no more than reading the clock. After that one fetch is
// made for all callers, who wait for it; the end of a caller's context ends its
// waiting only. If the fetch fails, or outlasts a caller, the last value is used
// for up to MaxStale more. A failure is remembered for 1 s, which doubles to 30
// s with each one in a row; f is not called meanwhile. An empty value counts as
// a failure.
//
// The context of f is its own and ends after Limit: f must obey it. If f does
// not, it is abandoned, and no second call is started beside it.
func Keep(f client.SecretFunc, o KeepOptions) client.SecretFunc {
	if f == nil {
		return func(context.Context) (counterfoil.Secret, error) { return "", errNothing }
	}
	k := &keeper{fetch: f, fresh: 30 * time.Second, stale: time.Hour, clock: o.Clock}
	if o.Fresh > 0 {
		k.fresh = o.Fresh
	}
	if o.MaxStale != 0 {
		k.stale = max(o.MaxStale, 0)
	}
	if k.clock == nil {
		k.clock = clock.System
	}
	k.flight.Clock, k.flight.Limit = k.clock, cmp.Or(max(o.Limit, 0), 10*time.Second)
	return k.get
}

type keeper struct {
	fetch        client.SecretFunc
	fresh, stale time.Duration
	clock        counterfoil.Clock
	flight       flight.Flight[*kept]
	state        atomic.Pointer[kept]
}

// kept is what is known; it is never changed, only replaced.
type kept struct {
	value   counterfoil.Secret // "" for none yet
	fetched time.Time
	err     error // of the last fetch
	failed  time.Time
	pause   time.Duration
}

func (k *keeper) get(ctx context.Context) (counterfoil.Secret, error) {
	s := k.state.Load()
	now := k.clock.Now()
	if s != nil && k.isFresh(s, now) {
		return s.value, nil
	}
	return k.slow(ctx, s, now)
}

func (k *keeper) isFresh(s *kept, now time.Time) bool {
	return s.value != "" && clocks.Within(now, s.fetched, k.fresh)
}

// slow is get without a fresh value.
func (k *keeper) slow(ctx context.Context, s *kept, now time.Time) (counterfoil.Secret, error) {
	var gone error
	if s == nil || s.err == nil || !clocks.Within(now, s.failed, s.pause) {
		fetched, err := k.flight.Do(ctx, k.renew)
		switch {
		case err == nil:
			s = fetched
		case errors.Is(err, flight.ErrOverdue):
			s = k.overdue(s, err)
		default:
			gone = err // the caller's context; the fetch goes on
		}
		now = k.clock.Now()
	}
	switch {
	case s != nil && s.err == nil && gone == nil:
		return s.value, nil
	case s != nil && s.value != "" && clocks.Within(now, s.fetched, k.fresh+k.stale):
		return s.value, nil
	case gone != nil:
		return "", gone
	}
	return "", s.err
}

// renew calls the source. Its result is a kept in either case, so that all
// waiting callers share it.
func (k *keeper) renew(ctx context.Context) (*kept, error) {
	old, now := k.state.Load(), k.clock.Now()
	if old == nil {
		old = &kept{}
	}
	if k.isFresh(old, now) {
		return old, nil // the flight before this one brought it
	}
	value, err := k.fetch(ctx)
	if err == nil && value == "" {
		err = errors.New("the secret is empty at its source")
	}
	next := &kept{value: value, fetched: now}
	if err != nil {
		next = old.after(err, k.clock.Now())
	}
	k.state.Store(next)
	return next, nil
}

// after is s with one more failure.
func (s *kept) after(err error, now time.Time) *kept {
	return &kept{value: s.value, fetched: s.fetched, err: err, failed: now, pause: min(max(2*s.pause, minPause), maxPause)}
}

// overdue records that the fetch under way does not obey its limit, unless it
// has ended since s.
func (k *keeper) overdue(s *kept, err error) *kept {
	old := s
	if old == nil {
		old = &kept{}
	}
	k.state.CompareAndSwap(s, old.after(err, k.clock.Now()))
	return k.state.Load()
}
