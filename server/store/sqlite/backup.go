package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// backupID marks the database in a backup: "CFOB". No server opens it.
const backupID = 0x43464f42

var errBackup = errors.New("it is a backup: put it in place with 'counterfoil restore', which says what it lacks")

// Contents describes what is in a backup.
type Contents struct {
	// Schema is how many migrations were applied.
	Schema int
	// Records is the sequence number of the last record, and Checkpoint the latest
	// checkpoint of the audit log, if there was one.
	Records    int64
	Checkpoint string
}

// Backup copies one state of a database, that of its call, into the file to,
// which exists and is empty. Other processes may have the database open: their
// writes are not blocked, and none makes the copy begin anew; meanwhile what
// they write stays in the write-ahead log, which grows. The schema may be an
// older one. Nothing is changed, so that it works where nothing can be written.
// The copy has no room of deleted data, and is not synced. The error names the
// file and the next action.
func Backup(ctx context.Context, path, to string) (Contents, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return Contents{}, fmt.Errorf("back up database %s: %w", path, err)
	}
	opening.Lock()
	defer opening.Unlock()
	full, _, err = settle(full)
	if err == nil {
		err = copyState(ctx, full, to)
	}
	if err != nil {
		return Contents{}, fmt.Errorf("back up database %s: %w", path, explain(err))
	}
	c, err := mark(ctx, to)
	if err != nil {
		return Contents{}, fmt.Errorf("back up database %s into %s: %w", path, to, explain(err))
	}
	return c, nil
}

// copyState copies in one statement, and so in one transaction that reads.
func copyState(ctx context.Context, path, to string) error {
	before, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode := "mode=rw" // SQLite makes a log and its index, without which it takes no locks
	if writable(path) != nil || writable(filepath.Dir(path)) != nil {
		if mode, err = readMode(path); err != nil {
			return err
		}
	}
	return raw(ctx, path, mode, nil, func(conn *sql.Conn) error {
		version, _, err := schema(ctx, conn)
		if err == nil && version == 0 {
			err = errForeign
		}
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", to); err != nil || mode != immutable {
			return err
		}
		after, err := os.Stat(path)
		if err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) || size(path+"-wal") > 0) {
			err = errMoved
		}
		return err
	})
}

// mark makes a copy the database of a backup, and describes it.
func mark(ctx context.Context, path string) (c Contents, err error) {
	err = raw(ctx, path, "mode=rw", url.Values{"_pragma": {"journal_mode(OFF)", "synchronous(OFF)"}}, func(conn *sql.Conn) error {
		if c.Schema, _, err = schema(ctx, conn); err != nil {
			return err
		}
		if err := conn.QueryRowContext(ctx, "SELECT sequence FROM totals").Scan(&c.Records); err != nil {
			return err
		}
		var log int
		err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'log_checkpoints'").Scan(&log)
		if err == nil && log > 0 {
			err = conn.QueryRowContext(ctx, "SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1").Scan(&c.Checkpoint)
			if errors.Is(err, sql.ErrNoRows) {
				err = nil
			}
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", backupID))
		}
		return err
	})
	return c, err
}

// raw calls do with a connection to a file that no Store has open. Unlike a
// Store it neither upgrades the file nor watches it.
func raw(ctx context.Context, path, mode string, more url.Values, do func(*sql.Conn) error) error {
	values := url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds())}}
	values["_pragma"] = append(values["_pragma"], more["_pragma"]...)
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+mode+"&"+values.Encode())
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		err = do(conn)
		err = cmp.Or(err, conn.Close())
	}
	return cmp.Or(err, db.Close())
}

// Migrations is how many migrations this program knows.
func Migrations() int {
	names, _ := all() // they are in the program
	return len(names)
}
