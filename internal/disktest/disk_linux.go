package disktest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These variables make a copy of the test's binary the process of a Disk: they say
// where to mount it and which directory to copy.
const (
	mountEnv = "COUNTERFOIL_TEST_DISK"
	fromEnv  = "COUNTERFOIL_TEST_DISK_FROM"
)

// WithoutEnv lists, separated by spaces, what this machine lacks: with "fuse",
// tests that need a Disk are skipped.
const WithoutEnv = "COUNTERFOIL_TEST_WITHOUT"

// patience bounds the time for an answer of the disk's process.
const patience = 2 * time.Minute

// Main must be called first in the TestMain of a package that uses a Disk. In the
// process of a Disk it does not return.
func Main() {
	if mount := os.Getenv(mountEnv); mount != "" {
		os.Exit(serve(mount, os.Getenv(fromEnv)))
	}
}

// Disk is a mounted file system that loses data that is not synced.
type Disk struct {
	// Path is the directory where it is mounted.
	Path string

	t       testing.TB
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string
	off     chan struct{}
	mu      sync.Mutex // one command at a time
	close   sync.Once
}

// New returns a disk with a synced copy of the files of a directory; for "" it is
// empty. It is unmounted when the test ends. Without FUSE the test fails and says
// what is missing.
func New(t testing.TB, from string) *Disk {
	t.Helper()
	if strings.Contains(" "+os.Getenv(WithoutEnv)+" ", " fuse ") {
		t.Skipf("%s has fuse: nothing is tested about a loss of power", WithoutEnv)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{Path: t.TempDir(), t: t, cmd: exec.Command(exe), answers: make(chan string, 1), off: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), mountEnv+"="+d.Path, fromEnv+"="+from)
	var errs strings.Builder
	d.cmd.Stderr = &errs
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	go d.listen(out)
	if answer, ok := <-d.answers; !ok || answer != "mounted" {
		_ = d.cmd.Wait()
		t.Fatalf("this test needs a FUSE file system, which cannot be mounted: %s%s\n"+
			"run it as root, or as a user with fusermount3 (package fuse3), on a machine with /dev/fuse "+
			"(modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN), or set %s=fuse to skip it",
			answer, errs.String(), WithoutEnv)
	}
	return d
}

// listen reads the output of the disk's process.
func (d *Disk) listen(out io.Reader) {
	defer close(d.answers)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "off" {
			close(d.off)
		} else {
			d.answers <- lines.Text()
		}
	}
}

// ask sends a command and returns the answer.
func (d *Disk) ask(format string, args ...any) string {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Fprintf(d.in, format+"\n", args...); err != nil {
		d.t.Fatalf("the disk is gone: %v", err)
	}
	select {
	case answer, ok := <-d.answers:
		if !ok {
			d.t.Fatal("the disk is gone")
		}
		return answer
	case <-time.After(patience):
		d.t.Fatal("the disk does not answer")
	}
	return ""
}

// Changes returns how many changes the disk was asked for: each write, change of
// size, creation, renaming, removal and sync counts as one.
func (d *Disk) Changes() (n int) {
	d.t.Helper()
	if _, err := fmt.Sscan(d.ask("changes"), &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// CutAfter cuts the power after n more changes: later ones, and syncs, fail and do
// nothing.
func (d *Disk) CutAfter(n int) { d.t.Helper(); d.ask("cut %d", n) }

// Cut cuts the power now.
func (d *Disk) Cut() { d.t.Helper(); d.CutAfter(0) }

// FailAfter makes one change fail after n more; the changes after it succeed.
func (d *Disk) FailAfter(n int) { d.t.Helper(); d.ask("fail %d", n) }

// Off is closed once the power is cut.
func (d *Disk) Off() <-chan struct{} { return d.off }

// Restored returns a new directory with the files that the disk has after the
// power is back. The seed decides which of the unsynced changes have reached it:
// with 0 none, with 1 all, with others some. It may be called many times.
func (d *Disk) Restored(seed uint64) string {
	d.t.Helper()
	dir := d.t.TempDir()
	if answer := d.ask("save %d %s", seed, dir); answer != "saved" {
		d.t.Fatal(answer)
	}
	return dir
}

// Close unmounts the disk; the end of the test does so too.
func (d *Disk) Close() { d.close.Do(d.unmount) }

func (d *Disk) unmount() {
	_ = d.in.Close() // it unmounts itself and ends
	done := make(chan error, 1)
	go func() { done <- d.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		d.t.Error("the disk's process did not end")
	}
	if mounted(d.Path) { // it was killed
		_ = detach(d.Path)
	}
}

// mounted reports whether something is mounted there.
func mounted(path string) bool {
	var at, above syscall.Stat_t
	if err := syscall.Stat(path, &at); err != nil {
		return true // its server is gone
	}
	return syscall.Stat(filepath.Dir(path), &above) != nil || at.Dev != above.Dev
}

// detach unmounts a file system that may be in use.
func detach(path string) error {
	if err := syscall.Unmount(path, syscall.MNT_DETACH); err == nil {
		return nil
	}
	return exec.Command("fusermount3", "-u", "-z", path).Run()
}
