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
	return owned(info, uint32(os.Geteuid()))
}

// Untrusted returns why a file that an operator names is refused: anybody can
// write it, or it belongs to a user who is neither this process's nor root. Root
// may use the files of the users that it serves.
func Untrusted(info fs.FileInfo) error {
	if err := Writable(info); err != nil || os.Geteuid() == 0 {
		return err
	}
	return owned(info, uint32(os.Geteuid()))
}

// Writable returns an error for a file that anybody can write.
func Writable(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); info.Mode().IsRegular() && mode&0o002 != 0 {
		return fmt.Errorf("anybody can write it (mode %04o): chmod o-w, after a look at what it holds", mode)
	}
	return nil
}

// Doubts are what an operator perhaps did not mean about a file that is used: its
// group can write it, or another user; others can read it, where it holds a secret.
func Doubts(info fs.FileInfo, secret bool) (all []string) {
	mode := info.Mode().Perm()
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil
	}
	if mode&0o020 != 0 {
		all = append(all, fmt.Sprintf("its group can write it (mode %04o): chmod g-w, unless you trust all of the group", mode))
	}
	if secret && mode&0o004 != 0 {
		all = append(all, fmt.Sprintf("it holds a secret and others can read it (mode %04o): chmod o-r, unless all users of this machine or container may know it", mode))
	}
	if err := owned(info, uint32(os.Geteuid())); err != nil && os.Geteuid() != 0 {
		all = append(all, err.Error())
	}
	return all
}

// Anothers reports whether the file belongs to a user who is neither this process's
// nor root.
func Anothers(info fs.FileInfo) bool { return owned(info, uint32(os.Geteuid())) != nil }

func owned(info fs.FileInfo, user uint32) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && st.Uid != user {
		return fmt.Errorf("another user can write it (its owner, id %d): chown it to this program's user or to root, if what it holds is yours", st.Uid)
	}
	return nil
}

// Adopt gives a file that root has made the owner of like, so that the first command
// that root runs does not lock out the user that a service has. Other users change
// nothing.
func Adopt(f *os.File, like fs.FileInfo) error {
	st, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
