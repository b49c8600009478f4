package credential_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// steps are ways in which the wall clock is set while the monotonic one goes on.
var steps = []struct {
	name        string
	ahead, back time.Duration
}{
	{"two hours forward", 2 * time.Hour, 0},
	{"two hours back", -2 * time.Hour, 0},
	{"half a second two hours ahead, then corrected", 2 * time.Hour, -2 * time.Hour},
	{"half a second two hours behind, then corrected", -2 * time.Hour, 2 * time.Hour},
}

// A kept value is given for 30 s by whatever clock, and its source is asked no more
// often for a step than once.
func TestKeepWhenTheWallClockSteps(t *testing.T) {
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			now, o := clock.NewStepping(theStart), &origin{value: "first"}
			get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
			must(t, get)
			now.Turn(10 * time.Second)
			now.Step(step.ahead)
			must(t, get)
			now.Turn(500 * time.Millisecond)
			now.Step(step.back)
			o.set("second", nil)
			for range 30 {
				must(t, get)
				now.Turn(time.Second)
			}
			if got := must(t, get); got != "second" {
				t.Errorf("got %q 30 s after it was changed", got)
			}
			if n := o.asked.Load(); n > 4 {
				t.Errorf("the source was asked %d times in 41 s", n)
			}
		})
	}
}

// While its source is away the last value serves for an hour by the monotonic
// clock, also where the wall clock is set back; it does not serve for longer.
func TestKeepWhenTheWallClockStepsAndTheSourceIsAway(t *testing.T) {
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			now, o := clock.NewStepping(theStart), &origin{value: "first"}
			get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
			must(t, get)
			o.set("", errors.New("away"))
			now.Turn(31 * time.Second)
			now.Step(step.ahead)
			if _, err := get(t.Context()); err != nil && step.ahead < 0 {
				t.Errorf("while the clock is behind: %v", err)
			}
			now.Turn(500 * time.Millisecond)
			now.Step(step.back)
			right := step.ahead+step.back <= 0
			for minute := range 70 {
				_, err := get(t.Context())
				if serves := minute < 60; right && serves != (err == nil) {
					t.Fatalf("after %d minutes: %v", minute, err)
				}
				now.Turn(time.Minute)
			}
			// A failure is remembered for 30 s at most.
			if n := o.asked.Load(); n > 73 {
				t.Errorf("the source was asked %d times in 70 minutes", n)
			}
			o.set("second", nil)
			now.Turn(30 * time.Second)
			if got := must(t, get); got != "second" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// While a file is half replaced the last value serves for 10 s, whatever happens to
// the wall clock meanwhile, and no longer.
func TestFileWhenTheWallClockSteps(t *testing.T) {
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			dir, now := t.TempDir(), clock.NewStepping(time.Now())
			path := filepath.Join(dir, "x")
			write(t, path, theSecret)
			get := open(t, credential.Files{Dir: dir, Clock: now}, "x")
			want := must(t, get)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			must(t, get) // seen to be missing
			now.Turn(time.Second)
			now.Step(step.ahead)
			if got, err := get(t.Context()); step.ahead < 0 && (err != nil || got.Reveal() != want) {
				t.Errorf("while the clock is behind: %q, %v", got, err)
			}
			now.Turn(500 * time.Millisecond)
			now.Step(step.back)
			if got, err := get(t.Context()); step.ahead+step.back <= 0 && (err != nil || got.Reveal() != want) {
				t.Errorf("after it: %q, %v", got, err)
			}
			now.Turn(9 * time.Second)
			if got, err := get(t.Context()); err == nil {
				t.Errorf("%q serves after 10 s", got)
			}
			write(t, path, "another")
			if got := must(t, get); got != "another" {
				t.Errorf("got %q", got)
			}
		})
	}
}
