package sqlite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
	before := lockLines(t, path)
	if err := sqlite.CheckPlace(path); err != nil {
		t.Fatal(err)
	}
	if after := lockLines(t, path); before == 0 || after != before {
		t.Errorf("%d locks were held, now %d", before, after)
	}
}

// lockLines counts the locks that this process holds on a database and its index.
func lockLines(t *testing.T, path string) (n int) {
	t.Helper()
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-shm"} {
		var st syscall.Stat_t
		if err := syscall.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(locks)) { // "1: POSIX ADVISORY READ pid major:minor:inode from to"
			fields := strings.Fields(line)
			if len(fields) > 5 && fields[4] == fmt.Sprint(os.Getpid()) && strings.HasSuffix(fields[5], fmt.Sprintf(":%d", st.Ino)) {
				n++
			}
		}
	}
	return n
}

// What cannot be tried out is said by the kind of the file system.
func TestDoubt(t *testing.T) {
	for _, row := range []struct {
		kind int64
		want string
	}{
		{0xef53, ""}, {0x01021994, ""}, {0x58465342, ""}, {0x9123683e, ""},
		{0x6969, "(NFS)"}, {0x517b, "(SMB)"}, {0xfe534d42, "(SMB)"}, {0xff534d42 - 1<<32, "(CIFS)"}, {0x01021997, "(9P)"},
		{0x65735546, "FUSE"}, {0x794c7630, "an overlay"}, {0x00c36400, "(Ceph)"},
	} {
		sqlite.FakeKind(t, row.kind)
		path := filepath.Join(t.TempDir(), "x.db")
		got := sqlite.Doubt(path)
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) || got != "" && (!strings.Contains(got, path) || strings.Contains(got, "\n")) {
			t.Errorf("%x: %q, want %q", row.kind, got, row.want)
		}
	}
}

// A database of a lower layer is copied up by the first who opens it, also while
// somebody reads it. It stays one database: locks hold, what is acknowledged is
// there for another program, and its log survives that program's end.
func TestOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs an overlay, which root alone can mount")
	}
	base := t.TempDir()
	dir := func(name string) string {
		path := filepath.Join(base, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lower, upper, work, merged := dir("lower"), dir("upper"), dir("work"), dir("merged")
	first := open(t, filepath.Join(lower, "x.db"))
	if err := createClient(t.Context(), first, "c0"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("overlay", merged, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work); err != nil {
		t.Skipf("mount an overlay over %s, which its file system may not take: %v", base, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(merged, syscall.MNT_DETACH) })
	path := filepath.Join(merged, "x.db")
	if err := sqlite.CheckPlace(path); err != nil {
		t.Errorf("an overlay over a local disk: %v", err)
	}
	if doubt := sqlite.Doubt(path); !strings.Contains(doubt, "an overlay") {
		t.Errorf("nothing is said of an overlay: %q", doubt)
	}
	// A reader that has the file of the lower layer open, and stays.
	reader, err := sqlite.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if _, err := os.Stat(filepath.Join(upper, "x.db")); err != nil {
		t.Errorf("the file was not copied up: %v", err)
	}
	for i := 1; i < 10; i++ {
		if err := createClient(t.Context(), s, fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "sqlite3", path, "SELECT count(*) FROM clients").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(i+1) {
			t.Errorf("another program sees %q of %d clients, %v", out, i+1, err)
		}
		if _, err := os.Stat(path + "-wal"); err != nil {
			t.Fatalf("another program took the log away: %v", err)
		}
	}
	if err := reader.Close(); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("who read the lower layer is not told: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reads(t, open(t, path), 10)
}
