package gcra_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/gcra"
)

// model is the same limit as a bucket of tokens, counted exactly: it is full of
// Count requests, and each interval adds one.
type model struct {
	limit gcra.Limit
	// level is in nanoseconds of requests.
	level, at int64
}

func newModel(l gcra.Limit) *model {
	m := &model{limit: l}
	m.level = m.interval() * int64(l.Count)
	return m
}

func (m *model) interval() int64 { return max(1, int64(m.limit.Period)/int64(m.limit.Count)) }

func (m *model) take(now int64) (allowed bool, remaining int) {
	m.level = min(m.level+now-m.at, m.interval()*int64(m.limit.Count))
	m.at = now
	if allowed = m.level >= m.interval(); allowed {
		m.level -= m.interval()
	}
	return allowed, int(m.level / m.interval())
}

// FuzzTake compares every decision with the model, for any limit and any pauses.
func FuzzTake(f *testing.F) {
	f.Add(uint16(3), uint16(60), []byte{0, 0, 0, 0, 200, 0, 0})
	f.Add(uint16(1), uint16(1), []byte{255, 1, 255})
	f.Add(uint16(65535), uint16(1), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, count, seconds uint16, pauses []byte) {
		limit := gcra.Limit{Count: int(count%1000) + 1, Period: time.Duration(seconds%600+1) * time.Second}
		m := newModel(limit)
		var arrival, now gcra.Tick
		for i, p := range pauses {
			now += gcra.Tick(p) * gcra.Tick(p) * gcra.Tick(limit.Period/time.Duration(limit.Count)) / 1000
			allowed, remaining := m.take(int64(now))
			next, d := limit.Take(arrival, now)
			if d.Allowed != allowed || d.Remaining != remaining {
				t.Fatalf("request %d: %+v, the model says %t and %d", i, d, allowed, remaining)
			}
			if d.Allowed != (d.RetryAfter == 0) || d.RetryAfter < 0 || d.Reset < 0 || d.Reset > limit.Period {
				t.Fatalf("request %d: %+v", i, d)
			}
			if !d.Allowed {
				// The wait is exact: a nanosecond less is too early.
				if _, early := limit.Take(next, now+gcra.Tick(d.RetryAfter)-1); early.Allowed {
					t.Fatalf("request %d is allowed before its RetryAfter %v", i, d.RetryAfter)
				}
				if _, due := limit.Take(next, now+gcra.Tick(d.RetryAfter)); !due.Allowed {
					t.Fatalf("request %d is refused after its RetryAfter %v", i, d.RetryAfter)
				}
			}
			if _, idle := limit.Take(next, now+gcra.Tick(d.Reset)); idle.Remaining != limit.Count-1 {
				t.Fatalf("request %d: after its Reset %d are left, want all of %d", i, idle.Remaining+1, limit.Count)
			}
			arrival = next
		}
	})
}

// A clock without monotonic readings that is set back locks nobody out for longer
// than a period.
func TestTakeAfterTheClockWasSetBack(t *testing.T) {
	limit := gcra.Limit{Count: 2, Period: time.Minute}
	arrival, _ := limit.Take(gcra.Tick(time.Hour), gcra.Tick(time.Second))
	if _, d := limit.Take(arrival, gcra.Tick(time.Second+time.Minute/2)); !d.Allowed {
		t.Errorf("half a minute later: %+v", d)
	}
}

func TestLimiter(t *testing.T) {
	for name, now := range map[string]*clock.Manual{"stepping": clock.NewStepping(time.Now()), "manual": clock.NewManual(time.Now())} {
		l := gcra.New[string](gcra.Limit{Count: 3, Period: time.Minute}, now)
		take := func(key string, want bool) {
			t.Helper()
			if d := l.Take(key); d.Allowed != want {
				t.Errorf("%s: %s: %+v", name, key, d)
			}
		}
		for range 3 {
			take("a", true)
		}
		take("a", false)
		take("b", true)
		now.Turn(20*time.Second - 1)
		take("a", false)
		now.Turn(1)
		take("a", true)
		take("a", false)
		now.Step(-3 * time.Hour)
		take("a", false)
		now.Turn(time.Minute)
		for range 3 {
			take("a", true)
		}
		take("a", false)
		if name == "manual" {
			continue // its steps are time that passes
		}
		now.Step(3 * time.Hour)
		take("a", false)
	}
	var none *gcra.Limiter[string]
	if none = gcra.New[string](gcra.Limit{}, clock.System); !none.Take("a").Allowed {
		t.Error("no limit refuses")
	}
}

// Of requests at once no more are allowed than of requests in turn.
func TestLimiterAtOnce(t *testing.T) {
	l := gcra.New[int](gcra.Limit{Count: 100, Period: time.Minute}, clock.NewManual(time.Now()))
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if l.Take(1).Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if allowed.Load() != 100 {
		t.Errorf("%d were allowed, want 100", allowed.Load())
	}
}

func TestFields(t *testing.T) {
	limit := gcra.Limit{Count: 100, Period: time.Minute}
	_, d := limit.Take(0, 1)
	got := fmt.Sprintln(limit.Policy("client"), d.Field("client"), gcra.Seconds(1), gcra.Seconds(time.Second), gcra.Seconds(0))
	if want := `"client";q=100;w=60 "client";r=99;t=1 1 1 0` + "\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
