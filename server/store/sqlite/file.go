package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
)

// POSIX drops every lock that a process holds on a file when the process
// closes any descriptor of it. The next program that closes the database then
// considers itself the last one and deletes the write-ahead log while others
// still write to it. SQLite accounts for that with its own descriptors; so
// nothing else in the process may open the database's files while SQLite has
// them open. Their state is read by path instead.

// opening is held while a file is opened or inspected: until SQLite has it
// open, with its log, another goroutine may consider it unused.
var opening sync.Mutex

// settle returns the path to use for a database: a link in its last component
// is followed to a file of this user alone, or for root to anybody's. Whether
// that is a Counterfoil database is checked by ours; a dangling link is
// refused. Links to directories are followed as usual.
func settle(path string) (real string, linked bool, err error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return path, false, nil // opening it reports the error
	}
	real, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", true, fmt.Errorf("%w: %w", errLink, err)
	}
	if info, err = os.Stat(real); err != nil {
		return "", true, err
	}
	if !info.Mode().IsRegular() || files.Untrusted(info) != nil {
		return "", true, errLink
	}
	return real, true, nil
}

// ours checks, without changing it, that the file that a link leads to is a
// Counterfoil database.
func ours(ctx context.Context, path string) error {
	found, err := inspect(ctx, path)
	switch {
	case err != nil && errors.Is(explain(err), errForeign), err == nil && found.seen == 0:
		return errLink
	case err != nil:
		return fmt.Errorf("%w: %w", errLink, err)
	}
	return nil
}

// reserve creates a missing file, for its owner only, and returns its size.
// Root creates it for the owner of the directory. SQLite gives the -wal and
// -shm files the same mode and owner.
func reserve(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return 0, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return 0, errors.Join(files.Adopt(f, dir), f.Close())
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
		info, err = os.Stat(path) // another process was faster
		if err != nil {
			return 0, err
		}
	} else if err != nil {
		return 0, err
	}
	if info.IsDir() {
		return 0, &fs.PathError{Op: "open", Path: path, Err: errors.New("is a directory")}
	}
	if !info.Mode().IsRegular() {
		return 0, errForeign
	}
	return info.Size(), writable(path)
}

// narrow restricts a file that is known to be Counterfoil's, with its -wal and
// -shm, to its owner.
func narrow(path string) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return errForeign
		}
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(name, 0o600); err != nil {
				return fmt.Errorf("others can read the file, and it cannot be changed: %w", err)
			}
		}
	}
	return nil
}

// fileWatch monitors the files of an open database: what is written into a
// file that was removed or replaced is lost, although SQLite reports success.
type fileWatch struct {
	names   [3]string
	were    [3]identity
	gone    atomic.Pointer[error]
	looked  atomic.Int64 // when they were last checked, since started
	started time.Time

	// size is that of the database at the last check, and pages asks SQLite for
	// the size that it should have in the end.
	size  atomic.Int64
	pages func() (int64, error)
	// index is the largest size that the log's index had.
	index atomic.Int64
	// log is open for reading: SQLite keeps no locks on that file.
	log *os.File

	mu       sync.Mutex
	contents *contents
}

// lookEvery is how old the last check may be when a read relies on it. A write
// checks after each commit.
const lookEvery = 100 * time.Millisecond

// watchFiles records which files SQLite has open for a database in use, whose
// pages have pageSize bytes; page is the one with the totals. opening is locked.
func watchFiles(path string, page, pageSize int64) (*fileWatch, error) {
	f := &fileWatch{names: [3]string{path, path + "-wal", path + "-shm"}, started: clock.System.Now()}
	for i, name := range f.names {
		var err error
		var size int64
		if f.were[i], size, err = identify(name); err != nil {
			return nil, err
		}
		if i == 0 {
			f.size.Store(size)
		}
	}
	var err error
	if f.log, err = os.Open(f.names[1]); err != nil {
		return nil, err
	}
	if f.contents, err = readContents(f.names, page, pageSize); err != nil {
		return nil, errors.Join(err, f.log.Close())
	}
	return f, nil
}

// close ends the watch. opening is locked.
func (f *fileWatch) close() error { return errors.Join(f.log.Close(), f.contents.close()) }

// check checks that the files are still those that SQLite has open. Once they
// are not, every later check fails as well: the writes of this process and of
// others since then are not in one file.
func (f *fileWatch) check() error {
	if err := f.gone.Load(); err != nil {
		return *err
	}
	f.looked.Store(int64(clock.System.Now().Sub(f.started)))
	for i, name := range f.names {
		is, size, err := identify(name)
		if err == nil && is == f.were[i] && !f.overwritten(i, size) {
			continue
		}
		was := "was replaced"
		switch {
		case errors.Is(err, fs.ErrNotExist):
			was = "was removed"
		case err != nil:
			was = fmt.Sprintf("cannot be looked at (%v)", err)
		case is == f.were[i] && i == 2:
			was = "was cut off"
		}
		lost := fmt.Errorf("%w: %s %s while this program had it open: stop whatever did that, then restart this program",
			ErrLost, name, was)
		f.gone.CompareAndSwap(nil, &lost)
		return *f.gone.Load()
	}
	return nil
}

// overwritten reports whether another program has written into a file in place.
// The database becomes smaller only when SQLite needs fewer pages, and changes
// only in checkpoints; a log that is not empty begins with its header, and is as
// its index says; the log's index never becomes smaller while it
// is in use.
func (f *fileWatch) overwritten(i int, size int64) bool {
	switch {
	case i == 0 && f.pages != nil:
		return f.shrunk(size) || f.databaseChanged()
	case i == 1 && f.log != nil:
		return f.logChanged()
	case i == 2:
		before := f.index.Load()
		for before < size && !f.index.CompareAndSwap(before, size) {
			before = f.index.Load()
		}
		if size >= before {
			return false
		}
		// Another check may have seen it grow since.
		_, size, err := identify(f.names[2])
		return err == nil && size < before
	}
	return false
}

func (f *fileWatch) databaseChanged() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.contents.databaseChanged(f.log)
}

// shrunk reports whether the database of that size has become smaller, and SQLite
// has not made it so. SQLite is asked on a connection that is open: a new one would
// delete the log beside an empty database.
func (f *fileWatch) shrunk(size int64) bool {
	before := f.size.Load()
	for before < size && !f.size.CompareAndSwap(before, size) {
		before = f.size.Load()
	}
	if size >= before {
		return false
	}
	// Another look may have seen it grow since.
	if _, again, err := identify(f.names[0]); err == nil && again >= before {
		return false
	} else if err == nil {
		size = again
	}
	if size == 0 {
		return true
	}
	whole, err := f.pages()
	if busy(err) {
		return false // the next look asks again
	}
	_, log, err2 := identify(f.names[1])
	if err != nil || err2 != nil || size+log < whole {
		return true
	}
	f.size.CompareAndSwap(before, size)
	return false
}

// logChanged reports whether the log, if it is not empty, does not begin as one
// does, or not as its index says.
func (f *fileWatch) logChanged() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.contents.logChanged(f.log) {
		return true
	}
	var magic [4]byte
	n, err := f.log.ReadAt(magic[:], 0)
	if n == 0 && errors.Is(err, io.EOF) {
		return false // SQLite empties it now and then
	}
	return err != nil || binary.BigEndian.Uint32(magic[:])&^1 != 0x377f0682
}

// checkSoon is check unless one succeeded within the last lookEvery.
func (f *fileWatch) checkSoon() error {
	if err := f.gone.Load(); err != nil {
		return *err
	}
	if int64(clock.System.Now().Sub(f.started))-f.looked.Load() < int64(lookEvery) {
		return nil
	}
	return f.check()
}
