package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

func issuedNeedsClient(t *testing.T, s store.Store) {
	for _, replace := range []bool{false, true} {
		wantErr(t, "unknown client", record(s, issued("none", "t"), replace), store.ErrNotFound)
	}
	c := newClient("disabled")
	c.Disabled = true
	create(t, s, c)
	for _, replace := range []bool{false, true} {
		wantErr(t, "disabled client", record(s, issued("disabled", "t"), replace), store.ErrNotFound)
	}
	if id, err := live(s, "r", "disabled"); err != nil || id != "" {
		t.Errorf("the live token of a disabled client is %q, %v", id, err)
	}
	if events := Events(t, s); len(events) != 1 {
		t.Errorf("a refused issuance left an event: %+v", events)
	}
}

// concurrentReplacement: the live token is the one whose event is last.
func concurrentReplacement(t *testing.T, s [2]store.Store) {
	for _, id := range []string{"one", "two"} {
		create(t, s[0], newClient(id))
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				id := []string{"one", "two"}[(i+j)%2]
				token := fmt.Sprintf("%s-%d-%d", id, i, j)
				if err := record(s[i%2], issued(id, token), true); err != nil {
					t.Errorf("record %s: %v", token, err)
				}
				if live, err := live(s[1], "r", id); err != nil || !strings.HasPrefix(live, id+"-") {
					t.Errorf("live token of %s is %q, %v", id, live, err)
				}
			}
		})
	}
	wg.Wait()
	last := map[string]string{}
	events := Events(t, s[0])
	for _, e := range events {
		if e.Type == counterfoil.EventTokenIssued {
			last[e.ClientID] = e.TokenID
		}
	}
	if len(events) != 2+160 {
		t.Errorf("%d events, want 162", len(events))
	}
	for id, want := range last {
		if live, err := live(s[1], "r", id); err != nil || live != want {
			t.Errorf("live token of %s is %q, %v; its last record is %q", id, live, err, want)
		}
	}
}

func disableEndsLive(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	if err := record(s, issued("c", "t1"), true); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
		t.Fatal(err)
	}
	if live, err := live(s, "r", "c"); err != nil || live != "t1" {
		t.Errorf("after a rotation the live token is %q, %v", live, err)
	}
	for _, disabled := range []bool{true, false} {
		c = read(t, s, "r", "c")
		c.Disabled = disabled
		if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientDisabled, "c")); err != nil {
			t.Fatal(err)
		}
		wantLive(t, s, fmt.Sprintf("with disabled %v", disabled), "")
	}
}

func deleteEndsLive(t *testing.T, s store.Store) {
	before := create(t, s, newClient("c"))
	create(t, s, newClient("other"))
	for _, id := range []string{"c", "other"} {
		if err := record(s, issued(id, "t-"+id), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Client(t.Context(), "r", "c")
	wantErr(t, "deleted client", err, store.ErrNotFound)
	_, err = live(s, "r", "c")
	wantErr(t, "its token", err, store.ErrNotFound)
	if live, err := live(s, "r", "other"); err != nil || live != "t-other" {
		t.Errorf("the other client's token is %q, %v", live, err)
	}
	later := newClient("c")
	later.Created = later.Created.Add(time.Second)
	if again := create(t, s, later); again.Version != 1 {
		t.Errorf("made again it is %+v", again)
	}
	wantLive(t, s, "of the client made again", "")
	// Grants of the deleted client do not belong to this one, though its version
	// is the same.
	i := issue(s, issued("c", "t-again"), false)
	i.Revision, i.Created = before.Revision, before.Created
	_, err = s.RecordIssued(t.Context(), i)
	wantErr(t, "a token of the client that was deleted", err, store.ErrConflict)
	err = s.UpdateClient(t.Context(), before, change(counterfoil.EventClientChanged, "c"))
	wantErr(t, "a change of the client that was deleted", err, store.ErrConflict)
	if events := Events(t, s); len(events) != 6 || events[4].Type != counterfoil.EventClientDeleted {
		t.Errorf("events: %+v", events)
	}
}

// deletedWithinASecond: revoking a live token dates the client's next one a
// second ahead, and the client is deleted before that second. The date does
// not apply to a client that is created again.
func deletedWithinASecond(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	must(t, record(s, issued("c", "live"), true))
	for _, disabled := range []bool{true, false} {
		c.Disabled = disabled
		c = update(t, s, c)
	}
	i := issue(s, issued("c", "t"), false)
	_, err := s.RecordIssued(t.Context(), i)
	must(t, err)
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	create(t, s, newClient("c"))
	if st, err := s.TokenStatus(t.Context(), "r", "c", "t"); err != nil || !i.Issued.Before(st.NotBefore) && !st.Revoked {
		t.Errorf("the token of the client before, of %v, counts for the one made again: %+v, %v", i.Issued, st, err)
	}
}

func wantLive(t *testing.T, s store.Store, what, want string) {
	t.Helper()
	if id, err := live(s, "r", "c"); err != nil || id != want {
		t.Errorf("live token %s: %q, %v; want %q", what, id, err, want)
	}
}

func independentLeavesNoLive(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	if err := record(s, issued("c", "t"), false); err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, "of an independent token", "")
}

func issuedNeedsUnchanged(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	i := issue(s, issued("c", "t1"), false)
	mark, err := s.RecordIssued(t.Context(), i)
	must(t, err)
	// Another client is changed: the revision changes, this client does not.
	create(t, s, newClient("other"))
	i.Revision, i.Event.TokenID = mark, "t2"
	later, err := s.RecordIssued(t.Context(), i)
	if err != nil || later == mark || later != read(t, s, "r", "c").Revision {
		t.Errorf("after a change elsewhere: mark %d, %v; it was %d", later, err, mark)
	}
	// It is changed: at no revision is it the client that was read.
	c.Name = "changed"
	changed := update(t, s, c)
	for _, asOf := range []int64{0, mark, later} {
		i.Revision = asOf
		_, err = s.RecordIssued(t.Context(), i)
		wantErr(t, fmt.Sprintf("changed since mark %d", asOf), err, store.ErrConflict)
	}
	i.Version, i.Revision, i.Event.TokenID = changed.Version, changed.Revision, "t3"
	_, err = s.RecordIssued(t.Context(), i)
	wantErr(t, "of the client as it is", err, nil)
	// Deleted, and created again: another client.
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	_, err = s.RecordIssued(t.Context(), i)
	wantErr(t, "deleted since", err, store.ErrNotFound)
	wantEvents(t, s, "three tokens, four changes", 7)
}

func reusedNeedsUnrevoked(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	i := issue(s, issued("c", "t"), false)
	mark, err := s.RecordIssued(t.Context(), i)
	must(t, err)
	again := issue(s, issued("c", "t"), false)
	again.Event.Type, again.Reused, again.Revision = counterfoil.EventTokenReused, true, mark
	mark, err = s.RecordIssued(t.Context(), again)
	wantErr(t, "answered again", err, nil)
	must(t, s.RevokeToken(t.Context(), revocation("c", "another"), change(counterfoil.EventTokenRevoked, "c")))
	again.Revision = mark
	mark, err = s.RecordIssued(t.Context(), again)
	wantErr(t, "after another was revoked", err, nil)
	must(t, s.RevokeToken(t.Context(), revocation("c", "t"), change(counterfoil.EventTokenRevoked, "c")))
	again.Revision = mark
	_, err = s.RecordIssued(t.Context(), again)
	wantErr(t, "after it was revoked", err, store.ErrConflict)
	events := Events(t, s)
	if len(events) != 6 || events[2].Type != counterfoil.EventTokenReused {
		t.Errorf("events: %+v", events)
	}
}

// key returns the replay key of a test.
func key(t *testing.T, n byte) store.ReplayKey {
	return store.ReplayKey{Hash: sha256.Sum256(append([]byte(t.Name()), n)), Until: at.Add(time.Minute)}
}

func once(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	use := func(token string, keys ...store.ReplayKey) error {
		i := issue(s, issued("c", token), true)
		i.ReplayKeys = keys
		_, err := s.RecordIssued(t.Context(), i)
		return err
	}
	wantErr(t, "first use", use("t1", key(t, 1), key(t, 2)), nil)
	wantErr(t, "second use", use("t2", key(t, 1)), store.ErrReplayed)
	wantErr(t, "one of two was used", use("t3", key(t, 3), key(t, 2)), store.ErrReplayed)
	if id, err := live(s, "r", "c"); err != nil || id != "t1" {
		t.Errorf("after replays the live token is %q, %v", id, err)
	}
	wantErr(t, "the other of them was not", use("t4", key(t, 3)), nil)
	wantErr(t, "twice in one", use("t5", key(t, 4), key(t, 4)), store.ErrReplayed)
	wantErr(t, "which used nothing up", use("t6", key(t, 4)), nil)
	i := issue(s, issued("c", "t7"), false)
	i.Version, i.Revision, i.ReplayKeys = 9, 0, []store.ReplayKey{key(t, 5)}
	_, err := s.RecordIssued(t.Context(), i)
	wantErr(t, "refused for another cause", err, store.ErrConflict)
	wantErr(t, "which used nothing up either", use("t8", key(t, 5)), nil)
	wantEvents(t, s, "one client, four tokens", 5)
}

// concurrentOnce: of many concurrent uses of a key, one succeeds.
func concurrentOnce(t *testing.T, s [2]store.Store) {
	create(t, s[0], newClient("c"))
	for round := range byte(10) {
		var won atomic.Int64
		var wg sync.WaitGroup
		for n := range 24 {
			wg.Go(func() {
				i := issue(s[n%2], issued("c", fmt.Sprint(n)), false)
				i.ReplayKeys = []store.ReplayKey{key(t, round)}
				_, err := s[n%2].RecordIssued(context.Background(), i)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrReplayed) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 24 used it", won.Load())
		}
	}
	wantEvents(t, s[0], "one client, ten tokens", 11)
}

// issuedWhileDisabled: once a client is disabled, changed or deleted, nothing
// is recorded for its earlier state, in any process.
func issuedWhileDisabled(t *testing.T, s [2]store.Store) {
	for name, end := range map[string]func(store.Store, store.Client) error{
		"disabled": func(s store.Store, c store.Client) error {
			c.Disabled = true
			return s.UpdateClient(context.Background(), c, change(counterfoil.EventClientDisabled, c.ID))
		},
		"rotated": func(s store.Store, c store.Client) error {
			return s.UpdateClient(context.Background(), c, change(counterfoil.EventClientRotated, c.ID))
		},
		"deleted": func(s store.Store, c store.Client) error {
			return s.DeleteClient(context.Background(), "r", c.ID, change(counterfoil.EventClientDeleted, c.ID))
		},
	} {
		t.Run(name, func(t *testing.T) { issuedWhile(t, s, name, end) })
	}
}

func issuedWhile(t *testing.T, s [2]store.Store, id string, end func(store.Store, store.Client) error) {
	c := create(t, s[0], newClient(id))
	var ended atomic.Bool
	var count atomic.Int64
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			mark := c.Revision
			for j := range 1000 {
				i := issue(s[n%2], issued(id, fmt.Sprintf("%d-%d", n, j)), n%3 == 0)
				i.Version, i.Revision = c.Version, mark
				over := ended.Load()
				asOf, err := s[n%2].RecordIssued(context.Background(), i)
				if err != nil {
					if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
						t.Error(err)
					}
					return
				}
				if over {
					t.Errorf("recorded after the client was %s", id)
					return
				}
				mark = asOf
				count.Add(1)
			}
		})
	}
	for count.Load() < 50 {
		runtime.Gosched()
	}
	if err := end(s[1], c); err != nil {
		t.Error(err)
	}
	ended.Store(true)
	wg.Wait()
	events := Events(t, s[0])
	last := slices.IndexFunc(events, func(e store.RecordedEvent) bool {
		return e.ClientID == id && e.Type != counterfoil.EventTokenIssued && e.Type != counterfoil.EventClientCreated
	})
	if last < 0 || slices.ContainsFunc(events[last:], func(e store.RecordedEvent) bool {
		return e.ClientID == id && e.Type == counterfoil.EventTokenIssued
	}) {
		t.Errorf("the change is event %d of %d, and tokens come after it", last, len(events))
	}
}

// reusedWhileRevoked: a revoked token is not returned again.
func reusedWhileRevoked(t *testing.T, s [2]store.Store) {
	create(t, s[0], newClient("c"))
	i := issue(s[0], issued("c", "t"), false)
	mark, err := s[0].RecordIssued(t.Context(), i)
	must(t, err)
	var ended atomic.Bool
	var count atomic.Int64
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			again := i
			again.Reused, again.Revision = true, mark
			for range 1000 {
				over := ended.Load()
				asOf, err := s[n%2].RecordIssued(context.Background(), again)
				if err != nil {
					wantErr(t, "after the revocation", err, store.ErrConflict)
					return
				}
				if over {
					t.Error("answered after it was revoked")
					return
				}
				again.Revision = asOf
				count.Add(1)
			}
		})
	}
	for count.Load() < 50 {
		runtime.Gosched()
	}
	if err := s[1].RevokeToken(t.Context(), revocation("c", "t"), change(counterfoil.EventTokenRevoked, "c")); err != nil {
		t.Error(err)
	}
	ended.Store(true)
	wg.Wait()
}

func standing(t *testing.T, s store.Store) {
	c := newClient("c")
	c.Tokens.Policy = provider.PolicyReplace
	c.NotBefore = at.Truncate(time.Second).UTC()
	c = create(t, s, c)
	must(t, record(s, issued("c", "t"), true))
	want := func(when, token string, want store.TokenStatus) {
		t.Helper()
		if got, err := s.TokenStatus(t.Context(), "r", "c", token); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", when, got, err, want)
		}
	}
	st := store.TokenStatus{NotBefore: c.NotBefore, LiveToken: "t", Policy: provider.PolicyReplace}
	want("live", "t", st)
	must(t, s.RevokeToken(t.Context(), revocation("c", "t"), change(counterfoil.EventTokenRevoked, "c")))
	want("another token", "u", st)
	st.Revoked = true
	want("revoked", "t", st)
	c = read(t, s, "r", "c")
	c.Disabled, c.NotBefore, c.Tokens.Policy = true, c.NotBefore.Add(time.Hour), ""
	update(t, s, c)
	want("disabled", "u", store.TokenStatus{Disabled: true, NotBefore: c.NotBefore})
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	_, err := s.TokenStatus(t.Context(), "r", "c", "t")
	wantErr(t, "deleted", err, store.ErrNotFound)
}
