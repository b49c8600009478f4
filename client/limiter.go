package client

import (
	"sync"
	"time"
)

// window is a second more than a minute: requests that are sent a minute apart
// may arrive closer together.
const window = time.Minute + time.Second

// limiter allows at most n in any window, in the order of the callers. A token
// bucket would allow twice as many in the minute after a pause.
type limiter struct {
	mu sync.Mutex
	// times are the last n reserved times, in order from next; future ones
	// belong to callers that wait.
	times []time.Time
	next  int
}

// newLimiter returns nil, for no limit, when n is 0.
func newLimiter(n int) *limiter {
	if n == 0 {
		return nil
	}
	return &limiter{times: make([]time.Time, n)}
}

// reserve gives the next place to the caller, and returns how long to wait for
// it. A caller whose wait would last beyond end, unless that is zero, gets none.
func (l *limiter) reserve(now, end time.Time) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = now
	if oldest := l.times[l.next]; !oldest.IsZero() && oldest.Add(window).After(now) {
		at = oldest.Add(window)
	}
	if !end.IsZero() && at.After(end) {
		return at, false
	}
	l.times[l.next] = at
	l.next = (l.next + 1) % len(l.times)
	return at, true
}

// giveBack returns the place at, which will not be used. Only the last place can
// be reused.
func (l *limiter) giveBack(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := (l.next + len(l.times) - 1) % len(l.times)
	if l.times[last].Equal(at) {
		l.times[last] = at.Add(-window)
		l.next = last
	}
}

// take allows one and returns 0, or returns how long until the next place.
func (l *limiter) take(now time.Time) time.Duration {
	at, _ := l.reserve(now, now)
	return at.Sub(now)
}

// wait returns what take would, without taking a place.
func (l *limiter) wait(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if oldest := l.times[l.next]; !oldest.IsZero() {
		return max(oldest.Add(window).Sub(now), 0)
	}
	return 0
}
