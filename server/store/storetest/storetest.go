// Package storetest holds the tests that every store.Store must pass. The
// tests of a database call Run. The package is for tests only; its API may
// change.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Run runs the suite. database creates an empty database and returns a
// function that opens it, each time as another process would; the suite closes
// each Store.
func Run(t *testing.T, database func(t *testing.T) (open func() store.Store)) {
	for name, test := range alone {
		t.Run(name, func(t *testing.T) {
			s := database(t)()
			defer s.Close()
			test(t, s)
		})
	}
	for name, test := range together {
		t.Run(name, func(t *testing.T) {
			open := database(t)
			first := open()
			defer first.Close()
			second := open()
			defer second.Close()
			test(t, [2]store.Store{first, second})
		})
	}
}

// alone holds the tests of one process.
var alone = map[string]func(*testing.T, store.Store){
	"client round trip":            clientRoundTrip,
	"client settings":              clientSettings,
	"client exists":                clientExists,
	"client conflict":              clientConflict,
	"client missing":               clientMissing,
	"clients with a hash":          clientsWithHash,
	"client version":               clientVersion,
	"several clients":              severalClients,
	"paging":                       paging,
	"search":                       search,
	"search by time and use":       selected,
	"uses":                         uses,
	"a deleted client's ID":        deletedID,
	"issued needs the client":      issuedNeedsClient,
	"issued needs it unchanged":    issuedNeedsUnchanged,
	"reused needs it unrevoked":    reusedNeedsUnrevoked,
	"once":                         once,
	"replaced":                     replaced,
	"dated too early":              datedTooEarly,
	"disable ends live token":      disableEndsLive,
	"delete ends live token":       deleteEndsLive,
	"deleted within a second":      deletedWithinASecond,
	"independent leaves no live":   independentLeavesNoLive,
	"standing":                     standing,
	"clock that is set":            clockSet,
	"clock set for a moment":       clockSetForgetsNothing,
	"clock set back by seconds":    clockSetBackBySeconds,
	"clock set back, replace":      clockSetBackAfterReplace,
	"clock set back, policies":     clockSetBackAfterPolicies,
	"clock set back underway":      clockSetBackUnderway,
	"clock set back, revocations":  clockSetBackAfterRevocations,
	"revoke token":                 revokeToken,
	"revoke too many":              revokeTooMany,
	"client revocations":           clientRevocations,
	"revocation pages":             revocationPages,
	"revoked indexes":              revokedIndexes,
	"event order":                  eventOrder,
	"signing keys":                 signingKeys,
	"signing key after another":    signingKeyAfter,
	"changed signing keys":         changedSigningKeys,
	"old reading of a signing key": oldReading,
	"ended credentials":            endedCredentials,
	"alert steps":                  alertSteps,
	"alert repeats":                alertRepeats,
	"open alerts are bounded":      openAlertsBounded,
	"deliveries":                   deliveries,
	"deliveries, clock set back":   deliveriesClockBack,
	"silences":                     silences,
	"many memories of alerts":      manyMemories,
	"cancelled context":            cancelledContext,
	"close":                        closes,
}

// together holds the tests of two processes on one database.
var together = map[string]func(*testing.T, [2]store.Store){
	"reads see writes":       readsSeeWrites,
	"concurrent updates":     concurrentUpdates,
	"concurrent creation":    concurrentCreation,
	"required while changed": requiredWhileChanged,
	"concurrent replacement": concurrentReplacement,
	"followed replacement":   followedReplacement,
	"issued while disabled":  issuedWhileDisabled,
	"reused while revoked":   reusedWhileRevoked,
	"concurrent once":        concurrentOnce,
	"concurrent revocation":  concurrentRevocation,
	"followed while writing": followedWhileWriting,
	"concurrent indexes":     concurrentIndexes,
	"events while writing":   eventsWhileWriting,
	"one signing key":        oneSigningKey,
	"one advances":           oneAdvances,
	"one claims":             oneClaims,
}

// at has a part below the microsecond, which a store may drop, and a zone.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("", 3600))

func micro(t time.Time) time.Time { return t.Truncate(time.Microsecond).UTC() }

func newClient(id string) store.Client {
	return store.Client{Realm: "r", ID: id, Secrets: []store.SecretHash{{Value: "sha256:x", Created: micro(at)}},
		Created: micro(at), Changed: micro(at)}
}

func change(kind, id string) counterfoil.Event {
	return counterfoil.Event{Type: kind, Time: at, Realm: "r", ClientID: id, Success: true, Actor: "test"}
}

func create(t *testing.T, s store.Store, c store.Client) store.Client {
	t.Helper()
	if err := s.CreateClient(t.Context(), c, change(counterfoil.EventClientCreated, c.ID)); err != nil {
		t.Fatalf("create %q: %v", c.ID, err)
	}
	return read(t, s, c.Realm, c.ID)
}

func read(t *testing.T, s store.Store, realm, id string) store.Client {
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

// issue returns a token of one hour, of the current client, dated as the
// server does.
func issue(s store.Store, e counterfoil.Event, replace bool) store.Issuance {
	c, _ := s.Client(context.Background(), e.Realm, e.ClientID)
	begin := at.Truncate(time.Second)
	for _, earliest := range []time.Time{c.NotBefore, c.MinIssuedAt} {
		if earliest.After(begin) {
			begin = earliest
		}
	}
	return store.Issuance{Event: e, Version: c.Version, Created: c.Created, Revision: c.Revision, Replace: replace,
		Issued: begin, Expires: begin.Add(time.Hour), StatusIndex: -1}
}

func record(s store.Store, e counterfoil.Event, replace bool) error {
	_, err := s.RecordIssued(context.Background(), issue(s, e, replace))
	return err
}

func update(t *testing.T, s store.Store, c store.Client) store.Client {
	t.Helper()
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientChanged, c.ID)); err != nil {
		t.Fatalf("update %q: %v", c.ID, err)
	}
	return read(t, s, c.Realm, c.ID)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantEvents checks the number of events.
func wantEvents(t *testing.T, s store.Store, what string, n int) {
	t.Helper()
	if events := Events(t, s); len(events) != n {
		t.Errorf("%s: %d events, want %d: %+v", what, len(events), n, events)
	}
}

func live(s store.Store, realm, id string) (string, error) {
	st, err := s.TokenStatus(context.Background(), realm, id, "")
	return st.LiveToken, err
}

// Events returns all events of a store, read in pages of three.
func Events(t *testing.T, s store.Store) []store.RecordedEvent {
	t.Helper()
	var all []store.RecordedEvent
	var after int64
	for {
		page, err := s.Events(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		for _, e := range page {
			if e.Sequence <= after {
				t.Fatalf("event %d comes after event %d", e.Sequence, after)
			}
			after = e.Sequence
		}
		all = append(all, page...)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// readsSeeWrites: a read sees every write whose call had returned, in any
// process.
func readsSeeWrites(t *testing.T, s [2]store.Store) {
	for i := range 20 {
		id := fmt.Sprint(i)
		writer, reader := s[i%2], s[(i+1)%2]
		c := create(t, writer, newClient(id))
		if got := read(t, reader, "r", id); !reflect.DeepEqual(got, c) {
			t.Fatalf("one reads %+v, the other %+v", c, got)
		}
		must(t, record(writer, issued(id, "t"), true))
		must(t, writer.RevokeToken(t.Context(), revocation(id, "t"), change(counterfoil.EventTokenRevoked, id)))
		if st, err := reader.TokenStatus(t.Context(), "r", id, "t"); err != nil || st.LiveToken != "t" || !st.Revoked {
			t.Fatalf("the other reads %+v, %v", st, err)
		}
		c.Disabled = true
		update(t, writer, c)
		if st, err := reader.TokenStatus(t.Context(), "r", id, "t"); err != nil || !st.Disabled || st.LiveToken != "" {
			t.Fatalf("the other reads %+v, %v", st, err)
		}
		must(t, writer.DeleteClient(t.Context(), "r", id, change(counterfoil.EventClientDeleted, id)))
		_, err := reader.Client(t.Context(), "r", id)
		wantErr(t, "deleted by the other", err, store.ErrNotFound)
	}
}

// cancelledContext: a write returns its outcome.
func cancelledContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.CreateClient(ctx, newClient("c"), change(counterfoil.EventClientCreated, "c"))
	_, found := s.Client(t.Context(), "r", "c")
	if (err == nil) != (found == nil) {
		t.Errorf("with a cancelled context CreateClient said %v, and a look says %v", err, found)
	}
}

func closes(t *testing.T, s store.Store) {
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
	if err := s.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at}); err == nil {
		t.Error("a write after Close succeeded")
	}
	if _, err := s.Client(t.Context(), "r", "c"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a read after Close gave %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
