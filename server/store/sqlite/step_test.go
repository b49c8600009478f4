package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// used records a token that was got for an assertion, at the time of the clock.
func used(s store.Store, c clock.Clock, assertion string, until time.Time) error {
	now := c.Now()
	e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c", TokenID: assertion}
	once := onceOf(assertion, now)
	once.Until = until
	_, err := s.RecordIssued(context.Background(), store.Issuance{Event: e, Version: 1, Issued: now, Expires: now.Add(time.Hour), ReplayKeys: []store.ReplayKey{once}, StatusIndex: -1})
	return err
}

func revoked(s store.Store, c clock.Clock, token string, ends time.Time) error {
	e := counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: c.Now(), Realm: "r", ClientID: "c", TokenID: token}
	return s.RevokeToken(context.Background(), store.Revocation{Realm: "r", ClientID: "c", TokenID: token, Expires: ends}, e)
}

// atOnce does something n times, many at a time, so that they share transactions.
func atOnce(t *testing.T, n int, do func(n int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// sweepAll writes until everything has been looked at that can be swept: a
// transaction sweeps once, so there are several.
func sweepAll(t *testing.T, s *sqlite.Store, c clock.Clock, round string) {
	t.Helper()
	for part := range 6 {
		atOnce(t, 50, func(n int) error {
			name := fmt.Sprint(round, part, " ", n)
			return errors.Join(used(s, c, name, c.Now().Add(-24*time.Hour)), revoked(s, c, name, c.Now().Add(-24*time.Hour)))
		})
	}
}

// TestNothingIsSweptByAWrongClock: what was used and what was revoked stay so when
// the clock is set, to and fro, while others write; and once they have expired by
// a right clock, they go.
func TestNothingIsSweptByAWrongClock(t *testing.T) {
	const h = time.Hour
	for name, steps := range map[string][]struct{ turn, step time.Duration }{
		"not set":                            {{0, 0}},
		"2 h ahead, corrected":               {{0, 2 * h}, {0, -2 * h}},
		"2 h ahead for ten minutes":          {{0, 2 * h}, {10 * time.Minute, 0}, {10 * time.Minute, -2 * h}},
		"a month ahead, corrected":           {{0, 30 * 24 * h}, {0, -30 * 24 * h}},
		"half a second ahead":                {{0, time.Second}, {5e8, -time.Second}},
		"2 h back":                           {{0, -2 * h}},
		"2 h back after what is used ended":  {{90 * time.Minute, 0}, {0, -2 * h}},
		"2 h back, corrected, back again":    {{90 * time.Minute, 0}, {0, -2 * h}, {0, 2 * h}, {0, -2 * h}},
		"2 h ahead, then as much too far":    {{50 * time.Minute, 2 * h}, {0, -4 * h}},
		"ahead since before, then corrected": {{0, 2 * h}, {30 * time.Minute, 2 * h}, {0, -4 * h}},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			ends := c.Now().Add(h)
			if err := errors.Join(used(s, c, "assertion", ends), revoked(s, c, "token", ends)); err != nil {
				t.Fatal(err)
			}
			for n, m := range steps {
				c.Turn(m.turn)
				sweepAll(t, s, c, fmt.Sprint(n, " before "))
				c.Step(m.step)
				sweepAll(t, s, c, fmt.Sprint(n, " after "))
			}
			if err := used(s, c, "assertion", ends); !errors.Is(err, store.ErrReplayed) {
				t.Errorf("what was used is used again: %v", err)
			}
			if st, err := s.TokenStatus(t.Context(), "r", "c", "token"); err != nil || !st.Revoked {
				t.Errorf("what was revoked stands as %+v, %v", st, err)
			}
			// The clock is right from here on, and a day later nothing is left.
			for range 8 {
				c.Turn(3 * h)
				sweepAll(t, s, c, c.Now().String())
			}
			if err := used(s, c, "assertion", ends); err != nil {
				t.Errorf("what ended a day ago is kept: %v", err)
			}
			if st, err := s.TokenStatus(t.Context(), "r", "c", "token"); err != nil || st.Revoked {
				t.Errorf("what ended a day ago stands as %+v, %v", st, err)
			}
		})
	}
}

// TestRoomIsNotMadeByAWrongClock: a client that has as many revoked tokens as it
// may keeps them, when another one is revoked while the clock is ahead.
func TestRoomIsNotMadeByAWrongClock(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	atOnce(t, store.MaxRevoked, func(n int) error { return revoked(s, c, fmt.Sprint(n), c.Now().Add(time.Hour)) })
	c.Step(2 * time.Hour)
	if err := revoked(s, c, "one more", c.Now().Add(time.Hour)); !errors.Is(err, store.ErrTooManyRevocations) {
		t.Errorf("while the clock is ahead: %v", err)
	}
	c.Step(-2 * time.Hour)
	if st, err := s.TokenStatus(t.Context(), "r", "c", "0"); err != nil || !st.Revoked {
		t.Errorf("a revoked token stands as %+v, %v", st, err)
	}
	c.Turn(2 * time.Hour)
	if err := revoked(s, c, "one more", c.Now().Add(time.Hour)); err != nil {
		t.Errorf("once they have expired: %v", err)
	}
}

// TestDowntimeIsCaughtUp: how long a program did not run is unknown, so what
// expired meanwhile is kept, but not for ever: once the clock has gone on
// regularly for a day it is taken at its word. One that was set begins its day
// anew.
func TestDowntimeIsCaughtUp(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		name  string
		set   time.Duration // half a day after the start
		hours int
		kept  bool
	}{
		{"half a day", 0, 12, true},
		{"a day and a half", 0, 36, false},
		{"nearly a day and a half, set in between", 30 * day, 35, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, c := newPath(t), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			s := open(t, path)
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			ends := c.Now().Add(15 * day)
			if err := errors.Join(used(s, c, "assertion", ends), revoked(s, c, "token", ends)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.Turn(20 * day)
			s = open(t, path)
			write := func(hour string) {
				for part := range 2 {
					atOnce(t, 50, func(n int) error { return used(s, c, fmt.Sprint(hour, part, " ", n), c.Now()) })
				}
			}
			for hour := range row.hours {
				if hour == 12 {
					c.Step(row.set)
				}
				write(fmt.Sprint(hour, " "))
				c.Turn(time.Hour)
			}
			write("last ")
			if err := used(s, c, "assertion", ends); errors.Is(err, store.ErrReplayed) != row.kept {
				t.Errorf("what expired while nothing ran is kept: %v; want %v", err, row.kept)
			}
		})
	}
}

// TestLateWritesAreNoSteps: a request that takes long to arrive was taken for a clock
// that was set back, and a hundred of them made the store forget when that was so
// indeed: then a revocation did not cover a token that was dated ahead.
func TestLateWritesAreNoSteps(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	for _, id := range []string{"c", "other"} {
		if err := createClient(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	c.Step(2 * time.Hour)
	if err := used(s, c, "ahead", c.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.Step(-2 * time.Hour)
	for n := range 150 {
		if err := used(s, c, fmt.Sprint(n), c.Now()); err != nil {
			t.Fatal(err)
		}
		began := c.Now()
		c.Turn(12 * time.Second)
		if err := used(s, c, fmt.Sprint("meanwhile ", n), c.Now()); err != nil {
			t.Fatal(err)
		}
		e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: began, Realm: "r", ClientID: "nobody"}
		if err := s.RecordEvents(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Rows("clock_steps"); err != nil || n != 1 {
		t.Errorf("the clock was set back once; the store has noted %d, %v", n, err)
	}
	if err := clients.New(s, c, nil).RevokeTokens(t.Context(), "test", "r", "c"); err != nil {
		t.Fatal(err)
	}
	if st, err := s.TokenStatus(t.Context(), "r", "c", "ahead"); err != nil || !st.Revoked {
		t.Errorf("a token that is dated ahead outlives the revocation of all: %+v, %v", st, err)
	}
}

// TestTimePassesOnce: each of several processes at one file moved on the time by
// which things are swept, so that it overtook the right time while the clock was
// ahead.
func TestTimePassesOnce(t *testing.T) {
	for _, many := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(many, " processes"), func(t *testing.T) {
			path, c := newPath(t), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			var all []*sqlite.Store
			for range many {
				all = append(all, open(t, path))
			}
			if err := createClient(t.Context(), all[0], "c"); err != nil {
				t.Fatal(err)
			}
			write := func(minutes int, name string) {
				for n := range minutes {
					c.Turn(time.Minute)
					for i, s := range all {
						if err := used(s, c, fmt.Sprint(name, n, " ", i), c.Now()); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			write(3, "before ")
			c.Step(30 * 24 * time.Hour)
			write(60, "ahead ")
			c.Step(-30 * 24 * time.Hour)
			write(1, "after ")
			var horizon int64
			if err := all[0].DB().QueryRowContext(t.Context(), "SELECT horizon FROM totals").Scan(&horizon); err != nil {
				t.Fatal(err)
			}
			if before := c.Now().Sub(time.UnixMicro(horizon)); before < 2*time.Hour-time.Minute || before > 2*time.Hour+10*time.Minute {
				t.Errorf("what expired %v ago may be swept, want 2h", before)
			}
		})
	}
}
