package credential_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

var theStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// origin is a source of secrets that a test sets and counts.
type origin struct {
	asked  atomic.Int64
	mu     sync.Mutex
	value  counterfoil.Secret
	err    error
	before func(context.Context)
}

func (o *origin) set(value counterfoil.Secret, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.value, o.err = value, err
}

func (o *origin) get(ctx context.Context) (counterfoil.Secret, error) {
	o.asked.Add(1)
	o.mu.Lock()
	value, err, before := o.value, o.err, o.before
	o.mu.Unlock()
	if before != nil {
		before(ctx)
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return value, err
}

func (o *origin) expect(t *testing.T, when string, want int64) {
	t.Helper()
	if got := o.asked.Load(); got != want {
		t.Errorf("%s: the source was asked %d times, want %d", when, got, want)
	}
}

func TestKeepRotates(t *testing.T) {
	now, o := clock.NewManual(theStart), &origin{value: "first"}
	get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
	for range 3 {
		if got := must(t, get); got != "first" {
			t.Fatalf("got %q", got)
		}
	}
	o.set("second", nil)
	now.Turn(30*time.Second - 1)
	if got := must(t, get); got != "first" {
		t.Errorf("still fresh: got %q", got)
	}
	o.expect(t, "while fresh", 1)
	now.Turn(1)
	if got := must(t, get); got != "second" {
		t.Errorf("past the fresh time: got %q", got)
	}
	o.expect(t, "after", 2)
	now.Turn(-time.Hour) // as when a wrong clock is set right
	o.set("third", nil)
	if got := must(t, get); got != "third" {
		t.Errorf("with the clock set back: got %q", got)
	}
}

// The last value serves while the source fails, no longer than MaxStale; the
// source is asked ever less.
func TestKeepOutlivesItsSource(t *testing.T) {
	now, o := clock.NewManual(theStart), &origin{value: theSecret}
	get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
	must(t, get)
	broken := errors.New("sealed")
	o.set("", broken)
	now.Turn(30 * time.Second)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		before := o.asked.Load()
		for range 3 {
			if got := must(t, get); got != theSecret {
				t.Fatalf("got %q", got)
			}
		}
		o.expect(t, "at the end of a pause", before+1)
		now.Turn(pause*time.Second - 1)
		must(t, get)
		o.expect(t, "within the pause", before+1)
		now.Turn(1)
	}
	now.Turn(time.Hour + 30*time.Second - now.Now().Sub(theStart) - 1)
	if got := must(t, get); got != theSecret {
		t.Errorf("just before the end: got %q", got)
	}
	now.Turn(1)
	v, err := get(t.Context())
	if !errors.Is(err, broken) || v != "" {
		t.Errorf("past MaxStale: got %q, %v", v.Reveal(), err)
	}
	shows(t, theSecret, err)
	o.set("back", nil)
	now.Turn(30 * time.Second)
	if got := must(t, get); got != "back" {
		t.Errorf("when it is back: got %q", got)
	}
	o.set("", broken)
	now.Turn(30 * time.Second)
	must(t, get)
	before := o.asked.Load()
	now.Turn(time.Second)
	must(t, get)
	o.expect(t, "the pause begins anew at 1 s", before+1)
}

func TestKeepOptions(t *testing.T) {
	for _, row := range []struct {
		name    string
		options credential.KeepOptions
		first   error
		err     string
	}{
		{"no value from before", credential.KeepOptions{}, errors.New("unreachable"), "unreachable"},
		{"an empty value", credential.KeepOptions{}, nil, "empty at its source"},
	} {
		t.Run(row.name, func(t *testing.T) {
			now, o := clock.NewManual(theStart), &origin{err: row.first}
			row.options.Clock = now
			get := credential.Keep(o.get, row.options)
			for range 3 {
				if _, err := get(t.Context()); err == nil || !strings.Contains(err.Error(), row.err) {
					t.Fatalf("got error %v, want %q", err, row.err)
				}
			}
			o.expect(t, "within the pause", 1)
			o.set("there", nil)
			now.Turn(time.Second)
			if got := must(t, get); got != "there" {
				t.Errorf("got %q", got)
			}
		})
	}
	t.Run("nothing stale", func(t *testing.T) {
		now, o := clock.NewManual(theStart), &origin{value: "x"}
		get := credential.Keep(o.get, credential.KeepOptions{Fresh: time.Minute, MaxStale: -1, Clock: now})
		must(t, get)
		o.set("", errors.New("unreachable"))
		now.Turn(time.Minute - 1)
		must(t, get)
		now.Turn(1)
		if v, err := get(t.Context()); err == nil {
			t.Errorf("got %q", v.Reveal())
		}
	})
	t.Run("no source", func(t *testing.T) {
		if _, err := credential.Keep(nil, credential.KeepOptions{})(t.Context()); err == nil {
			t.Error("a secret of nothing")
		}
	})
}

// One fetch for all; a caller that leaves disturbs nobody.
func TestKeepIsAskedOnce(t *testing.T) {
	release := make(chan struct{})
	o := &origin{value: "x", before: func(ctx context.Context) {
		select {
		case <-release:
		case <-ctx.Done():
		}
	}}
	get := credential.Keep(o.get, credential.KeepOptions{Clock: clock.NewManual(theStart)})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := get(ctx); left <- err }()
	eventually.True(t, "the source is asked", func() bool { return o.asked.Load() == 1 })
	var others sync.WaitGroup
	for range 100 {
		others.Go(func() {
			if v, err := get(t.Context()); err != nil || v != "x" {
				t.Errorf("got %q, %v", v.Reveal(), err)
			}
		})
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left: %v", err)
	}
	close(release)
	others.Wait()
	o.expect(t, "by all", 1)
}

// A source that hangs is given up after 10 s; one that does not even heed its
// context is not called a second time, and takes nobody with it.
func TestKeepWithASourceThatHangs(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		t.Run(map[bool]string{true: "heeds its context", false: "does not"}[heeds], func(t *testing.T) {
			now, o, release := clock.NewManual(theStart), &origin{value: "x"}, make(chan struct{})
			get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
			must(t, get)
			o.mu.Lock()
			o.before = func(ctx context.Context) {
				if heeds {
					<-ctx.Done()
				} else {
					<-release
				}
			}
			o.mu.Unlock()
			now.Turn(30 * time.Second)
			for round := range 3 {
				got := make(chan string)
				go func() {
					v, err := get(t.Context())
					if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					got <- v.Reveal()
				}()
				for waiting := true; waiting; {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					if now.Sleepers(ctx, 1) == nil {
						now.Turn(time.Second)
					}
					cancel()
					select {
					case v := <-got:
						if v != "x" {
							t.Errorf("round %d: got %q", round, v)
						}
						waiting = false
					default:
					}
				}
				now.Turn(30 * time.Second)
			}
			if !heeds {
				o.expect(t, "in three rounds", 2)
			}
			short, cancel := context.WithCancel(t.Context())
			cancel()
			if v, err := get(short); err != nil || v != "x" {
				t.Errorf("a caller that cannot wait gets the last value: got %q, %v", v.Reveal(), err)
			}
			close(release)
			now.Turn(time.Minute)
			eventually.True(t, "no goroutine is left", func() bool { now.Turn(time.Minute); return stacks() == "" })
		})
	}
}

// A source that obeys its context has a moment to say itself why it gave up.
func TestKeepOfASourceThatGivesUp(t *testing.T) {
	now := clock.NewManual(theStart)
	get := credential.Keep(func(ctx context.Context) (counterfoil.Secret, error) {
		<-ctx.Done()
		return "", errors.New("the vault is sealed")
	}, credential.KeepOptions{Clock: now})
	got := make(chan error)
	go func() { _, err := get(t.Context()); got <- err }()
	waiting := func(ctx context.Context) {
		t.Helper()
		if err := now.Sleepers(ctx, 2); err != nil { // the source's time, and the caller's
			t.Fatal("somebody does not wait: ", err)
		}
	}
	waiting(t.Context())
	now.Turn(9 * time.Second)
	at, cancel := context.WithCancel(t.Context())
	cancel()
	waiting(at)
	now.Turn(time.Second)
	if err := <-got; err == nil || !strings.Contains(err.Error(), "the vault is sealed") {
		t.Errorf("got %v", err)
	}
}

// A caller that cannot wait does without a value that is too old, also when no fetch
// has failed yet.
func TestKeepOfACallerThatCannotWait(t *testing.T) {
	now, o, release := clock.NewManual(theStart), &origin{value: "x"}, make(chan struct{})
	get := credential.Keep(o.get, credential.KeepOptions{Clock: now})
	must(t, get)
	o.mu.Lock()
	o.before = func(context.Context) { <-release }
	o.mu.Unlock()
	defer close(release)
	now.Turn(time.Hour + 30*time.Second)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := get(short); !errors.Is(err, context.Canceled) || v != "" {
		t.Errorf("got %q, %v", v.Reveal(), err)
	}
}

// stacks are those of goroutines in the packages under test, beside the tests'.
func stacks() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var own []string
	for s := range strings.SplitSeq(string(all), "\n\n") {
		// A flight that has not begun yet is nowhere but in singleflight.
		if strings.Contains(s, "sync/singleflight.") || strings.Contains(s, "/credential.(*keeper)") {
			own = append(own, s)
		}
	}
	return strings.Join(own, "\n\n")
}

func TestKeepAllocatesNothing(t *testing.T) {
	get := credential.Keep((&origin{value: theSecret}).get, credential.KeepOptions{})
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = get(ctx) }); n != 0 {
		t.Errorf("a kept secret allocates %v times", n)
	}
}

func BenchmarkKeep(b *testing.B) {
	get := credential.Keep((&origin{value: theSecret}).get, credential.KeepOptions{})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = get(ctx)
	}
}
