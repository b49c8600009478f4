package sqlite_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// Each transaction is told of once: all writes are counted, and those that failed,
// to which the refusals that a Store documents do not belong.
func TestOnCommit(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "counterfoil.db"))
	var mu sync.Mutex
	var writes, failed int
	s.OnCommit(func(c sqlite.Commit) {
		mu.Lock()
		defer mu.Unlock()
		writes, failed = writes+c.Writes, failed+c.Failed
		if c.Writes < 1 || c.Duration <= 0 {
			t.Errorf("told %+v", c)
		}
	})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := s.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := s.RecordIssued(t.Context(), store.Issuance{Event: counterfoil.Event{Realm: "r", ClientID: "none"}}); err != store.ErrNotFound {
		t.Errorf("got %v", err)
	}
	if _, err := s.DB().ExecContext(t.Context(), "CREATE TRIGGER no BEFORE UPDATE ON totals BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused}); err == nil {
		t.Error("a write that fails does not")
	}
	if err := s.Close(); err != nil { // the last one is told before
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if writes != 52 || failed != 1 {
		t.Errorf("told of %d writes, %d failed", writes, failed)
	}
}
