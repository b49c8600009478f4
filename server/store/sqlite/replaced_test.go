package sqlite_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestReplacedNamesAreBounded: one client that asks without end keeps no more names
// of replaced tokens than can be revoked by them.
func TestReplacedNamesAreBounded(t *testing.T) {
	s := open(t, newPath(t))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const more = 3000
	atOnce(t, 40, func(lane int) error {
		for n := lane; n < store.MaxRevoked+more; n += 40 {
			for {
				c, err := s.Client(t.Context(), "r", "c")
				if err != nil {
					return err
				}
				issued := begin.Add(time.Duration(n) * time.Second)
				if c.MinIssuedAt.After(issued) {
					issued = c.MinIssuedAt
				}
				e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: issued, Realm: "r", ClientID: "c", TokenID: fmt.Sprint(n)}
				_, err = s.RecordIssued(t.Context(), store.Issuance{Event: e, Version: c.Version, Created: c.Created, Revision: c.Revision, Replace: true,
					Issued: issued, Expires: issued.Add(24 * time.Hour), StatusIndex: -1})
				if err == nil {
					break
				}
				if err != store.ErrConflict {
					return err
				}
			}
		}
		return nil
	})
	if n, err := s.Rows("replaced_tokens"); err != nil || n > store.MaxRevoked+more/2 {
		t.Errorf("%d names are kept, %v: at most %d can be revoked", n, err, store.MaxRevoked)
	}
}

// replacing records a token that ends the one before it, at the time of the clock.
func replacing(s store.Store, c clock.Clock, id string, life time.Duration) error {
	now := c.Now().Truncate(time.Second)
	e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: c.Now(), Realm: "r", ClientID: "c", TokenID: id}
	_, err := s.RecordIssued(context.Background(), store.Issuance{Event: e, Version: 1, Replace: true, Issued: now, Expires: now.Add(life), StatusIndex: -1})
	return err
}

// TestReplacedWithinASecond: a token that is replaced within its second is revoked by
// its name, but only until the next second covers it: otherwise a client that asks
// often would leave no room for others to be revoked.
func TestReplacedWithinASecond(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	for second := range 10 {
		for n := range 3 {
			if err := replacing(s, c, fmt.Sprint(second, " ", n), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.Rows("revoked_tokens"); err != nil || n != 2 {
			t.Errorf("in second %d, %d tokens are revoked by their names, %v; want 2", second, n, err)
		}
		c.Turn(time.Second)
	}
}

// TestReplacedNamesOutliveTheirTokens: what is revoked by its name is so until
// the token has expired, for followers of the revocations.
func TestReplacedNamesOutliveTheirTokens(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	c.Step(2 * time.Hour)
	ends := map[string]time.Time{}
	for _, id := range []string{"first", "second"} {
		if err := replacing(s, c, id, time.Hour); err != nil {
			t.Fatal(err)
		}
		ends[id] = c.Now().Truncate(time.Second).Add(time.Hour)
		c.Turn(time.Second)
	}
	c.Step(-2 * time.Hour)
	if err := clients.New(s, c, nil).RevokeTokens(t.Context(), "test", "r", "c"); err != nil {
		t.Fatal(err)
	}
	page, err := s.Revocations(t.Context(), "r", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Revocations {
		if end, ok := ends[r.TokenID]; ok && r.Expires.Before(end) {
			t.Errorf("the revocation of %s ends %v before it", r.TokenID, end.Sub(r.Expires))
		}
		delete(ends, r.TokenID)
	}
	if len(ends) != 0 {
		t.Errorf("not revoked by their names: %v of %+v", ends, page.Revocations)
	}
}

// TestReplacedStaysSoUntilItHasExpired: a follower of the revocations hears of
// a token that was replaced until it has expired by every clock, be it revoked
// by its name or by its date.
func TestReplacedStaysSoUntilItHasExpired(t *testing.T) {
	for name, later := range map[string]time.Duration{"within its second": 0, "later": time.Minute} {
		t.Run(name, func(t *testing.T) {
			s, c := open(t, newPath(t)), clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"first", "second", "third"} {
				if err := replacing(s, c, id, 24*time.Hour); err != nil {
					t.Fatal(err)
				}
				c.Turn(later)
			}
			end := c.Now().Add(24*time.Hour - later)
			page, err := s.Revocations(t.Context(), "r", 0, 100)
			if err != nil || len(page.Revocations) == 0 {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, r := range page.Revocations {
				if r.Expires.Before(end) {
					t.Errorf("the revocation of %q can be forgotten %v before the token has expired", r.TokenID, end.Sub(r.Expires))
				}
			}
		})
	}
}

// TestReplacedTogetherAndTheClockIsSetBack: clients have the first token that replaces
// others recorded in one transaction. Those before it stay dead when the clock goes
// back, and the dates with it.
func TestReplacedTogetherAndTheClockIsSetBack(t *testing.T) {
	const many = 60
	s, c := open(t, newPath(t)), clock.NewStepping(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	issue := func(id, token string, replace bool) error {
		client, err := s.Client(t.Context(), "r", id)
		if err != nil {
			return err
		}
		now := c.Now()
		i := store.Issuance{
			Event:   counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: id, TokenID: token},
			Version: client.Version, Created: client.Created, Revision: client.Revision, Replace: replace, StatusIndex: -1,
			Issued: now, Expires: now.Add(time.Hour),
		}
		if client.MinIssuedAt.Sub(now) > store.MaxAhead {
			i.SetBack, i.Issued = true, now.Add(time.Second)
		}
		_, err = s.RecordIssued(t.Context(), i)
		return err
	}
	atOnce(t, many, func(n int) error { return createClient(t.Context(), s, fmt.Sprint(n)) })
	c.Step(2 * time.Hour)
	dated := c.Now()
	for n := range many {
		if err := issue(fmt.Sprint(n), "before", false); err != nil {
			t.Fatal(err)
		}
	}
	c.Turn(time.Second)
	atOnce(t, many, func(n int) error { return issue(fmt.Sprint(n), "replaces", true) })
	c.Step(-2 * time.Hour)
	for n := range many {
		if err := issue(fmt.Sprint(n), "after", true); err != nil {
			t.Fatal(err)
		}
		if st, err := s.TokenStatus(t.Context(), "r", fmt.Sprint(n), "before"); err != nil || !st.Revoked {
			t.Errorf("a token of %v that was replaced is revoked no longer: %+v, %v", dated, st, err)
		}
	}
}
