package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// A stepping clock is of use only while its times are as those of a machine
// whose wall clock was set: this fails when package time keeps them in another
// way.
func TestStepping(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 987654321, time.UTC)
	c := clock.NewStepping(start)
	if !c.Now().Round(0).Equal(start) {
		t.Errorf("the clock shows %v, want %v", c.Now(), start)
	}
	for _, step := range []time.Duration{2 * time.Hour, -5 * time.Hour, time.Second, 30 * 24 * time.Hour} {
		before := c.Now()
		c.Step(step)
		c.Turn(3 * time.Second)
		after := c.Now()
		if got := after.Sub(before); got != 3*time.Second {
			t.Errorf("step of %v: %v have passed by the monotonic clock, want 3s", step, got)
		}
		if got := after.Round(0).Sub(before.Round(0)); got != step+3*time.Second {
			t.Errorf("step of %v: the wall clock went by %v, want %v", step, got, step+3*time.Second)
		}
	}
}

// Sleepers wait by the monotonic clock.
func TestStepWakesNobody(t *testing.T) {
	for name, c := range map[string]*clock.Manual{"stepping": clock.NewStepping(time.Now()), "manual": clock.NewManual(time.Now())} {
		ctx, cancel := context.WithCancel(t.Context())
		woken := make(chan error, 1)
		go func() { woken <- c.Sleep(ctx, time.Minute) }()
		if err := c.Sleepers(ctx, 1); err != nil {
			t.Fatal(err)
		}
		c.Step(time.Hour)
		c.Turn(time.Minute - 1)
		select {
		case err := <-woken:
			t.Errorf("%s: woken early: %v", name, err)
		default:
		}
		c.Step(-2 * time.Hour)
		c.Turn(1)
		if err := <-woken; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// A timeout counts from the call, however late its goroutine runs.
func TestTimeoutCountsFromTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(time.Now())
		for range 100 {
			ctx, cancel := clock.WithTimeout(t.Context(), c, time.Minute)
			c.Turn(time.Minute)
			synctest.Wait()
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				t.Fatal("the time is over, and the context has not ended")
			}
			cancel()
		}
	})
}

// ended is a context that has ended, which nobody has been woken by yet.
type ended struct{ context.Context }

func (ended) Err() error { return context.Canceled }

// Who is about to return from Sleep is not taken for one who waits for the clock.
func TestSleepersWhoseContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(time.Now())
		ctx, stop := context.WithCancel(t.Context())
		go c.Sleep(ended{ctx}, time.Minute)
		synctest.Wait()
		if len(c.Slept()) != 1 {
			t.Fatal("nobody sleeps")
		}
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		if c.Sleepers(stopped, 1) == nil {
			t.Error("one whose context has ended is counted")
		}
		stop()
	})
}
