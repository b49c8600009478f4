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
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// The clock of a store advances, and is set now and then.

// life is how long the tokens of these tests live: until after the end.
const life = 20 * 24 * time.Hour

// ledger records the expected state of clients and their tokens, in the order
// of the writes.
type ledger struct {
	t       *testing.T
	s       store.Store
	clock   *clock.Manual
	clients *clients.Service
	tokens  []*entry
	// index is the status index of the first of them.
	index int64
}

// entry is a token; ended says why it is no longer valid, "" while it is.
type entry struct {
	client, id string
	issued     time.Time
	ended      string
}

func newLedger(t *testing.T, s store.Store) *ledger {
	c := clock.NewStepping(at.Truncate(time.Second))
	return &ledger{t: t, s: s, clock: c, clients: clients.New(s, c, rules)}
}

// rules are those of the description oauth2, for every realm.
func rules(string) (clients.Rules, bool) {
	p, err := provider.Builtin("oauth2")
	return clients.Rules{Provider: p}, err == nil
}

func (l *ledger) create(id string, policy provider.Policy) {
	l.t.Helper()
	_, _, err := l.clients.Create(l.t.Context(), "test", clients.NewClient{Realm: "r", ID: id,
		Settings: store.Settings{Tokens: store.TokenSettings{Policy: policy}}})
	must(l.t, err)
}

// end revokes the tokens of a client.
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
	issue := store.Issuance{
		Event:   counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: client, Success: true, TokenID: id},
		Version: c.Version, Created: c.Created, Revision: c.Revision, Replace: policy == provider.PolicyReplace,
		StatusIndex: l.index + int64(len(l.tokens)),
		Issued:      now.Truncate(time.Second),
	}
	issue.Beside = !issue.Replace && !c.MinIssuedAt.IsZero()
	earliest := c.NotBefore
	if c.MinIssuedAt.After(earliest) {
		earliest = c.MinIssuedAt
	}
	switch ahead := earliest.Sub(issue.Issued); {
	case ahead > store.MaxAhead:
		issue.SetBack, issue.Issued = true, issue.Issued.Add(time.Second)
	case ahead > 0:
		issue.Issued = earliest
	}
	issue.Expires = issue.Issued.Add(life)
	if _, err := l.s.RecordIssued(context.Background(), issue); err != nil {
		l.t.Fatalf("record %s %s: %v", client, id, err)
	}
	if issue.Replace {
		l.end(client, "replaced")
	}
	l.tokens = append(l.tokens, &entry{client: client, id: id, issued: issue.Issued})
}

// check compares the state of each token in every way of reading it.
func (l *ledger) check(when string, followers ...*follower) {
	l.t.Helper()
	revoked, err := l.s.RevokedIndexes(l.t.Context(), "r", l.index, l.index+int64(len(l.tokens)))
	must(l.t, err)
	listed := map[int]bool{}
	for _, n := range revoked {
		listed[int(n-l.index)] = true
	}
	followers = append(followers, new(follower)) // one that starts now
	for _, f := range followers {
		f.follow(l.t, l.s)
	}
	for n, e := range l.tokens {
		c, err := l.s.Client(l.t.Context(), "r", e.client)
		disabled := err != nil || c.Disabled
		want := e.ended == "" && !disabled
		st, err := l.s.TokenStatus(l.t.Context(), "r", e.client, e.id)
		got := err == nil && !st.Disabled && !st.Revoked && !e.issued.Before(st.NotBefore) &&
			(st.Policy != provider.PolicyReplace || st.LiveToken == e.id)
		if got != want {
			l.t.Errorf("%s: token %s of %s counts by its standing: %v; want %v (%s)", when, e.id, e.client, got, want, e.ended)
		}
		if listed[n] == want {
			l.t.Errorf("%s: token %s of %s is revoked by the status list: %v (%s)", when, e.id, e.client, listed[n], e.ended)
		}
		for i, f := range followers {
			if got := f.accepts(e.client, e.id, e.issued); got != want {
				l.t.Errorf("%s: token %s of %s counts for follower %d of %d: %v; want %v (%s)", when, e.id, e.client, i+1,
					len(followers), got, want, e.ended)
			}
		}
		if l.t.Failed() {
			l.t.FailNow()
		}
	}
}

// clockSet: however the clock is set, a token is valid until it is revoked,
// and none is dated far ahead.
func clockSet(t *testing.T, s store.Store) {
	policies := map[string]provider.Policy{"rep": provider.PolicyReplace, "ind": provider.PolicyIndependent, "swap": provider.PolicyReplace}
	names := []string{"rep", "ind", "swap"}
	l := newLedger(t, s)
	for _, id := range names {
		l.create(id, policies[id])
	}
	random := rand.New(rand.NewPCG(7, 11))
	steps := []time.Duration{2 * time.Hour, -2 * time.Hour, 30 * time.Minute, -90 * time.Minute, 5 * time.Second,
		-5 * time.Second, -time.Minute, 24 * time.Hour, -24 * time.Hour}
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
			if !c.Disabled && policies[id] == provider.PolicyReplace {
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
			if e := l.tokens[len(l.tokens)-1]; e.issued.Sub(l.clock.Now()) > store.MaxAhead {
				t.Fatalf("%s: dated %v ahead of the clock", when, e.issued.Sub(l.clock.Now()))
			}
		}
		l.check(when, &f)
	}
}

// clockSetBackBySeconds: tokens were issued each second, and the clock goes
// back by some of them, before or after all are revoked. Each is revoked,
// whether it is dated before or after the clock, also when a token is issued
// later.
func clockSetBackBySeconds(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	ends := []struct {
		what   string
		policy provider.Policy
		end    func(id string) error
	}{
		{"revoked", provider.PolicyIndependent, func(id string) error { return l.clients.RevokeTokens(t.Context(), "test", "r", id) }},
		{"deleted", provider.PolicyIndependent, func(id string) error { return l.clients.Delete(t.Context(), "test", "r", id) }},
		{"disabled", provider.PolicyReplace, func(id string) error { return l.clients.SetDisabled(t.Context(), "test", "r", id, true) }},
	}
	seconds := []int{1, 9, 10, 11, 15, 21}
	for n := range 2 * len(seconds) * len(ends) {
		row, back, before := ends[n%len(ends)], time.Duration(seconds[n/2/len(ends)])*time.Second, n/len(ends)%2 == 0
		id := fmt.Sprint(row.what, n)
		when := fmt.Sprintf("%s, and the clock set back by %v before that: %v", row.what, back, before)
		l.index, l.tokens = l.index+int64(len(l.tokens)), nil
		l.create(id, row.policy)
		for n := range 32 {
			l.clock.Turn(time.Second + 70*time.Millisecond)
			l.issue(id, fmt.Sprint(n), row.policy)
		}
		if before {
			l.clock.Step(-back)
		}
		err := row.end(id)
		for try := 0; err != nil && try < 10; try++ {
			l.clock.Turn(time.Second) // as the error says
			err = row.end(id)
		}
		must(t, err)
		if !before {
			l.clock.Step(-back)
		}
		l.end(id, when)
		l.check(when)
		switch row.what {
		case "deleted":
			l.create(id, row.policy)
		case "disabled":
			must(t, l.clients.SetDisabled(t.Context(), "test", "r", id, false))
		}
		l.issue(id, "later", row.policy)
		l.check(when + "; then a token")
		l.clock.Turn(time.Hour)
	}
}

// clockSetBackAfterReplace: a client whose tokens are independent has one from
// when they were not, which is dated ahead. It stays valid, and the next ones
// are dated by the clock.
func clockSetBackAfterReplace(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	l.create("c", provider.PolicyReplace)
	l.clock.Step(2 * time.Hour)
	l.issue("c", "live", provider.PolicyReplace)
	_, err := l.clients.Change(t.Context(), "test", "r", "c", 0, func(s *store.Settings) error {
		s.Tokens.Policy = provider.PolicyIndependent
		return nil
	})
	must(t, err)
	l.clock.Step(-2 * time.Hour)
	l.issue("c", "independent", provider.PolicyIndependent)
	// Its status list says that another has replaced it: refusing too much is
	// the lesser harm.
	st, err := s.TokenStatus(t.Context(), "r", "c", "live")
	var f follower
	f.follow(t, s)
	if e := l.tokens[0]; err != nil || st.Revoked || e.issued.Before(st.NotBefore) || !f.accepts("c", "live", e.issued) {
		t.Errorf("the token from before the policy counts no longer: %+v, %v, %+v", st, err, f.ends)
	}
	c := read(t, s, "r", "c")
	if ahead := max(c.NotBefore.Sub(l.clock.Now()), c.MinIssuedAt.Sub(l.clock.Now())); ahead > store.MaxAhead {
		t.Errorf("the next token is dated %v ahead of the clock", ahead)
	}
	must(t, l.clients.RevokeTokens(t.Context(), "test", "r", "c"))
	l.end("c", "all revoked")
	l.check("after all were revoked")
}

// clockSetBackAfterPolicies: a client whose tokens replaced each other got some
// beside the live one, and then one that replaced them all. They stay replaced.
func clockSetBackAfterPolicies(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	var f follower
	var policy provider.Policy
	issue := func(id string, p provider.Policy) {
		t.Helper()
		l.clock.Turn(time.Minute)
		if p != policy {
			_, err := l.clients.Change(t.Context(), "test", "r", "c", 0, func(s *store.Settings) error {
				s.Tokens.Policy = p
				return nil
			})
			must(t, err)
		}
		policy = p
		l.issue("c", id, p)
		l.check("after token "+id, &f)
	}
	const replace, beside = provider.PolicyReplace, provider.PolicyIndependent
	l.create("c", replace)
	for _, n := range []string{"1", "2"} { // then after tokens that only the record names
		issue("live"+n, replace)
		issue("first"+n, beside)
		issue("second"+n, beside)
		issue("last"+n, replace)
	}
	l.clock.Step(-3 * time.Hour)
	issue("back", replace)
	l.clock.Turn(4 * time.Hour)
	issue("mixed", beside)
	issue("on", replace)
	issue("beside", beside)
	// Its status list would say that it is replaced once the clock is set back:
	// refusing too much is the lesser harm.
	must(t, s.RevokeToken(t.Context(), store.Revocation{Realm: "r", ClientID: "c", TokenID: "on", Expires: l.clock.Now().Add(life)},
		counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: l.clock.Now(), Realm: "r", ClientID: "c", TokenID: "on"}))
	for _, e := range l.tokens {
		if e.id == "on" {
			e.ended = "revoked"
		}
	}
	l.clock.Step(-3 * time.Hour)
	issue("back again", beside)
	l.clock.Turn(4 * time.Hour)
	issue("kept", replace)
	// The revocation of those before is forgotten, and not that there are others.
	issue("third", beside)
	l.create("busy", replace)
	l.clock.Turn(store.MaxLifetime + 2*24*time.Hour + 90*time.Minute)
	l.tokens, l.index = nil, l.index+int64(len(l.tokens)) // they have expired
	issue("fourth", beside)
	l.clock.Turn(time.Hour)
	for n := range 600 {
		l.clock.Turn(time.Second)
		l.issue("busy", fmt.Sprint(n), replace)
	}
	issue("fifth", replace)
	l.clock.Step(-3 * time.Hour)
	issue("back at last", replace)
}

// clockSetBackUnderway: a client that was read before its dates were lowered
// does not count as current after the next change.
func clockSetBackUnderway(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	l.create("c", provider.PolicyReplace)
	l.create("other", provider.PolicyReplace)
	l.clock.Step(2 * time.Hour)
	for _, id := range []string{"c", "other"} {
		l.issue(id, "ahead", provider.PolicyReplace)
	}
	l.clock.Step(-2 * time.Hour)
	before := issue(s, issued("c", "late"), false)
	l.issue("other", "dated by the clock", provider.PolicyReplace)
	must(t, l.clients.SetDisabled(t.Context(), "test", "r", "c", true))
	_, err := s.RecordIssued(t.Context(), before)
	wantErr(t, "a token of a client that was disabled meanwhile", err, store.ErrNotFound)
}

// clockSetBackAfterRevocations: a client was revoked so often within seconds that its
// tokens are dated ahead, and the clock goes back by a few seconds: less than is taken
// for a clock that is set.
func clockSetBackAfterRevocations(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	l.create("c", provider.PolicyIndependent)
	revoke := func(times int) {
		t.Helper()
		for range times {
			must(t, l.clients.RevokeTokens(t.Context(), "test", "r", "c"))
		}
		l.end("c", "all revoked")
	}
	revoke(9)
	l.issue("c", "ahead", provider.PolicyIndependent)
	if ahead := l.tokens[0].issued.Sub(l.clock.Now()); ahead != 9*time.Second {
		t.Fatalf("the token is dated %v ahead", ahead)
	}
	l.clock.Turn(5 * time.Second)
	revoke(6)
	l.check("before the clock is set")
	l.clock.Step(-4 * time.Second)
	revoke(1)
	l.check("after it was revoked once more")
	l.issue("c", "later", provider.PolicyIndependent)
	l.check("after another token")
}

// clockSetForgetsNothing: while the clock was briefly ahead, tokens seemed
// expired to the store that were valid when the clock was right again.
func clockSetForgetsNothing(t *testing.T, s store.Store) {
	l := newLedger(t, s)
	l.create("c", provider.PolicyIndependent)
	record := func(id string, life time.Duration, once ...store.ReplayKey) error {
		c := read(t, s, "r", "c")
		now := l.clock.Now()
		_, err := s.RecordIssued(t.Context(), store.Issuance{
			Event: counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: "c",
				Success: true, TokenID: id},
			Version: c.Version, Created: c.Created, Revision: c.Revision, StatusIndex: int64(len(l.tokens)), Issued: now,
			Expires: now.Add(life), ReplayKeys: once,
		})
		if err == nil {
			l.tokens = append(l.tokens, &entry{client: "c", id: id, issued: now})
		}
		return err
	}
	revoke := func(id string, life time.Duration) {
		t.Helper()
		now := l.clock.Now()
		must(t, s.RevokeToken(t.Context(), store.Revocation{Realm: "r", ClientID: "c", TokenID: id, Expires: now.Add(life)},
			counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: now, Realm: "r", ClientID: "c", TokenID: id}))
	}
	proof := store.ReplayKey{Hash: [32]byte{1}, Until: l.clock.Now().Add(5 * time.Minute)}
	must(t, record("first", time.Hour, proof))
	revoke("first", time.Hour)
	l.tokens[0].ended = "revoked"
	l.clock.Step(365 * 24 * time.Hour)
	// Enough rows of every kind to trigger the sweeps of a store.
	for n := range 300 {
		id := fmt.Sprint(n)
		must(t, record(id, time.Minute, store.ReplayKey{Hash: [32]byte{2, byte(n), byte(n >> 8)}, Until: l.clock.Now().Add(time.Minute)}))
		revoke(id, time.Minute)
		l.tokens[n+1].ended = "revoked"
	}
	l.check("while the clock is ahead")
	l.clock.Step(-365 * 24 * time.Hour)
	wantErr(t, "a proof that was used before the clock was set", record("again", time.Hour, proof), store.ErrReplayed)
	must(t, record("last", time.Hour))
	l.check("after the clock was set right")
}
