package server_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// useCounter shows what a store is told of uses, and can fail.
type useCounter struct {
	store.Store
	told chan []store.LastUse
	mu   sync.Mutex
	err  error
}

func (c *useCounter) RecordLastUses(ctx context.Context, uses []store.LastUse) error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil {
		err = c.Store.RecordLastUses(ctx, uses)
	}
	c.told <- slices.Clone(uses)
	return err
}

func (c *useCounter) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func newUseCounter(t *testing.T, names ...string) (*house, *useCounter) {
	c := &useCounter{told: make(chan []store.LastUse, 100)}
	return newHouseOf(t, func(s store.Store) store.Store { c.Store = s; return c }, names...), c
}

// turn turns the clock by ten seconds once the server sleeps.
func (h *house) turn() {
	h.t.Helper()
	if err := h.clock.Sleepers(h.t.Context(), background); err != nil {
		h.t.Fatal(err)
	}
	h.clock.Turn(10 * time.Second)
}

func (h *house) uses(realm, id string) []store.LastUse {
	h.t.Helper()
	uses, err := h.clients.LastUses(h.t.Context(), realm, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return uses
}

// TestLastUse: an operator sees when each secret and API key was last used.
func TestLastUse(t *testing.T) {
	h, c := newUseCounter(t, "altrata")
	if uses := h.uses("altrata", "good"); len(uses) != 2 || !uses[0].Time.IsZero() || !uses[1].Time.IsZero() {
		t.Errorf("before the first use: %+v", uses)
	}
	first := h.clock.Now().UTC().Truncate(time.Microsecond)
	h.token("altrata")
	h.turn()
	if got := <-c.told; len(got) != 2 {
		t.Errorf("the store is told %+v", got)
	}
	for _, use := range h.uses("altrata", "good") {
		if !use.Time.Equal(first) {
			t.Errorf("last use %v, want %v", use.Time, first)
		}
	}
	last := h.clock.Now()
	h.token("altrata")
	h.turn()
	if got := <-c.told; len(got) != 2 || !got[0].Time.Equal(last) {
		t.Errorf("the store is told %+v, want the use at %v", got, last)
	}
	// A rotation: the old secret goes idle and the new one is used.
	creds, err := h.clients.RotateSecret(t.Context(), "test", "altrata", "good", clients.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	kept := h.creds["altrata"]
	kept.ClientSecret = creds.ClientSecret
	h.creds["altrata"] = kept
	h.keep(creds.ClientSecret.Reveal())
	h.clock.Turn(time.Minute)
	now := h.clock.Now()
	h.token("altrata")
	if err := h.server.Close(); err != nil {
		t.Fatal(err)
	}
	uses := h.uses("altrata", "good")
	if len(uses) != 3 || !uses[0].Time.Equal(now) || !uses[1].Time.Equal(last) || !uses[2].Time.Equal(now) {
		t.Errorf("after a rotation: %+v; want the new secret and the key used at %v, the old one at %v", uses, now, last)
	}
}

// TestKilledServerLosesTenSecondsOfUses: what is in the store at any moment, which
// is what a killed server leaves, is at most ten seconds behind, also of a client
// that asks all the time.
func TestKilledServerLosesTenSecondsOfUses(t *testing.T) {
	h, c := newUseCounter(t, "oauth2")
	begin := h.clock.Now()
	for range 75 {
		h.token("oauth2")
		if err := h.clock.Sleepers(t.Context(), background); err != nil {
			t.Fatal(err)
		}
		h.clock.Turn(time.Second)
		if err := h.clock.Sleepers(t.Context(), background); err != nil {
			t.Fatal(err)
		}
		now, kept := h.clock.Now(), h.uses("oauth2", "good")[0].Time
		if now.Sub(begin) >= 10*time.Second && now.Sub(kept) > 10*time.Second {
			t.Fatalf("after %v a use %v ago is the last that the store knows", now.Sub(begin), now.Sub(kept))
		}
	}
	if n := len(c.told); n > 75/5 {
		t.Errorf("the store is told %d times in 75 s: a write for each use costs as much as a token", n)
	}
}

// TestUsesWithAFailingStore: uses are tried again, and token requests do not
// mind.
func TestUsesWithAFailingStore(t *testing.T) {
	h, c := newUseCounter(t, "oauth2")
	c.fail(errors.New("disk full"))
	at := h.clock.Now()
	h.token("oauth2")
	h.turn()
	<-c.told
	if err := h.clock.Sleepers(t.Context(), background); err != nil {
		t.Fatal(err)
	}
	if told := strings.Count(h.log.String(), "last uses of secrets not recorded"); told != 1 {
		t.Errorf("the log tells %d times that they are not recorded: %s", told, h.log.String())
	}
	c.fail(nil)
	h.turn()
	<-c.told
	if err := h.clock.Sleepers(t.Context(), background); err != nil {
		t.Fatal(err)
	}
	if told := strings.Count(h.log.String(), "last uses of secrets not recorded"); told != 1 {
		t.Errorf("the log tells %d times that they are not recorded, once they are: %s", told, h.log.String())
	}
	if uses := h.uses("oauth2", "good"); !uses[0].Time.Equal(at) {
		t.Errorf("%+v", uses)
	}
}

// TestCloseEndsTheBackground: Close returns when nothing of the server sleeps
// any more, and a use after it is not kept.
func TestCloseEndsTheBackground(t *testing.T) {
	h, c := newUseCounter(t, "oauth2")
	for range 2 {
		if err := h.server.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.clock.Sleepers(ctx, 1); err == nil {
		t.Error("something of the server still sleeps")
	}
	h.token("oauth2")
	if err := h.server.Close(); err != nil || len(c.told) != 0 {
		t.Errorf("%v, the store was told %d times", err, len(c.told))
	}
}

// TestFailedUseIsNoUse: a wrong secret and a wrong API key leave no trace of use.
func TestFailedUseIsNoUse(t *testing.T) {
	h, _ := newUseCounter(t, "oauth2")
	if got := h.try("good", counterfoil.Secret("wrong")); got != 401 {
		t.Errorf("got %d", got)
	}
	if err := h.server.Close(); err != nil {
		t.Fatal(err)
	}
	if uses := h.uses("oauth2", "good"); !uses[0].Time.IsZero() {
		t.Errorf("%+v", uses)
	}
}

// TestManyUses: more than 20,000 secrets in an interval are told early, and while
// the store hangs no more than 40,000 are kept.
func TestManyUses(t *testing.T) {
	hang := &hangingStore{let: make(chan struct{}), told: make(chan int, 10_000)}
	h := newHouseOf(t, func(s store.Store) store.Store { hang.Store = s; return hang }, "oauth2")
	server.NoteUses(h.server, "oauth2", "good", 20_000, h.clock.Now())
	if n := server.PendingUses(h.server); n != 20_000 {
		t.Errorf("%d uses wait", n)
	}
	server.NoteUses(h.server, "oauth2", "good", 250_000, h.clock.Now())
	if n := server.PendingUses(h.server); n > 40_000 {
		t.Errorf("%d uses wait while the store hangs", n)
	}
	if first := <-hang.told; first != 100 {
		t.Errorf("the first write has %d uses", first)
	}
	server.NoteUses(h.server, "oauth2", "good", 250_000, h.clock.Now().Add(time.Second))
	if n := server.PendingUses(h.server); n != 40_000 {
		t.Errorf("%d uses wait while the store hangs, want as many as are kept", n)
	}
	close(hang.let)
	if err := h.server.Close(); err != nil {
		t.Fatal(err)
	}
	if n := server.PendingUses(h.server); n != 0 {
		t.Errorf("%d uses wait after Close", n)
	}
}

// hangingStore takes uses and keeps none.
type hangingStore struct {
	store.Store
	let  chan struct{}
	told chan int
}

func (s *hangingStore) RecordLastUses(_ context.Context, uses []store.LastUse) error {
	s.told <- len(uses)
	<-s.let
	return nil
}
