//go:build unix

package sqlite

import (
	"io/fs"
	"os"
	"syscall"
)

// identity tells one file from another, whatever their names. It holds as long
// as somebody has the file open.
type identity struct{ device, inode uint64 }

// identify returns the identity of the file at a path, and its size. It opens
// nothing, and allocates nothing but the path: it is asked with every commit.
func identify(path string) (identity, int64, error) {
	var st syscall.Stat_t
	for {
		err := syscall.Stat(path, &st)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return identity{}, 0, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		return identity{uint64(st.Dev), uint64(st.Ino)}, st.Size, nil // their sizes differ between systems
	}
}

// writable reports whether this user may write to the file.
func writable(path string) error {
	const writeOK = 2 // W_OK
	if err := syscall.Access(path, writeOK); err != nil {
		return &os.PathError{Op: "open for writing", Path: path, Err: err}
	}
	return nil
}
