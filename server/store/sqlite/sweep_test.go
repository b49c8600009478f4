package sqlite_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestSweep writes much that expires soon, while the time goes on: no table
// grows with what has expired.
func TestSweep(t *testing.T) {
	s := open(t, newPath(t))
	const rounds, each = 40, 50
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		now := begin.Add(time.Duration(round) * time.Hour)
		var wg sync.WaitGroup
		for n := range each {
			wg.Go(func() {
				if err := expiring(s, now, round*each+n); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for _, table := range []string{"once", "status", "revoked_tokens"} {
		if n, err := s.Rows(table); err != nil || n < each || n > 6*each {
			t.Errorf("%s has %d rows, %v: %d have not expired of %d", table, n, err, each, rounds*each)
		}
	}
	// The client's row tells how many of its revoked tokens are there.
	var counted, rows int
	if err := s.DB().QueryRow("SELECT revoked, (SELECT count(*) FROM revoked_tokens) FROM client_tokens").Scan(&counted, &rows); err != nil || counted != rows {
		t.Errorf("the client's row counts %d revoked tokens, %v; there are %d", counted, err, rows)
	}
}

// expiring records a token that uses something up and has an index, and revokes
// another; all of it expires within the hour.
func expiring(s store.Store, now time.Time, n int) error {
	ctx, id := context.Background(), fmt.Sprint(n)
	e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c", TokenID: id}
	end := now.Add(30 * time.Minute)
	if _, err := s.RecordIssued(ctx, store.Issuance{Event: e, Version: 1, Issued: now, Expires: end, ReplayKeys: []store.ReplayKey{onceOf(id, now.Add(-30*time.Minute))}, StatusIndex: int64(n)}); err != nil {
		return err
	}
	e.Type = counterfoil.EventTokenRevoked
	return s.RevokeToken(ctx, store.Revocation{Realm: "r", ClientID: "c", TokenID: id, Expires: end}, e)
}

// TestSweepReplaced: the names of tokens that were replaced go once they have expired.
// As many were looked at as were written, so that ever more stayed.
func TestSweepReplaced(t *testing.T) {
	s := open(t, newPath(t))
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const rounds, clients = 60, 50
	atOnce(t, clients, func(n int) error { return createClient(t.Context(), s, fmt.Sprint(n)) })
	for round := range rounds {
		now := begin.Add(time.Duration(round) * time.Hour)
		atOnce(t, clients, func(n int) error {
			e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: fmt.Sprint(n), TokenID: fmt.Sprint(round)}
			_, err := s.RecordIssued(t.Context(), store.Issuance{Event: e, Version: 1, Replace: true, Issued: now, Expires: now.Add(time.Minute), StatusIndex: -1})
			return err
		})
	}
	if n, err := s.Rows("replaced_tokens"); err != nil || n < 2*clients || n > 6*clients {
		t.Errorf("%d names, %v: want %d, that have not expired, and less than as many again of %d", n, err, 2*clients, rounds*clients)
	}
}

// TestSweepAfterManyAtOnce: however many are written in one transaction, as many that
// have expired go. A sweep of a fixed size fell behind.
func TestSweepAfterManyAtOnce(t *testing.T) {
	s := open(t, newPath(t))
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	const rounds, each = 12, 400
	for round := range rounds {
		now := begin.Add(time.Duration(round) * 3 * time.Hour)
		var all []store.ReplayKey
		for n := range each {
			all = append(all, onceOf(fmt.Sprint(round, " ", n), now.Add(-time.Hour)))
		}
		e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c", TokenID: fmt.Sprint(round)}
		if _, err := s.RecordIssued(t.Context(), store.Issuance{Event: e, Version: 1, Issued: now, Expires: now.Add(time.Hour), ReplayKeys: all, StatusIndex: -1}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Rows("once"); err != nil || n < each || n > 3*each {
		t.Errorf("%d rows, %v: %d have not expired of %d", n, err, each, rounds*each)
	}
}

// TestSweepClients: the revocations of clients that are long gone go as well,
// and those that matter stay.
func TestSweepClients(t *testing.T) {
	s := open(t, newPath(t))
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const many = 400
	for n := range many {
		id, now := fmt.Sprint(n), begin.Add(time.Duration(n)*24*time.Hour)
		e := counterfoil.Event{Type: counterfoil.EventClientDeleted, Time: now, Realm: "r", ClientID: id}
		if err := createClient(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteClient(t.Context(), "r", id, e); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Rows("client_tokens"); err != nil || n < 30 || n > 150 {
		t.Errorf("%d rows, %v: 30 have not expired of %d", n, err, many)
	}
	page, err := s.Revocations(t.Context(), "r", 0, many)
	if err != nil || len(page.Revocations) < 31 || len(page.Revocations) > 33 {
		t.Errorf("%d revocations matter, %v; want 32", len(page.Revocations), err)
	}
}

// TestSweepOfAClientWithATokenInUse: the revocation of its earlier tokens goes, and
// the name of the token in use stays.
func TestSweepOfAClientWithATokenInUse(t *testing.T) {
	s := open(t, newPath(t))
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	event := func(kind, id string, at time.Time) counterfoil.Event {
		return counterfoil.Event{Type: kind, Time: at, Realm: "r", ClientID: id, TokenID: id}
	}
	if err := createClient(t.Context(), s, "kept"); err != nil {
		t.Fatal(err)
	}
	c, err := s.Client(t.Context(), "r", "kept")
	if err != nil {
		t.Fatal(err)
	}
	c.NotBefore = begin.Add(time.Second)
	if err := s.UpdateClient(t.Context(), c, event(counterfoil.EventTokensRevoked, "kept", begin)); err != nil {
		t.Fatal(err)
	}
	i := store.Issuance{Event: event(counterfoil.EventTokenIssued, "kept", begin.Add(time.Minute)), Version: 2, Replace: true, StatusIndex: -1}
	i.Issued, i.Expires = i.Event.Time, begin.Add(1000*24*time.Hour)
	if _, err := s.RecordIssued(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	state := func() (live string, sequence int64) {
		t.Helper()
		if err := s.DB().QueryRow("SELECT live, sequence FROM client_tokens WHERE client_id = 'kept'").Scan(&live, &sequence); err != nil {
			t.Fatal(err)
		}
		return live, sequence
	}
	if live, sequence := state(); live != "kept" || sequence == 0 {
		t.Fatalf("before: the token %q, revocation %d", live, sequence)
	}
	for n := range 100 {
		id, now := fmt.Sprint(n), begin.Add(time.Duration(n)*24*time.Hour)
		if err := createClient(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteClient(t.Context(), "r", id, event(counterfoil.EventClientDeleted, id, now)); err != nil {
			t.Fatal(err)
		}
	}
	if live, sequence := state(); live != "kept" || sequence != 0 {
		t.Errorf("100 days later: the token %q, revocation %d", live, sequence)
	}
}
