package sqlite_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

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
