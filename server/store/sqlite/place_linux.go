package sqlite

import (
	"os"
	"syscall"
)

// system holds the system calls, which tests replace.
var system = struct {
	statfs func(path string, buf *syscall.Statfs_t) error
	fcntl  func(fd uintptr, cmd int, lock *syscall.Flock_t) error
	mmap   func(fd int, offset int64, length, prot, flags int) ([]byte, error)
	sync   func(f *os.File) error
}{syscall.Statfs, syscall.FcntlFlock, syscall.Mmap, (*os.File).Sync}

func kindOf(dir string) kind {
	var st syscall.Statfs_t
	if err := system.statfs(dir, &st); err != nil {
		return 0
	}
	return kind(uint32(st.Type))
}

// ofdSetLock is F_OFD_SETLK: such a lock is of the open file, not of the process,
// so that one process can see whether it keeps another out.
const ofdSetLock = 37

// sharedSize is a page or more of memory.
const sharedSize = 32 << 10

// try uses one file, opened twice, as two processes use a database.
func try(one, other *os.File) error {
	if err := tryLocks(one, other); err != nil {
		return err
	}
	if err := one.Truncate(sharedSize); err != nil {
		return explain(err)
	}
	if err := system.sync(one); err != nil {
		return errSync
	}
	return share(one, other)
}

// tryLocks has one lock of each kind meet the other. A system without the
// first kind, which SQLite does not need, passes.
func tryLocks(one, other *os.File) error {
	lock := func(kind int16) *syscall.Flock_t { return &syscall.Flock_t{Type: kind, Start: 120, Len: 8} }
	switch err := system.fcntl(one.Fd(), ofdSetLock, lock(syscall.F_WRLCK)); {
	case err == syscall.EINVAL || err == syscall.ENOSYS:
		if err := system.fcntl(other.Fd(), syscall.F_SETLK, lock(syscall.F_WRLCK)); err != nil {
			return errLocks
		}
		return nil
	case err != nil:
		return errLocks
	}
	// SQLite's own kind of lock must fail while it is held, and succeed after
	// it.
	if err := system.fcntl(other.Fd(), syscall.F_SETLK, lock(syscall.F_WRLCK)); err != syscall.EAGAIN && err != syscall.EACCES {
		return errLocks
	}
	if err := system.fcntl(one.Fd(), ofdSetLock, lock(syscall.F_UNLCK)); err != nil {
		return errLocks
	}
	if err := system.fcntl(other.Fd(), syscall.F_SETLK, lock(syscall.F_WRLCK)); err != nil {
		return errLocks
	}
	return nil
}

// share writes through one mapping of a file and reads through another.
func share(one, other *os.File) error {
	here, err := system.mmap(int(one.Fd()), 0, sharedSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return errShared
	}
	defer func() { _ = syscall.Munmap(here) }()
	there, err := system.mmap(int(other.Fd()), 0, sharedSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return errShared
	}
	defer func() { _ = syscall.Munmap(there) }()
	here[sharedSize-1] = 42
	if there[sharedSize-1] != 42 {
		return errShared
	}
	return nil
}
