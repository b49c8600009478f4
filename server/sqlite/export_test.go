package sqlite

import "time"

// SetPatience sets how long the writer waits for a lock whose holder commits
// nothing, and for one that others take in turn.
func (s *Store) SetPatience(stuck, busy time.Duration) {
	s.stuckAfter.Store(int64(stuck))
	s.patience.Store(int64(busy))
}

// Rows returns how many rows a table has.
func (s *Store) Rows(table string) (n int, err error) {
	err = s.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n)
	return n, err
}

// AppendEvent and CutEvent are the form of an event in a run.
var (
	AppendEvent = appendEvent
	CutEvent    = cutEvent
)
