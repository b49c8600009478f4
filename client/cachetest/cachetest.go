// Package cachetest tests the contract of client.Cache. Use it for a cache of
// your own. Its API may change.
package cachetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// Run tests a cache; open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) client.Cache) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) { p.test(t, open(t)) })
	}
}

var promises = []struct {
	name string
	test func(*testing.T, client.Cache)
}{
	{"keeps a token whole", keepsWhole},
	{"what is accepted is not fetched", accepts},
	{"a failed renewal changes nothing", failedRenewal},
	{"drops what was rejected only", dropsRejected},
	{"clears one client or all", clears},
	{"one renews at a time, and Load does not wait", oneAtATime},
	{"a waiter can leave", waiterLeaves},
	{"who has seen a change has seen what is there since", countsAfterwards},
	{"what the waiter accepts comes from who renews", waiterTakes},
	{"a key is no path", keyIsNoPath},
}

// Token returns a token with a lifetime of an hour from now.
func Token(value string) counterfoil.Token {
	now := time.Now().Round(0)
	return counterfoil.Token{
		Value:   counterfoil.Secret(value),
		Type:    "Bearer",
		Scopes:  counterfoil.Scopes{"a", "b"},
		Issued:  now,
		Expires: now.Add(time.Hour),
	}
}

// Fetch returns a renewal that accepts no existing token.
func Fetch(f func(context.Context) (counterfoil.Token, error)) client.Renewal {
	return client.Renewal{Accept: func(counterfoil.Token) bool { return false }, Fetch: f}
}

// Put puts a token of that value under key.
func Put(t testing.TB, c client.Cache, key, value string) {
	t.Helper()
	got, err := c.Renew(t.Context(), key, Fetch(func(context.Context) (counterfoil.Token, error) { return Token(value), nil }))
	if err != nil || got.Value.Reveal() != value {
		t.Fatalf("put %s: %v, %v", value, got, err)
	}
}

// Load returns the value under key, "" for none.
func Load(t testing.TB, c client.Cache, key string) string {
	t.Helper()
	got, ok, err := c.Load(t.Context(), key)
	if err != nil || ok != (got.Value != "") {
		t.Fatalf("load: %v, %v, %v", got, ok, err)
	}
	return got.Value.Reveal()
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// near is how far apart times from another machine's clock may be.
const near = time.Second

func keepsWhole(t *testing.T, c client.Cache) {
	equal(t, "token before", Load(t, c, "aa-1"), "")
	want := Token("one")
	Put(t, c, "aa-1", "one")
	got, _, _ := c.Load(t.Context(), "aa-1")
	if got.Value != want.Value || got.Type != want.Type || got.Scopes.String() != "a b" || got.Issued.Sub(want.Issued).Abs() > near ||
		got.Expires.Sub(want.Expires).Abs() > near {
		t.Errorf("got %+v, want %+v", got, want)
	}
	equal(t, "another key", Load(t, c, "aa-2"), "")
}

func accepts(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "one")
	got, err := c.Renew(t.Context(), "aa-1", client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value == "one" },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			t.Error("fetched although the token was accepted")
			return Token("two"), nil
		},
	})
	if err != nil || got.Value != "one" {
		t.Errorf("got %v, %v", got, err)
	}
}

func failedRenewal(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "one")
	boom := &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Message: "boom"}
	_, err := c.Renew(t.Context(), "aa-1", Fetch(func(context.Context) (counterfoil.Token, error) { return counterfoil.Token{}, boom }))
	if got, ok := errors.AsType[*counterfoil.Error](err); !ok || got.Reason != boom.Reason {
		t.Errorf("got %v", err)
	}
	equal(t, "token", Load(t, c, "aa-1"), "one")
}

func dropsRejected(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "two")
	before := c.Changes("aa-1").Load()
	for _, value := range []string{"one", ""} {
		if err := c.Drop(t.Context(), "aa-1", Token(value)); err != nil {
			t.Fatal(err)
		}
		equal(t, "token", Load(t, c, "aa-1"), "two")
	}
	equal(t, "changes by what was not rejected", c.Changes("aa-1").Load(), before)
	if err := c.Drop(t.Context(), "aa-1", Token("two")); err != nil {
		t.Fatal(err)
	}
	equal(t, "token", Load(t, c, "aa-1"), "")
}

func clears(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "one")
	Put(t, c, "aa-2", "two")
	Put(t, c, "bb-1", "three")
	if err := c.Clear(t.Context(), "aa"); err != nil {
		t.Fatal(err)
	}
	equal(t, "tokens", Load(t, c, "aa-1")+Load(t, c, "aa-2")+Load(t, c, "bb-1"), "three")
	if err := c.Clear(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	equal(t, "token", Load(t, c, "bb-1"), "")
}

func oneAtATime(t *testing.T, c client.Cache) {
	var inside, fetched atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := c.Renew(t.Context(), "aa-1", client.Renewal{
				Accept: func(current counterfoil.Token) bool { return current.Value != "" },
				Fetch: func(ctx context.Context) (counterfoil.Token, error) {
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d at a time", n)
					}
					defer inside.Add(-1)
					runtime.Gosched()
					fetched.Add(1)
					_, _, err := c.Load(ctx, "aa-1")
					return Token("one"), err
				},
			})
			if err != nil || got.Value != "one" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	all.Wait()
	equal(t, "fetched", fetched.Load(), 1)
}

func waiterLeaves(t *testing.T, c client.Cache) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Renew(t.Context(), "aa-1", Fetch(func(context.Context) (counterfoil.Token, error) {
		cancel()
		_, err := c.Renew(ctx, "aa-1", Fetch(func(context.Context) (counterfoil.Token, error) {
			t.Error("a second renewal ran beside the first")
			return counterfoil.Token{}, nil
		}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter got %v", err)
		}
		return Token("one"), nil
	}))
	if err != nil {
		t.Errorf("the renewal got %v", err)
	}
}

// countsAfterwards: the counter is incremented after the token has changed. In
// the other order, a reader between the two would take the old token for the new
// one, and not look again.
func countsAfterwards(t *testing.T, c client.Cache) {
	const key = "aa-1"
	counter := c.Changes(key)
	look := func() (changes uint64, value string) {
		changes = counter.Load() // first, as a Source does
		got, _, err := c.Load(t.Context(), key)
		if err != nil {
			t.Error(err)
		}
		return changes, got.Value.Reveal()
	}
	// watched reports whether change incremented the counter.
	watched := func(what string, change func()) bool {
		before, _ := look()
		var ended atomic.Bool
		var begun, all sync.WaitGroup
		for range 4 {
			begun.Add(1)
			all.Go(func() {
				changes, value := look()
				begun.Done()
				for !ended.Load() {
					if n, v := look(); n != changes {
						changes, value = n, v
					}
				}
				if now, there := look(); now != before && now == changes && there != value {
					t.Errorf("%s: who looked when the counter was %d saw %q, and there is %q", what, now, value, there)
				}
			})
		}
		begun.Wait()
		change()
		ended.Store(true)
		all.Wait()
		after, _ := look()
		return after != before
	}
	for i := range 50 {
		value := fmt.Sprint("token-", i)
		if !watched("renewed", func() { Put(t, c, key, value) }) || t.Failed() {
			return // it cannot observe changes
		}
		if i%2 == 0 {
			watched("dropped", func() {
				if err := c.Drop(t.Context(), key, Token(value)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// waiterTakes: a caller that waits while another renews takes the new token, and
// fetches nothing.
func waiterTakes(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "one")
	newer := func(current counterfoil.Token) bool { return current.Value == "two" }
	asked := make(chan struct{})
	var once sync.Once
	var waiter sync.WaitGroup
	_, err := c.Renew(t.Context(), "aa-1", client.Renewal{Accept: newer, Fetch: func(context.Context) (counterfoil.Token, error) {
		waiter.Go(func() {
			got, err := c.Renew(t.Context(), "aa-1", client.Renewal{
				Accept: func(current counterfoil.Token) bool { once.Do(func() { close(asked) }); return newer(current) },
				Fetch: func(context.Context) (counterfoil.Token, error) {
					t.Error("the waiter fetched")
					return counterfoil.Token{}, errors.New("fetched")
				},
			})
			if err != nil || got.Value != "two" {
				t.Errorf("the waiter got %v, %v", got, err)
			}
		})
		<-asked
		return Token("two"), nil
	}})
	waiter.Wait()
	if err != nil {
		t.Error(err)
	}
}

func keyIsNoPath(t *testing.T, c client.Cache) {
	Put(t, c, "aa-1", "one")
	for _, key := range []string{"../aa-1", "aa-1/", "AA-1"} {
		if got, ok, _ := c.Load(t.Context(), key); ok {
			t.Errorf("%q led to %v", key, got)
		}
	}
}
