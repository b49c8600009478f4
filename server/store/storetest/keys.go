package storetest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

func keyEvent(id string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: at, Realm: "r", Success: true, Actor: "test", Detail: id}
}

func signingKeys(t *testing.T, s store.Store) {
	if keys, err := s.SigningKeys(t.Context(), "r"); err != nil || len(keys) != 0 {
		t.Fatalf("keys of an empty store: %v, %v", keys, err)
	}
	binary := []byte{0, 1, 0xff, 0xfe, 0x80, '\n', 0}
	first := store.SigningKey{
		Realm: "r", ID: "Zm9v/+==", Algorithm: "RS256", Created: micro(at), Activates: micro(at.Add(time.Hour)), Lifetime: 90 * time.Minute,
		Public: binary, Private: counterfoil.Secret(binary),
	}
	second := store.SigningKey{Realm: "r", ID: "A", Algorithm: "ES256", Created: micro(at.Add(time.Second)),
		Activates: micro(at.Add(2 * time.Hour)), Public: []byte("p"), Private: "x"}
	elsewhere := second
	elsewhere.Realm = "q"
	for _, k := range []store.SigningKey{second, first, elsewhere} {
		if err := s.AddSigningKey(t.Context(), k, "", keyEvent(k.ID)); err != nil {
			t.Fatal(err)
		}
	}
	wantKeys(t, s, first, second)
	again := first
	again.Algorithm = "PS256"
	wantErr(t, "second key of an ID", s.AddSigningKey(t.Context(), again, "", keyEvent("")), store.ErrExists)
	if events := Events(t, s); len(events) != 3 {
		t.Errorf("three keys left the events %+v", events)
	}
}

func wantKeys(t *testing.T, s store.Store, want ...store.SigningKey) {
	t.Helper()
	keys, err := s.SigningKeys(t.Context(), "r")
	if err != nil || !reflect.DeepEqual(keys, want) {
		t.Errorf("got  %+v, %v\nwant %+v", keys, err, want)
	}
}

// oneSigningKey: several servers start at once.
func oneSigningKey(t *testing.T, s [2]store.Store) {
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		wg.Go(func() {
			k := store.SigningKey{Realm: "r", ID: fmt.Sprint(i), Algorithm: "ES256", Created: at, Activates: at, Private: "x"}
			results[i] = s[i%2].AddSigningKey(context.Background(), k, "", keyEvent(k.ID))
		})
	}
	wg.Wait()
	keys, err := s[0].SigningKeys(t.Context(), "r")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, err := range results {
		if fmt.Sprint(i) == keys[0].ID {
			wantErr(t, "the winner", err, nil)
		} else {
			wantErr(t, "another", err, store.ErrConflict)
		}
	}
}

// signingKeyAfter: a key comes after the newest of its realm and algorithm, that
// which activates last.
func signingKeyAfter(t *testing.T, s store.Store) {
	key := func(id string, activates, created time.Duration) store.SigningKey {
		return store.SigningKey{Realm: "r", ID: id, Algorithm: "ES256", Created: micro(at.Add(created)),
			Activates: micro(at.Add(activates)), Public: []byte("p"), Private: "x"}
	}
	other := key("other", 9, 9)
	other.Algorithm = "RS256"
	first, next, tie := key("first", 0, 0), key("next", time.Hour, 0), key("tie", time.Hour, time.Minute)
	must(t, s.AddSigningKey(t.Context(), other, "", keyEvent("other")))
	must(t, s.AddSigningKey(t.Context(), first, "", keyEvent("first")))
	must(t, s.AddSigningKey(t.Context(), next, "first", keyEvent("next")))
	for _, after := range []string{"", "first", "other", "none"} {
		wantErr(t, "after "+after, s.AddSigningKey(t.Context(), key("late", 2*time.Hour, 0), after, keyEvent("late")), store.ErrConflict)
	}
	must(t, s.AddSigningKey(t.Context(), tie, "next", keyEvent("tie")))
	wantErr(t, "after the one created before", s.AddSigningKey(t.Context(), key("late", 2*time.Hour, 0), "next",
		keyEvent("late")), store.ErrConflict)
	wantEvents(t, s, "four keys", 4)
}

func changedSigningKeys(t *testing.T, s store.Store) {
	a := store.SigningKey{Realm: "r", ID: "a", Algorithm: "ES256", Created: micro(at), Activates: micro(at),
		Public: []byte("pa"), Private: "x"}
	b := store.SigningKey{Realm: "r", ID: "b", Algorithm: "RS256", Created: micro(at), Activates: micro(at.Add(time.Second)),
		Public: []byte("pb"), Private: "y"}
	must(t, s.AddSigningKey(t.Context(), a, "", keyEvent("a")))
	must(t, s.AddSigningKey(t.Context(), b, "", keyEvent("b")))
	resealed := counterfoil.Event{Type: counterfoil.EventKeysResealed, Time: at, Realm: "r", Success: true}
	changed := []store.SigningKey{a, b}
	changed[0].Private, changed[1].Private, changed[1].Lifetime = "", "sealed", time.Hour
	none := a
	none.ID = "none"
	wantErr(t, "one of them unknown", s.UpdateSigningKeys(t.Context(), append(changed, none), resealed), store.ErrNotFound)
	wantKeys(t, s, a, b)
	must(t, s.UpdateSigningKeys(t.Context(), changed, resealed))
	wantKeys(t, s, changed...)
	removed := counterfoil.Event{Type: counterfoil.EventKeyRemoved, Time: at, Realm: "r", Success: true}
	must(t, s.DeleteSigningKey(t.Context(), "r", "a", removed))
	wantErr(t, "removed twice", s.DeleteSigningKey(t.Context(), "r", "a", removed), store.ErrNotFound)
	wantErr(t, "of another realm", s.DeleteSigningKey(t.Context(), "q", "b", removed), store.ErrNotFound)
	wantKeys(t, s, changed[1])
	events := Events(t, s)
	if len(events) != 4 || events[2].Type != resealed.Type || events[3].Type != removed.Type {
		t.Errorf("events: %+v", events)
	}
}

// oldReading: a change by a server that has read the key before another one
// changed it undoes neither a longer lifetime nor an erasure.
func oldReading(t *testing.T, s store.Store) {
	k := store.SigningKey{Realm: "r", ID: "a", Algorithm: "ES256", Created: micro(at), Activates: micro(at),
		Lifetime: time.Hour, Public: []byte("p"), Private: "x"}
	must(t, s.AddSigningKey(t.Context(), k, "", keyEvent("a")))
	raised, erased, sealed := k, k, k
	raised.Lifetime, erased.Private, sealed.Private = 2*time.Hour, "", "sealed"
	both := erased
	both.Lifetime = 2 * time.Hour
	must(t, s.UpdateSigningKeys(t.Context(), []store.SigningKey{raised}, keyEvent("a")))
	wantKeys(t, s, raised)
	must(t, s.UpdateSigningKeys(t.Context(), []store.SigningKey{erased}, keyEvent("a")))
	wantKeys(t, s, both)
	must(t, s.UpdateSigningKeys(t.Context(), []store.SigningKey{sealed}, keyEvent("a")))
	wantKeys(t, s, both)
}
