package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server/store"
)

// ErrInUse means that another process has a database open.
var ErrInUse = errors.New("another process has the database open: stop every server and command that uses it, then repeat")

// Unpack makes the database of a backup one that Open opens. It reads all of it,
// and refuses one that is damaged or that a newer program wrote. No other process
// has the file open.
func Unpack(ctx context.Context, path string) error {
	err := raw(ctx, path, "mode=rw", nil, func(conn *sql.Conn) error {
		var id int
		err := conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id)
		if err == nil && id != backupID {
			err = errForeign
		}
		if err != nil {
			return err
		}
		var verdict string
		if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w (%s)", errDamaged, strings.ReplaceAll(verdict, "\n", "; "))
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return err
		}
		_, _, err = schema(ctx, conn)
		return err
	})
	if err != nil {
		return fmt.Errorf("the database in the backup: %w", explain(err))
	}
	return nil
}

// EndOfTokens is the time before which all tokens are dated that a server has
// issued until now.
func EndOfTokens(now time.Time) time.Time { return now.Truncate(time.Second).Add(store.MaxAhead).UTC() }

// InUse returns ErrInUse when another process has the database open. It changes
// nothing, and Exchange looks again: on systems without POSIX locks, only that does.
func InUse(path string) error {
	opening.Lock()
	defer opening.Unlock()
	if err := untouched(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// alone calls do while no other process can open the database.
func alone(ctx context.Context, path string, do func() error) error {
	opening.Lock()
	defer opening.Unlock()
	if info, err := os.Stat(path); err != nil {
		return err
	} else if info.Size() == 0 {
		return errDamaged
	}
	return raw(ctx, path, "mode=rw", nil, func(conn *sql.Conn) error {
		failed := func(err error) error {
			if busy(err) {
				return ErrInUse
			}
			if err = explain(err); errors.Is(err, ErrIndex) {
				err = fmt.Errorf("%w (%v)", errDamaged, err)
			}
			return err
		}
		_, _, err := schema(ctx, conn)
		if err != nil && !errors.Is(err, errOtherSchema) && !errors.Is(err, errNewer) && !errors.Is(err, errBackup) {
			return failed(err)
		}
		// Without a log, a lock on the file excludes everybody. SQLite refuses this
		// change while another has the file open, and does not wait.
		var mode string
		if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = DELETE").Scan(&mode); err != nil {
			return failed(err)
		}
		if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
			return failed(err)
		}
		defer func() { _, _ = conn.ExecContext(ctx, "ROLLBACK") }()
		if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "delete" {
			return errors.Join(err, ErrInUse)
		}
		return do()
	})
}

// Exchange puts the database at from in the place of the one at path, if there is
// one, which is kept under the name keep, with what is left of its log. It
// returns ErrInUse when another process has it open. Whatever ends the process,
// one of the two is at path, whole.
func Exchange(ctx context.Context, from, path, keep string) (kept bool, err error) {
	_, err = os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, place(path, keep, func() error {
			// A link, unlike a rename, fails when a server has made one meanwhile.
			return errors.Join(os.Link(from, path), os.Remove(from))
		})
	case err != nil:
		return false, err
	}
	exchange := func() error {
		if err := os.Link(path, keep); err != nil {
			return fmt.Errorf("keep the old database: %w", err)
		}
		return place(path, keep, func() error { return os.Rename(from, path) })
	}
	if err = alone(ctx, path, exchange); errors.Is(err, errDamaged) {
		if err = untouched(path); err == nil {
			err = exchange()
		}
	}
	return err == nil, err
}

// place calls move once nothing is beside the path that SQLite would take for the
// log of the new file.
func place(path, keep string, move func() error) error {
	for _, suffix := range []string{"-wal", "-journal", "-shm"} {
		err := os.Rename(path+suffix, keep+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := move(); err != nil {
		return err
	}
	return files.SyncDir(filepath.Dir(path))
}
