package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestSlowSecretsLeaveHalfTheProcessors: slow secrets are verified by half of the
// processors, the others are left to requests that need none.
func TestSlowSecretsLeaveHalfTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	h := newHouseOf(t, nil, "oauth2")
	s := watch(h, 0)
	const callers, half = 6, 4
	held := make(chan struct{})
	for i := range callers {
		id := fmt.Sprint("client", i)
		h.adopt(id, bcryptHash)
		s.hold[id] = held
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if got := h.try(fmt.Sprint("client", i), imported); got != 200 {
				t.Errorf("got %d", got)
			}
		})
	}
	for len(s.begun)+server.Waiting(h.server) < callers {
		runtime.Gosched()
	}
	if n := len(s.begun); n != half {
		t.Errorf("%d secrets are verified at once by 8 processors, want %d", n, half)
	}
	close(held)
	wg.Wait()
}

// TestReusedASecondEarlier: of two requests at once, one may have read the clock a
// second earlier. It gets the same token; one from further back gets its own.
func TestReusedASecondEarlier(t *testing.T) {
	h := newHouseOf(t, nil, "reused")
	first := h.token("reused")
	h.clock.Step(-time.Second)
	if h.token("reused") != first {
		t.Error("a second earlier the token is not answered again")
	}
	h.clock.Step(-time.Second)
	if h.token("reused") == first {
		t.Error("two seconds earlier the token is answered again")
	}
}

// revisions notes with which revisions of their clients tokens are recorded.
type revisions struct {
	store.Store
	seen []int64
}

func (r *revisions) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	r.seen = append(r.seen, i.Revision)
	return r.Store.RecordIssued(ctx, i)
}

// TestClientIsLookedAtOnceForEachChange: after a change of any client, the store
// looks once whether a client in memory is unchanged, and not at each token.
func TestClientIsLookedAtOnceForEachChange(t *testing.T) {
	for _, realm := range []string{"oauth2", "reused"} {
		t.Run(realm, func(t *testing.T) {
			db := &revisions{}
			h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, realm)
			h.token(realm)
			h.client(clients.NewClient{Realm: realm, ID: "another"})
			h.token(realm)
			h.token(realm)
			if n := len(db.seen); n != 3 || db.seen[0] != db.seen[1] || db.seen[2] <= db.seen[1] {
				t.Errorf("the revisions of three tokens are %d; want that of the third to be a later one", db.seen)
			}
		})
	}
}

// TestClientIDThatIsQuoted: an ID is in the token as it is, also one that is nothing
// but what JSON escapes.
func TestClientIDThatIsQuoted(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for _, id := range []string{`"`, `""`, `\`, `\\`, `\"`, "~", "é"} {
		creds := h.client(clients.NewClient{Realm: "oauth2", ID: id, Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
		a := h.good("oauth2")
		a.credentials(id, creds.ClientSecret.Reveal())
		var answer struct {
			Token string `json:"access_token"`
		}
		var claims struct {
			ID string `json:"client_id"`
		}
		if err := json.Unmarshal([]byte(h.do("oauth2", a).body), &answer); err != nil || answer.Token == "" {
			t.Fatalf("%s: no token, %v", id, err)
		}
		if err := json.Unmarshal([]byte(part(t, answer.Token, 1)), &claims); err != nil || claims.ID != id {
			t.Errorf("%s: the token says %q, %v", id, claims.ID, err)
		}
	}
}
