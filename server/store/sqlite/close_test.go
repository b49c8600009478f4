package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/server/store"
)

// TestReadsThatFail: a read that fails says so, and answers nothing that would be taken
// for what is there. One fails because its caller has left, the other because the
// tables are another program's.
func TestReadsThatFail(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "x.db"))
	if err := createClient(t.Context(), s, "a"); err != nil {
		t.Fatal(err)
	}
	reads := map[string]func(context.Context) error{
		"Clients":        func(ctx context.Context) error { _, err := s.Clients(ctx, store.ClientQuery{Realm: "r"}); return err },
		"LastUses":       func(ctx context.Context) error { _, err := s.LastUses(ctx, "r", "a"); return err },
		"Events":         func(ctx context.Context) error { _, err := s.Events(ctx, 0, 10); return err },
		"SigningKeys":    func(ctx context.Context) error { _, err := s.SigningKeys(ctx, "r"); return err },
		"Revocations":    func(ctx context.Context) error { _, err := s.Revocations(ctx, "r", 0, 10); return err },
		"RevokedIndexes": func(ctx context.Context) error { _, err := s.RevokedIndexes(ctx, "r", 0, 10); return err },
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	for name, read := range reads {
		if err := read(left); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v for a caller that has left", name, err)
		}
		if err := read(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.DB().Exec("ALTER TABLE clients RENAME TO others"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TokenStatus(t.Context(), "r", "a", "t"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Standing: got %v without its table", err)
	}
	if _, err := s.Client(t.Context(), "r", "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Client: got %v without its table", err)
	}
}

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
