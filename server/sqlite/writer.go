package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"

	"github.com/counterfoil/counterfoil/server"
)

// maxBatch bounds the writes of one transaction.
const maxBatch = 512

// write is one caller's write. It runs inside a transaction with others and
// must be repeatable: when another of them fails unexpectedly, all run again,
// each alone.
type write struct {
	do   func(ctx context.Context, t *transaction) error
	done chan error
}

// transaction is what a write works on.
type transaction struct {
	*sql.Conn
	begin, commit, rollback   *sql.Stmt
	refused, issued, replaced *sql.Stmt
	// strangers counts the events of strangers that were added.
	strangers int
}

// close lets go of the connection.
func (t *transaction) close() error {
	var err error
	for _, stmt := range []*sql.Stmt{t.begin, t.commit, t.rollback, t.refused, t.issued, t.replaced} {
		err = errors.Join(err, stmt.Close())
	}
	return errors.Join(err, t.Conn.Close())
}

// submit hands a write to the writer and waits until it is on the disk.
func (s *Store) submit(do func(context.Context, *transaction) error) error {
	w := write{do: do, done: make(chan error, 1)}
	select {
	case s.writes <- w:
		return <-w.done
	case <-s.closing:
		return errClosed
	}
}

var errClosed = errors.New("the database is closed")

// run is the one goroutine that writes: it takes all writes that wait, commits
// them together and tells each caller its own result. Those that come in the
// meantime are the next batch.
func (s *Store) run(t *transaction) {
	defer close(s.closed)
	batch := make([]write, 0, maxBatch)
	for {
		select {
		case w := <-s.writes:
			batch = append(batch[:0], w)
		case <-s.closing:
			return
		}
		// The requests that are on the processors now soon write as well: give
		// way to them once. With none there it costs nothing.
		batch = s.gather(batch)
		runtime.Gosched()
		batch = s.gather(batch)
		s.commit(t, batch)
	}
}

// gather adds the writes that wait.
func (s *Store) gather(batch []write) []write {
	for len(batch) < maxBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

func (s *Store) commit(t *transaction, batch []write) {
	results, err := s.try(t, batch)
	if err != nil && len(batch) > 1 {
		for i := range batch {
			s.commit(t, batch[i:i+1])
		}
		return
	}
	for i, w := range batch {
		if err != nil {
			w.done <- err
		} else {
			w.done <- results[i]
		}
	}
}

// try runs a batch in one transaction. An error means that nothing of it was
// written. The results are those that the interface names; a write that has
// one of them wrote nothing.
func (s *Store) try(t *transaction, batch []write) (results []error, err error) {
	ctx := context.Background()
	results = make([]error, len(batch))
	if _, err := t.begin.ExecContext(ctx); err != nil {
		for i := range results { // waiting again for each would only add up
			results[i] = fmt.Errorf("begin: %w", explain(err))
		}
		return results, nil
	}
	defer func() {
		if err != nil {
			_, _ = t.rollback.ExecContext(ctx)
		}
	}()
	t.strangers = 0
	for i, w := range batch {
		err := w.do(ctx, t)
		if err != nil && !errors.Is(err, server.ErrNotFound) && !errors.Is(err, server.ErrExists) && !errors.Is(err, server.ErrConflict) {
			return nil, explain(err)
		}
		results[i] = err
	}
	if err := t.evict(ctx, s.keep.Load()); err != nil {
		return nil, fmt.Errorf("evict: %w", explain(err))
	}
	if _, err := t.commit.ExecContext(ctx); err != nil {
		return nil, fmt.Errorf("commit: %w", explain(err))
	}
	return results, nil
}

// evict drops the oldest events of strangers beyond those to keep.
func (t *transaction) evict(ctx context.Context, keep int64) error {
	if t.strangers == 0 {
		return nil
	}
	var kept int64
	if err := t.QueryRowContext(ctx, "UPDATE event_totals SET strangers = strangers + ? RETURNING strangers", t.strangers).Scan(&kept); err != nil {
		return err
	}
	if kept <= keep {
		return nil
	}
	if _, err := t.ExecContext(ctx, `DELETE FROM events WHERE sequence IN
		(SELECT sequence FROM events WHERE stranger = 1 ORDER BY sequence LIMIT ?)`, kept-keep); err != nil {
		return err
	}
	_, err := t.ExecContext(ctx, "UPDATE event_totals SET strangers = ?1, evicted = evicted + ?2 - ?1", keep, kept)
	return err
}
