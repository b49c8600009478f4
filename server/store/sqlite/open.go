// Package sqlite stores the server's data in one SQLite file, without cgo. Use
// it on one machine, where several processes may have the file open at once,
// for example a server and the command line.
//
// It implements store.Store. Each write is synced to the disk before its call
// returns; concurrent writes share one transaction and one sync. When the
// file, its -wal or its -shm is removed or replaced while a Store has it open,
// every call fails with ErrLost from then on.
//
// Nothing else in the process may open the file, its -wal or its -shm, not
// even to read or copy it: closing it again would drop SQLite's locks.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// applicationID marks the file as Counterfoil's: "CFOL".
	applicationID = 0x43464f4c
	// patience is how long a statement waits for a lock of another process.
	patience = 5 * time.Second
	// stuckAfter is how long a write, and with it its request, waits for a
	// process that holds the lock and commits nothing; crowdedAfter is how long
	// it waits for others that commit and leave no gap. It checks every
	// lookWriter.
	stuckAfter, crowdedAfter, lookWriter = 1500 * time.Millisecond, 3 * time.Second, 50 * time.Millisecond
	// maxLog is the size that the write-ahead log is truncated to when it
	// restarts, in bytes: a long transaction of a reader makes it grow far
	// beyond its usual size.
	maxLog = 16 << 20
	// checkedSize is the largest file that is checked completely when it is
	// opened: that takes some 10 ms per MiB.
	checkedSize = 8 << 20
	// connections counts the readers, the writer and the users of DB.
	connections = 16
)

// Open opens the file. It creates a missing file, readable by its owner only,
// upgrades an older schema and refuses a newer one. The error names the file
// and the next action.
func Open(ctx context.Context, path string) (*Store, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	opening.Lock()
	defer opening.Unlock()
	full, linked, err := settle(full)
	if err == nil && linked {
		err = ours(ctx, full)
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, explain(err))
	}
	cut := indexIsCut(full)
	db, dsn, was, err := open(ctx, full)
	if err != nil {
		if err = explain(err); cut && errors.Is(err, errDamaged) {
			err = fmt.Errorf("%w %s", ErrIndex, strings.TrimPrefix(err.Error(), errDamaged.Error()+" "))
		}
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	s, err := newStore(ctx, db, full, dsn)
	if err == nil && s.access.files.were[0] != was { // SQLite may have the old file, and the watch the new one
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, errExchanged), s.Close())
	}
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open database %s: %w", path, explain(err))
	}
	return s, nil
}

// open opens the file, and returns which one it was before.
func open(ctx context.Context, path string) (db *sql.DB, dsn string, was identity, err error) {
	size, err := reserve(path)
	if err == nil {
		was, _, err = identify(path)
	}
	if err == nil {
		err = awaitOthers(ctx, path, was, size)
	}
	if err != nil {
		return nil, "", was, err
	}
	// Deleted data is overwritten: a private key that was sealed or erased must
	// not stay readable in the free space of the file and its copies.
	dsn = "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()), "foreign_keys(1)", "synchronous(FULL)",
			"secure_delete(1)", fmt.Sprintf("journal_size_limit(%d)", maxLog)},
		"_txlock": {"immediate"},
		"mode":    {"rw"}, // a later connection must not create a new file
	}.Encode()
	db, err = sql.Open("sqlite", dsn)
	if err != nil {
		return nil, "", was, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	err = prepareFile(ctx, db, path, size)
	if err == nil {
		// SQLite syncs the directory with the first sync of the log, and ignores a
		// failure of that: without its entry the log would be lost in a power
		// failure.
		err = files.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = db.Close()
		return nil, "", was, err
	}
	return db, dsn, was, nil
}

// prepareFile checks that the file is undamaged and Counterfoil's, and
// upgrades its schema.
func prepareFile(ctx context.Context, db *sql.DB, path string, size int64) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := whole(ctx, conn, size); err != nil {
		return err
	}
	version, names, err := schema(ctx, conn)
	if err != nil {
		return err
	}
	if err := narrow(path); err != nil {
		return err
	}
	if version < len(names) { // otherwise there is nothing to wait for a lock for
		if err := upgrade(ctx, conn); err != nil {
			return err
		}
	}
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode == "wal" {
		return err
	}
	return useWAL(ctx, conn)
}

// upgrade applies the missing migrations; concurrent processes do so once.
func upgrade(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return err
	}
	if err := migrate(ctx, conn); err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		return err
	}
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}

// whole checks that a file of that size is undamaged, unless it is large.
func whole(ctx context.Context, conn *sql.Conn, size int64) error {
	if size == 0 || size > checkedSize {
		return nil
	}
	var verdict string
	if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w (%s)", errDamaged, strings.ReplaceAll(verdict, "\n", "; "))
	}
	return nil
}

// useWAL switches the file to the write-ahead log. SQLite does not wait for a
// process that opens the file at the same time, so this does.
func useWAL(ctx context.Context, conn *sql.Conn) error {
	deadline := clock.System.Now().Add(patience)
	for {
		_, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL")
		if err == nil || !busy(err) || clock.System.Now().After(deadline) {
			return err
		}
		if err := clock.System.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// schema returns how many of the migrations were applied to the file, and
// their names. It refuses the file of another program or of a newer version.
func schema(ctx context.Context, conn *sql.Conn) (version int, names []string, err error) {
	var id, tables int
	if err := errors.Join(
		conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id),
		conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables),
	); err != nil {
		return 0, nil, err
	}
	if names, err = all(); err != nil {
		return 0, nil, err
	}
	stamped := version
	version &= maxVersion
	switch {
	case id == backupID:
		return 0, nil, errBackup
	case id != applicationID && (tables > 0 || id != 0):
		return 0, nil, errForeign
	case version > len(names):
		return 0, nil, fmt.Errorf("%w: it has version %d and this program knows versions up to %d: use the "+
			"newer program that wrote it", errNewer, version, len(names))
	}
	want, err := stamp(names[:version])
	if err == nil && stamped != want && stamped != earlyThird {
		err = errOtherSchema
	}
	return version, names, err
}

// all returns the names of all migrations in their order.
func all() ([]string, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	slices.Sort(names)
	return names, err
}

// maxVersion is how many migrations there can be.
const maxVersion = 1<<8 - 1

// stamp returns the user_version of a file with these migrations: their
// number, and above it a sum of their text. So a migration that was changed
// after it was applied is detected at the start.
func stamp(names []string) (int, error) {
	if len(names) == 0 {
		return 0, nil
	}
	sum := crc32.NewIEEE()
	for _, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return 0, err
		}
		sum.Write(text)
	}
	return int(sum.Sum32()>>9)<<8 | len(names), nil // positive in 32 bits
}

// earlyThird is the user_version of files that have the third migration in an
// earlier form, which addHorizon completes.
const (
	earlyThird = 0x18239203
	addHorizon = "ALTER TABLE records ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0; UPDATE records SET horizon = (SELECT horizon FROM totals)"
)

// migrate applies the missing migrations, inside the caller's transaction.
func migrate(ctx context.Context, conn *sql.Conn) error {
	version, names, err := schema(ctx, conn)
	if err != nil {
		return err
	}
	var stamped int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&stamped); err != nil {
		return err
	}
	if stamped == earlyThird {
		if _, err := conn.ExecContext(ctx, addHorizon); err != nil {
			return err
		}
	}
	for i, name := range names[version:] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		seen, err := stamp(names[:version+i+1])
		if err != nil {
			return err
		}
		for _, statements := range []string{string(text), fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d",
			applicationID, seen)} {
			if _, err := conn.ExecContext(ctx, statements); err != nil {
				return fmt.Errorf("migration %s: %w", strings.TrimPrefix(name, "migrations/"), err)
			}
		}
	}
	return nil
}

// ErrLost means that the database's files were removed or replaced while they
// were open: they have what was acknowledged before; later writes would be
// lost.
var ErrLost = errors.New("the database is lost")

// ErrIndex means that SQLite cannot use the index of the database's log. No
// data is lost: the next process that opens the database alone rebuilds it.
var ErrIndex = errors.New("the index of its log, the file whose name ends in -shm, was cut off or damaged: end " +
	"every program that has the database open, then start again, which rebuilds it")

var (
	errDamaged     = errors.New("the file is damaged: restore it from a backup, or move it away to start with an empty one")
	errOtherSchema = errors.New("its schema is not the one that this program makes: use the program that wrote " +
		"it, or name another file to start with an empty one")
	errNewer    = errors.New("its schema is a newer one")
	errOldInUse = errors.New("its schema is an older one, and another program has it open, which would fail after an upgrade: " +
		"stop that program, then repeat")
	errExchanged = errors.New("it was exchanged while it was opened, as by a restore: start again")
	errLink      = errors.New("its name is a link to what is no database of Counterfoil's that is this user's: name the file itself")
	errForeign   = errors.New("the file belongs to another program: name a file that Counterfoil may use")
)

// indexIsCut reports whether the index of a database's log is shorter than
// SQLite keeps one that is in use: then an undamaged database may seem
// damaged.
func indexIsCut(path string) bool {
	const region = 32 << 10
	info, err := os.Stat(path + "-shm")
	return err == nil && info.Size()%region != 0
}

// busy reports whether SQLite waited in vain for a lock of another process.
func busy(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_BUSY
}

// explain adds the next action to an error of SQLite or of the file system.
func explain(err error) error {
	var e *driver.Error
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: name a file in a directory that exists and that this user may write to", err)
	}
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CORRUPT:
		return fmt.Errorf("%w (%v)", errDamaged, err)
	case lib.SQLITE_NOTADB:
		return fmt.Errorf("%w (it is not a SQLite database)", errForeign)
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return fmt.Errorf("%w: make the file and its directory writable for this user", err)
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: free some space on its disk", err)
	case lib.SQLITE_IOERR:
		switch e.Code() {
		case lib.SQLITE_IOERR_IN_PAGE, lib.SQLITE_IOERR_SHMMAP, lib.SQLITE_IOERR_SHMOPEN, lib.SQLITE_IOERR_SHMSIZE,
			lib.SQLITE_IOERR_SHMLOCK:
			return fmt.Errorf("%w (%v)", ErrIndex, err)
		}
		return fmt.Errorf("%w: the disk is full or fails: look at it", err)
	case lib.SQLITE_BUSY:
		return fmt.Errorf("%w: another process holds the database: end it, or try again", err)
	}
	return err
}
