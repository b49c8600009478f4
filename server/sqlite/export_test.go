package sqlite

import (
	"fmt"
	"time"
)

// SetPatience shortens what the writer waits for a lock.
func (s *Store) SetPatience(d time.Duration) error {
	return s.submit(func(t *transaction) error {
		_, err := t.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
		return err
	})
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
