package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

func endedCredentials(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	var want []store.EndedCredential
	end := func(e store.EndedCredential) {
		t.Helper()
		e.Ended = micro(at.Add(time.Duration(len(want)) * time.Second))
		want = append([]store.EndedCredential{e}, want...)
		c.Ended = []store.EndedCredential{e}
		if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
			t.Fatal(err)
		}
		c.Version++
	}
	end(store.EndedCredential{Kind: store.EndedKey, ID: "a kid", Value: `{"keys":[]}`})
	for i := range store.MaxEnded {
		end(store.EndedCredential{Kind: store.EndedSecret, ID: fmt.Sprint(i), Value: "sha256:x"})
	}
	got, err := s.EndedCredentials(t.Context(), "r", "c", at)
	if err != nil || !slices.Equal(got, want[:store.MaxEnded]) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want[:store.MaxEnded])
	}
	// One that ends at a time, and is still stored.
	c.Ended, c.APIKeys = nil, []store.SecretHash{{ID: "k", Value: "sha256:y", Created: micro(at), Expires: micro(at.Add(time.Minute))}}
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.EndedCredentials(t.Context(), "r", "c", at); err != nil || len(got) != store.MaxEnded {
		t.Errorf("before its end: %+v, %v", got, err)
	}
	expired := store.EndedCredential{Kind: store.EndedAPIKey, ID: "k", Value: "sha256:y", Ended: micro(at.Add(time.Minute))}
	got, err = s.EndedCredentials(t.Context(), "r", "c", at.Add(time.Minute))
	if err != nil || len(got) != store.MaxEnded+1 || got[0] != expired {
		t.Errorf("at its end: %+v, %v", got, err)
	}
	if read, err := s.Client(t.Context(), "r", "c"); err != nil || len(read.Ended) != 0 {
		t.Errorf("%+v, %v", read.Ended, err)
	}
	if err := s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")); err != nil {
		t.Fatal(err)
	}
	create(t, s, newClient("c"))
	if got, err := s.EndedCredentials(t.Context(), "r", "c", at); err != nil || len(got) != 0 {
		t.Errorf("of a client that was deleted: %+v, %v", got, err)
	}
}
