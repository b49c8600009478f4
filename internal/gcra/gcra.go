// Package gcra limits rates by the generic cell rate algorithm (ITU-T I.371):
// one time for each key, no queue and no timer. Use it where requests above a
// rate are refused at once. It is internal and makes no compatibility promise.
//
// A Limiter promises that in any time d it allows at most Count requests of a
// key and those that the rate refills in d, and that its memory is bounded. It
// measures by the monotonic clock, where there is one: setting the wall clock
// allows nobody more and locks nobody out.
package gcra

import (
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
)

// Limit is a rate: Count requests in each Period, which may come all at once.
type Limit struct {
	Count  int
	Period time.Duration
}

// interval is the time that one request takes of a period.
func (l Limit) interval() int64 { return max(1, int64(l.Period)/int64(l.Count)) }

// Tick is a time in nanoseconds; the zero point is the Limiter's.
type Tick int64

// End is when the state of an idle key says no more than that of a new one.
func (t Tick) End() int64 { return int64(t) }

// Decision is the answer about one request.
type Decision struct {
	Allowed bool
	// RetryAfter is how long until the next request is allowed; 0 if this one is.
	RetryAfter time.Duration
	// Remaining is how many more are allowed now, Reset how long until all are.
	Remaining int
	Reset     time.Duration
	Limit     Limit
}

// Take decides a request at now by the theoretical arrival time of the next one,
// and returns the time to keep.
func (l Limit) Take(arrival, now Tick) (Tick, Decision) {
	interval := Tick(l.interval())
	all := interval * Tick(l.Count)
	// No time is further ahead than a whole period, unless a clock was set back.
	arrival = min(max(arrival, now), now+all)
	d := Decision{Limit: l}
	if next := arrival + interval; next <= now+all {
		arrival, d.Allowed = next, true
	} else {
		d.RetryAfter = time.Duration(next - (now + all))
	}
	d.Remaining = int((now + all - arrival) / interval)
	d.Reset = time.Duration(arrival - now)
	return arrival, d
}

// Store keeps the theoretical arrival time of each key; 0 stands for none. Nodes
// that share a Store share their limits. A [bounded.Table] is the one of a node
// that is alone.
type Store[K comparable] interface {
	// Update replaces the time of a key by what change returns for it, atomically.
	// change may be called more than once.
	Update(key K, change func(Tick) Tick)
}

// Limiter applies a limit to each key. It is safe for concurrent use. A nil
// Limiter allows everything.
type Limiter[K comparable] struct {
	limit Limit
	clock counterfoil.Clock
	start time.Time
	store Store[K]
}

// Size is how many keys a Limiter remembers.
const Size = 65_536

// New returns a Limiter with a memory of its own, or nil for a Count of 0.
func New[K comparable](limit Limit, clock counterfoil.Clock) *Limiter[K] {
	if limit.Count <= 0 {
		return nil
	}
	return &Limiter[K]{limit: limit, clock: clock, start: clock.Now(), store: bounded.NewTable[K, Tick](Size)}
}

// Take decides about a request of a key.
func (l *Limiter[K]) Take(key K) Decision {
	if l == nil {
		return Decision{Allowed: true}
	}
	// Ticks begin at 1: 0 is no state.
	now := Tick(l.clock.Now().Sub(l.start)) + 1
	var d Decision
	l.store.Update(key, func(arrival Tick) Tick {
		arrival, d = l.limit.Take(arrival, now)
		return arrival
	})
	return d
}

// Policy is the value of the header RateLimit-Policy for a limit of that name, a
// token of RFC 9110 (draft-ietf-httpapi-ratelimit-headers-10 section 3).
func (l Limit) Policy(name string) string {
	return item(name, ";q=", int64(l.Count), ";w=", int64(l.Period/time.Second))
}

// Field is the value of the header RateLimit (section 4).
func (d *Decision) Field(name string) string {
	return item(name, ";r=", int64(d.Remaining), ";t=", Seconds(d.Reset))
}

// item is a string with two parameters (RFC 9651 section 3.3).
func item(name, first string, a int64, second string, b int64) string {
	text := append(append(append(make([]byte, 0, 64), '"'), name...), '"')
	text = strconv.AppendInt(append(text, first...), a, 10)
	return string(strconv.AppendInt(append(text, second...), b, 10))
}

// Seconds rounds up to whole seconds, as Retry-After has them (RFC 9110 section
// 10.2.3).
func Seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
