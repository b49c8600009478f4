package clocks_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/clock"
)

func TestClocks(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const minute, hour = time.Minute, time.Hour
	for _, row := range []struct {
		name             string
		clock            *clock.Manual
		passes, step     time.Duration
		left, since      time.Duration // to an hour after the start, and since it
		before, within30 bool
		drift            time.Duration
	}{
		{"nothing happens", clock.NewStepping(start), 0, 0, hour, 0, true, true, 0},
		{"half an hour passes", clock.NewStepping(start), 30 * minute, 0, 30 * minute, 30 * minute, true, false, 0},
		{"a little less", clock.NewStepping(start), 30*minute - 1, 0, 30*minute + 1, 30*minute - 1, true, true, 0},
		{"an hour passes", clock.NewStepping(start), hour, 0, 0, hour, false, false, 0},
		{"set forward", clock.NewStepping(start), 10 * minute, 2 * hour, -70 * minute, 130 * minute, false, false, 2 * hour},
		{"set back", clock.NewStepping(start), 10 * minute, -2 * hour, 50 * minute, 10 * minute, true, true, -2 * hour},
		{"set back, and an hour passes", clock.NewStepping(start), hour, -2 * hour, 0, hour, false, false, -2 * hour},
		{"set forward to the end", clock.NewStepping(start), 0, hour, 0, hour, false, false, hour},
		{"without a monotonic reading", clock.NewManual(start), 10 * minute, 0, 50 * minute, 10 * minute, true, true, 0},
		{"the same, set back", clock.NewManual(start), 10 * minute, -2 * hour, 170 * minute, -110 * minute, true, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			then := row.clock.Now()
			end := then.Add(hour)
			row.clock.Turn(row.passes)
			row.clock.Step(row.step)
			now := row.clock.Now()
			if got := clocks.Left(now, end); got != row.left {
				t.Errorf("left: %v, want %v", got, row.left)
			}
			if got := clocks.Since(now, then); got != row.since {
				t.Errorf("since: %v, want %v", got, row.since)
			}
			if got := clocks.Before(now, end); got != row.before {
				t.Errorf("before: %v, want %v", got, row.before)
			}
			if got := clocks.Within(now, then, 30*minute); got != row.within30 {
				t.Errorf("within half an hour: %v, want %v", got, row.within30)
			}
			if got := clocks.Drift(now, then); got != row.drift {
				t.Errorf("drift: %v, want %v", got, row.drift)
			}
		})
	}
}
