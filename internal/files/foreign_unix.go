//go:build unix

package files

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Foreign returns an error if users other than this process's user and root can
// write the file: its mode allows it, or the file belongs to one of them. It
// returns nil for a file that they can only read.
func Foreign(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("other users can write it (mode %04o): chmod go-w", mode)
	}
	return owned(info, uint32(os.Geteuid()))
}

// Untrusted returns an error for a file that an operator names and everyone can
// write, or that belongs to a user other than this process's user and root. Root
// may use the files of all users.
func Untrusted(info fs.FileInfo) error {
	if err := Writable(info); err != nil || os.Geteuid() == 0 {
		return err
	}
	return owned(info, uint32(os.Geteuid()))
}

// Writable returns an error for a file that everyone can write.
func Writable(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); info.Mode().IsRegular() && mode&0o002 != 0 {
		return fmt.Errorf("anybody can write it (mode %04o): chmod o-w, after a look at what it holds", mode)
	}
	return nil
}

// Doubts returns warnings about a file that is used although the operator may not
// have intended its mode or owner: its group or another user can write it, or
// others can read it and it holds a secret.
func Doubts(info fs.FileInfo, secret bool) (all []string) {
	mode := info.Mode().Perm()
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil
	}
	if mode&0o020 != 0 {
		all = append(all, fmt.Sprintf("its group can write it (mode %04o): chmod g-w, unless you trust all of the group", mode))
	}
	if secret && mode&0o004 != 0 {
		all = append(all, fmt.Sprintf("it holds a secret and others can read it (mode %04o): chmod o-r, "+
			"unless all users of this machine or container may know it", mode))
	}
	if err := owned(info, uint32(os.Geteuid())); err != nil && os.Geteuid() != 0 {
		all = append(all, err.Error())
	}
	return all
}

// Anothers reports whether the file belongs to a user other than this process's
// user and root.
func Anothers(info fs.FileInfo) bool { return owned(info, uint32(os.Geteuid())) != nil }

func owned(info fs.FileInfo, user uint32) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && st.Uid != user {
		return fmt.Errorf("another user can write it (its owner, id %d): "+
			"chown it to this program's user or to root, if what it holds is yours", st.Uid)
	}
	return nil
}

// Adopt gives a file that root has created to the owner of like, so that a command
// that root runs first does not lock out the user of a service. For other users it
// does nothing.
func Adopt(f *os.File, like fs.FileInfo) error {
	st, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
