package fold_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/fold"
)

// book is a record of events.
type book struct {
	mu     sync.Mutex
	events []counterfoil.Event
	broken error
}

func (b *book) write(_ context.Context, events ...counterfoil.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.events = append(b.events, events...)
	}
	return b.broken
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func refusal(at time.Time, id, address string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "r", ClientID: id, Reason: counterfoil.ReasonWrongSecret, Address: address}
}

func newFolder(t *testing.T) (*fold.Folder, *book, *clock.Manual, func(e counterfoil.Event, proven bool)) {
	b, c := &book{}, clock.NewManual(start)
	f := fold.New(c, b.write)
	return f, b, c, func(e counterfoil.Event, proven bool) {
		t.Helper()
		if err := f.Record(t.Context(), e, proven); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepeats: the first is recorded at once, the others together a minute later,
// and one that stands alone as it was.
func TestRepeats(t *testing.T) {
	f, b, c, record := newFolder(t)
	for i := range 300 {
		record(refusal(start.Add(time.Duration(i)*time.Millisecond), "c", fmt.Sprintf("192.0.2.%d", i%256)), false)
	}
	record(refusal(start, "other", "192.0.2.1"), false)
	record(refusal(start.Add(time.Second), "other", "192.0.2.2"), false)
	record(refusal(start, "c", "192.0.3.1"), false) // another network
	if len(b.events) != 3 {
		t.Fatalf("%d events at once, want the first of each kind", len(b.events))
	}
	c.Turn(fold.Window - time.Nanosecond)
	if err := f.Flush(t.Context()); err != nil || len(b.events) != 3 {
		t.Fatalf("%d events before the minute is over, %v", len(b.events), err)
	}
	c.Turn(time.Nanosecond)
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.events) != 5 {
		t.Fatalf("%d events, want 5: %+v", len(b.events), b.events)
	}
	many, one := b.events[3], b.events[4]
	if many.Count != 299 || !many.First.Equal(start.Add(time.Millisecond)) || !many.Time.Equal(start.Add(299*time.Millisecond)) ||
		many.ClientID != "c" || many.Address != "192.0.2.43" {
		t.Errorf("299 others are recorded as %+v", many)
	}
	if one != refusal(start.Add(time.Second), "other", "192.0.2.2") {
		t.Errorf("one other is recorded as %+v", one)
	}
	// The next window begins with a first one again.
	record(refusal(c.Now(), "c", "192.0.2.1"), false)
	if len(b.events) != 6 {
		t.Errorf("%d events, want 6", len(b.events))
	}
}

// TestManyKinds: strangers who vary what they send fill neither the record nor the
// memory, and hide nothing of what others do.
func TestManyKinds(t *testing.T) {
	f, b, c, record := newFolder(t)
	const of = 50_000
	total := func() (n int64) {
		for _, e := range b.events {
			n += max(1, e.Count)
		}
		return n
	}
	// One network of strangers, with a name of its own in each request.
	for i := range of {
		record(refusal(start, fmt.Sprint("x", i), fmt.Sprint("192.0.2.", i%256)), false)
	}
	if n := len(b.events); n != 32 {
		t.Errorf("one network made %d events", n)
	}
	// Others are recorded all the same, of this realm and of another.
	record(refusal(start, "victim", "198.51.100.7"), false)
	other := refusal(start, "victim", "192.0.2.1")
	other.Realm = "s"
	record(other, false)
	if n := len(b.events); n != 34 {
		t.Errorf("%d events, want those of the network and two", n)
	}
	// Many networks.
	for i := range of {
		record(refusal(start, fmt.Sprint("x", i), fmt.Sprintf("10.%d.%d.1", i>>8&255, i&255)), false)
	}
	before := len(b.events)
	if before > 34+256 {
		t.Errorf("many networks made %d events", before)
	}
	// An authenticated client has room of its own.
	record(refusal(start, "mine", "203.0.113.1"), true)
	if len(b.events) != before+1 {
		t.Error("what an authenticated client did is counted among that of strangers")
	}
	for i := range of {
		e := refusal(start, "mine", "203.0.113.1")
		e.Detail = fmt.Sprint(i)
		record(e, true)
	}
	if n := len(b.events); n > before+32 {
		t.Errorf("a client made %d events", n-before)
	}
	c.Turn(fold.Window)
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.events); n > 1000 {
		t.Errorf("%d events in all", n)
	}
	if n := total(); n != 3*of+3 {
		t.Errorf("the events stand for %d refusals of %d", n, 3*of+3)
	}
	for _, e := range b.events {
		if e.Count > 0 && e.Detail == "others in this realm" && (e.ClientID != "" || e.Address != "") {
			t.Errorf("%+v names one of many", e)
		}
	}
}

// TestStoreIsAway: the caller learns that a first event was not recorded, the next
// is a first one again, and counts outlive a store that is away for a while.
func TestStoreIsAway(t *testing.T) {
	f, b, c, record := newFolder(t)
	record(refusal(start, "known", "192.0.2.1"), false)
	record(refusal(start, "known", "192.0.2.1"), false)
	b.broken = errors.New("disk on fire")
	for range 2 {
		if err := f.Record(t.Context(), refusal(start, "c", "192.0.2.1"), false); !errors.Is(err, b.broken) {
			t.Errorf("got %v", err)
		}
	}
	c.Turn(fold.Window)
	if err := f.Flush(t.Context()); !errors.Is(err, b.broken) {
		t.Errorf("got %v", err)
	}
	record(refusal(c.Now(), "known", "192.0.2.1"), false)
	b.broken = nil
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.events); n != 2 || b.events[1].Count != 2 || !b.events[1].First.Equal(start) {
		t.Errorf("recorded is %+v", b.events)
	}
}

// TestClockSetBack: a window ends although the clock shows an earlier time.
func TestClockSetBack(t *testing.T) {
	b, c := &book{}, clock.NewStepping(start)
	f := fold.New(c, b.write)
	for range 2 {
		if err := f.Record(t.Context(), refusal(c.Now(), "c", "192.0.2.1"), false); err != nil {
			t.Fatal(err)
		}
	}
	c.Step(-time.Hour)
	c.Turn(fold.Window)
	if err := f.Flush(t.Context()); err != nil || len(b.events) != 2 {
		t.Errorf("%d events, %v", len(b.events), err)
	}
}

// TestAtOnce: of concurrent refusals of a kind one is recorded, and none is lost.
func TestAtOnce(t *testing.T) {
	f, b, _, _ := newFolder(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 100 {
				if err := f.Record(context.Background(), refusal(start, "c", "192.0.2.1"), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(b.events) != 1 {
		t.Errorf("%d first events", len(b.events))
	}
	if err := f.Close(t.Context()); err != nil || b.events[1].Count != 1999 {
		t.Errorf("recorded is %+v, %v", b.events, err)
	}
}
