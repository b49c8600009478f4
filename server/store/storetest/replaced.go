package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// made is a token that was recorded.
type made struct {
	id     string
	issued time.Time
}

// issueReplacing records a token that replaces others, as the server does:
// when it is dated too early, it tries again.
func issueReplacing(t *testing.T, s store.Store, id, token string, now time.Time) made {
	t.Helper()
	i := issue(s, issued(id, token), true)
	for {
		if now.After(i.Issued) {
			i.Issued, i.Expires = now, now.Add(time.Hour)
		}
		_, err := s.RecordIssued(context.Background(), i)
		if err == nil {
			return made{token, i.Issued}
		}
		c, again := s.Client(context.Background(), "r", id)
		if again != nil || c.Disabled || c.MinIssuedAt.IsZero() {
			t.Errorf("record %s: %v", token, err)
			return made{}
		}
		i = issue(s, issued(id, token), true)
	}
}

// replaced: at any time a follower accepts the live token and no other,
// whatever happens to the client and the clock.
func replaced(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	var tokens []made
	var f follower
	check := func(when string) {
		t.Helper()
		f.follow(t, s)
		id, err := live(s, "r", "c")
		if err != nil {
			id = ""
		}
		for _, m := range tokens {
			if got, want := f.accepts("c", m.id, m.issued), m.id == id; got != want {
				t.Errorf("%s: the follower accepts token %s: %v, the live one is %q", when, m.id, got, id)
			}
		}
	}
	now := at.Truncate(time.Second)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		when := fmt.Sprintf("step %d", n)
		switch c, err := s.Client(t.Context(), "r", "c"); {
		case err != nil:
			create(t, s, newClient("c"))
			when += ", created"
		case random.IntN(12) == 0:
			c.Disabled = !c.Disabled
			update(t, s, c)
			when += fmt.Sprintf(", disabled %v", c.Disabled)
		case random.IntN(25) == 0:
			must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
			when += ", deleted"
		case random.IntN(10) == 0:
			c.NotBefore = c.MinIssuedAt.Add(time.Second) // whole seconds, as for a revocation of all
			if c.MinIssuedAt.IsZero() {
				c.NotBefore = now.Add(time.Second)
			}
			update(t, s, c)
			// The live token is revoked as well: issue another.
			if !c.Disabled {
				tokens = append(tokens, issueReplacing(t, s, "c", fmt.Sprint(n), now))
			}
			when += ", all revoked"
		case !c.Disabled:
			now = now.Add(time.Duration(random.IntN(4)-1) * time.Second)
			tokens = append(tokens, issueReplacing(t, s, "c", fmt.Sprint(n), now))
			when += ", replaced"
		}
		check(when)
	}
	// A follower that starts late learns the same.
	f = follower{}
	check("from the beginning")
}

// datedTooEarly: a token that would count as one of those that another has
// replaced is not recorded; dated MinIssuedAt it is.
func datedTooEarly(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	must(t, record(s, issued("c", "t1"), true))
	c := read(t, s, "r", "c")
	i := issue(s, issued("c", "t2"), true)
	if !c.MinIssuedAt.Equal(i.Issued) {
		t.Errorf("Latest is %v, the live token was issued at %v", c.MinIssuedAt, i.Issued)
	}
	i.Issued = i.Issued.Add(-time.Second)
	_, err := s.RecordIssued(t.Context(), i)
	wantErr(t, "dated before the live one", err, store.ErrConflict)
	wantLive(t, s, "after a conflict", "t1")
	i.Issued = c.MinIssuedAt
	_, err = s.RecordIssued(t.Context(), i)
	wantErr(t, "dated as the live one", err, nil)
	wantLive(t, s, "of the same second", "t2")
	wantEvents(t, s, "one client, two tokens", 3)
}

// followedReplacement: of tokens that replace each other concurrently one is
// live, and it is the one that a follower accepts.
func followedReplacement(t *testing.T, s [2]store.Store) {
	create(t, s[0], newClient("c"))
	var mu sync.Mutex
	var tokens []made
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			for j := range 10 {
				m := issueReplacing(t, s[n%2], "c", fmt.Sprintf("%d-%d", n, j),
					at.Truncate(time.Second).Add(time.Duration(rand.IntN(3)+j/3)*time.Second))
				mu.Lock()
				tokens = append(tokens, m)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var f follower
	f.follow(t, s[0])
	id, err := live(s[1], "r", "c")
	events := Events(t, s[1])
	if last := events[len(events)-1].TokenID; err != nil || id != last {
		t.Errorf("live token %q, %v; the last record is %q", id, err, last)
	}
	for _, m := range tokens {
		if got, want := f.accepts("c", m.id, m.issued), m.id == id; got != want {
			t.Errorf("the follower accepts %s: %v; %s is live", m.id, got, id)
		}
	}
}
