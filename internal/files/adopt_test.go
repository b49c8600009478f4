//go:build unix

package files_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
)

// What root writes belongs to whom the file or the directory belongs: the user of a
// service is not locked out by root's first command.
func TestRootWritesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(dir, "a", "b")
	if err := files.MkdirAllFor(made, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(made, "secret")
	for range 2 {
		if err := files.Write(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{filepath.Dir(made), made, path} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 4711 || st.Gid != 4712 {
				t.Errorf("%s is of %d:%d", name, st.Uid, st.Gid)
			}
		}
	}
}
