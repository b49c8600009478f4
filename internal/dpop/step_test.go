package dpop_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/dpop"
)

// stepped is a Seen whose wall clock is set apart from the monotonic one.
type stepped struct {
	t     *testing.T
	clock *clock.Manual
	*dpop.Seen
	n int
}

func newStepped(t *testing.T, most int) *stepped {
	c := clock.NewStepping(epoch)
	return &stepped{t: t, clock: c, Seen: &dpop.Seen{Clock: c, Most: most}}
}

// fresh sends a new proof of now, and returns it.
func (s *stepped) fresh(when string) dpop.Proof {
	s.t.Helper()
	s.n++
	p := proof("key", fmt.Sprint("fresh", s.n), s.clock.Now().Round(0))
	if !s.First(p) {
		s.t.Errorf("%s: a new proof is refused", when)
	}
	return p
}

// replayed sends a proof that was taken before.
func (s *stepped) replayed(when string, p dpop.Proof) {
	s.t.Helper()
	if s.First(p) {
		s.t.Errorf("%s: a proof is taken twice", when)
	}
}

// A clock that is wrong for half a second costs nothing afterwards, and nothing
// is taken twice: neither what was taken before, nor what was taken meanwhile,
// not even when the clock comes to that time at last.
func TestSeenWhenTheClockIsSetAheadAndCorrected(t *testing.T) {
	for _, step := range []time.Duration{time.Second, 30 * time.Second, 5 * time.Minute, 2 * time.Hour, 30 * 24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			s := newStepped(t, 0)
			before := s.fresh("at first")
			s.clock.Turn(10 * time.Second)
			s.clock.Step(step)
			meanwhile := s.fresh("ahead")
			s.clock.Turn(500 * time.Millisecond)
			s.fresh("ahead")
			s.clock.Step(-step)
			s.replayed("corrected", before)
			s.replayed("corrected", meanwhile)
			for left := time.Duration(0); left < step+2*time.Minute; left += max(time.Second, step/200) {
				s.fresh(fmt.Sprint(left, " after the correction"))
				s.replayed(fmt.Sprint(left, " after the correction"), meanwhile)
				if left < 50*time.Second {
					s.replayed(fmt.Sprint(left, " after the correction"), before)
				}
				s.clock.Turn(max(time.Second, step/200))
			}
		})
	}
}

// What was taken while the clock was wrong for minutes, and forgotten since,
// refuses nothing after the correction, nor when that time comes.
func TestSeenWhenTheClockWasAheadForLong(t *testing.T) {
	s := newStepped(t, 0)
	s.clock.Step(2 * time.Hour)
	for range 600 {
		s.fresh("ahead")
		s.clock.Turn(time.Second)
	}
	s.clock.Step(-2 * time.Hour)
	for i := range 3 * 60 {
		s.fresh(fmt.Sprint(i, " minutes after the correction"))
		s.clock.Turn(time.Minute)
	}
}

// A clock that is set back takes new proofs, and within a minute no old ones.
func TestSeenWhenTheClockIsSetBack(t *testing.T) {
	for _, step := range []time.Duration{time.Second, 30 * time.Second, 2 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			s := newStepped(t, 0)
			s.fresh("at first")
			s.clock.Turn(10 * time.Minute)
			var last []dpop.Proof
			for range 2 * 60 {
				last = append(last, s.fresh("before"))
				s.clock.Turn(time.Second)
			}
			s.clock.Step(-step)
			for range 3 * 60 {
				s.fresh("set back")
				for _, p := range last {
					if age := s.clock.Now().Round(0).Sub(p.IssuedAt); step <= dpop.DefaultMaxAge && age <= dpop.DefaultMaxAge {
						s.replayed("set back", p)
					}
				}
				s.clock.Turn(time.Second)
			}
			s.clock.Step(step)
			s.fresh("corrected")
		})
	}
}

// What was due within a minute of the last proof that was forgotten counts as
// known, to the second.
func TestSeenKnowsAMinute(t *testing.T) {
	s := newStepped(t, 0)
	var all []dpop.Proof
	for range 180 {
		all = append(all, s.fresh("before"))
		s.clock.Turn(time.Second)
	}
	s.fresh("at last")
	s.clock.Step(-61 * time.Second)
	for _, p := range all {
		if s.clock.Now().Round(0).Sub(p.IssuedAt) <= dpop.DefaultMaxAge {
			s.replayed("set back by a minute", p)
		}
	}
}

// That holds as well when they were forgotten all at once, in whatever order.
func TestSeenKnowsAMinuteThatWasForgottenAtOnce(t *testing.T) {
	s := newStepped(t, 0)
	var all []dpop.Proof
	for range 60 {
		all = append(all, s.fresh("before"))
		s.clock.Turn(time.Second)
	}
	s.clock.Turn(2 * time.Minute)
	s.fresh("when all of them are forgotten")
	s.clock.Step(-2 * time.Minute)
	for _, p := range all {
		s.replayed("set back by two minutes", p)
	}
}

// The proofs of a wrong time take no room from those of the right one.
func TestSeenHasRoomAfterAWrongTime(t *testing.T) {
	const most = 1000
	s := newStepped(t, most)
	var meanwhile []dpop.Proof
	s.clock.Step(2 * time.Hour)
	for range most / 2 {
		meanwhile = append(meanwhile, s.fresh("ahead"))
	}
	s.clock.Step(-2 * time.Hour)
	s.clock.Turn(dpop.DefaultMaxAge + 2*time.Second)
	for range most / 2 {
		s.fresh("a minute after the correction")
	}
	if s.Full() != 0 {
		t.Errorf("%d refused for lack of room", s.Full())
	}
	s.clock.Turn(2*time.Hour - dpop.DefaultMaxAge - 2*time.Second)
	for _, p := range meanwhile {
		s.replayed("at the time for which it was made", p)
	}
	s.clock.Turn(2 * time.Minute)
	for _, p := range meanwhile { // with the time of now: they are forgotten
		if p.IssuedAt = s.clock.Now().Round(0); !s.First(p) {
			t.Fatal("a proof that has expired is still remembered")
		}
	}
}

// However often the clock is set, what is remembered of wrong times is bounded.
func TestSeenIsBoundedWhileTheClockSteps(t *testing.T) {
	const most = 100
	s := newStepped(t, most)
	for day := range 20 {
		step := time.Duration(day+1) * 24 * time.Hour
		s.clock.Step(step)
		for range most/2 - 1 {
			s.fresh("ahead")
		}
		s.clock.Step(-step)
		s.clock.Turn(dpop.DefaultMaxAge + 2*time.Second)
		s.fresh("corrected")
	}
	if s.Ahead() != most {
		t.Errorf("%d proofs of wrong times are remembered, want %d", s.Ahead(), most)
	}
}

// A nonce of a wrong time is not valid in the right one; the answer has another.
func TestNoncesWhenTheClockSteps(t *testing.T) {
	c := clock.NewStepping(epoch.Add(time.Minute))
	n := must(dpop.NewNonces(make([]byte, 32), c, 0))
	before := n.Issue()
	for _, step := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		c.Step(step)
		if n.Valid(before) {
			t.Errorf("%v off: a nonce of the right time is valid", step)
		}
		meanwhile := n.Issue()
		if !n.Valid(meanwhile) {
			t.Errorf("%v off: its own nonce is not valid", step)
		}
		c.Step(-step)
		if n.Valid(meanwhile) || !n.Valid(before) || n.Issue() != before {
			t.Errorf("corrected by %v: the nonces are not those of before", -step)
		}
	}
	c.Step(time.Second)
	meanwhile := n.Issue()
	c.Step(-time.Second)
	if !n.Valid(meanwhile) {
		t.Error("a second off: the nonce is not valid")
	}
}
