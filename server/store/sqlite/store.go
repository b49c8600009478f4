package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
)

// Store is a store.Store in a SQLite file.
type Store struct {
	*relational.Store
	db     *sql.DB
	access *access
	closed chan error
	close  func() error
}

var _ store.Store = (*Store)(nil)

// Commit is a transaction that the writes of several callers shared.
type Commit = relational.Commit

// access is how the tables of the file are written and read.
type access struct {
	db      *sql.DB
	files   *fileWatch
	readers *readers
	*lock
}

func newStore(ctx context.Context, db *sql.DB, path, dsn string) (*Store, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	d := &access{db: db, lock: newLock()}
	s := &Store{Store: relational.New(d, dialect), db: db, access: d, closed: make(chan error, 1)}
	opened := false
	defer func() {
		if opened {
			return
		}
		// A connection that stayed open would have the next Open take no locks:
		// SQLite shares them between the connections of a process.
		if d.readers != nil {
			_ = d.readers.close()
		}
		_ = errors.Join(conn.Close(), db.Close())
		if d.files != nil {
			_ = d.files.close()
		}
	}()
	// The first read makes SQLite open the log and its index.
	var page, pageSize int64
	if err := conn.QueryRowContext(ctx, "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'totals'").
		Scan(&page, &pageSize); err != nil {
		return nil, err
	}
	if d.files, err = watchFiles(path, page, pageSize); err != nil {
		return nil, err
	}
	d.files.pages = d.whole
	if d.files.contents.recovered() {
		// So that the watch has something to compare with. Where it fails, a later
		// checkpoint does it.
		_, _ = conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	}
	if d.readers, err = openReaders(dsn); err != nil {
		return nil, err
	}
	if err := d.files.check(); err != nil {
		return nil, err
	}
	opened = true
	s.close = sync.OnceValue(func() error {
		s.Stop()
		err := <-s.closed
		if lost := d.files.gone.Load(); lost != nil {
			// The last process to close a database writes its log into it: that
			// would damage a file that others have written to since.
			return errors.Join(err, *lost)
		}
		// A connection with an open statement stays open: SQLite would not copy
		// the log into the file.
		err = errors.Join(err, d.readers.close(), conn.Close(), db.Close())
		opening.Lock()
		defer opening.Unlock()
		return errors.Join(err, d.files.close())
	})
	go func() {
		s.closed <- conn.Raw(func(raw any) error {
			d.conn = relational.NewConn(raw.(driver.Conn), translate, true)
			_, err := d.conn.Exec(fmt.Sprintf("PRAGMA busy_timeout = %d", lookWriter.Milliseconds()))
			s.Run(d.conn)
			return errors.Join(err, d.conn.Close())
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

// Row implements relational.Backend, with a reader.
func (d *access) Row(query string, args []any, into ...any) (bool, error) {
	if err := d.files.checkSoon(); err != nil {
		return false, err
	}
	found, err := d.readers.row(query, args, into...)
	return found, d.blame(err)
}

// Query implements relational.Backend.
func (d *access) Query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	if err := d.files.checkSoon(); err != nil {
		return err
	}
	rows, err := d.db.QueryContext(ctx, translate(query), args...)
	if err != nil {
		return d.blame(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return d.blame(rows.Err())
}

// whole is the size of the file once the log is copied into it, in bytes.
func (d *access) whole() (int64, error) {
	var pages, size int64
	_, err := d.readers.row("PRAGMA page_count", nil, &pages)
	if err == nil {
		_, err = d.readers.row("PRAGMA page_size", nil, &size)
	}
	return pages * size, err
}

// blame returns the loss of the files for an error that it causes.
func (d *access) blame(err error) error {
	if err != nil {
		if lost := d.files.check(); lost != nil {
			return lost
		}
	}
	return err
}

// translate translates a statement from the common dialect.
func translate(query string) string { return words.Replace(query) }

var words = strings.NewReplacer("greatest(", "max(", "least(", "min(", "chr(", "char(")

// dialect is what the common dialect has not.
var dialect = relational.Dialect{
	Policy: "c.rest ->> '$.tokens.policy'",
	Matches: `(?4 = '' OR instr(lower(id), ?4) OR instr(lower(name), ?4) OR rest <> '' AND (
		instr(lower(coalesce(rest ->> '$.contact', '')), ?4) OR
		EXISTS (SELECT 1 FROM json_each(rest, '$.labels') WHERE instr(lower(key || '=' || value), ?4))))
	AND (?5 = '' OR rest <> '' AND rest ->> '$.environment' = ?5)
	AND (?6 IS NULL OR disabled = ?6)
	AND (?7 = 0 OR rest <> '' AND rest ->> '$.maker' <> '')`,
	Ends:     "CASE WHEN rest = '' THEN NULL ELSE rest ->> '$.expires' END",
	Elements: "SELECT value FROM json_each(?2)",
}
