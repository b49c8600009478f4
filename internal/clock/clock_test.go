package clock_test

import (
	"context"
	"testing"
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
