//go:build !unix

package sqlite

import (
	"errors"
	"os"
)

// identity is the path where the system has no inodes: there a file that is open
// can be neither removed nor replaced.
type identity string

func identify(path string) (identity, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return identity(path), 0, err
	}
	return identity(path), info.Size(), nil
}

// writable reports whether this user may write to the file.
func writable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o200 == 0 {
		err = errors.New("the file is read-only")
	}
	return err
}
