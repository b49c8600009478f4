//go:build unix

package files

import (
	"errors"
	"os"
	"syscall"
)

// SyncEntries is SyncDir of a directory that is open. Where the file system has no
// such operation, or cannot be written to, there is nothing to do.
func SyncEntries(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}
