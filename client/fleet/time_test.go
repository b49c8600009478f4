//go:build unix

package fleet_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// taken is how many steps the server has taken.
func (s *server) taken() string {
	for line := range strings.Lines(s.ask("INFO", "commandstats")) {
		if strings.HasPrefix(line, "cmdstat_evalsha:") {
			return strings.TrimPrefix(strings.Split(line, ",")[0], "cmdstat_evalsha:")
		}
	}
	return ""
}

// The way back from the server is taken for the whole of the way: the end of a
// token is never later than it is, however long an answer takes.
func TestSlowAnswerMakesNoTokenLiveLonger(t *testing.T) {
	s := start(t)
	renewed(t, s.open(), key, give("one"))
	for range 20 {
		before := s.taken()
		asked, ends := s.slowRenewal(t, before)
		if s.taken() != next(t, before) {
			continue // on a busy machine it has asked twice, or somebody else has, and the answer was to the later question
		}
		if ends.After(asked.Add(time.Hour)) {
			t.Errorf("the token of an hour ends %s after it was asked for", ends.Sub(asked))
		}
		return
	}
	t.Error("no renewal has asked just once")
}

// next is what taken returns after one more step.
func next(t *testing.T, taken string) string {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(taken, "calls="))
	if err != nil {
		t.Fatal(err)
	}
	return "calls=" + strconv.Itoa(n+1)
}

// slowRenewal has another process renew, whose answer is a minute on its way, and
// returns when it asked at the earliest and when its token ends.
func (s *server) slowRenewal(t *testing.T, before string) (asked, ends time.Time) {
	t.Helper()
	p := s.proxy()
	c, now := config(p.socket), clock.NewManual(time.Now())
	c.Clock = now
	slow := open(t, c)
	asked = now.Now()
	p.stallAnswers()
	got := make(chan time.Time, 1)
	go func() {
		token, err := slow.Renew(t.Context(), key, neverFetch(t))
		if err != nil {
			t.Error(err)
		}
		got <- token.Expires
	}()
	eventually.True(t, "the server has answered", func() bool { return s.taken() != before })
	now.Turn(time.Minute)
	p.resume()
	return asked, <-got
}

// sleep waits until n of those sleep who go by that clock.
func sleep(t *testing.T, c *clock.Manual, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Sleepers(ctx, n); err != nil {
		t.Fatalf("never: %d sleep", n)
	}
}

// What is evicted, and a word that does not arrive, is told to nobody: everything
// is compared within a minute and a half.
func TestComparisonFindsWhatNobodyTells(t *testing.T) {
	s := start(t)
	c, now := s.config(), clock.NewManual(time.Now())
	c.Clock = now
	one := open(t, c)
	renewed(t, s.open(), key, give("one"))
	knowsAfterAsking(t, one, "one")
	evicted := func() {
		s.ask("DEL", entryOf(key))
		sleep(t, now, 1)
		now.Turn(90 * time.Second)
	}
	evicted()
	eventually.True(t, "it is there again", func() bool { return len(s.field(key, "t")) > 8 })
	evicted()
	eventually.True(t, "and the next time, too", func() bool { return len(s.field(key, "t")) > 8 })
}

// Many who wait for the same moment do not all ask at once.
func TestWaitersDoNotAskAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		fields func(later string) []string // such that there is more to wait than anybody waits
		least  time.Duration
	}{
		{"for the end of a lease", func(later string) []string { return []string{"h", "somebody", "u", later} }, 15 * time.Second},
		{"for who knows a lost token", func(later string) []string { return []string{"a", later} }, 200 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			steps := steps{s, t, key}
			steps.set(row.fields(text(steps.now() + 50000))...)
			ctx, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			var waits []time.Duration
			for range 8 {
				c, now := s.config(), clock.NewManual(time.Now())
				c.Clock = now
				one := open(t, c)
				all.Go(func() { _, _ = one.Renew(ctx, key, neverFetch(t)) })
				sleep(t, now, 2) // the other one compares from time to time
				for _, d := range now.Slept() {
					if d >= row.least && d < row.least+row.least/2 {
						waits = append(waits, d)
					}
				}
			}
			leave()
			all.Wait()
			slices.Sort(waits)
			if len(waits) < 8 || len(slices.Compact(waits)) < 4 {
				t.Errorf("they wait %v", waits)
			}
		})
	}
}
