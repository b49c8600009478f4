//go:build unix

package fleet_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// steps of a wall clock, which is set right afterwards.
var clockSteps = []struct {
	name string
	by   time.Duration
}{{"two hours ahead", 2 * time.Hour}, {"two hours back", -2 * time.Hour}, {"a second ahead", time.Second}, {"a second back", -time.Second}}

// stepping has a Cache whose clock is set while it runs.
func (s *server) stepping() (*fleet.Cache, *clock.Manual) {
	s.t.Helper()
	c, now := s.config(), clock.NewStepping(time.Now())
	c.Clock = now
	return open(s.t, c), now
}

// long is a token that lives for many hours from the time that c shows.
func long(value string, c counterfoil.Clock) counterfoil.Token {
	t := cachetest.Token(value)
	t.Issued = c.Now().Round(0)
	t.Expires = t.Issued.Add(10 * time.Hour)
	return t
}

func gives(token counterfoil.Token) client.Renewal {
	r := give("")
	r.Accept = func(current counterfoil.Token) bool { return current.Value == token.Value }
	r.Fetch = func(context.Context) (counterfoil.Token, error) { return token, nil }
	return r
}

// A process whose wall clock was wrong for a while takes what the others get, with
// times that are of use: it must not keep itself from it until that time comes.
func TestWallClockOfAProcessIsSet(t *testing.T) {
	for _, row := range clockSteps {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			s.begin(t, key)
			one, now := s.stepping()
			other := s.open()
			now.Step(row.by)
			renewed(t, one, key, gives(long("one", now)))
			got, err := other.Renew(t.Context(), key, neverFetch(t))
			if left := time.Until(got.Expires); err != nil || left > 10*time.Hour || left < 10*time.Hour-time.Minute {
				t.Errorf("for another the token ends in %s, %v", left, err)
			}
			now.Step(-row.by)
			renewed(t, other, key, gives(long("two", clock.System)))
			knows(t, one, key, "two")
			got, _, _ = one.Load(t.Context(), key)
			wall := now.Now().Round(0)
			isOfUse(t, got, wall, row.by)
		})
	}
}

// isOfUse fails unless that token of 10 hours is good for a Source, which takes none
// from the future, and ends in time. It may end earlier by what a clock that was
// behind was set ahead meanwhile: a machine that was suspended shows the same.
func isOfUse(t *testing.T, got counterfoil.Token, wall time.Time, off time.Duration) {
	t.Helper()
	if ahead := got.Issued.Sub(wall); ahead > 2*time.Second {
		t.Errorf("the next token is of %s from now", ahead)
	}
	if left := got.Expires.Sub(wall); left > 10*time.Hour || left < 10*time.Hour+min(off, 0)-time.Minute {
		t.Errorf("the next token ends in %s", left)
	}
}

// The wall clock is set right while the answer with a token is on its way.
func TestWallClockIsSetDuringAnswer(t *testing.T) {
	for _, row := range clockSteps {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			renewed(t, s.open(), key, gives(long("one", clock.System)))
			p := s.proxy()
			c, now := config(p.socket), clock.NewStepping(time.Now())
			c.Clock = now
			one := open(t, c)
			now.Step(row.by)
			before := s.taken()
			p.stallAnswers()
			got := make(chan counterfoil.Token, 1)
			go func() {
				token, err := one.Renew(t.Context(), key, neverFetch(t))
				if err != nil {
					t.Error(err)
				}
				got <- token
			}()
			eventually.True(t, "the server has answered", func() bool { return s.taken() != before })
			now.Step(-row.by)
			p.resume()
			isOfUse(t, <-got, now.Now().Round(0), row.by)
		})
	}
}

// A token is none once it has lived for its time, also when the wall clock was set
// back; and what a process puts back then lives no longer for the others either.
func TestSetBackClockMakesNoTokenLiveLonger(t *testing.T) {
	s := start(t)
	s.begin(t, key)
	steps := steps{s, t, key}
	one, now := s.stepping()
	renewed(t, one, key, gives(long("one", now)))
	other, theirs := s.stepping() // has it from the server
	knowsAfterAsking(t, other, "one")
	for _, c := range []*clock.Manual{now, theirs} {
		c.Step(-2 * time.Hour)
		c.Turn(6 * time.Hour)
	}
	s.ask("DEL", entryOf(key))
	s.ask("PUBLISH", "counterfoil:changes", key)
	eventually.True(t, "it is put back", func() bool { return len(s.field(key, "t")) > 8 })
	if left := time.Duration(steps.number("e")-steps.now()) * time.Millisecond; left > 4*time.Hour || left < 4*time.Hour-time.Minute {
		t.Errorf("it is put back for %s, want 4 h", left)
	}
	for _, c := range []*clock.Manual{now, theirs} {
		c.Turn(4*time.Hour + time.Minute)
	}
	equal(t, "after its time there is", cachetest.Load(t, one, key)+cachetest.Load(t, other, key), "")
}

// What a process puts back after its machine was suspended, when the monotonic clock
// stood still, has what is left of it by the wall clock.
func TestSuspendedProcessPutsBackWhatIsLeft(t *testing.T) {
	s := start(t)
	s.begin(t, key)
	steps := steps{s, t, key}
	one, now := s.stepping()
	renewed(t, one, key, gives(long("one", now)))
	now.Step(6 * time.Hour)
	s.ask("DEL", entryOf(key))
	s.ask("PUBLISH", "counterfoil:changes", key)
	eventually.True(t, "it is put back", func() bool { return len(s.field(key, "t")) > 8 })
	if left := time.Duration(steps.number("e")-steps.now()) * time.Millisecond; left > 4*time.Hour || left < 4*time.Hour-time.Minute {
		t.Errorf("it is put back for %s, want 4 h", left)
	}
}

// A clock that is set while a token is asked for makes the token end neither early
// nor late for the others.
func TestWallClockIsSetDuringFetch(t *testing.T) {
	for _, row := range clockSteps {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			s.begin(t, key)
			one, now := s.stepping()
			r := gives(long("one", now))
			r.Fetch = func(context.Context) (counterfoil.Token, error) {
				now.Step(row.by)
				return long("one", now), nil
			}
			renewed(t, one, key, r)
			got, err := s.open().Renew(t.Context(), key, neverFetch(t))
			if left := time.Until(got.Expires); err != nil || left > 10*time.Hour || left < 10*time.Hour-time.Minute {
				t.Errorf("ends in %s, %v", left, err)
			}
		})
	}
}

// A holder whose wall clock is set keeps the lease for as long as the server says
// that it has it, and no longer than it lasts when the server says nothing.
func TestWallClockOfAHolderIsSet(t *testing.T) {
	for _, row := range clockSteps {
		for _, cut := range []bool{false, true} {
			t.Run(row.name+map[bool]string{true: ", cut off"}[cut], func(t *testing.T) {
				s := start(t)
				s.begin(t, key)
				p := s.proxy()
				c, now := config(p.socket), clock.NewStepping(time.Now())
				c.Timeout, c.Lease, c.Clock = time.Second, 6*time.Second, now
				one := open(t, c)
				ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute) // only a hang takes as long
				defer stop()
				gaveUp := false
				got, err := one.Renew(ctx, key, client.Renewal{
					Accept: func(current counterfoil.Token) bool { return current.Value != "" },
					Fetch: func(leased context.Context) (counterfoil.Token, error) {
						now.Step(row.by)
						if cut {
							p.leads(s.socket + "-none")
						}
						if cut && row.by > c.Lease { // in doubt it gives up at its next beat, long before the lease ends
							turned := time.Duration(0)
							eventually.True(t, "it gives up", func() bool {
								if turned < c.Lease/2 {
									now.Turn(20 * time.Millisecond)
									turned += 20 * time.Millisecond
								}
								return leased.Err() != nil
							})
						}
						before, taken := s.field(key, "u"), s.taken()
						eventually.True(t, "it beats, or gives up", func() bool {
							now.Turn(20 * time.Millisecond)
							return leased.Err() != nil || !cut && s.field(key, "u") != before && s.taken() != taken
						})
						gaveUp = leased.Err() != nil && ctx.Err() == nil
						return long("one", now), leased.Err()
					},
				})
				equal(t, "it gave up", gaveUp, cut)
				if !cut {
					equal(t, "it has", got.Value.Reveal()+errText(err), "one")
				}
			})
		}
	}
}

// How old a token is nobody knows that was put there while the server's clock was
// ahead: who does not have it asks for another, which takes its place for all. A
// clock that is set right by less than a second, as NTP does, costs nothing.
func TestTokenFromAServerClockThatWasAhead(t *testing.T) {
	for _, row := range []struct {
		name  string
		ahead time.Duration
		want  string
	}{{"two hours", 2 * time.Hour, "two"}, {"half a second", 500 * time.Millisecond, "one"}} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			one := s.open()
			renewed(t, one, key, give("one"))
			steps := steps{s, t, key}
			steps.set("e", text(steps.number("e")+row.ahead.Milliseconds()))
			got, err := s.open().Renew(t.Context(), key, give("two"))
			if err != nil || got.Value.Reveal() != row.want || got.Expires.After(time.Now().Add(time.Hour)) {
				t.Errorf("got %q until %s, %v", got.Value.Reveal(), got.Expires, err)
			}
			knows(t, one, key, row.want)
		})
	}
}

// A Source whose clock is set goes on, with one token request for each time it is
// set, at most, and the others with it.
func TestSourceWhoseClockIsSet(t *testing.T) {
	for _, row := range clockSteps {
		t.Run(row.name, func(t *testing.T) {
			s, e := start(t), newEndpoint(t)
			s.begin(t, key)
			cache, now := s.stepping()
			other := e.source(t, s.open(), provider.PolicyReplace, func(*client.Config) {})
			token(t, other, "before")
			source := e.source(t, cache, provider.PolicyReplace, func(c *client.Config) { c.Clock = now })
			token(t, source, "before")
			for i, by := range []time.Duration{row.by, -row.by} {
				asked := e.asked.Load()
				now.Step(by)
				for range 3 {
					token(t, source, "set")
					token(t, other, "set")
					eventually.True(t, "both have the same", func() bool { return token(t, source, "set") == token(t, other, "set") })
				}
				if n := e.asked.Load() - asked; n > 1 {
					t.Errorf("%d token requests when the clock was set the time %d", n, i+1)
				}
			}
		})
	}
}

func token(t *testing.T, s *client.Source, when string) string {
	t.Helper()
	got, err := s.Token(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	return strings.Clone(got.Value.Reveal())
}
