package storetest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

func eventOrder(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	want := counterfoil.Event{
		Type: counterfoil.EventTokenRefused, Time: micro(at), Realm: "r", ClientID: "c", Reason: counterfoil.ReasonScopeNotAllowed,
		Address: "2001:db8::1", UserAgent: "agent/1.0 (λ)", Detail: "it's \"so\"",
		Method: "client_secret_basic", Credential: "s1", Scope: "a b", Resource: "https://api.example",
		RequestID: "q", Changes: `{"scopes":[null,"x"]}`,
		Count: 7, First: micro(at.Add(-time.Minute)),
	}
	if err := s.RecordEvents(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		e := issued("c", fmt.Sprint(i))
		e.Time = at.Add(-time.Duration(i) * time.Hour) // the order is not that of the times
		if err := record(s, e, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	events := Events(t, s)
	if len(events) != 9 {
		t.Fatalf("%d events", len(events))
	}
	if !reflect.DeepEqual(events[1].Event, want) {
		t.Errorf("got  %+v\nwant %+v", events[1].Event, want)
	}
	if e := events[1]; e.Commitment != store.Commit(e.Opening, e.Address, e.UserAgent) || len(e.Opening) < 16 {
		t.Errorf("the commitment is %x, opened by %x", e.Commitment, e.Opening)
	}
	for i, e := range events[2:] {
		if e.TokenID != fmt.Sprint(i) || !e.Success || e.Sequence != int64(i+3) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
}

// eventsWhileWriting: a reader that follows the record while others write may
// lag, but misses nothing: no event appears before one that it was given.
func eventsWhileWriting(t *testing.T, s [2]store.Store) {
	const writers, each = 8, 20
	for i := range writers {
		create(t, s[0], newClient(fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if err := record(s[i%2], issued(fmt.Sprint(i), fmt.Sprint(j)), j%2 == 0); err != nil {
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
		page, err := s[1].Events(t.Context(), after, 7)
		if err != nil {
			<-written
			t.Fatal(err)
		}
		for _, e := range page {
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
		last = over && len(page) == 0
	}
	for client, n := range next {
		if n != each {
			t.Errorf("of client %d came %d records, want %d", client, n, each)
		}
	}
}
