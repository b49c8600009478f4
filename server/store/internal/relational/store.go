// Package relational implements store.Store on the tables of a relational
// database. Packages sqlite and postgres have the databases: how they are opened,
// and how a transaction begins that no other overlaps.
//
// All writes of a process go through one goroutine, which commits those that
// arrive together in one transaction. The transactions of all processes follow one
// another: that is the order of the events, and of whatever else the writes depend
// on.
package relational

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Backend is a database with the tables of this package.
type Backend interface {
	// Begin begins a transaction of the Conn that Run has. No transaction of any
	// other process overlaps it. It waits for a bounded time.
	Begin() error
	// Commit commits it: nil means that it survives the death of the machine.
	// Rollback drops it, or what is left of it after an error.
	Commit() error
	Rollback()
	// Check returns why the database cannot be trusted any more, for a transaction
	// that was committed.
	Check() error
	// Explain adds the next action to an error.
	Explain(err error) error

	// Row reads one row of a query in the common dialect, of what is committed; false
	// when no row matches.
	Row(query string, args []any, into ...any) (found bool, err error)
	// Query calls scan for each row.
	Query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error
}

// Dialect is what is not in the common dialect.
type Dialect struct {
	// Policy is the policy of the client c in the column rest, which is not empty; NULL
	// for none.
	Policy string
	// Matches are the conditions on a client that a query may have: text in one of its
	// strings (?4, without capital letters of ASCII), and settings: the environment
	// (?5), disabled or not (?6; NULL for both), and whether it has a maker (?7).
	Matches string
	// Ends is when the client c expires, in microseconds since 1970; NULL for never.
	Ends string
	// Elements are a query of the strings in the JSON array ?2.
	Elements string
}

// Store is a store.Store but for Close.
type Store struct {
	backend  Backend
	dialect  Dialect
	standing string // selectStanding in the dialect
	matches  string // what there may be to match in a client
	writes   chan write
	closing  chan struct{}
	stop     func()
	onCommit atomic.Pointer[func(Commit)]
}

// New returns a Store on a backend. Its writes wait until Run is called, or Refuse.
func New(b Backend, d Dialect) *Store {
	s := &Store{
		backend: b, dialect: d, standing: strings.Replace(selectStanding, "{policy}", d.Policy, 1),
		matches: d.Matches + strings.ReplaceAll(matches, "{ends}", d.Ends),
		writes:  make(chan write), closing: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.closing) })
	return s
}

// Stop ends Run after the writes in progress. Later writes fail.
func (s *Store) Stop() { s.stop() }

// Refuse refuses all writes until Stop is called.
func (s *Store) Refuse(err error) {
	for {
		select {
		case w := <-s.writes:
			w.done <- err
		case <-s.closing:
			return
		}
	}
}

// Ready implements store.Store: it takes the lock that a write needs and, if the
// last write failed, writes.
func (s *Store) Ready(ctx context.Context) error {
	w := write{do: (*transaction).probe, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.closing:
		return ErrClosed
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

// queryRow reads the one row of a query.
func (s *Store) queryRow(ctx context.Context, query string, into ...any) error {
	return s.backend.Query(ctx, func(rows *sql.Rows) error { return rows.Scan(into...) }, query)
}

// lowered is a text without capital letters of ASCII.
func lowered(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// errDamaged: a row is not what this program writes.
var errDamaged = errors.New("the data is damaged: restore the database from a backup")

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
