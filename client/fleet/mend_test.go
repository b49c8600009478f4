//go:build unix

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/seal"
)

func entryOf(key string) string { return "counterfoil:{" + key + "}" }

// An entry that no process can have written is as if it were lost: the token is
// put back, and no other key notices.
func TestBadEntryHarmsNobody(t *testing.T) {
	for _, row := range []struct{ name, command string }{
		{"another type", "SET counterfoil:{aa-9} x"},
		{"no number", "HSET counterfoil:{aa-9} g x"},
		{"an absurd number", "HSET counterfoil:{aa-9} n 9e300"},
		{"a generation far ahead", "HSET counterfoil:{aa-9} g 4503599627370495"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			var told states
			c := s.config()
			c.OnState = told.told
			one := open(t, c)
			renewed(t, one, "aa-9", give("nine"))
			renewed(t, one, key, give("one"))
			s.ask("DEL", entryOf("aa-9"))
			s.ask(strings.Fields(row.command)...)
			s.ask("PUBLISH", "counterfoil:changes", "aa-9")
			eventually.True(t, "the token is there again", func() bool { return len(s.field("aa-9", "t")) > 8 })
			equal(t, "another key is renewed", renewed(t, one, key, rejecting("one", fetches("two"))), "two")
			knowsKeyAfterAsking(t, s.open(), "aa-9", "nine")
			equal(t, "and is renewed too", renewed(t, one, "aa-9", rejecting("nine", fetches("ten"))), "ten")
			equal(t, "told", told.text(), "[]")
		})
	}
}

func knowsKeyAfterAsking(t *testing.T, c client.Cache, key, value string) {
	t.Helper()
	equal(t, "there is", renewed(t, c, key, neverFetch(t)), value)
}

// What a writer leaves in place of a token does not fill the memory of those who
// read it.
func TestLargeValueIsNotRead(t *testing.T) {
	s := start(t)
	one := s.open()
	renewed(t, one, key, give("one"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.ask("EVAL", "redis.call('HSET', KEYS[1], 't', string.rep('x', 104857600)); redis.call('PUBLISH', 'counterfoil:changes', ARGV[1])", "1", entryOf(key), key)
	eventually.True(t, "the token is there again", func() bool { return s.ask("HSTRLEN", entryOf(key), "t") != ":104857600" })
	runtime.ReadMemStats(&after)
	if read := after.TotalAlloc - before.TotalAlloc; read > 50<<20 {
		t.Errorf("%d MB were read", read>>20)
	}
	equal(t, "here", cachetest.Load(t, one, key), "one")
}

// A process that starts after an eviction gets the token from those who have it.
func TestEvictedTokenIsAskedFor(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	renewed(t, one, key, give("one"))
	knowsAfterAsking(t, two, "one")
	s.ask("DEL", entryOf(key)) // as an eviction, which nobody is told
	knowsAfterAsking(t, s.open(), "one")
}

// An entry that is lost while its token is asked for gets the lease back.
func TestEvictedLeaseIsTakenAgain(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	took := make(chan string, 1)
	got := renewed(t, one, key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value == "one" },
		Fetch: func(ctx context.Context) (counterfoil.Token, error) {
			s.ask("DEL", entryOf(key))
			go func() {
				got, err := two.Renew(context.WithoutCancel(ctx), key, neverFetch(t))
				took <- got.Value.Reveal() + errText(err)
			}()
			eventually.True(t, "the lease is there again", func() bool { return len(s.field(key, "h")) > 8 })
			return cachetest.Token("one"), nil
		},
	})
	equal(t, "the holder has", got, "one")
	equal(t, "the other takes", <-took, "one")
}

// A fleet that starts waits once for those who might know the token.
func TestFirstStartAsksOnce(t *testing.T) {
	s := start(t)
	var fetched atomic.Int32
	r := give("one")
	r.Fetch = func(context.Context) (counterfoil.Token, error) {
		fetched.Add(1)
		return cachetest.Token("one"), nil
	}
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		c := s.open()
		all.Go(func() { _, _ = c.Renew(t.Context(), key, r) })
	}
	all.Wait()
	equal(t, "token requests", fetched.Load(), 1)
	if took := time.Since(began); took > slowMachine {
		t.Errorf("took %s", took)
	}
}

// The three steps of a rotation while a token lives, dropped or not.
func TestKeyCanBeRemovedWhileATokenLives(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		t.Run(fmt.Sprintf("dropped %v", dropped), func(t *testing.T) {
			s := start(t)
			fresh := seal.NewKey()
			with := func(keys ...client.SecretFunc) *fleet.Cache {
				c := s.config()
				c.Keys = keys
				return open(t, c)
			}
			first := with(client.Static(masterKey))
			renewed(t, first, key, give("one"))
			if dropped {
				_ = first.Drop(t.Context(), key, cachetest.Token("one"))
			}
			first.Close()
			before := s.field(key, "k")
			turned := with(client.Static(fresh), client.Static(masterKey))
			if dropped {
				_, _ = turned.Renew(t.Context(), key, rejectingAll())
			} else {
				knowsAfterAsking(t, turned, "one")
			}
			eventually.True(t, "the new key has sealed it", func() bool { return s.field(key, "k") != before })
			got := renewed(t, with(client.Static(fresh)), key, give("two"))
			equal(t, "who has only the new key gets", got, map[bool]string{true: "two", false: "one"}[dropped])
		})
	}
}

// While a master key is rotated the processes that have the old one first and those
// that have the new one first share failures, and end each other's tokens.
func TestProcessesOfBothStepsOfARotation(t *testing.T) {
	old, fresh := client.Static(masterKey), client.Static(seal.NewKey())
	for name, keys := range map[string][2][]client.SecretFunc{
		"from old to new": {{old, fresh}, {fresh, old}},
		"from new to old": {{fresh, old}, {old, fresh}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			with := func(keys []client.SecretFunc) *fleet.Cache {
				c := s.config()
				c.Keys = keys
				return open(t, c)
			}
			one, other := with(keys[0]), with(keys[1])
			renewed(t, one, key, give("one"))
			if err := other.Drop(t.Context(), key, cachetest.Token("one")); err != nil {
				t.Fatal(err)
			}
			knows(t, one, key, "")
			r := rejectingAll()
			r.Fetch = func(context.Context) (counterfoil.Token, error) {
				return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Status: 401, RetryAfter: 50 * time.Second}
			}
			if _, err := one.Renew(t.Context(), "bb-1", r); err == nil {
				t.Fatal("no failure")
			}
			_, err := other.Renew(t.Context(), "bb-1", neverFetch(t))
			if told, ok := errors.AsType[*counterfoil.Error](err); !ok || told.Reason != counterfoil.ReasonInvalidClient {
				t.Errorf("the other is told %v", err)
			}
		})
	}
}

// An older token that another key has sealed is left where it is, as after a fail-over
// to a server that was behind: what this process would put there the others could not
// read.
func TestOlderTokenOfAnotherMasterKeyIsLeft(t *testing.T) {
	s := start(t)
	c := s.config()
	c.Keys = []client.SecretFunc{client.Static(seal.NewKey())}
	theirs := open(t, c)
	renewed(t, theirs, key, give("theirs"))
	theirs.Close()
	behind, id := s.ask("DUMP", entryOf(key)), s.field(key, "k")
	s.ask("DEL", entryOf(key))
	c = s.config()
	var told states
	c.OnState = told.told
	mine := open(t, c)
	renewed(t, mine, key, give("mine"))
	equal(t, "put back", s.ask("RESTORE", entryOf(key), "0", behind, "REPLACE"), "+OK")
	s.ask("PUBLISH", "counterfoil:changes", key)
	eventually.True(t, "it is told", func() bool { return strings.Contains(told.text(), "name it in Config.Keys") })
	equal(t, "the key that has sealed it", s.field(key, "k"), id)
	equal(t, "here", cachetest.Load(t, mine, key), "mine")
}

// rejectingAll is a renewal that fails.
func rejectingAll() client.Renewal {
	return client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch:  func(context.Context) (counterfoil.Token, error) { return counterfoil.Token{}, context.Canceled },
	}
}

// A process with another master key takes no lease where others have theirs,
// also once the token was dropped.
func TestAnotherMasterKeyStopsNobody(t *testing.T) {
	s := start(t)
	one := s.open()
	renewed(t, one, key, give("one"))
	if err := one.Drop(t.Context(), key, cachetest.Token("one")); err != nil {
		t.Fatal(err)
	}
	c := s.config()
	c.Keys = []client.SecretFunc{client.Static(seal.NewKey())}
	wrong := open(t, c)
	if got, err := wrong.Renew(t.Context(), key, neverFetch(t)); err == nil || !strings.Contains(err.Error(), "name it in Config.Keys") {
		t.Errorf("got %v, %v", got, err)
	}
	equal(t, "the others go on", renewed(t, one, key, give("two")), "two")
}

// Who loses the lease for certain gives up, and takes what the other gets.
func TestHolderGivesUpALostLease(t *testing.T) {
	s := start(t)
	p := s.proxy()
	c, now := config(p.socket), clock.NewManual(time.Now())
	c.Clock = now
	holder := open(t, c)
	other := s.open()
	s.begin(t, key)
	gaveUp := false
	got := renewed(t, holder, key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value == "newer" },
		Fetch: func(ctx context.Context) (counterfoil.Token, error) {
			p.leads(s.socket + "-none")
			now.Turn(c.Lease)
			<-ctx.Done()
			gaveUp = true
			s.ask("HSET", entryOf(key), "u", "1") // the same time has passed for the server
			equal(t, "after the lease another has", renewed(t, other, key, give("newer")), "newer")
			p.leads(s.socket)
			eventually.True(t, "the holder is told", func() bool {
				now.Turn(100 * time.Millisecond) // it tries to connect from time to time
				return cachetest.Load(t, holder, key) == "newer"
			})
			return counterfoil.Token{}, ctx.Err()
		},
	})
	equal(t, "gave up", gaveUp, true)
	equal(t, "it has", got, "newer")
}

// Who learns that another has the lease gives up, however long its own would have
// lasted, and takes what the other gets.
func TestHolderGivesUpALeaseThatAnotherHas(t *testing.T) {
	s := start(t)
	c := s.config()
	c.Lease = time.Minute // longer than the test waits
	holder, other := open(t, c), s.open()
	s.begin(t, key)
	got := renewed(t, holder, key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value == "newer" },
		Fetch: func(ctx context.Context) (counterfoil.Token, error) {
			s.ask("HSET", entryOf(key), "u", "1") // as when the server's clock was set
			equal(t, "after the lease another has", renewed(t, other, key, give("newer")), "newer")
			eventually.True(t, "the holder gives up", func() bool { return ctx.Err() != nil })
			return counterfoil.Token{}, context.Cause(ctx)
		},
	})
	equal(t, "it has", got, "newer")
}

// A break that is shorter than the lease does not end it.
func TestShortBreakKeepsTheLease(t *testing.T) {
	s := start(t)
	s.begin(t, key)
	p := s.proxy()
	c, now := config(p.socket), clock.NewManual(time.Now())
	var told states
	c.Clock, c.OnState = now, told.told
	holder := open(t, c)
	tries := func() int { // that have failed: each is followed by a short pause
		return len(slices.DeleteFunc(now.Slept(), func(d time.Duration) bool { return d != c.Lease/30 }))
	}
	got := renewed(t, holder, key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value != "" },
		Fetch: func(ctx context.Context) (counterfoil.Token, error) {
			p.leads(s.socket + "-none")
			ends := s.field(key, "u")
			eventually.True(t, "the break is noticed", func() bool { return told.last() != nil })
			now.Turn(c.Lease / 2)
			eventually.True(t, "the lease could not be prolonged", func() bool { return tries() > 0 })
			sleep(t, now, 4) // who prolongs, who listens, who looks for the server, and who compares from time to time
			p.leads(s.socket)
			turned := 0
			eventually.True(t, "the lease is prolonged, and the holder knows", func() bool {
				if n := tries(); n > turned {
					turned = n
					now.Turn(c.Lease / 30)
				}
				return s.field(key, "u") != ends && told.last() == nil
			})
			return cachetest.Token("one"), ctx.Err()
		},
	})
	equal(t, "got", got, "one")
}

func TestClearRemovesFailures(t *testing.T) {
	s := start(t)
	one := s.open()
	_, err := one.Renew(t.Context(), key, client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Status: 401, RetryAfter: 50 * time.Second}
		},
	})
	if err == nil {
		t.Fatal("no failure")
	}
	if err := one.Clear(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	equal(t, "afterwards", renewed(t, one, key, give("one")), "one")
}

// One entry that is no hash keeps no other from being cleared.
func TestClearGoesOn(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	for i := range 10 {
		renewed(t, one, fmt.Sprintf("aa-%d", i), give("x"))
	}
	s.ask("SET", entryOf("aa-bad"), "x")
	s.ask("SET", entryOf("no key"), "x")
	if err := two.Clear(t.Context(), "aa"); err != nil {
		t.Error(err)
	}
	for i := range 10 {
		knows(t, one, fmt.Sprintf("aa-%d", i), "")
	}
}

// Clear says how much it could not remove, and why it did not look.
func TestClearFails(t *testing.T) {
	s := start(t)
	one := s.open()
	for _, key := range []string{"aa-1", "bb-1", "bb-2"} {
		renewed(t, one, key, give("x"))
	}
	equal(t, "ACL SETUSER", s.ask("ACL", "SETUSER", "default", "resetkeys", "~"+entryOf("aa-1")), "+OK")
	err := one.Clear(t.Context(), "") // whose first refusal may end it, also before it has found any
	if left := regexp.MustCompile(`clear: ([23] of the 3|0 of the 0) entries found are left`); err == nil || !left.MatchString(err.Error()) {
		t.Errorf("without permission for two: %v", err)
	}
	equal(t, "ACL SETUSER", s.ask("ACL", "SETUSER", "default", "~*"), "+OK")
	ctx, end := context.WithCancelCause(t.Context())
	because := errors.New("the program ends")
	end(because)
	if err := s.open().Clear(ctx, ""); !errors.Is(err, because) {
		t.Errorf("of a program that ends: %v", err)
	}
}

// A server that stood still for a moment is found again though nobody asks it
// for anything.
func TestStateIsToldAfterAShortStall(t *testing.T) {
	s := start(t)
	c := s.config()
	c.Timeout, c.Lease = time.Second, 3*time.Second
	var told states
	c.OnState = told.told
	cache := open(t, c)
	renewed(t, cache, key, give("one"))
	s.signal(syscall.SIGSTOP)
	_, err := cache.Renew(t.Context(), key, neverFetchNothingAccepted(t))
	s.signal(syscall.SIGCONT)
	if err == nil || !strings.Contains(told.text(), "cannot be reached") {
		t.Errorf("got %v, told %s", err, told.text())
	}
	eventually.True(t, "it is told", func() bool { return told.last() == nil })
}

// A damaged token is told, and then that it is gone.
func TestStateIsToldAfterADamagedToken(t *testing.T) {
	s := start(t)
	c := s.config()
	var told states
	c.OnState = told.told
	cache := open(t, c)
	renewed(t, cache, key, give("one"))
	s.ask("HINCRBY", entryOf(key), "g", "1")
	s.ask("PUBLISH", "counterfoil:changes", key)
	eventually.True(t, "it is told", func() bool { return strings.Contains(told.text(), "damaged") })
	eventually.True(t, "and then that it is gone", func() bool { return told.last() == nil })
}

// Open and Renew wait no longer than their context for a server that accepts
// connections and says nothing.
func TestNobodyWaitsLongerThanTheContext(t *testing.T) {
	c := config(errorServer(t, ""))
	c.Timeout, c.Lease = 20*time.Second, time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := fleet.Open(ctx, c); err == nil {
		t.Error("opened")
	}
	if took := time.Since(began); took > c.Timeout-time.Second {
		t.Errorf("Open took %s", took)
	}
	c.Timeout, c.Lease = time.Second, 3*time.Second
	cache := open(t, c)
	began = time.Now()
	_, _ = cache.Renew(t.Context(), key, neverFetch(t))
	if took := time.Since(began); took > c.Timeout+slowMachine {
		t.Errorf("Renew took %s", took)
	}
}

// A user who may not subscribe is refused at once.
func TestOpenWithoutSubscription(t *testing.T) {
	s := start(t)
	s.ask("ACL", "SETUSER", "default", "-subscribe")
	if _, err := fleet.Open(t.Context(), s.config()); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("got %v", err)
	}
}
