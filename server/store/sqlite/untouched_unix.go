//go:build unix

package sqlite

import (
	"io"
	"os"
	"syscall"
)

// untouched returns ErrInUse when another process holds one of SQLite's locks on
// a file, which no Store of this process has open. The file may be damaged.
func untouched(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return &os.PathError{Op: "look for locks", Path: path, Err: err}
	}
	if lock.Type != syscall.F_UNLCK {
		return ErrInUse
	}
	return nil
}
