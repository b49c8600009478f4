//go:build unix

package dircache

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private refuses a file that other users can open or own.
func private(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("other users can open it (mode %04o)", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to another user (id %d)", st.Uid)
	}
	return nil
}
