//go:build unix

package files

import (
	"errors"
	"os"
	"syscall"
)

// SyncEntries is SyncDir for an open directory. It ignores that a file system does
// not have the operation, or is read-only.
func SyncEntries(d *os.File) error {
	err := d.Sync()
	for _, harmless := range []error{syscall.EINVAL, syscall.ENOTSUP, syscall.ENOSYS, syscall.EROFS} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}
