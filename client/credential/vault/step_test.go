package vault_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// The wall clock is set while the monotonic one goes on, by which Vault's own goes:
// a token of somebody else, whose end would leave nobody with another, is renewed
// in time, and one of a login is renewed or replaced.
func TestTokensWhenTheWallClockSteps(t *testing.T) {
	for _, step := range []struct {
		name        string
		ahead, back time.Duration
	}{
		{"two hours forward", 2 * time.Hour, 0},
		{"two hours back", -2 * time.Hour, 0},
		{"half a second two hours ahead, then corrected", 2 * time.Hour, -2 * time.Hour},
		{"half a second two hours behind, then corrected", -2 * time.Hour, 2 * time.Hour},
	} {
		for _, given := range []bool{true, false} {
			name := "the token of a login, " + step.name
			if given {
				name = "a given token, " + step.name
			}
			t.Run(name, func(t *testing.T) {
				s := newServer(t)
				s.clock = clock.NewStepping(theStart)
				c := s.approle()
				if given {
					s.tokens["hvs.given"] = token{ends: s.clock.Now().Add(time.Hour), renewable: true}
					c = s.config()
					c.Token = static("hvs.given")
				}
				f := s.open(c, "secret/acme/api#client_secret")
				uses := func(minutes int) {
					for i := range minutes {
						s.with(func() { s.secrets["secret/acme/api"]["client_secret"] = theSecret + string(rune('a'+i%20)) })
						s.gives(f, theSecret+string(rune('a'+i%20))) // the store's, not one that is kept
						s.clock.Turn(time.Minute)
					}
				}
				uses(20)
				s.clock.Step(step.ahead)
				if step.back != 0 {
					uses(1)
					s.clock.Turn(500 * time.Millisecond)
					s.clock.Step(step.back)
					s.clock.Turn(time.Minute)
				}
				uses(150)
				if n := s.count("POST auth/token/renew-self"); n > 6 {
					t.Errorf("%d renewals in three hours", n)
				}
				if n := s.count("POST auth/approle/login"); n > 3 {
					t.Errorf("%d logins", n)
				}
			})
		}
	}
}
