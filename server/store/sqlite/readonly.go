package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

var (
	errReadOnly = errors.New("the database is open for reading only, because nothing can be written where it is: " +
		"make the file and its directory writable for this user")
	errLogLeft = errors.New("records may be in the write-ahead log beside it (-wal), which cannot be read where " +
		"nothing can be written: copy the file and the log to a directory that can be written to, and name that")
	errOlder = errors.New("its schema is an older one, which cannot be brought up to date where nothing can " +
		"be written: copy the file to a directory that can be written to, and name that")
	errMoved = errors.New("the database was changed while it was read, so that what was read may be of two states: repeat it")
)

// Unwritable reports whether Open failed because the file, or the directory or
// file system that it is in, cannot be written to. OpenReadOnly may work then.
func Unwritable(err error) bool {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return true
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return true
	}
	return false
}

// OpenReadOnly opens a file to read it where it cannot be written to, such as
// on a file system that is mounted read-only. Writes fail. It reads all that
// was acknowledged, also what is in a write-ahead log, or refuses; and when
// the file was written to through another mount in the meantime, Close reports
// that. The error names the file and the next action.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	opening.Lock()
	defer opening.Unlock()
	full, _, err = settle(full)
	var s *Store
	if err == nil {
		s, err = openReadOnly(ctx, full)
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, explain(err))
	}
	return s, nil
}

func openReadOnly(ctx context.Context, path string) (*Store, error) {
	mode, err := readMode(path)
	if err != nil {
		return nil, err
	}
	before, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + mode + "&" + url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()), "query_only(1)"},
	}.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	s, err := newReadOnly(ctx, db, path, dsn, before.Size())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.close = sync.OnceValue(func() error {
		s.Stop()
		err := errors.Join(<-s.closed, s.access.readers.close(), db.Close())
		if mode != immutable {
			return err
		}
		after, gone := os.Stat(path)
		if gone != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) || size(path+"-wal") > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %w", path, errMoved))
		}
		return err
	})
	go func() {
		s.Refuse(errReadOnly)
		s.closed <- nil
	}()
	return s, nil
}

// immutable makes SQLite neither lock the file nor look for a log.
const immutable = "immutable=1"

// readMode returns how SQLite can read a file in an unwritable place. It reads
// a log only with the log's index: the one in use by another process, or one
// of its own in memory. It cannot create an index where it cannot write.
func readMode(path string) (string, error) {
	log, index := size(path+"-wal"), size(path+"-shm")
	switch {
	case size(path+"-journal") > 0, log >= 0 && index >= 0:
		return "mode=ro", nil
	case log > 0:
		return "", errLogLeft
	}
	return immutable, nil
}

// size returns the size of a file; -1 when it does not exist.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

func newReadOnly(ctx context.Context, db *sql.DB, path, dsn string, size int64) (*Store, error) {
	db.SetMaxOpenConns(connections)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := whole(ctx, conn, size); err != nil {
		return nil, err
	}
	version, names, err := schema(ctx, conn)
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return nil, errForeign
	case version < len(names):
		return nil, errOlder
	}
	d := &access{db: db, lock: newLock()}
	// The log and its index may come and go.
	d.files = &fileWatch{names: [3]string{path, path, path}, started: clock.System.Now()}
	is, _, err := identify(path)
	if err != nil {
		return nil, err
	}
	d.files.were = [3]identity{is, is, is}
	if d.readers, err = openReaders(dsn); err != nil {
		return nil, err
	}
	return &Store{Store: relational.New(d, dialect), db: db, access: d, closed: make(chan error, 1)}, nil
}
