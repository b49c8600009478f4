package health

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Clock returns a check that fails while the clock of the machine is behind what it
// was: it was set back, or the newest event of the record is of later. Tokens of
// before are then dated ahead, so that guards refuse them, and new ones may have
// expired for guards whose clocks are right. It ends once the clock is right again,
// or when tokens of before have expired, after the longest lifetime and an hour at
// most: then the clock that was set is taken for the right one.
//
// A clock that is set ahead makes no failure, because a machine that wakes up
// looks the same.
func Clock(c counterfoil.Clock, newest time.Time, longest func() time.Duration) Check {
	now := c.Now()
	k := &clock{Clock: c, start: now, best: max(0, newest.Round(0).Sub(now.Round(0))), longest: longest}
	return Check{Name: "clock", Word: "behind", Ask: k.ask}
}

type clock struct {
	counterfoil.Clock
	start   time.Time
	longest func() time.Duration

	mu sync.Mutex
	// best is the furthest that the wall clock was ahead of the time that passed since
	// the start; since is when it was first found behind that.
	best  time.Duration
	since time.Time
}

func (k *clock) ask(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Now()
	off := now.Round(0).Sub(k.start.Round(0)) - now.Sub(k.start)
	behind := k.best - off
	if behind <= store.MaxAhead {
		k.best, k.since = max(k.best, off), time.Time{}
		return nil
	}
	if k.since.IsZero() {
		k.since = now
	}
	if most := min(k.longest(), time.Hour); now.Sub(k.since) >= most {
		k.best, k.since = off, time.Time{}
		return nil
	}
	return fmt.Errorf("the clock of this machine is %v behind the time that it showed before: correct it", behind.Round(time.Second))
}

// Certificate returns a check that fails when the certificate of the server has
// expired: no client accepts it.
func Certificate(c counterfoil.Clock, ends func() time.Time) Check {
	return Check{Name: "certificate", Word: "expired", Ask: func(context.Context) error {
		if end := ends(); c.Now().After(end) {
			return fmt.Errorf("the certificate expired at %s: renew it", end.UTC().Format(time.RFC3339))
		}
		return nil
	}}
}
