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

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Inspection describes a file that was not opened for writing.
type Inspection struct {
	// Exists is false when Open would create the file.
	Exists bool
	// Migrations is how many Open would apply.
	Migrations int
	// Keys are the signing keys of all realms, with Realm, ID and Private only;
	// none when migrations are pending.
	Keys []store.SigningKey

	seen int // how many migrations were applied
}

// Inspect reads a file without changing it. It refuses what Open refuses: a
// directory that is missing or not writable, another program's file, a newer
// schema. Other processes and this one may have the file open. The error names
// the file and the next action.
func Inspect(ctx context.Context, path string) (Inspection, error) {
	opening.Lock()
	defer opening.Unlock()
	full, linked, err := settle(path)
	if err == nil && linked {
		err = ours(ctx, full)
	}
	var found Inspection
	if err == nil {
		found, err = inspect(ctx, full)
	}
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect database %s: %w", path, explain(err))
	}
	return found, nil
}

func inspect(ctx context.Context, path string) (Inspection, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Inspection{}, err
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return Inspection{}, err
	} else if !dir.IsDir() {
		return Inspection{}, fmt.Errorf("%s is no directory", filepath.Dir(path))
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Inspection{Migrations: 1}, nil
	case err != nil:
		return Inspection{}, err
	case !info.Mode().IsRegular():
		return Inspection{}, errForeign
	}
	if err := writable(path); err != nil {
		return Inspection{}, err
	}
	// Without a log, no process has the file open, and SQLite may treat it as
	// immutable: otherwise it would create the files of the log to read it.
	mode := "immutable=1"
	if logged(path) {
		mode = "mode=ro"
	}
	found, err := inspectAs(ctx, path, mode, info.Size())
	if err != nil && mode == "immutable=1" && logged(path) {
		return inspectAs(ctx, path, "mode=ro", info.Size()) // another process has opened it meanwhile
	}
	return found, err
}

func logged(path string) bool {
	_, err := os.Stat(path + "-wal")
	return err == nil
}

func inspectAs(ctx context.Context, path, mode string, size int64) (Inspection, error) {
	pragmas := url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()), "query_only(1)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+mode+"&"+pragmas.Encode())
	if err != nil {
		return Inspection{}, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return Inspection{}, err
	}
	defer conn.Close()
	if err := whole(ctx, conn, size); err != nil {
		return Inspection{}, err
	}
	version, names, err := schema(ctx, conn)
	if err != nil {
		return Inspection{}, err
	}
	found := Inspection{Exists: true, Migrations: len(names) - version, seen: version}
	if found.Migrations > 0 {
		return found, nil
	}
	rows, err := conn.QueryContext(ctx, "SELECT realm, id, private FROM signing_keys ORDER BY realm, id")
	if err != nil {
		return Inspection{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var k store.SigningKey
		var private []byte
		if err := rows.Scan(&k.Realm, &k.ID, &private); err != nil {
			return Inspection{}, err
		}
		k.Private = counterfoil.Secret(private)
		found.Keys = append(found.Keys, k)
	}
	return found, rows.Err()
}
