package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
)

// The clock that a store is told goes on, and somebody sets it now and then.

// life is how long the tokens of these tests live: until after the end.
const life = 20 * 24 * time.Hour

// ledger is what has become of clients and their tokens, in the order of the
// writes.
type ledger struct {
	t       *testing.T
	s       server.Store
	clock   *clock.Manual
	clients *server.Clients
	tokens  []*entry
}

// entry is a token; ended says why it is dead, "" while it is not.
type entry struct {
	client, id string
	issued     time.Time
	ended      string
}

func newLedger(t *testing.T, s server.Store) *ledger {
	c := clock.NewStepping(at.Truncate(time.Second))
	return &ledger{t: t, s: s, clock: c, clients: server.NewClients(s, c)}
}

func (l *ledger) create(id string, policy provider.Policy) {
	l.t.Helper()
	_, _, err := l.clients.Create(l.t.Context(), "test", server.NewClient{Realm: "r", ID: id, Settings: server.Settings{Tokens: server.TokenSettings{Policy: policy}}})
	must(l.t, err)
}

// end ends the tokens of a client.
func (l *ledger) end(client, why string) {
	for _, e := range l.tokens {
		if e.client == client && e.ended == "" {
			e.ended = why
		}
	}
}

// issue records a token, dated as the server does it.
func (l *ledger) issue(client, id string, policy provider.Policy) {
	l.t.Helper()
	c := read(l.t, l.s, "r", client)
	now := l.clock.Now()
	issue := server.Issue{
		Event:   counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: client, Success: true, TokenID: id},
		Version: c.Version, Created: c.Created, AsOf: c.AsOf, Replace: policy == provider.Replace, StatusIndex: int64(len(l.tokens)),
		Issued: now.Truncate(time.Second),
	}
	earliest := c.NotBefore
	if c.Latest.After(earliest) {
		earliest = c.Latest
	}
	switch ahead := earliest.Sub(issue.Issued); {
	case ahead > server.MaxAhead:
		issue.SetBack, issue.Issued = true, issue.Issued.Add(time.Second)
	case ahead > 0:
		issue.Issued = earliest
	}
	issue.Expires = issue.Issued.Add(life)
	if _, err := l.s.RecordIssued(context.Background(), issue); err != nil {
		l.t.Fatalf("record %s %s: %v", client, id, err)
	}
	if policy == provider.Replace {
		l.end(client, "replaced")
	}
	l.tokens = append(l.tokens, &entry{client: client, id: id, issued: issue.Issued})
}

// check compares what is known of each token in every way that there is.
func (l *ledger) check(when string, followers ...*follower) {
	l.t.Helper()
	revoked, err := l.s.RevokedIndexes(l.t.Context(), "r", 0, int64(len(l.tokens)))
	must(l.t, err)
	listed := map[int]bool{}
	for _, n := range revoked {
		listed[int(n)] = true
	}
	followers = append(followers, new(follower)) // one that comes now
	for _, f := range followers {
		f.follow(l.t, l.s)
	}
	for n, e := range l.tokens {
		c, err := l.s.Client(l.t.Context(), "r", e.client)
		disabled := err != nil || c.Disabled
		want := e.ended == "" && !disabled
		st, err := l.s.Standing(l.t.Context(), "r", e.client, e.id)
		got := err == nil && !st.Disabled && !st.Revoked && !e.issued.Before(st.NotBefore) && (st.Policy != provider.Replace || st.LiveToken == e.id)
		if got != want {
			l.t.Errorf("%s: token %s of %s counts by its standing: %v; want %v (%s)", when, e.id, e.client, got, want, e.ended)
		}
		if listed[n] == want {
			l.t.Errorf("%s: token %s of %s is revoked by the status list: %v (%s)", when, e.id, e.client, listed[n], e.ended)
		}
		for i, f := range followers {
			if got := f.accepts(e.client, e.id, e.issued); got != want {
				l.t.Errorf("%s: token %s of %s counts for follower %d of %d: %v; want %v (%s)", when, e.id, e.client, i+1, len(followers), got, want, e.ended)
			}
		}
		if l.t.Failed() {
			l.t.FailNow()
		}
	}
}

// clockSet: whatever somebody does to the clock, a token counts exactly until
// something ends it, and none is dated far ahead.
func clockSet(t *testing.T, s server.Store) {
	policies := map[string]provider.Policy{"rep": provider.Replace, "ind": provider.Independent, "swap": provider.Replace}
	names := []string{"rep", "ind", "swap"}
	l := newLedger(t, s)
	for _, id := range names {
		l.create(id, policies[id])
	}
	random := rand.New(rand.NewPCG(7, 11))
	steps := []time.Duration{2 * time.Hour, -2 * time.Hour, 30 * time.Minute, -90 * time.Minute, 5 * time.Second, -5 * time.Second, -time.Minute, 24 * time.Hour, -24 * time.Hour}
	var f follower
	for n := range 400 {
		id := names[random.IntN(len(names))]
		when := fmt.Sprintf("step %d, %s", n, id)
		l.clock.Turn(time.Duration(random.IntN(30)) * time.Second)
		c := read(t, s, "r", id)
		switch what := random.IntN(40); {
		case what < 6:
			d := steps[random.IntN(len(steps))]
			l.clock.Step(d)
			when += fmt.Sprintf(": clock set by %v", d)
		case what < 9:
			if err := l.clients.RevokeTokens(t.Context(), "test", "r", id); err != nil {
				when += ": revoked in vain" // too often within seconds
				break
			}
			l.end(id, "all revoked at "+when)
			when += ": all revoked"
		case what < 12:
			must(t, l.clients.SetDisabled(t.Context(), "test", "r", id, !c.Disabled))
			if !c.Disabled && policies[id] == provider.Replace {
				l.end(id, "disabled at "+when)
			}
			when += ": disabled or enabled"
		case what < 14:
			must(t, l.clients.Delete(t.Context(), "test", "r", id))
			l.end(id, "deleted at "+when)
			l.create(id, policies[id])
			when += ": deleted and made again"
		case !c.Disabled:
			l.issue(id, fmt.Sprintf("%d", n), policies[id])
			when += ": issued"
			if e := l.tokens[len(l.tokens)-1]; e.issued.Sub(l.clock.Now()) > server.MaxAhead {
				t.Fatalf("%s: dated %v ahead of the clock", when, e.issued.Sub(l.clock.Now()))
			}
		}
		l.check(when, &f)
	}
}

// clockSetForgetsNothing: while the clock was ahead for a moment, the store took
// for expired what was in force when it was right again.
func clockSetForgetsNothing(t *testing.T, s server.Store) {
	l := newLedger(t, s)
	l.create("c", provider.Independent)
	record := func(id string, life time.Duration, once ...server.Once) error {
		c := read(t, s, "r", "c")
		now := l.clock.Now()
		_, err := s.RecordIssued(t.Context(), server.Issue{
			Event:   counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c", Success: true, TokenID: id},
			Version: c.Version, Created: c.Created, AsOf: c.AsOf, StatusIndex: int64(len(l.tokens)), Issued: now, Expires: now.Add(life), Once: once,
		})
		if err == nil {
			l.tokens = append(l.tokens, &entry{client: "c", id: id, issued: now})
		}
		return err
	}
	revoke := func(id string, life time.Duration) {
		t.Helper()
		now := l.clock.Now()
		must(t, s.RevokeToken(t.Context(), server.Revocation{Realm: "r", ClientID: "c", TokenID: id, Expires: now.Add(life)},
			counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: now, Realm: "r", ClientID: "c", TokenID: id}))
	}
	proof := server.Once{Key: [32]byte{1}, Until: l.clock.Now().Add(5 * time.Minute)}
	must(t, record("first", time.Hour, proof))
	revoke("first", time.Hour)
	l.tokens[0].ended = "revoked"
	l.clock.Step(365 * 24 * time.Hour)
	// Enough of everything for whatever a store does with what has expired.
	for n := range 300 {
		id := fmt.Sprint(n)
		must(t, record(id, time.Minute, server.Once{Key: [32]byte{2, byte(n), byte(n >> 8)}, Until: l.clock.Now().Add(time.Minute)}))
		revoke(id, time.Minute)
		l.tokens[n+1].ended = "revoked"
	}
	l.check("while the clock is ahead")
	l.clock.Step(-365 * 24 * time.Hour)
	wantErr(t, "a proof that was used before the clock was set", record("again", time.Hour, proof), server.ErrReplayed)
	must(t, record("last", time.Hour))
	l.check("after the clock was set right")
}
