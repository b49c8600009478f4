package sqlite

import (
	"context"
	"fmt"
	"time"
)

// SetPatience shortens what the writer waits for a lock.
func (s *Store) SetPatience(d time.Duration) error {
	return s.submit(func(t *transaction) error {
		// Not prepared: it is no write.
		_, err := t.conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
		return err
	})
}
