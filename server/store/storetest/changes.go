package storetest

import (
	"reflect"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// severalClients: changes made at once are all made or none, whichever of them
// cannot be, and each is recorded.
func severalClients(t *testing.T, s store.Store) {
	a, b := create(t, s, newClient("a")), create(t, s, newClient("b"))
	stale := create(t, s, newClient("stale"))
	stale.Name = "x"
	update(t, s, stale)
	gone := create(t, s, newClient("gone"))
	must(t, s.DeleteClient(t.Context(), "r", "gone", change(counterfoil.EventClientDeleted, "gone")))
	again := create(t, s, newClient("again"))
	again.Created = again.Created.Add(-1000)
	disabled := a
	disabled.Disabled = true
	child := newClient("child")
	child.Maker = "a"
	good := []store.ClientChange{
		{Action: store.RequireClient, Client: b},
		{Action: store.UpdateClient, Client: disabled, Event: change(counterfoil.EventClientDisabled, "a")},
		{Action: store.CreateClient, Client: child, Event: change(counterfoil.EventClientCreated, "child")},
		{Action: store.DeleteClient, Client: b, Event: change(counterfoil.EventClientDeleted, "b")},
	}
	before, recorded := page(t, s), len(Events(t, s))
	for what, row := range map[string]struct {
		bad  store.ClientChange
		want error
	}{
		"required, changed":       {store.ClientChange{Client: stale}, store.ErrConflict},
		"required, gone":          {store.ClientChange{Client: gone}, store.ErrNotFound},
		"required, made again":    {store.ClientChange{Client: again}, store.ErrConflict},
		"changed, changed before": {store.ClientChange{Action: store.UpdateClient, Client: stale}, store.ErrConflict},
		"changed, gone":           {store.ClientChange{Action: store.UpdateClient, Client: gone}, store.ErrNotFound},
		"created, there already":  {store.ClientChange{Action: store.CreateClient, Client: newClient("stale")}, store.ErrExists},
		"deleted, changed before": {store.ClientChange{Action: store.DeleteClient, Client: stale}, store.ErrConflict},
		"deleted, gone before":    {store.ClientChange{Action: store.DeleteClient, Client: gone}, store.ErrNotFound},
		"deleted, gone, any version": {
			store.ClientChange{Action: store.DeleteClient, Client: store.Client{Realm: "r", ID: "gone"}}, store.ErrNotFound,
		},
	} {
		row.bad.Event = change(counterfoil.EventClientChanged, "bad")
		for _, all := range [][]store.ClientChange{append([]store.ClientChange{row.bad}, good...), append(good[:len(good):len(good)], row.bad)} {
			wantErr(t, what, s.ChangeClients(t.Context(), all...), row.want)
		}
		if after := page(t, s); !reflect.DeepEqual(after, before) || len(Events(t, s)) != recorded {
			t.Fatalf("%s: what was refused changed\n%+v\nto\n%+v", what, before, after)
		}
	}
	must(t, s.ChangeClients(t.Context(), good...))
	if got := read(t, s, "r", "a"); !got.Disabled || got.Version != a.Version+1 {
		t.Errorf("the changed client is %+v", got)
	}
	if got := read(t, s, "r", "child"); got.Maker != "a" || got.Version != 1 {
		t.Errorf("the created client is %+v", got)
	}
	_, err := s.Client(t.Context(), "r", "b")
	wantErr(t, "the deleted client", err, store.ErrNotFound)
	var f follower
	f.follow(t, s)
	if !f.ends["a\x00"].Disabled || !f.ends["b\x00"].Disabled {
		t.Errorf("followers are told %+v", f.ends)
	}
	for i, e := range Events(t, s)[recorded:] {
		if e.Type != good[i+1].Event.Type || e.ClientID != good[i+1].Client.ID {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	// What is of no interest to people is not recorded, and still a change.
	silent := read(t, s, "r", "a")
	silent.Makes = true
	recorded = len(Events(t, s))
	must(t, s.ChangeClients(t.Context(), store.ClientChange{Action: store.UpdateClient, Client: silent},
		store.ClientChange{Action: store.CreateClient, Client: newClient("d"), Event: change(counterfoil.EventClientCreated, "d")}))
	if got := read(t, s, "r", "a"); !got.Makes || got.Version != silent.Version+1 || len(Events(t, s)) != recorded+1 {
		t.Errorf("a change without an event: %+v, %d events more", got, len(Events(t, s))-recorded)
	}
	made, err := s.Clients(t.Context(), store.ClientQuery{Realm: "r", Limit: 10, Made: true})
	if err != nil || len(made) != 1 || made[0].ID != "child" {
		t.Errorf("clients with a maker: %+v, %v", made, err)
	}
}

func page(t *testing.T, s store.Store) []store.Client {
	t.Helper()
	all, err := s.Clients(t.Context(), store.ClientQuery{Realm: "r", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// requiredWhileChanged: of two changes at once, each of which requires what the
// other changes, one is made.
func requiredWhileChanged(t *testing.T, s [2]store.Store) {
	create(t, s[0], newClient("a"))
	create(t, s[0], newClient("b"))
	for range 50 {
		before := [2]store.Client{read(t, s[0], "r", "a"), read(t, s[0], "r", "b")}
		var errs [2]error
		var wg sync.WaitGroup
		for i := range s {
			wg.Go(func() {
				own, other := before[i], before[1-i]
				own.Makes = !own.Makes
				errs[i] = s[i].ChangeClients(t.Context(), store.ClientChange{Client: other},
					store.ClientChange{Action: store.UpdateClient, Client: own, Event: change(counterfoil.EventClientChanged, own.ID)})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both ended with %v and %v", errs[0], errs[1])
		}
	}
}
