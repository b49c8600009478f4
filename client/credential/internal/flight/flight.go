// Package flight lets callers share one fetch that none of them can cancel. Its
// API may change.
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

// ErrOverdue is returned to a caller when a fetch outlasts its limit. It is
// always wrapped.
var ErrOverdue = errors.New("gave no answer in time")

// grace is how long callers wait beyond the limit, so that a fetch that obeys
// its context can return its own error.
const grace = time.Second

// Flight is a fetch that callers share. Its zero value does not work: it needs
// Clock and Limit.
type Flight[T any] struct {
	Clock counterfoil.Clock
	// Limit bounds a fetch. One that does not obey its context continues alone:
	// no second is started beside it, and callers return.
	Limit time.Duration

	group singleflight.Group
}

// Do returns the result of fetch, or of the one under way. The fetch's context
// is its own; ctx ends the waiting only.
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
