package guard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// steppedTeller is an issuer whose follower has a wall clock that is set apart
// from the monotonic one.
func steppedTeller(t *testing.T) *teller {
	s := newTeller(t, false)
	s.clock = clock.NewStepping(start)
	return s
}

// revocation is an event about a token of the client that expires then.
func revocation(seq int, id string, expires time.Time) string {
	return fmt.Sprintf(`revocation|w.%d|{"client_id":%q,"token_id":%q,"expires":%d}`, seq, client, id, expires.Unix())
}

// A token that had expired by the wrong clock is in force again by the right one:
// the feed is read again, and until then no token is accepted that may be revoked.
func TestFeedWhenTheClockIsSetAheadAndCorrected(t *testing.T) {
	for _, policy := range []string{"refuse", "accept", "introspect"} {
		t.Run(policy, func(t *testing.T) {
			s, i := steppedTeller(t), newIntrospector(t)
			f := s.follow(func(c *guard.FeedConfig) {
				switch policy {
				case "accept":
					c.OnStale = guard.Unchecked{}
				case "introspect":
					c.OnStale = i.introspection(nil)
				}
			})
			r := s.behind(f)
			forgotten, leftOut, kept, good := r.claim("jti", "forgotten"), r.claim("jti", "left out"), r.claim("jti", "kept"), r.claim("jti", "good")
			i.end(forgotten)
			i.end(leftOut)
			want := func(when, token string, reason counterfoil.Reason) {
				t.Helper()
				if got := r.reason(token); got != reason {
					t.Errorf("%s: %q, want %q", when, got, reason)
				}
			}
			soon, late := start.Add(90*time.Minute), start.Add(24*time.Hour)
			all := []string{hello, revocation(1, "forgotten", soon), revocation(2, "left out", soon), revocation(3, "kept", late), position(3)}
			c := s.next().say(all[0], all[1], position(1))
			caughtUp(t, f, "w.1")
			want("at first", forgotten, counterfoil.ReasonTokenRevoked)

			s.clock.Step(2 * time.Hour)
			c.say(all[2], all[3], position(3))
			caughtUp(t, f, "w.3")
			eventually.True(t, "two hours ahead, one is forgotten", func() bool { return f.Stats().Entries == 1 })
			want("ahead", good, counterfoil.ReasonTokenExpired)

			s.clock.Step(-2 * time.Hour)
			if !f.Stats().Stale {
				t.Error("the feed does not count as cut, though it has forgotten what is in force")
			}
			want("corrected", kept, counterfoil.ReasonTokenRevoked)
			switch policy {
			case "refuse":
				want("corrected", forgotten, counterfoil.ReasonUnavailable)
				want("corrected", good, counterfoil.ReasonUnavailable)
			case "introspect":
				want("corrected", forgotten, counterfoil.ReasonTokenRevoked)
				want("corrected", good, "")
			case "accept":
				want("corrected", good, "")
			}
			s.again(1)
			if c = s.next(); c.after != "" {
				t.Errorf("it comes back after %q, where something is missing", c.after)
			}
			want("while it reads again", kept, counterfoil.ReasonTokenRevoked)
			c.say(all...)
			caughtUp(t, f, "w.3")
			for _, token := range []string{forgotten, leftOut, kept} {
				want("read again", token, counterfoil.ReasonTokenRevoked)
			}
			want("read again", good, "")
			if got := f.Stats(); got.Entries != 3 || got.Reconnects != 1 {
				t.Errorf("%+v", got)
			}
			if s.log.count("the clock was set back") != 1 {
				t.Errorf("the log says %q", s.log.lines)
			}
		})
	}
}

// The feed notices at the next event, too, when nobody calls; and when it is
// interrupted half way, it does not resume at a position before which something
// is missing.
func TestFeedLearnsAnewWithoutCalls(t *testing.T) {
	s := steppedTeller(t)
	f := s.follow(nil)
	s.clock.Step(2 * time.Hour)
	c := s.next().say(hello, revocation(1, "left out", start.Add(90*time.Minute)), position(1))
	caughtUp(t, f, "w.1")
	s.clock.Step(-2 * time.Hour)
	c.say(position(1))
	s.again(1)
	if c = s.next(); c.after != "" {
		t.Errorf("it comes back after %q", c.after)
	}
	s.clock.Step(2 * time.Hour)
	c.say(hello, revocation(1, "left out", start.Add(90*time.Minute)))
	at(t, f, "w.1")
	c.close()
	s.lost(2)
	s.clock.Step(-2 * time.Hour)
	s.again(2)
	if c = s.next(); c.after != "" {
		t.Errorf("half way, it comes back after %q", c.after)
	}
	c.say(hello, revocation(1, "left out", start.Add(90*time.Minute)), position(1))
	caughtUp(t, f, "w.1")
	if n := f.Stats().Entries; n != 1 {
		t.Errorf("%d entries", n)
	}
}

// A clock that is set by little, or ahead, costs no connection; and however it is
// set, the feed is stale when the time has passed, and not before.
func TestFeedIsCutByTheTimeThatPasses(t *testing.T) {
	for name, off := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			s := steppedTeller(t)
			f := s.follow(nil)
			r := s.behind(f)
			token := r.token(func(_, c members) { c["iat"], c["exp"] = start.Unix()-4*3600, start.Unix()+60*24*3600 })
			s.next().say(hello, revocation(1, "expired", start.Add(-time.Second)), position(1))
			caughtUp(t, f, "w.1")
			s.clock.Step(off)
			if got := r.reason(token); got != "" && off > -time.Minute {
				t.Errorf("off: %q", got)
			}
			s.clock.Step(-off)
			s.clock.Step(-time.Second)
			if got := r.reason(token); got != "" && off > -time.Minute {
				t.Errorf("corrected: %q", got)
			}
			s.clock.Turn(15*time.Second - 1)
			if got := r.reason(token); got != "" && off > -time.Minute {
				t.Errorf("after less than 15 seconds: %q", got)
			}
			if off > -time.Minute && f.Stats().Reconnects != 0 {
				t.Errorf("%+v", f.Stats())
			}
			s.clock.Step(-10 * time.Second) // does not make its last word younger
			s.clock.Turn(1)
			if got := r.reason(token); got != counterfoil.ReasonUnavailable {
				t.Errorf("after 15 seconds: %q", got)
			}
		})
	}
}

// A client's tokens are revoked by their time of issue, whatever the clock shows.
func TestNotBeforeWhenTheClockSteps(t *testing.T) {
	s := steppedTeller(t)
	f := s.follow(nil)
	r := s.behind(f)
	old := r.token(func(_, c members) { c["jti"], c["iat"] = "old", start.Unix()-10 })
	fresh := r.token(func(_, c members) { c["jti"], c["iat"] = "fresh", start.Unix() })
	c := s.next().say(hello, position(1))
	caughtUp(t, f, "w.1")
	s.clock.Step(20 * time.Second)
	c.say(fmt.Sprintf(`revocation|w.2|{"client_id":%q,"not_before":%d,"expires":%d}`, client, start.Unix(), later))
	at(t, f, "w.2")
	for _, step := range []time.Duration{0, -20 * time.Second, -20 * time.Second, 40 * time.Second} {
		s.clock.Step(step)
		if a, b := r.reason(old), r.reason(fresh); a != counterfoil.ReasonTokenRevoked || b != "" {
			t.Errorf("after a step of %v: %q, %q", step, a, b)
		}
	}
}

// If a clock goes back by a minute, nothing is missing; if by more, the feed is
// stale until it has been read again.
func TestFeedWhenTheClockGoesBackByAMinute(t *testing.T) {
	s := steppedTeller(t)
	f := s.follow(nil)
	c := s.next().say(hello, revocation(1, "ended", s.clock.Now()), position(1))
	caughtUp(t, f, "w.1")
	s.clock.Step(-time.Minute)
	if got := f.Stats(); got.Stale || !got.Connected {
		t.Errorf("a minute back: %+v", got)
	}
	s.clock.Step(-time.Second)
	if got := f.Stats(); !got.Stale {
		t.Errorf("a minute and a second back: %+v", got)
	}
	c.say(position(1))
	s.again(1)
	if c = s.next(); c.after != "" {
		t.Errorf("it comes back after %q, where something is missing", c.after)
	}
}

// A revocation of all tokens from before a second spares those of that second.
func TestNotBeforeIsASecondOfItsOwn(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	r := s.behind(f)
	issued := start.Unix()
	s.next().say(hello, fmt.Sprintf(`revocation|w.1|{"client_id":%q,"not_before":%d,"expires":%d}`, client, issued, later), position(1))
	caughtUp(t, f, "w.1")
	for at, want := range map[int64]counterfoil.Reason{issued - 1: counterfoil.ReasonTokenRevoked, issued: ""} {
		if got := r.reason(r.claim("iat", at)); got != want {
			t.Errorf("issued %d s before: %q, want %q", issued-at, got, want)
		}
	}
}
