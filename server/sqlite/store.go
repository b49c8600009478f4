package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/server"
)

// Store is a server.Store in a SQLite file.
type Store struct {
	db      *sql.DB
	readers *readers
	writes  chan write
	closing chan struct{}
	closed  chan error
	close   func() error
	keep    atomic.Int64
}

var _ server.Store = (*Store)(nil)

func newStore(ctx context.Context, db *sql.DB, dsn string) (*Store, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, writes: make(chan write), closing: make(chan struct{}), closed: make(chan error, 1)}
	s.KeepRefusals(server.KeptRefusals)
	if s.readers, err = openReaders(dsn); err != nil {
		return nil, err
	}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		err := <-s.closed
		// A connection with a statement left stays open: SQLite would not empty
		// the log into the file.
		return errors.Join(err, s.readers.close(), conn.Close(), db.Close())
	})
	go func() {
		s.closed <- conn.Raw(func(raw any) error {
			t := newTransaction(raw)
			s.run(t)
			return t.close()
		})
	}()
	return s, nil
}

// DB is the database itself, for other tables in the same file. Transactions on
// it hold the writer up: keep them short. Close ends it.
func (s *Store) DB() *sql.DB { return s.db }

// KeepRefusals sets how many records of refused strangers are kept.
func (s *Store) KeepRefusals(n int64) { s.keep.Store(n) }

// Close waits for writes under way and closes the file. When no other process
// has it open, all is in the one file then.
func (s *Store) Close() error { return s.close() }

// query calls scan for each row.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
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
