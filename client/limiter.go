package client

import (
	"sync"
	"time"
)

// window is a second more than a minute: requests that left a minute apart may
// arrive closer together.
const window = time.Minute + time.Second

// limiter lets through at most n in any window. A token bucket would let
// through twice as many in the minute after a pause.
type limiter struct {
	mu sync.Mutex
	// times are the last n that were let through, the oldest at next.
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

// take lets one through and returns 0, or returns how long to wait before
// asking again: who does not take takes no place.
func (l *limiter) take(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.left(now)
	if wait == 0 {
		l.times[l.next] = now
		l.next = (l.next + 1) % len(l.times)
	}
	return wait
}

// wait returns what take would, and takes nothing.
func (l *limiter) wait(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left(now)
}

// left is how long there is no place; the caller holds the lock.
func (l *limiter) left(now time.Time) time.Duration {
	oldest := l.times[l.next]
	if oldest.IsZero() {
		return 0
	}
	return max(oldest.Add(window).Sub(now), 0)
}
