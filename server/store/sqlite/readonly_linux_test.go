package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// unwritable shows a directory at a place where nothing can be written: through
// a read-only mount where the test is root, whom no mode binds, and by its mode
// otherwise.
func unwritable(t *testing.T, dir string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		return dir
	}
	place := t.TempDir()
	if err := syscall.Mount(dir, place, "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("bind a directory, as root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(place, syscall.MNT_DETACH) })
	if err := syscall.Mount("", place, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return place
}

// copied copies the files of a database that this process has open, with another
// process: closing them here would drop SQLite's locks.
func copied(t *testing.T, from string, suffixes ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(from))
	for _, suffix := range suffixes {
		if out, err := exec.CommandContext(t.Context(), "cp", from+suffix, to+suffix).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return to
}

// reads looks for clients from 0 to n, and for as many records.
func reads(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.Client(t.Context(), "r", fmt.Sprint("c", i)); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	clients, err := s.Clients(t.Context(), store.ClientQuery{Realm: "r", Limit: 1000})
	if err != nil || len(clients) != n {
		t.Errorf("%d clients are listed, want %d, %v", len(clients), n, err)
	}
	page, err := s.Events(t.Context(), 0, 1000)
	if err != nil || len(page) != n {
		t.Errorf("%d records, want %d, %v", len(page), n, err)
	}
	if keys, err := s.SigningKeys(t.Context(), "r"); err != nil || len(keys) != 0 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// Where nothing can be written, all that was acknowledged is read, or nothing:
// the log beside a file has what the file does not have yet.
func TestOpenReadOnly(t *testing.T) {
	path := newPath(t)
	live := open(t, path)
	for i := range 20 {
		if err := createClient(t.Context(), live, fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	closed := copied(t, path, "", "-wal", "-shm")
	if err := open(t, closed).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(closed + "-wal"); err == nil {
		t.Fatal("the log stayed: the file was not closed by the last who had it open")
	}
	for _, row := range []struct {
		name, path string
		clients    int
		want       string
	}{
		{"closed well", closed, 20, ""},
		{"with its log and the log's index", copied(t, path, "", "-wal", "-shm"), 20, ""},
		{"with its log alone", copied(t, path, "", "-wal"), 0, "write-ahead log"},
		{"in use", path, 20, ""},
		{"with an empty log", func() string {
			path := copied(t, closed, "")
			if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}(), 20, ""},
		{"with its log and an empty index", func() string {
			path := copied(t, path, "", "-wal")
			if err := os.WriteFile(path+"-shm", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}(), 20, ""},
		{"with an empty journal", func() string {
			path := copied(t, closed, "")
			if err := os.WriteFile(path+"-journal", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}(), 20, ""},
		{"not there", filepath.Join(t.TempDir(), "missing.db"), 0, "no such file"},
		{"of another program", foreign(t), 0, "another program"},
		{"empty", func() string {
			path := newPath(t)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}(), 0, "another program"},
	} {
		t.Run(row.name, func(t *testing.T) {
			place := filepath.Join(unwritable(t, filepath.Dir(row.path)), filepath.Base(row.path))
			before, err := os.ReadDir(filepath.Dir(place))
			if err != nil {
				t.Fatal(err)
			}
			if row.name != "in use" { // Open would find it open, and write where it can
				if _, err := sqlite.Open(t.Context(), place); row.clients > 0 && !sqlite.Unwritable(err) {
					t.Errorf("Open: %v", err)
				}
			}
			s, err := sqlite.OpenReadOnly(t.Context(), place)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), place) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			reads(t, s, row.clients)
			if err := createClient(t.Context(), s, "new"); err == nil || !strings.Contains(err.Error(), "reading only") {
				t.Errorf("a write: %v", err)
			}
			if _, err := s.DB().ExecContext(t.Context(), "DELETE FROM clients"); err == nil {
				t.Error("the database itself can be written to")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := createClient(t.Context(), s, "new"); err == nil {
				t.Error("a write after Close succeeds")
			}
			after, err := os.ReadDir(filepath.Dir(place))
			if err != nil || len(after) != len(before) {
				t.Errorf("there were %d files, now %d, %v", len(before), len(after), err)
			}
		})
	}
	if err := createClient(t.Context(), live, "c20"); err != nil {
		t.Errorf("after all that the database cannot be written to: %v", err)
	}
}

// foreign makes a database of another program.
func foreign(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	if out, err := exec.CommandContext(t.Context(), "sqlite3", path, "CREATE TABLE t (x)").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// Whose log is empty for the moment is in use all the same: what is written next is
// read.
func TestReadOnlyBesideAnEmptyLog(t *testing.T) {
	path := newPath(t)
	live := open(t, path)
	if err := createClient(t.Context(), live, "c0"); err != nil {
		t.Fatal(err)
	}
	if _, err := live.DB().ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.OpenReadOnly(t.Context(), filepath.Join(unwritable(t, filepath.Dir(path)), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	reads(t, s, 1)
	if os.Geteuid() == 0 { // otherwise the directory has become unwritable for both
		if err := createClient(t.Context(), live, "c1"); err != nil {
			t.Fatal(err)
		}
		reads(t, s, 2)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A file without a log is read without locks. When it is written to meanwhile,
// through another mount of it, the reader is told.
func TestReadOnlyWhileWritten(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs two mounts of one directory, which root alone can make")
	}
	for name, write := range map[string]func(*testing.T, string){
		"and in use": func(t *testing.T, path string) {
			if err := createClient(t.Context(), open(t, path), "c2"); err != nil {
				t.Fatal(err)
			}
		},
		"and closed": func(t *testing.T, path string) {
			s := open(t, path)
			if err := errors.Join(createClient(t.Context(), s, "c2"), s.Close()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			first := open(t, path)
			if err := errors.Join(createClient(t.Context(), first, "c1"), first.Close()); err != nil {
				t.Fatal(err)
			}
			place := filepath.Join(unwritable(t, filepath.Dir(path)), filepath.Base(path))
			s, err := sqlite.OpenReadOnly(t.Context(), place)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path)
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
				t.Errorf("closed with %v", err)
			}
		})
	}
}

// A file of an older schema cannot be brought up to date where nothing can be
// written.
func TestReadOnlyOlderSchema(t *testing.T) {
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, sql, want string }{
		{"newer", "PRAGMA user_version = 255", "use the newer program"},
		{"other", "PRAGMA user_version = 257", "its schema is not the one"},
		{"before the first", "PRAGMA user_version = 0", "another program"},
	} {
		other := copied(t, path, "")
		if out, err := exec.CommandContext(t.Context(), "sqlite3", other, row.sql).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, err := sqlite.OpenReadOnly(t.Context(), filepath.Join(unwritable(t, filepath.Dir(other)), filepath.Base(other)))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// Unwritable knows what Open says where nothing can be written, and nothing else.
func TestUnwritable(t *testing.T) {
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"permission": {fmt.Errorf("x: %w", os.ErrPermission), true},
		"read-only":  {&os.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, true},
		"missing":    {os.ErrNotExist, false},
		"full":       {syscall.ENOSPC, false},
		"none":       {nil, false},
	} {
		if got := sqlite.Unwritable(row.err); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
