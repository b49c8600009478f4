package sqlite_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// TestEventsThatAreCutShort are damaged, wherever they end.
func TestEventsThatAreCutShort(t *testing.T) {
	whole := sqlite.AppendEvent(nil, &counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_700_000_000_000_001), Realm: "r", ClientID: "c", Success: true, TokenID: "t", Address: "192.0.2.1",
	})
	if _, rest, err := sqlite.CutEvent(whole, 2); err != nil || len(rest) != 0 {
		t.Fatalf("a whole one leaves %d bytes, %v", len(rest), err)
	}
	for n := range whole {
		if e, _, err := sqlite.CutEvent(whole[:n], 2); err == nil {
			t.Errorf("the first %d bytes of %d are %+v", n, len(whole), e)
		}
	}
}

// TestPagesOfRuns: events of tokens that were recorded together are pages like all
// others, of no more events than were asked for.
func TestPagesOfRuns(t *testing.T) {
	s, c := open(t, newPath(t)), clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	tx, err := s.DB().BeginTx(t.Context(), nil) // what comes meanwhile is recorded together
	if err != nil {
		t.Fatal(err)
	}
	s.SetPatience(time.Minute, time.Minute)
	var all sync.WaitGroup
	const tokens = 20
	for n := range tokens {
		all.Go(func() {
			if err := used(s, c, fmt.Sprint(n), c.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for range 2 {
		if err := s.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: c.Now(), Realm: "r"}); err != nil {
			t.Fatal(err)
		}
	}
	const last = 1 + tokens + 2
	for after := range int64(last) {
		for limit := range last + 1 {
			page, err := s.Events(t.Context(), after, limit)
			if err != nil || len(page) != min(limit, last-int(after)) {
				t.Fatalf("%d events behind %d, %v; want %d of %d", len(page), after, err, limit, last)
			}
			for i, e := range page {
				if e.Sequence != after+int64(i)+1 {
					t.Fatalf("event %d behind %d has the number %d", i, after, e.Sequence)
				}
			}
		}
	}
	if _, err := s.DB().ExecContext(t.Context(), "UPDATE records SET data = x'80'"); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Events(t.Context(), 0, last); err == nil || len(page) != 0 {
		t.Errorf("a run that is damaged gives %d events, %v", len(page), err)
	}
}

// FuzzCutEvent reads what a damaged file may hold, and reads again what it
// writes.
func FuzzCutEvent(f *testing.F) {
	whole := sqlite.AppendEvent(nil, &counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_700_000_000_000_001), Realm: "r", ClientID: "c", Success: true, TokenID: "t", Address: "192.0.2.1", UserAgent: "λ\x00",
	})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append([]byte{0, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := sqlite.CutEvent(data, 2)
		if err != nil {
			return
		}
		again, nothing, err := sqlite.CutEvent(sqlite.AppendEvent(nil, &e.Event), 2)
		if err != nil || len(nothing) != 0 || len(rest) >= len(data) || !reflect.DeepEqual(again, e) {
			t.Errorf("got %+v with %d bytes left, then %+v, %v", e, len(rest), again, err)
		}
	})
}
