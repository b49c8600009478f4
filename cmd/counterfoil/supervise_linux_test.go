package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// manager is the socket of a service manager.
func manager(t *testing.T) (path string, next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return path, func() string {
		t.Helper()
		b := make([]byte, 1024)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// TestServiceManager: 'serve' says when it is ready, when it reloads and when it
// stops, and that it works, also while nothing can be written.
func TestServiceManager(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	path, next := manager(t)
	cmd := exec.Command(binary, "serve", "--config", s.file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	p, err := spawned(cmd, "serve")
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	waitFor(t, func() bool { return listening.MatchString(p.errors()) })
	s.port = listening.FindStringSubmatch(p.errors())[1]
	// await skips what the watchdog is told.
	await := func(want string) {
		t.Helper()
		got := next()
		for got == "WATCHDOG=1" && want != got {
			got = next()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	await("READY=1")
	if get(t, s.http(t), acmeReady).status != 200 {
		t.Error("it says that it is ready and is not")
	}
	await("WATCHDOG=1")
	s.hangUp(t)
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1")
	s.write(t, "serve.yaml", "listen: nowhere\n")
	s.hangUp(t) // refused
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1")
	largestFile(t, p.cmd.Process.Pid, 1)
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	largestFile(t, p.cmd.Process.Pid, 1<<40)
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, p.errors())
	}
	await("STOPPING=1")
}

// TestWatchdogNoticesAHang: the service manager is not told that a process works
// whose writes do not end, and so it restarts it.
func TestWatchdogNoticesAHang(t *testing.T) {
	c := clock.NewManual(time.Unix(1_800_000_000, 0))
	ctx, stop := context.WithCancel(t.Context())
	asked, answer, told := make(chan bool), make(chan error), make(chan string, 10)
	ended := make(chan bool)
	go func() {
		watchdog(ctx, c, 3*time.Second, func(context.Context) error { asked <- true; return <-answer }, func(s string) { told <- s })
		close(ended)
	}()
	turn := func() {
		if err := c.Sleepers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		c.Turn(time.Second)
		<-asked
	}
	turn()
	answer <- os.ErrInvalid
	if got := <-told; got != "WATCHDOG=1" {
		t.Errorf("told %q", got)
	}
	turn()
	c.Turn(time.Hour)
	select {
	case got := <-told:
		t.Errorf("while a write hangs it is told %q", got)
	case <-ended:
		t.Error("it has ended")
	default:
	}
	stop()
	answer <- nil
	<-ended
}
