package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a terminal of 80 columns and 10 lines.
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// On a terminal 'top' shows one screen again and again, until it is interrupted,
// and then succeeds.
func TestTopOnATerminal(t *testing.T) {
	u := start(t, t.TempDir()+"/data", "127.0.0.1:0")
	a := u.asker(t, "a55")
	a.token(t.Context())
	ours, theirs := terminal(t)
	cmd := exec.CommandContext(t.Context(), binary, "top", "--dir", u.dir, "--interval", "1s")
	cmd.Stdout, cmd.Stderr = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var mu sync.Mutex
	var shown strings.Builder
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			mu.Lock()
			shown.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	screens := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Split(shown.String(), "\x1b[H\x1b[2J")
	}
	waitFor(t, func() bool { return len(screens()) > 3 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, screen := range screens()[1:3] {
		if !strings.Contains(screen, "last hour: 1 tokens") || strings.Count(screen, "\n") > 9 {
			t.Errorf("a screen of 10 lines shows %q", screen)
		}
		for line := range strings.Lines(screen) {
			if len([]rune(strings.TrimSpace(line))) > 90 {
				t.Errorf("a line of 80 columns is %q", line)
			}
		}
	}
}
