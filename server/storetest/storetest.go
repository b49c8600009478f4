// Package storetest holds the tests that every server.Store must pass. The
// tests of a database call Run, and RunEviction on a store that keeps few
// refusals. It makes no promise to importers.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
)

// Run runs the suite. open returns an empty store, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) server.Store) {
	for name, test := range map[string]func(*testing.T, server.Store){
		"client round trip":          clientRoundTrip,
		"client exists":              clientExists,
		"client conflict":            clientConflict,
		"client missing":             clientMissing,
		"concurrent updates":         concurrentUpdates,
		"paging":                     paging,
		"issued needs the client":    issuedNeedsClient,
		"concurrent replacement":     concurrentReplacement,
		"disable ends live token":    disableEndsLive,
		"delete ends live token":     deleteEndsLive,
		"independent leaves no live": independentLeavesNoLive,
		"event order":                eventOrder,
		"events while writing":       eventsWhileWriting,
		"signing keys":               signingKeys,
		"one signing key":            oneSigningKey,
		"cancelled context":          cancelledContext,
		"close":                      closes,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			test(t, s)
		})
	}
}

// at has a part below the microsecond, which a store may drop, and a zone.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("", 3600))

func micro(t time.Time) time.Time { return t.Truncate(time.Microsecond).UTC() }

func newClient(id string) server.Client {
	return server.Client{Realm: "r", ID: id, Secrets: []server.Hash{{Value: "sha256:x", Created: micro(at)}}, Created: micro(at), Changed: micro(at)}
}

func change(kind, id string) counterfoil.Event {
	return counterfoil.Event{Type: kind, Time: at, Realm: "r", ClientID: id, Success: true, Actor: "test"}
}

func create(t *testing.T, s server.Store, c server.Client) server.Client {
	t.Helper()
	if err := s.CreateClient(t.Context(), c, change(counterfoil.EventClientCreated, c.ID)); err != nil {
		t.Fatalf("create %q: %v", c.ID, err)
	}
	return read(t, s, c.Realm, c.ID)
}

func read(t *testing.T, s server.Store, realm, id string) server.Client {
	t.Helper()
	c, err := s.Client(t.Context(), realm, id)
	if err != nil {
		t.Fatalf("read %q: %v", id, err)
	}
	return c
}

func issued(id, token string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: at, Realm: "r", ClientID: id, Success: true, TokenID: token}
}

// issue is a token of an hour, of a client as it is now.
func issue(s server.Store, e counterfoil.Event, replace bool) server.Issue {
	c, _ := s.Client(context.Background(), e.Realm, e.ClientID)
	begin := at.Truncate(time.Second)
	return server.Issue{Event: e, Version: c.Version, AsOf: c.AsOf, Replace: replace, Issued: begin, Expires: begin.Add(time.Hour), StatusIndex: -1}
}

func record(s server.Store, e counterfoil.Event, replace bool) error {
	_, err := s.RecordIssued(context.Background(), issue(s, e, replace))
	return err
}

func live(s server.Store, realm, id string) (string, error) {
	st, err := s.Standing(context.Background(), realm, id, "")
	return st.LiveToken, err
}

// Events returns all events of a store, read in pages of three, and how many
// were evicted.
func Events(t *testing.T, s server.Store) ([]server.RecordedEvent, int64) {
	t.Helper()
	var all []server.RecordedEvent
	var after int64
	for {
		page, err := s.Events(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) == 0 {
			return all, page.Evicted
		}
		for _, e := range page.Events {
			if e.Sequence <= after {
				t.Fatalf("event %d comes after event %d", e.Sequence, after)
			}
			after = e.Sequence
		}
		all = append(all, page.Events...)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func clientRoundTrip(t *testing.T, s server.Store) {
	c := server.Client{
		Realm: "räälm", ID: "Ω-client:1 😀", Settings: server.Settings{
			Name:   "A name\\ with \"quotes\", 漢字 and 'apostrophes'; DROP TABLE clients",
			Scopes: counterfoil.Scopes{"events:read", "EventsApi"}, Tenants: []string{"TENANT 123", "テナント", "a,b"},
		},
		Disabled: true, Created: at, Changed: at.Add(time.Hour),
		Secrets: []server.Hash{{Value: "sha256:new", Created: at}, {Value: "sha256:old", Created: at.Add(-time.Hour), Ends: at.Add(time.Hour)}},
		APIKeys: []server.Hash{{Value: "sha256:key", Created: at}},
		Version: 42,
	}
	got := create(t, s, c)
	c.Created, c.Changed, c.Version = micro(c.Created), micro(c.Changed), 1
	c.APIKeys[0].Created = micro(at)
	c.Secrets = []server.Hash{{Value: "sha256:new", Created: micro(at)}, {Value: "sha256:old", Created: micro(at.Add(-time.Hour)), Ends: micro(at.Add(time.Hour))}}
	c.AsOf = got.AsOf
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
	if empty := create(t, s, newClient("bare")); empty.Scopes != nil || empty.Tenants != nil || empty.APIKeys != nil || !empty.Secrets[0].Ends.IsZero() {
		t.Errorf("a client without scopes, tenants and API keys came back as %+v", empty)
	}
	events, _ := Events(t, s)
	if len(events) != 2 || events[0].Type != counterfoil.EventClientCreated || events[0].Actor != "test" || events[0].ClientID != c.ID {
		t.Errorf("events after two clients: %+v", events)
	}
}

func clientExists(t *testing.T, s server.Store) {
	first := create(t, s, newClient("c"))
	first.AsOf = 0
	other := newClient("c")
	other.Name = "other"
	wantErr(t, "second client", s.CreateClient(t.Context(), other, change(counterfoil.EventClientCreated, "c")), server.ErrExists)
	got := read(t, s, "r", "c")
	if got.AsOf = 0; !reflect.DeepEqual(got, first) {
		t.Errorf("the first client became %+v", got)
	}
	other.Realm = "r2"
	create(t, s, other) // another realm has room for the same ID
	if events, _ := Events(t, s); len(events) != 2 {
		t.Errorf("a refused creation left an event: %+v", events)
	}
}

func clientConflict(t *testing.T, s server.Store) {
	c := create(t, s, newClient("c"))
	c.Name = "first"
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
		t.Fatal(err)
	}
	c.Name = "second, on what was read before the first"
	wantErr(t, "stale update", s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")), server.ErrConflict)
	if got := read(t, s, "r", "c"); got.Name != "first" || got.Version != 2 {
		t.Errorf("after a conflict the client is %+v", got)
	}
	if events, _ := Events(t, s); len(events) != 2 {
		t.Errorf("a conflict left an event: %+v", events)
	}
}

func clientMissing(t *testing.T, s server.Store) {
	_, err := s.Client(t.Context(), "r", "none")
	wantErr(t, "Client", err, server.ErrNotFound)
	wantErr(t, "UpdateClient", s.UpdateClient(t.Context(), newClient("none"), change(counterfoil.EventClientRotated, "none")), server.ErrNotFound)
	wantErr(t, "DeleteClient", s.DeleteClient(t.Context(), "r", "none", change(counterfoil.EventClientDeleted, "none")), server.ErrNotFound)
	_, err = live(s, "r", "none")
	wantErr(t, "Standing", err, server.ErrNotFound)
	create(t, s, newClient("c"))
	_, err = s.Client(t.Context(), "other", "c")
	wantErr(t, "Client of another realm", err, server.ErrNotFound)
	_, err = s.Client(t.Context(), "r", "C")
	wantErr(t, "Client in another case", err, server.ErrNotFound)
}

// concurrentUpdates: of several changes of one version, one succeeds.
func concurrentUpdates(t *testing.T, s server.Store) {
	c := create(t, s, newClient("c"))
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		wg.Go(func() {
			mine := c
			mine.Name = fmt.Sprint(i)
			results[i] = s.UpdateClient(context.Background(), mine, change(counterfoil.EventClientRotated, "c"))
		})
	}
	wg.Wait()
	won := slices.Index(results, nil)
	if won < 0 || slices.Index(results[won+1:], nil) >= 0 {
		t.Fatalf("want one update to succeed, got %v", results)
	}
	for i, err := range results {
		if i != won {
			wantErr(t, "the others", err, server.ErrConflict)
		}
	}
	if got := read(t, s, "r", "c"); got.Name != fmt.Sprint(won) || got.Version != 2 {
		t.Errorf("the client is %+v, want the change of %d", got, won)
	}
}

func paging(t *testing.T, s server.Store) {
	// In the order of bytes; "é" is more than one.
	ids := []string{"A", "B", "Z", "a", "a-1", "a1", "b", "z", "é", "漢"}
	for _, id := range []string{"z", "é", "a1", "B", "A", "漢", "a", "b", "a-1", "Z"} {
		create(t, s, newClient(id))
	}
	other := newClient("other")
	other.Realm = "q"
	create(t, s, other)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page, err := s.Clients(t.Context(), server.ClientQuery{Realm: "r", After: after, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			got = append(got, c.ID)
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pages of three give %q, want %q", got, ids)
	}
	if page, err := s.Clients(t.Context(), server.ClientQuery{Realm: "nowhere", Limit: 3}); err != nil || len(page) != 0 {
		t.Errorf("clients of an unknown realm: %v, %v", page, err)
	}
}

func issuedNeedsClient(t *testing.T, s server.Store) {
	for _, replace := range []bool{false, true} {
		wantErr(t, "unknown client", record(s, issued("none", "t"), replace), server.ErrNotFound)
	}
	c := newClient("disabled")
	c.Disabled = true
	create(t, s, c)
	for _, replace := range []bool{false, true} {
		wantErr(t, "disabled client", record(s, issued("disabled", "t"), replace), server.ErrNotFound)
	}
	if id, err := live(s, "r", "disabled"); err != nil || id != "" {
		t.Errorf("the live token of a disabled client is %q, %v", id, err)
	}
	if events, _ := Events(t, s); len(events) != 1 {
		t.Errorf("a refused issuance left an event: %+v", events)
	}
}

// concurrentReplacement: the live token is the one whose event is last.
func concurrentReplacement(t *testing.T, s server.Store) {
	for _, id := range []string{"one", "two"} {
		create(t, s, newClient(id))
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				id := []string{"one", "two"}[(i+j)%2]
				token := fmt.Sprintf("%s-%d-%d", id, i, j)
				if err := record(s, issued(id, token), true); err != nil {
					t.Errorf("record %s: %v", token, err)
				}
				if live, err := live(s, "r", id); err != nil || !strings.HasPrefix(live, id+"-") {
					t.Errorf("live token of %s is %q, %v", id, live, err)
				}
			}
		})
	}
	wg.Wait()
	last := map[string]string{}
	events, _ := Events(t, s)
	for _, e := range events {
		if e.Type == counterfoil.EventTokenIssued {
			last[e.ClientID] = e.TokenID
		}
	}
	if len(events) != 2+160 {
		t.Errorf("%d events, want 162", len(events))
	}
	for id, want := range last {
		if live, err := live(s, "r", id); err != nil || live != want {
			t.Errorf("live token of %s is %q, %v; its last record is %q", id, live, err, want)
		}
	}
}

func disableEndsLive(t *testing.T, s server.Store) {
	c := create(t, s, newClient("c"))
	if err := record(s, issued("c", "t1"), true); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
		t.Fatal(err)
	}
	if live, err := live(s, "r", "c"); err != nil || live != "t1" {
		t.Errorf("after a rotation the live token is %q, %v", live, err)
	}
	for _, disabled := range []bool{true, false} {
		c = read(t, s, "r", "c")
		c.Disabled = disabled
		if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientDisabled, "c")); err != nil {
			t.Fatal(err)
		}
		wantLive(t, s, fmt.Sprintf("with disabled %v", disabled), "")
	}
}

func deleteEndsLive(t *testing.T, s server.Store) {
	create(t, s, newClient("c"))
	create(t, s, newClient("other"))
	for _, id := range []string{"c", "other"} {
		if err := record(s, issued(id, "t-"+id), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Client(t.Context(), "r", "c")
	wantErr(t, "deleted client", err, server.ErrNotFound)
	_, err = live(s, "r", "c")
	wantErr(t, "its token", err, server.ErrNotFound)
	if live, err := live(s, "r", "other"); err != nil || live != "t-other" {
		t.Errorf("the other client's token is %q, %v", live, err)
	}
	if again := create(t, s, newClient("c")); again.Version != 1 {
		t.Errorf("made again it is %+v", again)
	}
	wantLive(t, s, "of the client made again", "")
	if events, _ := Events(t, s); len(events) != 6 || events[4].Type != counterfoil.EventClientDeleted {
		t.Errorf("events: %+v", events)
	}
}

func wantLive(t *testing.T, s server.Store, what, want string) {
	t.Helper()
	if id, err := live(s, "r", "c"); err != nil || id != want {
		t.Errorf("live token %s: %q, %v; want %q", what, id, err, want)
	}
}

func independentLeavesNoLive(t *testing.T, s server.Store) {
	create(t, s, newClient("c"))
	if err := record(s, issued("c", "t"), false); err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, "of an independent token", "")
}

func eventOrder(t *testing.T, s server.Store) {
	create(t, s, newClient("c"))
	want := counterfoil.Event{
		Type: counterfoil.EventTokenRefused, Time: micro(at), Realm: "r", ClientID: "c", Reason: counterfoil.ScopeNotAllowed,
		Address: "2001:db8::1", UserAgent: "agent/1.0 (λ)", Detail: "it's \"so\"",
	}
	if err := s.RecordRefused(t.Context(), want, false); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		e := issued("c", fmt.Sprint(i))
		e.Time = at.Add(-time.Duration(i) * time.Hour) // the order is not that of the times
		if err := record(s, e, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	events, evicted := Events(t, s)
	if len(events) != 9 || evicted != 0 {
		t.Fatalf("%d events, %d evicted", len(events), evicted)
	}
	if !reflect.DeepEqual(events[1].Event, want) {
		t.Errorf("got  %+v\nwant %+v", events[1].Event, want)
	}
	for i, e := range events[2:] {
		if e.TokenID != fmt.Sprint(i) || !e.Success {
			t.Errorf("event %d is %+v", i, e)
		}
	}
}

// eventsWhileWriting: a reader that follows the record while others write may
// be late, and misses nothing: no event appears before one that it was given.
func eventsWhileWriting(t *testing.T, s server.Store) {
	const writers, each = 8, 20
	for i := range writers {
		create(t, s, newClient(fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if err := record(s, issued(fmt.Sprint(i), fmt.Sprint(j)), j%2 == 0); err != nil {
					t.Errorf("record: %v", err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	next := make([]int, writers)
	var after int64
	for over, last := false, false; !last; {
		select {
		case <-written:
			over = true
		default:
		}
		page, err := s.Events(t.Context(), after, 7)
		if err != nil {
			<-written
			t.Fatal(err)
		}
		for _, e := range page.Events {
			after = e.Sequence
			var client int
			if _, err := fmt.Sscan(e.ClientID, &client); err != nil || e.Type != counterfoil.EventTokenIssued {
				continue
			}
			if e.TokenID != fmt.Sprint(next[client]) {
				t.Errorf("of client %d came token %s, want %d", client, e.TokenID, next[client])
			}
			next[client]++
		}
		last = over && len(page.Events) == 0
	}
	for client, n := range next {
		if n != each {
			t.Errorf("of client %d came %d records, want %d", client, n, each)
		}
	}
}

func keyEvent(id string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: at, Realm: "r", Success: true, Actor: "test", Detail: id}
}

func signingKeys(t *testing.T, s server.Store) {
	if keys, err := s.SigningKeys(t.Context(), "r"); err != nil || len(keys) != 0 {
		t.Fatalf("keys of an empty store: %v, %v", keys, err)
	}
	binary := []byte{0, 1, 0xff, 0xfe, 0x80, '\n', 0}
	first := server.SigningKey{
		Realm: "r", ID: "Zm9v/+==", Algorithm: "RS256", Created: micro(at), Activates: micro(at.Add(time.Hour)), Lifetime: 90 * time.Minute,
		Public: binary, Private: counterfoil.Secret(binary),
	}
	second := server.SigningKey{Realm: "r", ID: "A", Algorithm: "ES256", Created: micro(at.Add(time.Second)), Activates: micro(at.Add(2 * time.Hour)), Public: []byte("p"), Private: "x"}
	elsewhere := second
	elsewhere.Realm = "q"
	for _, k := range []server.SigningKey{second, first, elsewhere} {
		if err := s.AddSigningKey(t.Context(), k, "", keyEvent(k.ID)); err != nil {
			t.Fatal(err)
		}
	}
	wantKeys(t, s, first, second)
	again := first
	again.Algorithm = "PS256"
	wantErr(t, "second key of an ID", s.AddSigningKey(t.Context(), again, "", keyEvent("")), server.ErrExists)
	if events, _ := Events(t, s); len(events) != 3 {
		t.Errorf("three keys left the events %+v", events)
	}
}

func wantKeys(t *testing.T, s server.Store, want ...server.SigningKey) {
	t.Helper()
	keys, err := s.SigningKeys(t.Context(), "r")
	if err != nil || !reflect.DeepEqual(keys, want) {
		t.Errorf("got  %+v, %v\nwant %+v", keys, err, want)
	}
}

// oneSigningKey: several servers start at once.
func oneSigningKey(t *testing.T, s server.Store) {
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		wg.Go(func() {
			k := server.SigningKey{Realm: "r", ID: fmt.Sprint(i), Algorithm: "ES256", Created: at, Activates: at, Private: "x"}
			results[i] = s.AddSigningKey(context.Background(), k, "", keyEvent(k.ID))
		})
	}
	wg.Wait()
	keys, err := s.SigningKeys(t.Context(), "r")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, err := range results {
		if fmt.Sprint(i) == keys[0].ID {
			wantErr(t, "the winner", err, nil)
		} else {
			wantErr(t, "another", err, server.ErrConflict)
		}
	}
}

// cancelledContext: a write says what became of it.
func cancelledContext(t *testing.T, s server.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.CreateClient(ctx, newClient("c"), change(counterfoil.EventClientCreated, "c"))
	_, found := s.Client(t.Context(), "r", "c")
	if (err == nil) != (found == nil) {
		t.Errorf("with a cancelled context CreateClient said %v, and a look says %v", err, found)
	}
}

func closes(t *testing.T, s server.Store) {
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { // each is refused or done, none hangs
			_ = s.CreateClient(context.Background(), newClient(fmt.Sprint(i)), change(counterfoil.EventClientCreated, "c"))
		})
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	if err := s.RecordRefused(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at}, true); err == nil {
		t.Error("a write after Close succeeded")
	}
	if _, err := s.Client(t.Context(), "r", "c"); err == nil || errors.Is(err, server.ErrNotFound) {
		t.Errorf("a read after Close gave %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// RunEviction tests that strangers fill no more than their share: s is empty
// and keeps the given number of refusals, 10 or more.
func RunEviction(t *testing.T, s server.Store, keep int) {
	defer s.Close()
	create(t, s, newClient("c"))
	if err := record(s, issued("c", "t"), true); err != nil {
		t.Fatal(err)
	}
	own := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "r", ClientID: "c", Reason: counterfoil.ScopeNotAllowed}
	if err := s.RecordRefused(t.Context(), own, false); err != nil {
		t.Fatal(err)
	}
	const extra = 25
	refuse := func(from, to int) {
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() {
				e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "r", Reason: counterfoil.UnknownClient, Detail: fmt.Sprint(i)}
				if err := s.RecordRefused(context.Background(), e, true); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	refuse(0, extra)
	refuse(extra, keep+extra)
	events, evicted := Events(t, s)
	if len(events) != 3+keep || evicted != extra {
		t.Fatalf("%d events and %d evicted, want %d and %d", len(events), evicted, 3+keep, extra)
	}
	if events[0].Type != counterfoil.EventClientCreated || events[1].TokenID != "t" || events[2].Reason != own.Reason {
		t.Errorf("strangers evicted what is not theirs: %+v", events[:3])
	}
	for _, e := range events[3:] {
		if n := 0; len(e.Detail) == 0 {
			t.Errorf("event without its detail: %+v", e)
		} else if _, err := fmt.Sscan(e.Detail, &n); err != nil || n < extra {
			t.Errorf("refusal %d was kept, %d newer ones were not", n, keep)
		}
	}
}
