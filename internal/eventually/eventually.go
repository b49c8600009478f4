// Package eventually waits, in tests, for what other goroutines and other
// processes do, which no clock of the test's can bring about.
package eventually

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is more than any machine needs: only a test that fails waits for so
// long.
const patience = 2 * time.Minute

// True waits until ok returns true. It ends the test, with the goroutines that
// stand in this module, if that never happens.
func True(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !within(patience, ok) {
		own := stacks()
		for id, stack := range own {
			if !strings.Contains(stack, "github.com/counterfoil/counterfoil") {
				delete(own, id)
			}
		}
		t.Fatalf("never: %s\n%s", what, text(own))
	}
}

// NoGoroutineIsLeft demands that the goroutines that begin from now on have ended
// by the end of the test, after what is registered with Cleanup later.
func NoGoroutineIsLeft(t testing.TB) {
	t.Helper()
	before := stacks()
	t.Cleanup(func() {
		t.Helper()
		var left map[string]string
		if !within(patience, func() bool {
			left = stacks()
			for id := range before {
				delete(left, id)
			}
			return len(left) == 0
		}) {
			t.Errorf("goroutines are left:\n%s", text(left))
		}
	})
}

// within reports whether ok returned true before the time was over.
func within(limit time.Duration, ok func() bool) bool {
	began := time.Now()
	for n := 0; !ok(); n++ {
		switch waited := time.Since(began); {
		case waited > limit:
			return false
		case n < 100:
			runtime.Gosched()
		default: // leave the processor to those who are waited for
			time.Sleep(max(waited/100, 100*time.Microsecond))
		}
	}
	return true
}

// stacks returns those of all goroutines by their ID.
func stacks() map[string]string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for ; n == len(buf); n = runtime.Stack(buf, true) {
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for stack := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}

func text(stacks map[string]string) string {
	var b strings.Builder
	for _, stack := range stacks {
		b.WriteString(stack + "\n\n")
	}
	return b.String()
}
