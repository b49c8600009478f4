//go:build unix

package files

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Foreign returns why others than this process's user and root can write the
// file: its mode lets them, or it belongs to one of them. It is nil for a file
// that they can only read.
func Foreign(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("other users can write it (mode %04o): chmod go-w", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("another user can write it (its owner, id %d): chown it to this program's user or to root, if what it holds is yours", st.Uid)
	}
	return nil
}
