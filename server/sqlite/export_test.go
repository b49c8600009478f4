package sqlite

import (
	"context"
	"fmt"
	"time"
)

// SetPatience shortens what the writer waits for a lock.
func (s *Store) SetPatience(d time.Duration) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		_, err := t.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
		return err
	})
}
