package fleet_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// setClock builds what sets the wall clock of a server, starts it anew, and
// returns a function that sets it to be by d ahead of the machine's.
func (s *server) setClock(t *testing.T) func(d time.Duration) {
	t.Helper()
	library, offset := filepath.Join(s.dir, "faketime.so"), filepath.Join(s.dir, "offset")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/faketime.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	set := func(d time.Duration) {
		t.Helper()
		f, err := os.OpenFile(offset, os.O_CREATE|os.O_WRONLY, 0o600) // in place: the server has it mapped
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "%20d\n", int64(d/time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	s.kill()
	s.env = []string{"LD_PRELOAD=" + library, "FAKETIME=" + offset}
	s.run()
	return set
}

// ahead is how far the server's clock is ahead of the machine's.
func (s steps) ahead() time.Duration { return time.Until(time.UnixMilli(s.now())) }

// The server's clock is set while a fleet runs, and set right: who knows a token
// keeps it; who comes later takes it with an end that is true, or asks for another
// once; and the next renewal is for all.
func TestServerClockIsSet(t *testing.T) {
	for _, row := range clockSteps {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			set := s.setClock(t)
			s.begin(t, key)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			asked := 0
			var latest counterfoil.Token
			fetch := func(context.Context) (counterfoil.Token, error) {
				asked++
				latest = cachetest.Token("token-" + strconv.Itoa(asked))
				return latest, nil
			}
			renew := func(c *fleet.Cache, old string) counterfoil.Token {
				t.Helper()
				got, err := c.Renew(ctx, key, rejecting(old, fetch))
				if err != nil || got.Value != latest.Value {
					t.Fatalf("got %q, %v, want %q", got.Value.Reveal(), err, latest.Value.Reveal())
				}
				return got
			}
			one, two := s.open(), s.open()
			renew(one, "")
			renew(two, "")
			for _, by := range []time.Duration{row.by, 0} {
				before := asked
				set(by)
				eventually.True(t, "the server's clock is set", func() bool { return (steps{s, t, key}.ahead() - by).Abs() < 500*time.Millisecond })
				equal(t, "who has it keeps it", cachetest.Load(t, one, key), latest.Value.Reveal())
				for range 3 {
					if ends := renew(s.open(), "").Expires; ends.After(latest.Expires.Add(1500 * time.Millisecond)) {
						t.Errorf("a token ends %s late", ends.Sub(latest.Expires))
					}
				}
				if asked > before+1 {
					t.Errorf("%d token requests of three that came later", asked-before)
				}
				knows(t, one, key, latest.Value.Reveal())
				renew(two, latest.Value.Reveal())
				knows(t, one, key, latest.Value.Reveal())
			}
		})
	}
}

// A token that was got while the server's clock was a month ahead is the last one of
// that time: with the clock set right its order must not keep those who know it from
// what is got afterwards.
func TestServerClockThatWasAMonthAhead(t *testing.T) {
	s := start(t)
	set := s.setClock(t)
	const month = 30 * 24 * time.Hour
	ahead := func(want time.Duration) {
		t.Helper()
		set(want)
		eventually.True(t, "the server's clock is set", func() bool { return (steps{s, t, key}.ahead() - want).Abs() < 500*time.Millisecond })
	}
	one, two := s.open(), s.open()
	ahead(month)
	renewed(t, one, key, give("ahead"))
	ahead(0)
	equal(t, "who knows it renews it", renewed(t, one, key, rejecting("ahead", fetches("next"))), "next")
	equal(t, "and has that from then on", cachetest.Load(t, one, key), "next")
	equal(t, "another takes it", renewed(t, two, key, neverFetch(t)), "next")
	renewed(t, two, key, rejecting("next", fetches("last")))
	knows(t, one, key, "last")
}
