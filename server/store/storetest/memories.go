package storetest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/store"
)

// manyMemories: what is remembered of more clients than one statement has is stored
// and read whole, and nothing of those that do not exist.
func manyMemories(t *testing.T, s store.Store) {
	state, err := s.AlertState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step := store.AlertStep{At: at, From: state.Version, Memory: map[store.AlertOwner][]byte{}}
	want := map[store.AlertOwner][]byte{}
	owners := []store.AlertOwner{{}, {Realm: "r"}, {Realm: "other"}}
	for i := range 230 {
		c := newClient(fmt.Sprint("c", i))
		if i%2 == 1 {
			c.Realm = "other"
		}
		owners = append(owners, store.AlertOwner{Realm: c.Realm, ClientID: c.ID}, store.AlertOwner{Realm: c.Realm, ClientID: fmt.Sprint("none", i)})
		create(t, s, c)
	}
	for i, o := range owners {
		step.Memory[o] = fmt.Append(nil, "of ", i)
		if !strings.HasPrefix(o.ClientID, "none") {
			want[o] = step.Memory[o]
		}
	}
	advance := func() {
		t.Helper()
		if err := s.AdvanceAlerts(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		if got, err := s.AlertMemories(t.Context(), owners); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d are remembered, want %d, %v", len(got), len(want), err)
		}
	}
	advance()
	state, err = s.AlertState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forgotten, changed := owners[3], owners[5]
	step.From, step.Memory = state.Version, map[store.AlertOwner][]byte{forgotten: nil, changed: []byte("changed")}
	delete(want, forgotten)
	want[changed] = []byte("changed")
	advance()
}
