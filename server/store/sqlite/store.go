package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/server/store"
)

// Store is a store.Store in a SQLite file.
type Store struct {
	db      *sql.DB
	files   *fileWatch
	readers *readers
	writes  chan write
	closing chan struct{}
	closed  chan error
	close   func() error
	// stuckAfter and crowdedAfter are the constants, except in tests.
	stuckAfter, crowdedAfter atomic.Int64
}

var _ store.Store = (*Store)(nil)

func newStore(ctx context.Context, db *sql.DB, path, dsn string) (*Store, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, writes: make(chan write), closing: make(chan struct{}), closed: make(chan error, 1)}
	opened := false
	defer func() {
		if opened {
			return
		}
		// A connection that stayed open would have the next Open take no locks:
		// SQLite shares them between the connections of a process.
		if s.readers != nil {
			_ = s.readers.close()
		}
		_ = errors.Join(conn.Close(), db.Close())
		if s.files != nil {
			_ = s.files.close()
		}
	}()
	// The first read makes SQLite open the log and its index.
	var page, pageSize int64
	if err := conn.QueryRowContext(ctx, "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'totals'").
		Scan(&page, &pageSize); err != nil {
		return nil, err
	}
	s.stuckAfter.Store(int64(stuckAfter))
	s.crowdedAfter.Store(int64(crowdedAfter))
	if s.files, err = watchFiles(path, page, pageSize); err != nil {
		return nil, err
	}
	s.files.pages = s.whole
	if s.files.contents.recovered() {
		// So that the watch has something to compare with. Where it fails, a later
		// checkpoint does it.
		_, _ = conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	}
	if s.readers, err = openReaders(dsn); err != nil {
		return nil, err
	}
	if err := s.files.check(); err != nil {
		return nil, err
	}
	opened = true
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		err := <-s.closed
		if lost := s.files.gone.Load(); lost != nil {
			// The last process to close a database writes its log into it: that
			// would damage a file that others have written to since.
			return errors.Join(err, *lost)
		}
		// A connection with an open statement stays open: SQLite would not copy
		// the log into the file.
		err = errors.Join(err, s.readers.close(), conn.Close(), db.Close())
		opening.Lock()
		defer opening.Unlock()
		return errors.Join(err, s.files.close())
	})
	go func() {
		s.closed <- conn.Raw(func(raw any) error {
			t := newTransaction(raw)
			_, err := t.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", lookWriter.Milliseconds()))
			s.run(t)
			return errors.Join(err, t.close())
		})
	}()
	return s, nil
}

// DB is the database itself, for other tables in the same file. Transactions
// on it block the writer: keep them short. Close closes it.
func (s *Store) DB() *sql.DB { return s.db }

// Close waits for writes in progress and closes the file. When no other
// process has it open, all data is then in the one file.
func (s *Store) Close() error { return s.close() }

// Ready implements store.Store: it takes the lock that a write needs and, if the
// last write failed, writes.
func (s *Store) Ready(ctx context.Context) error {
	w := write{do: (*transaction).probe, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// row reads one row with a reader; false when no row matches.
func (s *Store) row(query string, args []any, into ...any) (bool, error) {
	if err := s.files.checkSoon(); err != nil {
		return false, err
	}
	found, err := s.readers.row(query, args, into...)
	return found, s.blame(err)
}

// query calls scan for each row.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	if err := s.files.checkSoon(); err != nil {
		return err
	}
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return s.blame(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return s.blame(rows.Err())
}

// queryRow reads the one row of a query.
func (s *Store) queryRow(ctx context.Context, query string, into ...any) error {
	return s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(into...) }, query)
}

// whole is the size of the file once the log is copied into it, in bytes.
func (s *Store) whole() (int64, error) {
	var pages, size int64
	_, err := s.readers.row("PRAGMA page_count", nil, &pages)
	if err == nil {
		_, err = s.readers.row("PRAGMA page_size", nil, &size)
	}
	return pages * size, err
}

// blame returns the loss of the files for an error that it causes.
func (s *Store) blame(err error) error {
	if err != nil {
		if lost := s.files.check(); lost != nil {
			return lost
		}
	}
	return err
}

// micros is the form of a time in the database; 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// second is one second in the form of the database.
const second = int64(time.Second / time.Microsecond)
