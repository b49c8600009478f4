// Package clock is the source of all times, so that tests can advance a clock
// instead of waiting. It is internal and makes no compatibility promise.
package clock

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Clock is counterfoil.Clock, which importers can name.
type Clock = counterfoil.Clock

// System is the system clock.
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

// WithTimeout is context.WithTimeout by c.
func WithTimeout(parent context.Context, c Clock, d time.Duration) (context.Context, context.CancelFunc) {
	return WithTimeoutCause(parent, c, d, context.DeadlineExceeded)
}

// WithTimeoutCause is context.WithTimeoutCause by c.
func WithTimeoutCause(parent context.Context, c Clock, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if c == System {
		return context.WithTimeoutCause(parent, d, cause)
	}
	ctx, cancel := context.WithCancelCause(parent)
	sleep := func() error { return c.Sleep(ctx, d) }
	if m, ok := c.(*Manual); ok && d > 0 {
		sleep = m.begin(ctx, d) // now: the test may turn the clock before the goroutine runs
	}
	go func() {
		if sleep() == nil {
			cancel(cause)
		}
	}()
	return ctx, func() { cancel(nil) }
}
