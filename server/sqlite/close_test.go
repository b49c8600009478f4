package sqlite_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestCloseLeavesOneFile: after an orderly stop everything was still in the
// write-ahead log, and a copy of the main file had nothing in it.
func TestCloseLeavesOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := open(t, path)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if err := createClient(t.Context(), s, id); err != nil {
				t.Error(err)
			}
			if _, err := s.Client(t.Context(), "r", id); err != nil {
				t.Error(err)
			}
			if err := record(s, id, id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close the file%s is there: %v", suffix, err)
		}
	}
	alone := filepath.Join(t.TempDir(), "copy.db")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(alone, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, alone).Client(t.Context(), "r", "7"); err != nil {
		t.Errorf("in the main file alone: %v", err)
	}
}
