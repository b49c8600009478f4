package files_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/internal/files"
)

func TestMain(m *testing.M) {
	disktest.Main()
	os.Exit(m.Run())
}

// A loss of power at any moment of Write leaves the old content or the new one,
// and the new one once Write has returned, also in directories just made.
func TestWritePowerCut(t *testing.T) {
	before, after := strings.Repeat("old\n", 700), strings.Repeat("new\n", 700)
	for n, written := 0, false; !written; n++ {
		disk := disktest.New(t, "")
		dir := filepath.Join("a", "b", "c")
		path := filepath.Join(dir, "secret")
		if err := files.MkdirAll(filepath.Join(disk.Path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := files.Write(filepath.Join(disk.Path, path), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		disk.CutAfter(n)
		written = files.Write(filepath.Join(disk.Path, path), []byte(after), 0o600) == nil
		disk.Cut()
		for fate := range uint64(8) {
			text, err := os.ReadFile(filepath.Join(disk.Restored(fate), path))
			if got := string(text); err != nil || got != after && (written || got != before) {
				t.Errorf("cut after %d changes, fate %d: got %.20q, written: %v, %v", n, fate, got, written, err)
			}
		}
		if n > 50 {
			t.Fatal("it is never written")
		}
	}
}

// What cannot be put on the disk is not said to be there.
func TestWriteTellsOfFailedSync(t *testing.T) {
	for n := range 5 { // the file is made, written and synced, renamed, and its directory synced
		disk := disktest.New(t, "")
		path := filepath.Join(disk.Path, "secret")
		disk.FailAfter(n)
		if err := files.Write(path, []byte("new"), 0o600); err == nil {
			t.Errorf("change %d failed, and Write says nothing", n)
		}
		if err := files.MkdirAll(filepath.Join(disk.Path, "a", "b"), 0o700); err != nil {
			t.Error(err)
		}
		disk.FailAfter(n)
		if err := files.MkdirAll(filepath.Join(disk.Path, "c", "d"), 0o700); (err != nil) != (n < 4) {
			t.Errorf("change %d failed, and MkdirAll says %v", n, err)
		}
	}
}
