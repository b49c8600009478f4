package client

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

const (
	// maxSkew bounds the assumed difference between the provider's clock and
	// this machine's; minSkew is the smallest difference that counts: Date has
	// whole seconds.
	maxSkew = 24 * time.Hour
	minSkew = 2 * time.Second
	// wrongClock is how far off the provider's clock must have been for it to
	// explain a refusal.
	wrongClock = 5 * time.Second
)

// inFuture reports whether at is in the future, by the wall clock.
func inFuture(at, now time.Time) bool { return at.Round(0).After(now.Round(0).Add(minSkew)) }

// within returns d, limited to the most that it can be.
func within(d, most time.Duration) time.Duration { return min(max(d, -most), most) }

// providerClock is the provider's clock, as far as it is known.
type providerClock struct {
	machine counterfoil.Clock
	skew    atomic.Pointer[skew] // nil until it is measured
}

// skew is by how much the provider's clock was ahead of this machine's, at a time
// that has a monotonic reading.
type skew struct {
	at    time.Time
	ahead time.Duration
}

// measure determines how far the provider's clock is ahead of this machine's
// from the Date of a response (RFC 9110 section 6.6.1) to a request sent at
// sent.
func (c *providerClock) measure(sent time.Time, resp *http.Response) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	now := c.machine.Now()
	if err != nil || clocks.Drift(now, sent).Abs() >= minSkew { // it is unknown which of the two clocks Date is relative to
		return
	}
	// Date was truncated to a second, somewhere between sending and now.
	here := now.Round(0).Add(-now.Sub(sent) / 2)
	ahead := date.Add(time.Second / 2).Sub(here)
	if ahead.Abs() < minSkew {
		ahead = 0
	}
	c.skew.Store(&skew{now, within(ahead, maxSkew)})
}

// correct replaces the measurement by ahead, if this machine's clock was changed
// since.
func (c *providerClock) correct(now time.Time, ahead time.Duration) {
	if m := c.skew.Load(); m != nil && clocks.Drift(now, m.at).Abs() >= minSkew {
		c.skew.CompareAndSwap(m, &skew{now, within(ahead, maxSkew)})
	}
}

// ahead is how far the provider's clock is ahead of this machine's, as far as
// known. A clock that has been set back since the measurement is behind by as
// much; one that has gained may be right, because the machine was suspended.
func (c *providerClock) ahead(now time.Time) time.Duration {
	m := c.skew.Load()
	if m == nil {
		return 0
	}
	return within(m.ahead-min(clocks.Drift(now, m.at), 0), maxSkew)
}

// now is the time by the provider's clock, as far as it is known.
func (c *providerClock) now() time.Time {
	now := c.machine.Now()
	return now.Round(0).Add(c.ahead(now))
}

// past reports whether at is past by both clocks, and certainly by the
// provider's: it was measured within the hour, and at is past even if the time
// that this machine's clock has gained since has not really passed. If a
// measurement were valid forever, what has expired by a wrong time would never be
// tried and the time never measured again.
func (c *providerClock) past(at time.Time) bool {
	m, now := c.skew.Load(), c.machine.Now()
	return m != nil && now.Sub(m.at).Abs() <= time.Hour && !m.at.Round(0).Add(m.ahead+now.Sub(m.at)).Before(at) && !now.Before(at)
}
