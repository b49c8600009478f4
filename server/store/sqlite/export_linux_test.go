package sqlite

import (
	"os"
	"syscall"
	"testing"
)

// FakeKind makes every file system one of the given kind, for a test.
func FakeKind(t testing.TB, kind int64) {
	restore(t)
	system.statfs = func(_ string, buf *syscall.Statfs_t) error { buf.Type = kind; return nil }
}

// FakeLocks lets answer say what each request for a lock comes to: the n-th.
func FakeLocks(t testing.TB, answer func(n int) error) {
	restore(t)
	n := 0
	system.fcntl = func(uintptr, int, *syscall.Flock_t) error { n++; return answer(n) }
}

// FakeMemory makes what two processes map of one file a mapping of their own, or
// an error; FakeSync is what a sync comes to.
func FakeMemory(t testing.TB, err error) {
	restore(t)
	system.mmap = func(_ int, _ int64, length, prot, _ int) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return syscall.Mmap(-1, 0, length, prot, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	}
}

func FakeSync(t testing.TB, err error) {
	restore(t)
	system.sync = func(*os.File) error { return err }
}

func restore(t testing.TB) {
	t.Helper()
	was := system
	t.Cleanup(func() { system = was })
}
