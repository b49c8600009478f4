package disktest_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/counterfoil/counterfoil/internal/disktest"
)

func TestMain(m *testing.M) {
	disktest.Main()
	os.Exit(m.Run())
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// synced is what programs do to be sure of a file or a directory.
func synced(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fates returns the contents that a file has after the power is back, "-" for
// none, in order and each once.
func fates(t *testing.T, d *disktest.Disk, name string) []string {
	t.Helper()
	var all []string
	for seed := range uint64(80) {
		text, err := os.ReadFile(filepath.Join(d.Restored(seed), name))
		if errors.Is(err, os.ErrNotExist) {
			text, err = []byte("-"), nil
		}
		must(t, err)
		all = append(all, string(text))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

// What may become of a file follows from what was synced, and from nothing else.
func TestFates(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(dir string) error
		want []string
	}{
		{"nothing is synced", func(dir string) error { return write(dir+"/x", "new") }, []string{"", "-", "new"}},
		{"the file is synced, not its directory", func(dir string) error {
			return errors.Join(write(dir+"/x", "new"), synced(dir+"/x"))
		}, []string{"-", "new"}},
		{"the directory is synced, not the file", func(dir string) error {
			return errors.Join(write(dir+"/x", "new"), synced(dir))
		}, []string{"", "new"}},
		{"both are synced", func(dir string) error {
			return errors.Join(write(dir+"/x", "new"), synced(dir+"/x"), synced(dir))
		}, []string{"new"}},
		{"renamed without a sync", func(dir string) error {
			return errors.Join(write(dir+"/x", "old"), synced(dir+"/x"), synced(dir), write(dir+"/y", "new"), os.Rename(dir+"/y", dir+"/x"))
		}, []string{"", "new", "old"}},
		{"renamed with a sync of the file", func(dir string) error {
			return errors.Join(write(dir+"/x", "old"), synced(dir+"/x"), synced(dir), write(dir+"/y", "new"), synced(dir+"/y"), os.Rename(dir+"/y", dir+"/x"))
		}, []string{"new", "old"}},
		{"renamed with both", func(dir string) error {
			return errors.Join(write(dir+"/x", "old"), synced(dir+"/x"), synced(dir), write(dir+"/y", "new"), synced(dir+"/y"), os.Rename(dir+"/y", dir+"/x"), synced(dir))
		}, []string{"new"}},
		{"removed without a sync", func(dir string) error {
			return errors.Join(write(dir+"/x", "old"), synced(dir+"/x"), synced(dir), os.Remove(dir+"/x"))
		}, []string{"-", "old"}},
		{"cut short without a sync", func(dir string) error {
			return errors.Join(write(dir+"/x", "old"), synced(dir+"/x"), synced(dir), os.Truncate(dir+"/x", 1))
		}, []string{"o", "old"}},
		{"written in two sectors", func(dir string) error {
			return errors.Join(write(dir+"/x", strings.Repeat("a", 1024)), synced(dir+"/x"), synced(dir), overwriteAt(dir+"/x", 0, strings.Repeat("b", 1024)))
		}, []string{
			strings.Repeat("a", 1024), strings.Repeat("a", 512) + strings.Repeat("b", 512),
			strings.Repeat("b", 512) + strings.Repeat("a", 512), strings.Repeat("b", 1024),
		}},
		{"written across the border of two sectors", func(dir string) error {
			return errors.Join(write(dir+"/x", strings.Repeat("a", 1024)), synced(dir+"/x"), synced(dir), overwriteAt(dir+"/x", 256, strings.Repeat("b", 512)))
		}, []string{
			strings.Repeat("a", 1024), strings.Repeat("a", 512) + strings.Repeat("b", 256) + strings.Repeat("a", 256),
			strings.Repeat("a", 256) + strings.Repeat("b", 256) + strings.Repeat("a", 512),
			strings.Repeat("a", 256) + strings.Repeat("b", 512) + strings.Repeat("a", 256),
		}},
		{"in a directory that is not synced", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/y", 0o700), write(dir+"/y/x", "new"), synced(dir+"/y/x"), synced(dir+"/y"), os.Rename(dir+"/y", dir+"/x"))
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := disktest.New(t, "")
			must(t, row.do(d.Path))
			d.Cut()
			if row.want == nil {
				if _, err := os.Stat(filepath.Join(d.Restored(0), "x")); err == nil {
					t.Error("the directory is there")
				}
				if text, err := os.ReadFile(filepath.Join(d.Restored(1), "x/x")); err != nil || string(text) != "new" {
					t.Errorf("got %q, %v", text, err)
				}
				return
			}
			if got := fates(t, d, "x"); !slices.Equal(got, row.want) {
				t.Errorf("got %.40q, want %.40q", got, row.want)
			}
		})
	}
}

func overwriteAt(path string, at int64, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), at)
	return errors.Join(err, f.Close())
}

// Of the unsynced changes none survive with the seed 0, and all with 1.
func TestNoneAndAll(t *testing.T) {
	d := disktest.New(t, "")
	before, after := strings.Repeat("a", 8*512), strings.Repeat("b", 8*512)
	must(t, write(d.Path+"/x", before), synced(d.Path+"/x"), synced(d.Path), overwriteAt(d.Path+"/x", 0, after))
	d.Cut()
	for seed, want := range map[uint64]string{0: before, 1: after} {
		if text, err := os.ReadFile(filepath.Join(d.Restored(seed), "x")); err != nil || string(text) != want {
			t.Errorf("seed %d: got %.10q…, %v; want %.10q…", seed, text, err, want)
		}
	}
}

// The disk reads what it has when the page cache does not.
func TestRead(t *testing.T) {
	d := disktest.New(t, "")
	text := strings.Repeat("0123456789", 1000)
	must(t, write(d.Path+"/x", text))
	f, err := os.Open(d.Path + "/x")
	must(t, err)
	defer f.Close()
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	if got, err := io.ReadAll(f); err != nil || string(got) != text {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(text))
	}
}

// A directory with files is not removed.
func TestRemoveDirectory(t *testing.T) {
	d := disktest.New(t, "")
	must(t, os.Mkdir(d.Path+"/sub", 0o700), write(d.Path+"/sub/x", "text"))
	if err := syscall.Rmdir(d.Path + "/sub"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("with a file: %v", err)
	}
	must(t, os.Remove(d.Path+"/sub/x"), syscall.Rmdir(d.Path+"/sub"))
}

// A disk whose process was killed leaves no mount behind.
func TestKilled(t *testing.T) {
	d := disktest.New(t, "")
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	must(t, err)
	killed := 0
	for _, environ := range processes {
		text, _ := os.ReadFile(environ) // it may have ended
		if slices.Contains(strings.Split(string(text), "\x00"), "COUNTERFOIL_TEST_DISK="+d.Path) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(environ)))
			must(t, err, syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	if killed != 1 {
		t.Fatalf("killed %d processes", killed)
	}
	d.Close()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), " "+d.Path+" ") {
		t.Error("it is mounted still")
	}
}

// Once the power is cut every change fails and is never seen again; what was
// there at the start is.
func TestCut(t *testing.T) {
	from := t.TempDir()
	must(t, os.Mkdir(from+"/sub", 0o700), write(from+"/sub/x", "old"))
	d := disktest.New(t, from)
	f, err := os.OpenFile(d.Path+"/sub/x", os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	d.CutAfter(1)
	_, err = f.WriteString("new")
	must(t, err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync after the cut: %v", err)
	}
	<-d.Off()
	for name, err := range map[string]error{
		"write": write(d.Path+"/y", "y"), "rename": os.Rename(d.Path+"/sub/x", d.Path+"/sub/y"), "remove": os.Remove(d.Path + "/sub/x"),
		"mkdir": os.Mkdir(d.Path+"/z", 0o700), "truncate": os.Truncate(d.Path+"/sub/x", 0), "sync": synced(d.Path),
	} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s after the cut: %v", name, err)
		}
	}
	if got := fates(t, d, "sub/x"); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("got %q", got)
	}
}

// One change can fail, and those after it succeed.
func TestFail(t *testing.T) {
	d := disktest.New(t, "")
	before := d.Changes()
	d.FailAfter(1)
	if err := write(d.Path+"/x", "one"); !errors.Is(err, syscall.EIO) { // made, not written
		t.Errorf("the second change: %v", err)
	}
	must(t, write(d.Path+"/x", "two"), synced(d.Path+"/x"), synced(d.Path))
	if n := d.Changes() - before; n < 5 {
		t.Errorf("%d changes are counted", n)
	}
	d.Cut()
	if got := fates(t, d, "x"); !slices.Equal(got, []string{"two"}) {
		t.Errorf("got %q", got)
	}
}
