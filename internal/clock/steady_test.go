package clock_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// A row of TestSteady turns the clock, then sets it.
type move struct{ turn, step time.Duration }

// TestSteady: the steady time never runs ahead of the monotonic clock, follows
// the wall clock back, and never stays ahead of it.
func TestSteady(t *testing.T) {
	const h = time.Hour
	for name, row := range map[string]struct {
		patience time.Duration
		moves    []move
		want     time.Duration // since the start, by the steady time
	}{
		"nothing set":                         {0, []move{{h, 0}, {h, 0}}, 2 * h},
		"set forward":                         {0, []move{{h, 2 * h}}, h},
		"set forward, and time goes on":       {0, []move{{h, 2 * h}, {h, 0}}, 2 * h},
		"set forward and corrected":           {0, []move{{h, 2 * h}, {0, -2 * h}}, h},
		"corrected later":                     {0, []move{{h, 2 * h}, {3 * h, 0}, {h, -2 * h}}, 5 * h},
		"corrected in part":                   {0, []move{{h, 2 * h}, {h, -h}}, 2 * h},
		"corrected too far":                   {0, []move{{h, 2 * h}, {h, -3 * h}}, h},
		"set forward twice":                   {0, []move{{h, 2 * h}, {h, 2 * h}}, 2 * h},
		"set back":                            {0, []move{{3 * h, -2 * h}}, h},
		"set back, and time goes on":          {0, []move{{3 * h, -2 * h}, {h, 0}}, 2 * h},
		"set back and corrected":              {0, []move{{3 * h, -2 * h}, {0, 2 * h}}, h},
		"slewed by a second":                  {0, []move{{h, time.Second}, {h, time.Second}}, 2*h + 2*time.Second},
		"by two":                              {0, []move{{h, 2 * time.Second}}, h},
		"ahead until the patience is over":    {4 * h, []move{{h, 2 * h}, {4 * h, 0}}, 7 * h},
		"ahead until just before":             {4 * h, []move{{h, 2 * h}, {4*h - 1, 0}}, 5*h - 1},
		"patience counts from the first":      {4 * h, []move{{h, 2 * h}, {3 * h, 0}, {h, 0}}, 7 * h},
		"patience starts again after the end": {4 * h, []move{{h, 2 * h}, {3 * h, -2 * h}, {h, 2 * h}, {3 * h, 0}}, 8 * h},
		"ahead again after the patience":      {4 * h, []move{{h, 2 * h}, {4 * h, 0}, {h, 2 * h}}, 8 * h},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), clock.Steady{Patience: row.patience}
			start := s.At(c.Now())
			for _, m := range row.moves {
				c.Turn(m.turn)
				s.At(c.Now())
				c.Step(m.step)
				s.At(c.Now())
			}
			if got := s.At(c.Now()).Sub(start); got != row.want {
				t.Errorf("the steady time went by %v, want %v", got, row.want)
			}
		})
	}
}

// Readings that overtake each other are no jump, and a clock without monotonic
// readings has no steps.
func TestSteadyTakesReadingsInAnyOrder(t *testing.T) {
	c, s := clock.NewStepping(time.Now()), clock.Steady{}
	first := c.Now()
	c.Turn(time.Hour)
	second := c.Now()
	c.Step(2 * time.Hour)
	third := c.Now()
	for _, now := range []time.Time{second, first, second} {
		if got := s.At(now); !got.Equal(now) {
			t.Errorf("at %v the steady time is %v", now, got)
		}
	}
	for _, row := range []struct{ now, want time.Time }{{third, second}, {second, second}, {third, second}, {first, first}} {
		if got := s.At(row.now); !got.Equal(row.want) {
			t.Errorf("at %v the steady time is %v, want %v", row.now, got, row.want)
		}
	}
	plain, word := clock.NewManual(time.Now()), clock.Steady{}
	word.At(plain.Now())
	plain.Step(5 * time.Hour)
	if now := plain.Now(); !word.At(now).Equal(now) {
		t.Error("a clock without monotonic readings is not followed as it is")
	}
}
