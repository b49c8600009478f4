//go:build linux || darwin

package metrics

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// freeSpace returns the space that this user can still write on the disk of a file,
// in bytes.
func freeSpace(file string) (bytes float64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(file), &s); err != nil {
		return 0, false
	}
	return float64(s.Bavail) * float64(s.Bsize), true
}
