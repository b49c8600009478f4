// Package flight lets callers share one fetch that none of them can disturb. It
// is a foundation without promises to importers.
package flight

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"golang.org/x/sync/singleflight"
)

// ErrOverdue is what a caller gets when a fetch outlasts its limit. It is always
// wrapped.
var ErrOverdue = errors.New("gave no answer in time")

// grace is what callers wait beyond the limit, so that a fetch that heeds its
// context can say itself what it waited for.
const grace = time.Second

// Flight is a fetch that callers share. Its zero value does not work: it needs
// Clock and Limit.
type Flight[T any] struct {
	Clock counterfoil.Clock
	// Limit bounds a fetch. One that does not heed its context goes on, alone:
	// no second is begun beside it, and callers leave it behind.
	Limit time.Duration

	group singleflight.Group
}

// Do returns what fetch does, or what the one under way does. The fetch's
// context is its own; ctx ends the waiting only.
func (f *Flight[T]) Do(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	var none T
	results := f.group.DoChan("", func() (any, error) {
		ctx, cancel := withTimeout(context.Background(), f.Clock, f.Limit)
		defer cancel()
		return fetch(ctx)
	})
	wait, cancel := withTimeout(ctx, f.Clock, f.Limit+grace)
	defer cancel()
	select {
	case r := <-results:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-wait.Done():
		if ctx.Err() != nil {
			return none, fmt.Errorf("gave up waiting: %w", context.Cause(ctx))
		}
		return none, fmt.Errorf("%w (%s)", ErrOverdue, f.Limit)
	}
}

// withTimeout is context.WithTimeout by clock c.
func withTimeout(parent context.Context, c counterfoil.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	if c == clock.System {
		return context.WithTimeout(parent, d)
	}
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		if c.Sleep(ctx, d) == nil {
			cancel(context.DeadlineExceeded)
		}
	}()
	return ctx, func() { cancel(nil) }
}
