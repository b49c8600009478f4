package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"

	"github.com/counterfoil/counterfoil/server/store/internal/relational"
	sqlite "modernc.org/sqlite"
)

// readers are connections for the lookups that requests wait for, each with
// its statements prepared: a lookup by key takes less time than package
// database/sql needs to find a connection. There are few, because a lookup is
// CPU work, each with cache for the upper pages of a large table.
type readers struct {
	free   chan *reader
	opened int
}

type reader struct {
	*relational.Conn
	conn driver.Conn
}

// readerCache is the size of one reader's page cache, in KiB.
const readerCache = 12 << 10

func openReaders(dsn string) (*readers, error) {
	n := 2 * runtime.GOMAXPROCS(0)
	rs := &readers{free: make(chan *reader, n)}
	for range n {
		conn, err := new(sqlite.Driver).Open(dsn)
		if err != nil {
			return nil, errors.Join(err, rs.close())
		}
		r := &reader{relational.NewConn(conn, translate, true), conn}
		rs.free <- r
		rs.opened++
		if _, err := r.Exec(fmt.Sprintf("PRAGMA cache_size = -%d", readerCache)); err != nil {
			return nil, errors.Join(err, rs.close())
		}
	}
	return rs, nil
}

// row reads one row; false when no row matches. It ignores the caller's
// context: watching that would take longer than the lookup.
func (rs *readers) row(query string, args []any, into ...any) (bool, error) {
	r, ok := <-rs.free
	if !ok {
		return false, relational.ErrClosed
	}
	defer func() { rs.free <- r }()
	return r.Row(query, args, into...)
}

// close waits for lookups in progress, then closes all connections.
func (rs *readers) close() error {
	var err error
	for range rs.opened {
		r := <-rs.free
		err = errors.Join(err, r.Conn.Close(), r.conn.Close())
	}
	close(rs.free)
	return err
}
