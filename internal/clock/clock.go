// Package clock is where every time comes from, so that tests turn the clock
// instead of waiting. It is a foundation without promises to importers.
package clock

import (
	"context"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Clock is counterfoil.Clock, which importers can name.
type Clock = counterfoil.Clock

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time { return time.Now() }

func (system) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Manual is a clock that stands still until it is turned.
type Manual struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan struct{}]time.Time
	slept   []time.Duration
	changed chan struct{}
}

// NewManual returns a clock that shows now.
func NewManual(now time.Time) *Manual {
	return &Manual{now: now, waiters: map[chan struct{}]time.Time{}, changed: make(chan struct{})}
}

// Now returns the time that the clock shows.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Sleep waits until the clock is turned past d from now.
func (m *Manual) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	m.mu.Lock()
	ch := make(chan struct{})
	m.waiters[ch] = m.now.Add(d)
	m.slept = append(m.slept, d)
	m.announce()
	m.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		m.mu.Lock()
		delete(m.waiters, ch)
		m.announce()
		m.mu.Unlock()
		return ctx.Err()
	}
}

// Turn moves the clock by d and wakes those whose time has come.
func (m *Manual) Turn(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	for ch, at := range m.waiters {
		if !at.After(m.now) {
			delete(m.waiters, ch)
			close(ch)
		}
	}
	m.announce()
}

// Sleepers blocks until n callers sleep, or the context ends: it tells a test
// when it is time to turn the clock.
func (m *Manual) Sleepers(ctx context.Context, n int) error {
	for {
		m.mu.Lock()
		have, changed := len(m.waiters), m.changed
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

// Slept returns every duration that was asked of Sleep, in order.
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
