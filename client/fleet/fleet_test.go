//go:build unix

package fleet_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

const key = "aa-1"

func TestPromisesOfEveryCache(t *testing.T) {
	s := start(t)
	cachetest.Run(t, func(t *testing.T) client.Cache {
		s.ask("FLUSHALL")
		return open(t, s.config()) // closed before the next, which it would put a token back for
	})
}

// rejecting is a renewal that wants another token than old.
func rejecting(old string, fetch func(context.Context) (counterfoil.Token, error)) client.Renewal {
	return client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value != "" && current.Value.Reveal() != old },
		Fetch:  fetch,
	}
}

func TestTokensAreShared(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	equal(t, "the first fetches", renewed(t, one, key, give("one")), "one")
	equal(t, "the second takes it", renewed(t, two, key, neverFetch(t)), "one")
	t.Run("a change is told to who knows the key", func(t *testing.T) {
		counter := two.Changes(key)
		before := counter.Load()
		equal(t, "renewed", renewed(t, one, key, rejecting("one", fetches("two"))), "two")
		eventually.True(t, "the counter grows", func() bool { return counter.Load() > before })
		equal(t, "then the token is here", cachetest.Load(t, two, key), "two")
	})
	t.Run("a dropped token too", func(t *testing.T) {
		if err := one.Drop(t.Context(), key, cachetest.Token("two")); err != nil {
			t.Fatal(err)
		}
		knows(t, two, key, "")
	})
	t.Run("and a cleared one", func(t *testing.T) {
		renewed(t, two, key, give("three"))
		knows(t, one, key, "three")
		if err := one.Clear(t.Context(), "aa"); err != nil {
			t.Fatal(err)
		}
		knows(t, two, key, "")
		equal(t, "one that comes later", renewed(t, s.open(), key, give("four")), "four")
	})
}

func fetches(value string) func(context.Context) (counterfoil.Token, error) {
	return func(context.Context) (counterfoil.Token, error) { return cachetest.Token(value), nil }
}

func TestLeaseKeepsOthersOut(t *testing.T) {
	s := start(t)
	c := s.config()
	c.Lease, c.Timeout = 3*time.Second, time.Second
	one, two := open(t, c), open(t, c)
	renewed(t, one, key, give("old"))
	knowsAfterAsking(t, two, "old")
	waiting := make(chan struct{})
	took := make(chan string, 1)
	got := renewed(t, one, key, rejecting("old", func(ctx context.Context) (counterfoil.Token, error) {
		go func() {
			r := rejecting("old", fetches("second"))
			accept, asked := r.Accept, 0
			r.Accept = func(current counterfoil.Token) bool {
				if asked++; asked == 2 { // alone in its process, about to ask for the lease
					close(waiting)
				}
				return accept(current)
			}
			t, err := two.Renew(context.WithoutCancel(ctx), key, r)
			took <- t.Value.Reveal() + errText(err)
		}()
		<-waiting
		equal(t, "the old one is there meanwhile", cachetest.Load(t, two, key)+cachetest.Load(t, one, key), "oldold")
		// Longer than the lease: it is prolonged for as long as it is needed.
		ends := s.field(key, "u")
		for range 4 {
			eventually.True(t, "the lease is prolonged", func() bool { return s.field(key, "u") != ends })
			ends = s.field(key, "u")
		}
		return cachetest.Token("first"), nil
	}))
	equal(t, "the holder has", got, "first")
	equal(t, "who waited has", <-took, "first")
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// knowsAfterAsking has c learn what is there.
func knowsAfterAsking(t *testing.T, c client.Cache, value string) {
	t.Helper()
	equal(t, "there is", renewed(t, c, key, neverFetch(t)), value)
}

// A holder that stands still, as a suspended machine does, loses the lease and
// replaces nothing when it comes back.
func TestHolderThatWasAwayReplacesNothing(t *testing.T) {
	s := start(t)
	c := s.config()
	c.Lease, c.Timeout = 3*time.Second, time.Second
	c.Clock = clock.NewManual(time.Now()) // stands still: no heart beats
	paused := open(t, c)
	c.Clock = nil
	other := open(t, c)
	s.begin(t, key)
	changes := paused.Changes(key)
	before := changes.Load()
	got, err := paused.Renew(t.Context(), key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value == "mine" },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			equal(t, "after the lease another has", renewed(t, other, key, give("newer")), "newer")
			return cachetest.Token("mine"), nil
		},
	})
	if got.Value != "mine" || err == nil || !strings.Contains(err.Error(), "another process has fetched a token meanwhile") {
		t.Errorf("the paused holder got %v, %v", got, err)
	}
	knowsAfterAsking(t, s.open(), "newer")
	equal(t, "the other still has", cachetest.Load(t, other, key), "newer")
	equal(t, "and so has the paused one", cachetest.Load(t, paused, key), "newer")
	equal(t, "tokens that it has had since", changes.Load()-before, 1)
}

// A token that its provider gave out before is no younger for those who take it
// over: it ends when it does.
func TestTokenThatWasGotEarlier(t *testing.T) {
	s := start(t)
	now := time.Now()
	ends := now.Add(50 * time.Minute)
	renewed(t, s.open(), key, client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			return counterfoil.Token{Value: "one", Type: "Bearer", Issued: now.Add(-10 * time.Minute), Expires: ends}, nil
		},
	})
	got, err := s.open().Renew(t.Context(), key, neverFetch(t))
	if err != nil || got.Expires.After(ends) || got.Expires.Before(ends.Add(-time.Minute)) {
		t.Errorf("it ends %s after it does, %v", got.Expires.Sub(ends), err)
	}
}

// A token that is too large to be shared serves who has got it.
func TestTokenThatIsTooLargeToShare(t *testing.T) {
	s := start(t)
	one := s.open()
	large := strings.Repeat("x", 256<<10)
	got, err := one.Renew(t.Context(), key, give(large))
	if got.Value.Reveal() != large || err == nil || !strings.Contains(err.Error(), "the token is not shared: it has more than 262144 bytes") {
		t.Errorf("got %d bytes, %v", len(got.Value), err)
	}
	equal(t, "it is here", cachetest.Load(t, one, key) == large, true)
	equal(t, "bytes on the server", s.ask("HSTRLEN", entryOf(key), "t"), ":0")
}

func TestGenerationsNeverGoBack(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	renewed(t, one, key, give("one"))
	knowsAfterAsking(t, two, "one")
	first := s.field(key, "g")
	for _, row := range []struct {
		name string
		do   func()
	}{
		{"renewed", func() { renewed(t, one, key, rejecting("one", fetches("two"))) }},
		{"dropped and renewed", func() {
			_ = one.Drop(t.Context(), key, cachetest.Token("two"))
			renewed(t, one, key, give("three"))
		}},
		{"lost and renewed by a process that knew nothing", func() {
			s.ask("FLUSHALL")
			renewed(t, s.open(), key, rejecting("three", fetches("four"))) // the others may have put it back by now
		}},
	} {
		row.do()
		next := s.field(key, "g")
		if len(next) != len(first) || next <= first {
			t.Errorf("%s: generation %s after %s", row.name, next, first)
		}
		first = next
	}
	knows(t, two, key, "four")
	knows(t, one, key, "four")
}

func TestFailuresAreShared(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	wrong := func(calls *int, after time.Duration) client.Renewal {
		r := give("")
		r.Credentials = [32]byte{1}
		r.Fetch = func(context.Context) (counterfoil.Token, error) {
			*calls++
			return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Code: "invalid_client", Description: "no such client", Status: 401, Message: "refused by the test", RetryAfter: after}
		}
		return r
	}
	var calls int
	_, err := one.Renew(t.Context(), key, wrong(&calls, 30*time.Second))
	if e, ok := errors.AsType[*counterfoil.Error](err); !ok || e.Message != "refused by the test" {
		t.Fatalf("the first got %v", err)
	}
	_, err = two.Renew(t.Context(), key, wrong(&calls, 0))
	e, ok := errors.AsType[*counterfoil.Error](err)
	if !ok || e.Reason != counterfoil.ReasonInvalidClient || e.Code != "invalid_client" || e.Description != "no such client" || e.Status != 401 ||
		!strings.HasPrefix(e.Message, "refused by the test (from another process") || e.RetryAfter <= 20*time.Second || e.RetryAfter > 30*time.Second {
		t.Errorf("the second got %+v", err)
	}
	equal(t, "requests", calls, 1)
	t.Run("not with other credentials", func(t *testing.T) {
		equal(t, "got", renewed(t, two, key, give("one")), "one")
	})
	t.Run("and a success ends it", func(t *testing.T) {
		knows(t, one, key, "one")
		_ = two.Drop(t.Context(), key, cachetest.Token("one"))
		knows(t, one, key, "")
		_, _ = one.Renew(t.Context(), key, wrong(&calls, 30*time.Second))
		equal(t, "requests", calls, 2)
	})
	t.Run("who waited is told at once", func(t *testing.T) {
		waiting, told := make(chan struct{}), make(chan error, 1)
		r := wrong(&calls, 30*time.Second)
		fetch := r.Fetch
		r.Fetch = func(ctx context.Context) (counterfoil.Token, error) {
			go func() {
				w := neverFetch(t)
				w.Credentials = [32]byte{1}
				n := 0
				w.Accept = func(counterfoil.Token) bool {
					if n++; n == 2 {
						close(waiting)
					}
					return false
				}
				_, err := two.Renew(t.Context(), "aa-2", w)
				told <- err
			}()
			<-waiting
			return fetch(ctx)
		}
		_, _ = one.Renew(t.Context(), "aa-2", r)
		if err := <-told; !strings.Contains(err.Error(), "from another process") {
			t.Errorf("got %v", err)
		}
	})
}

// Who left has met nothing that others would meet.
func TestFailureOfWhoLeftIsNotShared(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	ctx, leave := context.WithCancel(t.Context())
	_, err := one.Renew(ctx, key, client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			leave()
			return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Status: 503, RetryAfter: 30 * time.Second}
		},
	})
	if err == nil {
		t.Error("who left has a token")
	}
	equal(t, "the other fetches", renewed(t, two, key, give("one")), "one")
}

// A provider that asks for a pause of days keeps the others from trying for a
// minute.
func TestSharedPauseIsBounded(t *testing.T) {
	s := start(t)
	_, _ = s.open().Renew(t.Context(), key, client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonRateLimited, Status: 429, RetryAfter: 1000 * time.Hour}
		},
	})
	until, err := strconv.ParseInt(s.field(key, "p"), 10, 64)
	if left := time.Until(time.UnixMilli(until)); err != nil || left > time.Minute+time.Second || left < 0 {
		t.Errorf("it is not tried again for %s, %v", left, err)
	}
}

// What a process meets without an answer may be its own trouble: others wait a
// second, however often it happens.
func TestPauseGrowsWithAnswersOnly(t *testing.T) {
	s := start(t)
	one := s.open()
	for _, row := range []struct {
		name   string
		key    string
		status int
		least  time.Duration
		most   time.Duration
	}{{"refused", "aa-1", 401, 3 * time.Second, 4 * time.Second}, {"no answer", "aa-2", 0, 0, time.Second}} {
		t.Run(row.name, func(t *testing.T) {
			for range 3 {
				_, _ = one.Renew(t.Context(), row.key, client.Renewal{
					Accept: func(counterfoil.Token) bool { return false },
					Fetch: func(context.Context) (counterfoil.Token, error) {
						return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Status: row.status}
					},
				})
				s.ask("HSET", "counterfoil:{"+row.key+"}", "p", "1") // as if the pause were over, for the next in the row
			}
			_, err := one.Renew(t.Context(), row.key, client.Renewal{
				Accept: func(counterfoil.Token) bool { return false },
				Fetch: func(context.Context) (counterfoil.Token, error) {
					return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Status: row.status}
				},
			})
			if err == nil {
				t.Fatal("no failure")
			}
			_, err = one.Renew(t.Context(), row.key, neverFetchNothingAccepted(t))
			e, _ := errors.AsType[*counterfoil.Error](err)
			if e == nil || e.RetryAfter < row.least || e.RetryAfter > max(row.most, 8*time.Second) || row.status == 0 && e.RetryAfter > row.most {
				t.Errorf("told %v", err)
			}
		})
	}
}

func neverFetchNothingAccepted(t testing.TB) client.Renewal {
	r := neverFetch(t)
	r.Accept = func(counterfoil.Token) bool { return false }
	return r
}

// The end of a token goes by the server's clock and the way there: never later
// than it is, whatever the clocks of this machine and of the server show.
func TestClocksThatDiffer(t *testing.T) {
	for _, row := range []struct {
		name string
		off  time.Duration
	}{{"ten minutes behind", -10 * time.Minute}, {"ten minutes ahead", 10 * time.Minute}} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			s.begin(t, key)
			c := s.config()
			off := clock.NewManual(time.Now().Add(row.off))
			c.Clock = off
			one := open(t, c)
			token := cachetest.Token("one")
			token.Issued, token.Expires = off.Now(), off.Now().Add(time.Minute)
			r := give("")
			r.Fetch = func(context.Context) (counterfoil.Token, error) { return token, nil }
			began := time.Now()
			renewed(t, one, key, r)
			got, err := s.open().Renew(t.Context(), key, neverFetch(t))
			truth := began.Add(time.Minute)
			if err != nil || got.Expires.After(time.Now().Add(time.Minute)) || got.Expires.Before(truth.Add(-5*time.Second)) || got.Lifetime() != time.Minute {
				t.Errorf("ends %s off, lives %s, %v", got.Expires.Sub(truth), got.Lifetime(), err)
			}
		})
	}
}

// A server's clock that is set back neither keeps a dead holder's lease nor a
// failure for longer than a minute.
func TestServerClockSetBack(t *testing.T) {
	s := start(t)
	one := s.open()
	renewed(t, one, key, give("one"))
	later := strconv.FormatInt(time.Now().Add(10*time.Minute).UnixMilli(), 10)
	_, err := one.Renew(t.Context(), key, rejecting("one", func(context.Context) (counterfoil.Token, error) {
		return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonServerError, Status: 500}
	}))
	if err == nil {
		t.Fatal("no failure")
	}
	s.ask("HSET", "counterfoil:{"+key+"}", "h", "dead", "u", later, "p", later)
	equal(t, "renewed", renewed(t, one, key, rejecting("one", fetches("two"))), "two")
}

// TestNoGoroutineIsLeft looks after Close.
func TestNoGoroutineIsLeft(t *testing.T) {
	eventually.NoGoroutineIsLeft(t)
	s := start(t)
	for range 5 {
		c, err := fleet.Open(t.Context(), s.config())
		if err != nil {
			t.Fatal(err)
		}
		renewed(t, c, key, give("one"))
		c.Close()
		if _, err := c.Renew(t.Context(), "bb-1", give("two")); !errors.Is(err, client.ErrCacheLost) {
			t.Errorf("a closed cache gave %v", err)
		}
	}
	t.Run("nor with a server that hangs", func(t *testing.T) {
		eventually.NoGoroutineIsLeft(t)
		c := s.config()
		c.Timeout, c.Lease = time.Second, 3*time.Second
		cache, err := fleet.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGSTOP)
		defer s.signal(syscall.SIGCONT)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { _, _ = cache.Renew(t.Context(), key, neverFetch(t)) })
		}
		began := time.Now()
		cache.Close()
		if took := time.Since(began); took > c.Timeout+slowMachine {
			t.Errorf("closing took %s", took)
		}
		all.Wait()
	})
}

// A token that comes from another process soon after the one before it does not
// seem older, however long the way: a Source would keep the one before.
func TestNewerTokenSeemsNewer(t *testing.T) {
	s := start(t)
	one, far := s.open(), s.open()
	renewed(t, far, key, give("one"))
	first, _, _ := far.Load(t.Context(), key)
	knowsAfterAsking(t, one, "one")
	if err := one.Drop(t.Context(), key, first); err != nil {
		t.Fatal(err)
	}
	knows(t, far, key, "")
	r := give("two")
	r.Fetch = func(context.Context) (counterfoil.Token, error) {
		token := cachetest.Token("two")
		token.Issued, token.Expires = first.Issued.Add(-time.Second), first.Expires.Add(-time.Second) // as a slow way makes it seem
		return token, nil
	}
	renewed(t, one, key, r)
	knows(t, far, key, "two")
	if second, _, _ := far.Load(t.Context(), key); second.Issued.Before(first.Issued) {
		t.Errorf("the second seems %s older", first.Issued.Sub(second.Issued))
	}
}
