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

// What ends the waiting of a caller before the fetch has ended. Both are always
// wrapped.
var (
	// ErrOverdue is returned by Do when a fetch outlasts its limit.
	ErrOverdue = errors.New("gave no answer in time")
	// ErrLeft is returned when the caller's context ends.
	ErrLeft = errors.New("gave up waiting")
)

// grace is how long Do waits beyond the limit, so that a fetch that obeys its
// context can return its own error.
const grace = time.Second

// Flight is a fetch that callers share. Its zero value does not work: it needs
// Clock and Limit.
type Flight[T any] struct {
	Clock counterfoil.Clock
	// Limit bounds a fetch. One that does not obey its context continues alone:
	// no second is started beside it.
	Limit time.Duration

	group singleflight.Group
}

// Start starts fetch, unless one is under way. The fetch's context is its own.
func (f *Flight[T]) Start(fetch func(context.Context) (T, error)) { f.join(fetch) }

func (f *Flight[T]) join(fetch func(context.Context) (T, error)) <-chan singleflight.Result {
	return f.group.DoChan("", func() (any, error) {
		ctx, cancel := clock.WithTimeout(context.Background(), f.Clock, f.Limit)
		defer cancel()
		return fetch(ctx)
	})
}

// Wait returns the result of fetch, or of the one under way. ctx ends the
// waiting only.
func (f *Flight[T]) Wait(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	return landed[T](ctx, f.join(fetch))
}

// Do is Wait for a fetch that may not obey its context: callers return soon
// after its limit.
func (f *Flight[T]) Do(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	results := f.join(fetch)
	wait, cancel := clock.WithTimeout(ctx, f.Clock, f.Limit+grace)
	defer cancel()
	v, err := landed[T](wait, results)
	if errors.Is(err, ErrLeft) && ctx.Err() == nil {
		return v, fmt.Errorf("%w (%s)", ErrOverdue, f.Limit)
	}
	return v, err
}

func landed[T any](ctx context.Context, results <-chan singleflight.Result) (T, error) {
	var none T
	select {
	case r := <-results:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrLeft, context.Cause(ctx))
	}
}
