package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// locks returns how many POSIX locks this process has on a file. The list can miss
// one while others change.
func locks(t *testing.T, path string) int {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 1: POSIX  ADVISORY  READ 4711 00:2d:1234 1073741826 1073742335
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "POSIX" && fields[4] == fmt.Sprint(os.Getpid()) && strings.HasSuffix(fields[5], fmt.Sprintf(":%d", st.Ino)) {
			n++
		}
	}
	return n
}

// TestLocksStay: looking at an open database, or opening it once more, closed a
// descriptor of it and with that dropped the locks of the whole process. The next
// SQLite of another process deleted the log under it.
func TestLocksStay(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(*testing.T, string)
	}{
		{"inspected", func(t *testing.T, path string) {
			if found, err := sqlite.Inspect(t.Context(), path); err != nil || !found.Exists {
				t.Errorf("%+v, %v", found, err)
			}
		}},
		{"inspected by another name", func(t *testing.T, path string) {
			link := filepath.Join(filepath.Dir(path), "link.db")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			if found, err := sqlite.Inspect(t.Context(), link); err != nil || !found.Exists {
				t.Errorf("%+v, %v", found, err)
			}
		}},
		{"opened and closed", func(t *testing.T, path string) {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"readable by others, opened and closed", func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"opened in vain", func(t *testing.T, path string) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if s, err := sqlite.Open(ctx, path); err == nil {
				t.Error("the file was opened")
				_ = s.Close()
			}
		}},
	} {
		for program, command := range map[string][]string{
			"sqlite3": {"sqlite3", "{}", "SELECT count(*) FROM clients"},
			"backup":  {"sqlite3", "{}", ".backup '{}.backup'"},
			"Python":  {"/usr/bin/python3", "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT count(*) FROM clients').fetchone()); c.close()", "{}"},
		} {
			t.Run(row.name+", then read by "+program, func(t *testing.T) {
				path := newPath(t)
				s := open(t, path)
				if err := createClient(t.Context(), s, "c"); err != nil {
					t.Fatal(err)
				}
				held := func() bool { return locks(t, path) > 0 && locks(t, path+"-shm") > 0 }
				eventually.True(t, "the process has locks on the file and the log's index", held)
				row.do(t, path)
				eventually.True(t, "it has them still", held)
				var args []string
				for _, a := range command[1:] {
					args = append(args, strings.ReplaceAll(a, "{}", path))
				}
				if out, err := exec.CommandContext(t.Context(), command[0], args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", program, err, out)
				}
				for n := range 5 {
					if err := record(s, "c", fmt.Sprint("later ", n)); err != nil {
						t.Fatal(err)
					}
				}
				// Another process sees all of it, also once this one is gone.
				out, err := exec.CommandContext(t.Context(), "sqlite3", path, "SELECT sequence FROM totals").CombinedOutput()
				if err != nil || strings.TrimSpace(string(out)) != "6" {
					t.Errorf("6 events were recorded; another process sees %s, %v", out, err)
				}
			})
		}
	}
}

// TestForeignCheckpoints: another program writes, copies the log into the file, and
// lets it begin anew. None of that is mistaken for a file that was overwritten.
func TestForeignCheckpoints(t *testing.T) {
	path := newPath(t)
	s, other := open(t, path), open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	const program = `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]
for i in range(400):
    c.execute("UPDATE totals SET changes = changes + 1")
    if i % 3 == 0:
        c.execute("PRAGMA wal_checkpoint(%s)" % modes[i // 3 % 4]).fetchall()
c.close()
`
	ended := make(chan error, 1)
	go func() {
		out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", program, path).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		ended <- err
	}()
	for n := 0; ; n++ {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		// Who waits for a foreign lock may be refused, and tries again.
		for name, s := range map[string]*sqlite.Store{"one": s, "other": other} {
			if err := record(s, "c", fmt.Sprint(name, n)); errors.Is(err, sqlite.ErrLost) {
				t.Fatal(err)
			}
			s.LookedLongAgo()
			if _, err := s.TokenStatus(t.Context(), "r", "c", "t"); errors.Is(err, sqlite.ErrLost) {
				t.Fatal(err)
			}
		}
	}
}

// TestFailedOpenLeavesNothing: after an Open that failed for want of descriptors, the
// next one of the process took no locks.
func TestFailedOpenLeavesNothing(t *testing.T) {
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	descriptors := func() int {
		t.Helper()
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	before, failed := descriptors(), 0
	for more := range 24 {
		few := syscall.Rlimit{Cur: uint64(before + more), Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), path)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		failed++
		if now := descriptors(); now > before {
			t.Errorf("with %d more, %d descriptors were left open: %v", more, now-before, err)
		}
	}
	if failed < 2 {
		t.Errorf("%d of them failed: this test sees nothing", failed)
	}
	s := open(t, path)
	eventually.True(t, "the file that is open is locked", func() bool { return locks(t, path) > 0 && locks(t, path+"-shm") > 0 })
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Error(err)
	}
}
