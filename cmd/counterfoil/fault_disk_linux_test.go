package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// largestFile lets a process write no file beyond so many bytes, as a full disk
// does.
func largestFile(t *testing.T, pid int, size uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: size, Max: math.MaxUint64}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
}

// While nothing can be written, token requests and revocations are refused as
// unavailable and have done nothing, and what only reads goes on. With space
// again, so does the rest.
func TestServeFullDisk(t *testing.T) {
	s := layOut(t, strings.Replace(exampleConfig(t), "\nrealms:", "\nmetrics: {listen: 127.0.0.1:0}\nrealms:", 1)).start(t)
	creds := s.client(t, "acme", "orders:read")
	c := s.http(t)
	const there = "https://auth.acme.example"
	first := s.token(t, c, acmeToken, creds)
	largestFile(t, s.cmd.Process.Pid, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4 {
				got := do(t, c, tokenRequest(t, acmeToken, creds))
				if got.status != http.StatusServiceUnavailable || got.body != `{"error":"temporarily_unavailable"}` {
					t.Errorf("on a full disk a request is answered %d %s", got.status, got.body)
				}
			}
		})
	}
	wg.Wait()
	if got := s.form(t, c, there+"/revoke", creds, "token", first.Reveal()); got.status != http.StatusServiceUnavailable {
		t.Errorf("on a full disk a revocation is answered %d", got.status)
	}
	if got := s.form(t, c, there+"/introspect", creds, "token", first.Reveal()); !strings.Contains(got.body, `"active":true`) {
		t.Errorf("a revocation that was refused has happened: %d %s", got.status, got.body)
	}
	if log := s.errors(); !strings.Contains(log, "the disk is full or fails") || strings.Contains(log, "goroutine ") || strings.Contains(log, first.Reveal()) {
		t.Errorf("the log says %s", log)
	}
	ready := func(status int) func() bool {
		return func() bool { return get(t, c, acmeReady).status == status }
	}
	eventually.True(t, "it says that it is not ready", ready(http.StatusServiceUnavailable))
	if status, body := plain(t, s.metered(t)+"/healthz/ready"); status != http.StatusServiceUnavailable ||
		!strings.Contains(body, `{"check":"database","status":"unwritable","detail":"`) || !strings.Contains(body, `{"check":"keys","status":"good"}`) {
		t.Errorf("operators are told %d %s", status, body)
	}
	seen, _ := scrape(t, s.metered(t))
	if seen["counterfoil_token_requests_total{method=client_secret_post,outcome=failed,realm=acme,reason=unavailable}"] != 32 ||
		seen["counterfoil_store_failed_writes_total{}"] < 1 || seen["counterfoil_check_ok{check=database}"] != 0 {
		t.Errorf("the metrics say %v", seen)
	}
	if n := strings.Count(s.errors(), "level=ERROR"); n > 10 {
		t.Errorf("%d requests that failed made %d lines: %s", 33, n, s.errors())
	}
	largestFile(t, s.cmd.Process.Pid, math.MaxUint64)
	eventually.True(t, "it is ready again, though nobody asked for a token", ready(http.StatusOK))
	s.token(t, c, acmeToken, creds)
	if got := s.form(t, c, there+"/revoke", creds, "token", first.Reveal()); got.status != http.StatusOK {
		t.Errorf("with space again a revocation is answered %d", got.status)
	}
	if got := s.form(t, c, there+"/introspect", creds, "token", first.Reveal()); got.body != `{"active":false}` {
		t.Errorf("a revoked token is %s", got.body)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, s.errors())
	}
	if issued, revoked := s.recorded(t, counterfoil.EventTokenIssued), s.recorded(t, counterfoil.EventTokenRevoked); issued != 2 || revoked != 1 {
		t.Errorf("%d tokens and %d revocations are recorded, 2 and 1 were acknowledged", issued, revoked)
	}
}

// unprivileged returns a command of the binary as a user whom permissions bind,
// and who owns the directory.
func (s *served) unprivileged(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program := filepath.Join(s.dir, "counterfoil")
	if _, err := os.Stat(program); err != nil {
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	if os.Geteuid() != 0 {
		return cmd
	}
	const nobody = 65534
	if err := os.Chmod(filepath.Dir(s.dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	}); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// On a database that may not be written to nothing starts: one error says which
// file it is and what to do, and nothing is changed.
func TestServeReadOnlyDatabase(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds := s.client(t, "acme", "orders:read")
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, path string
		mode, back os.FileMode
	}{
		{"file", "counterfoil.db", 0o400, 0o600},
		{"directory", ".", 0o500, 0o700},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.unprivileged(t)
			before := s.content(t)
			path := filepath.Join(s.dir, row.path)
			if err := os.Chmod(path, row.mode); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(path, row.back) })
			for _, args := range [][]string{{"serve", "--config", s.file}, {"client", "rotate", "acme", creds.ClientID, "--serve-config", s.file}} {
				out, err := s.unprivileged(t, args...).CombinedOutput()
				text := string(out)
				if err == nil || !strings.HasPrefix(text, "counterfoil: ") || !strings.Contains(text, filepath.Join(s.dir, "counterfoil.db")) ||
					!strings.Contains(text, "writ") || strings.Count(text, "\n") > 2 {
					t.Errorf("%s: %v, said %s", args[0], err, text)
				}
			}
			after := s.content(t)
			if err := os.Chmod(path, row.back); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Error("something was changed")
			}
		})
	}
	s.start(t)
	s.token(t, s.http(t), acmeToken, creds)
}
