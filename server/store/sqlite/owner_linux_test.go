package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// A link in the last component of a database's path leads to a database of ours or
// nowhere: nothing that another program owns is opened, changed or made.
func TestLinkToWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := open(t, at("ours.db")).Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"text": "root:x:0:0\n", "empty": ""} {
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	foreign := exec.CommandContext(t.Context(), "sqlite3", at("foreign.db"), "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
	if out, err := foreign.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(at("foreign.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"ours": "ours.db", "chain": "ours", "to-text": "text", "to-empty": "empty", "to-foreign": "foreign.db", "to-nothing": "nothing.db", "to-dir": ".", "to-itself": "to-itself", "to-device": os.DevNull,
	} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	before := listing(t, dir)
	for _, link := range []string{"to-text", "to-empty", "to-foreign", "to-nothing", "to-dir", "to-itself", "to-device"} {
		for what, do := range map[string]func(context.Context, string) error{
			"Open":    func(ctx context.Context, path string) error { _, err := sqlite.Open(ctx, path); return err },
			"Inspect": func(ctx context.Context, path string) error { _, err := sqlite.Inspect(ctx, path); return err },
		} {
			if err := do(t.Context(), at(link)); err == nil || !strings.Contains(err.Error(), "is a link to what is no database of Counterfoil's") {
				t.Errorf("%s of %s: %v", what, link, err)
			}
		}
	}
	if after := listing(t, dir); after != before {
		t.Errorf("was\n%s\nis\n%s", before, after)
	}
	for _, link := range []string{"ours", "chain"} {
		s := open(t, at(link))
		if err := createClient(t.Context(), s, link); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// listing is what is in a directory, with modes and sizes.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(fs.FormatFileInfo(info) + "\n")
	}
	return b.String()
}

// A state directory may be a link, as that of a service of systemd with DynamicUser.
func TestDirectoryThatIsALink(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "private"), 0o700), os.Symlink("private", filepath.Join(dir, "state"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state", "counterfoil.db")
	if _, err := sqlite.Inspect(t.Context(), path); err != nil {
		t.Error(err)
	}
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The mode of a file is changed only once it is known to be ours.
func TestModeOfAnotherProgramsFile(t *testing.T) {
	for _, name := range []string{"text", "database"} {
		path := newPath(t)
		if err := os.WriteFile(path, []byte(strings.Repeat("no database\n", 500)), 0o644); err != nil {
			t.Fatal(err)
		}
		if name == "database" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), "sqlite3", path, "CREATE TABLE t (a)").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: the mode is %v, %v", name, info.Mode(), err)
		}
	}
}

// Root makes a database for the owner of its directory, with the files beside it,
// and leaves a database that is there to its owner.
func TestRootLocksNobodyOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := newPath(t)
	if err := os.Chown(filepath.Dir(path), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		s := open(t, path)
		if err := createClient(t.Context(), s, string(rune('a'+round))); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 4711 || st.Gid != 4712 || info.Mode().Perm() != 0o600 {
				t.Errorf("the file%s is of %d:%d, mode %v", suffix, st.Uid, st.Gid, info.Mode())
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
