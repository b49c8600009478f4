package storetest

import (
	"context"
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

// RunEviction tests that refused unauthenticated requests are bounded: s is
// empty and keeps the given number of refusals, 10 or more.
func RunEviction(t *testing.T, s store.Store, keep int) {
	defer s.Close()
	create(t, s, newClient("c"))
	if err := record(s, issued("c", "t"), true); err != nil {
		t.Fatal(err)
	}
	own := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "r", ClientID: "c",
		Reason: counterfoil.ReasonScopeNotAllowed}
	if err := s.RecordRefused(t.Context(), own, false); err != nil {
		t.Fatal(err)
	}
	const extra = 25
	refuse := func(from, to int) {
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() {
				e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "r",
					Reason: counterfoil.ReasonUnknownClient, Detail: fmt.Sprint(i)}
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
