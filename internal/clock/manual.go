package clock

import (
	"context"
	"sync"
	"time"
	"unsafe"
)

// Manual is a clock for tests. It advances only by Turn and Step.
type Manual struct {
	mu      sync.Mutex
	start   time.Time
	elapsed time.Duration // by Turn: the time of the monotonic clock
	stepped time.Duration // by Step: the offset of the wall clock
	// stepping clocks return times with a monotonic reading.
	stepping bool
	waiters  map[chan struct{}]waiter
	slept    []time.Duration
	changed  chan struct{}
}

// waiter is a caller of Sleep.
type waiter struct {
	ctx   context.Context
	until time.Duration // by the monotonic clock
}

// NewManual returns a clock that shows now. Its times have no monotonic reading.
func NewManual(now time.Time) *Manual {
	return &Manual{start: now, waiters: map[chan struct{}]waiter{}, changed: make(chan struct{})}
}

// NewStepping returns a clock that shows now and whose times have a monotonic
// reading, like those of time.Now. Step sets the wall clock but not the monotonic
// one, as NTP or an administrator does.
func NewStepping(now time.Time) *Manual {
	m := NewManual(time.Now())
	m.start = m.start.Add(time.Duration(now.Nanosecond() - m.start.Nanosecond()))
	m.stepping, m.stepped = true, now.Sub(m.start.Round(0))
	return m
}

// Now returns the time that the clock shows.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.start.Add(m.elapsed)
	if !m.stepping {
		return now.Add(m.stepped)
	}
	// No function of package time shifts only the wall time. In a time with a
	// monotonic reading, the seconds are above 30 bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&now)) += uint64(m.stepped/time.Second) << 30
	return now
}

// Step sets the wall clock forward or back by d, in whole seconds. It does not
// wake sleepers, which wait by the monotonic clock.
func (m *Manual) Step(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stepped += d.Truncate(time.Second)
}

// Sleep waits until the clock is turned past d from now.
func (m *Manual) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	return m.begin(ctx, d)()
}

// begin begins to sleep, and returns what waits for the end.
func (m *Manual) begin(ctx context.Context, d time.Duration) (wait func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan struct{})
	m.waiters[ch] = waiter{ctx, m.elapsed + d}
	m.slept = append(m.slept, d)
	m.announce()
	return func() error {
		select {
		case <-ch:
			return nil
		case <-ctx.Done():
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.waiters, ch)
			m.announce()
			return ctx.Err()
		}
	}
}

// Turn advances the clock by d and wakes the sleepers that are due.
func (m *Manual) Turn(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.elapsed += d
	for ch, w := range m.waiters {
		if w.until <= m.elapsed {
			delete(m.waiters, ch)
			close(ch)
		}
	}
	m.announce()
}

// Sleepers blocks until n callers sleep, or the context ends: a test can then turn
// the clock. A caller whose own context has ended sleeps no longer, even if it has
// not returned yet.
func (m *Manual) Sleepers(ctx context.Context, n int) error {
	for {
		m.mu.Lock()
		have, changed := 0, m.changed
		for _, w := range m.waiters {
			if w.ctx.Err() == nil {
				have++
			}
		}
		m.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Slept returns the durations of all calls of Sleep, in order.
func (m *Manual) Slept() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]time.Duration(nil), m.slept...)
}

// announce wakes Sleepers; the caller holds the lock.
func (m *Manual) announce() {
	close(m.changed)
	m.changed = make(chan struct{})
}
