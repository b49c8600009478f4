package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// A place that cannot hold a database is refused with what to do, and each place
// is left as it was.
func TestCheckPlace(t *testing.T) {
	works := func(n int) error { // the second request is for a lock that is taken
		if n == 2 {
			return syscall.EAGAIN
		}
		return nil
	}
	for name, row := range map[string]struct {
		fake func(t *testing.T)
		want string
	}{
		"a local disk":       {func(*testing.T) {}, ""},
		"locks as they are":  {func(t *testing.T) { sqlite.FakeLocks(t, works) }, ""},
		"locks of no effect": {func(t *testing.T) { sqlite.FakeLocks(t, func(int) error { return nil }) }, "locks do not exclude"},
		"no locks":           {func(t *testing.T) { sqlite.FakeLocks(t, func(int) error { return syscall.ENOLCK }) }, "locks do not exclude"},
		"a system without the other kind of lock": {func(t *testing.T) {
			sqlite.FakeLocks(t, func(n int) error { return [...]error{nil, syscall.EINVAL, nil}[n] })
		}, ""},
		"neither kind of lock": {func(t *testing.T) { sqlite.FakeLocks(t, func(int) error { return syscall.EINVAL }) }, "locks do not exclude"},
		"locks that stay": {func(t *testing.T) {
			sqlite.FakeLocks(t, func(n int) error { return [...]error{nil, nil, syscall.EAGAIN, nil, syscall.EAGAIN}[n] })
		}, "locks do not exclude"},
		"locks that fail when they are taken": {func(t *testing.T) {
			sqlite.FakeLocks(t, func(n int) error { return [...]error{nil, nil, syscall.EIO, nil, nil}[n] })
		}, "locks do not exclude"},
		"locks that cannot be let go of": {func(t *testing.T) {
			sqlite.FakeLocks(t, func(n int) error { return [...]error{nil, nil, syscall.EACCES, syscall.EIO, nil}[n] })
		}, "locks do not exclude"},
		"memory that is not shared": {func(t *testing.T) { sqlite.FakeMemory(t, nil) }, "cannot share memory"},
		"no memory of files":        {func(t *testing.T) { sqlite.FakeMemory(t, syscall.ENODEV) }, "cannot share memory"},
		"no sync":                   {func(t *testing.T) { sqlite.FakeSync(t, syscall.EINVAL) }, "lost with the power"},
	} {
		t.Run(name, func(t *testing.T) {
			row.fake(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "counterfoil.db")
			err := sqlite.CheckPlace(path)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), "on a local disk") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%d files were left, %v", len(left), err)
			}
		})
	}
	if err := sqlite.CheckPlace(filepath.Join(t.TempDir(), "missing", "x.db")); err == nil || !strings.Contains(err.Error(), "in a directory that exists") {
		t.Errorf("no directory: %v", err)
	}
}

// A look at the place drops none of the locks of a database that is open there.
func TestCheckPlaceKeepsLocks(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	held := func() bool { return locks(t, path) > 0 && locks(t, path+"-shm") > 0 }
	eventually.True(t, "locks are held", held)
	if err := sqlite.CheckPlace(path); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "they are held still", held)
}
