package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// versionAt is where a file has its user_version ("Database File Format" section
// 1.3), and its size.
const versionAt, versionSize = 60, 4

// awaitOthers refuses to upgrade a file that another process has open: that is a
// program of the older schema, whose statements would fail. Another that upgrades
// the file at the same time is waited for. opening is locked.
func awaitOthers(ctx context.Context, path string, is identity, size int64) error {
	if size < versionAt+versionSize || isHeld(is) {
		return nil
	}
	newest, err := stampOfAll()
	if err != nil {
		return err
	}
	deadline := clock.System.Now().Add(patience)
	for {
		// Usually the file itself says that nothing is to be done. It may be older than
		// its log.
		if stamped, err := versionIn(path); err != nil || stamped == newest || stamped&maxVersion == 0 {
			return err
		}
		used := untouched(path)
		var version int
		var names []string
		err := raw(ctx, path, "mode=rw", nil, func(conn *sql.Conn) (err error) {
			version, names, err = schema(ctx, conn)
			return err
		})
		switch {
		case err != nil, used == nil, version == len(names):
			return nil // what is wrong is reported later
		case !errors.Is(used, ErrInUse):
			return used
		case clock.System.Now().After(deadline):
			return errOldInUse
		}
		if err := clock.System.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// stampOfAll is the user_version of a file with all migrations.
func stampOfAll() (int, error) {
	names, err := all()
	if err != nil {
		return 0, err
	}
	return stamp(names)
}

// versionIn reads the user_version from a file that this process does not have
// open.
func versionIn(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [versionSize]byte
	_, err = f.ReadAt(b[:], versionAt)
	return int(binary.BigEndian.Uint32(b[:])), err
}
