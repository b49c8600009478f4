package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// revokedAhead has tokens of a client recorded, sets the clock back and revokes all of
// them. It returns the client as it is then, and the time of the newest token.
func revokedAhead(t *testing.T, s *sqlite.Store, c *clock.Manual, record func()) (client store.Client, newest time.Time) {
	t.Helper()
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	c.Step(2 * time.Hour)
	record()
	newest = c.Now()
	c.Step(-2 * time.Hour)
	if err := clients.New(s, c, nil).RevokeTokens(t.Context(), "test", "r", "c"); err != nil {
		t.Fatal(err)
	}
	client, err := s.Client(t.Context(), "r", "c")
	if err != nil {
		t.Fatal(err)
	}
	return client, newest
}

// TestAsManyAsCanBeNamed: tokens that are dated ahead are revoked by their names as
// long as a client's revoked tokens are no more than MaxRevoked; one more, and its time
// becomes one that is after all of them.
func TestAsManyAsCanBeNamed(t *testing.T) {
	for _, row := range []struct {
		name            string
		tokens, revoked int
		ahead           bool
	}{
		{"as many as there may be", store.MaxRevoked - 1, 1, false},
		{"as many, none of which is revoked", store.MaxRevoked, 0, false},
		{"one more", store.MaxRevoked, 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 3e8, time.UTC))
			client, newest := revokedAhead(t, s, c, func() {
				atOnce(t, row.tokens, func(n int) error { return used(s, c, fmt.Sprint(n), c.Now().Add(time.Hour)) })
				atOnce(t, row.revoked, func(n int) error { return revoked(s, c, fmt.Sprint("r", n), c.Now().Add(time.Hour)) })
			})
			wantEnded(t, s, c, client, newest, row.ahead, fmt.Sprint(row.tokens-1))
		})
	}
}

// wantEnded looks whether a client's tokens ended by a time after all of them, or by
// their names.
func wantEnded(t *testing.T, s *sqlite.Store, c clock.Clock, client store.Client, newest time.Time, ahead bool, tokens ...string) {
	t.Helper()
	if !ahead {
		if d := client.NotBefore.Sub(c.Now()); d > store.MaxAhead {
			t.Errorf("the client's tokens are dated %v ahead", d)
		}
		for _, id := range tokens {
			if st, err := s.TokenStatus(t.Context(), "r", "c", id); err != nil || !st.Revoked {
				t.Errorf("token %s outlives the revocation of all: %+v, %v", id, st, err)
			}
		}
		return
	}
	// A token may be dated MaxAhead later than it was recorded.
	last := newest.Truncate(time.Second).Add(store.MaxAhead)
	if !client.NotBefore.Equal(last.Add(time.Second)) {
		t.Errorf("tokens count from %v on; want %v, the first second that none of those before can have", client.NotBefore, last.Add(time.Second))
	}
}

// TestRecordTooLongToLookThrough: a client's tokens end although the record of the time
// that the clock showed is too long to look for their names.
func TestRecordTooLongToLookThrough(t *testing.T) {
	for _, row := range []struct {
		name  string
		runs  int
		ahead bool
	}{{"not too long", 1, false}, {"too long", 6, true}} {
		t.Run(row.name, func(t *testing.T) {
			s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 3e8, time.UTC))
			client, newest := revokedAhead(t, s, c, func() {
				if err := used(s, c, "first", c.Now()); err != nil {
					t.Fatal(err)
				}
				othersIssue(t, s, c, row.runs)
			})
			wantEnded(t, s, c, client, newest, row.ahead, "first")
		})
	}
}

// othersIssue has so many hundred thousand tokens of another client in the record, as
// the store writes them.
func othersIssue(t *testing.T, s *sqlite.Store, c clock.Clock, runs int) {
	t.Helper()
	const each = 100_000
	e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: c.Now(), Realm: "r", ClientID: "other"}
	var run []byte
	for range each {
		run = relational.AppendEvent(run, &e)
	}
	for range runs {
		if _, err := s.DB().Exec("INSERT INTO records (last, first, data, form) SELECT sequence + ?1, sequence + 1, ?2, 2 FROM totals; UPDATE totals SET sequence = sequence + ?1", each, run); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLongRecordLocksNobodyOut: a client whose tokens replace each other gets the next
// one although the clock was set back, however many tokens others have got since its
// first one.
func TestLongRecordLocksNobodyOut(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	c.Step(2 * time.Hour)
	for _, id := range []string{"first", "second"} {
		if err := replacing(s, c, id, time.Hour); err != nil {
			t.Fatal(err)
		}
		othersIssue(t, s, c, 6)
		c.Turn(time.Second)
	}
	c.Step(-2 * time.Hour)
	client, err := s.Client(t.Context(), "r", "c")
	if err != nil {
		t.Fatal(err)
	}
	now := c.Now()
	e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c", TokenID: "third"}
	if _, err := s.RecordIssued(t.Context(), store.Issuance{Event: e, Version: client.Version, Created: client.Created, Revision: client.Revision,
		Replace: true, SetBack: true, Issued: now, Expires: now.Add(time.Hour), StatusIndex: -1}); err != nil {
		t.Errorf("the client gets no token while the clock is behind: %v", err)
	}
	for _, id := range []string{"first", "second"} {
		if st, err := s.TokenStatus(t.Context(), "r", "c", id); err != nil || !st.Revoked {
			t.Errorf("its %s token, which was replaced: %+v, %v", id, st, err)
		}
	}
}
