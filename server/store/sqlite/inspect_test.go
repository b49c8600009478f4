package sqlite_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

func addKey(t *testing.T, s *sqlite.Store, id, after string) {
	t.Helper()
	now := time.Now()
	k := store.SigningKey{Realm: "r", ID: id, Algorithm: "ES256", Created: now, Activates: now, Public: []byte("p"), Private: counterfoil.Secret("private " + id)}
	if err := s.AddSigningKey(t.Context(), k, after, counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: now, Realm: "r"}); err != nil {
		t.Fatal(err)
	}
}

// Looking at a file changes nothing of it, makes no file beside it, and sees
// what a process that has it open wrote last.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	if got, err := sqlite.Inspect(t.Context(), path); err != nil || got.Exists || got.Migrations == 0 {
		t.Errorf("a file that is not there: %+v, %v", got, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file was made")
	}
	s := open(t, path)
	addKey(t, s, "one", "")
	if got, err := sqlite.Inspect(t.Context(), path); err != nil || !got.Exists || got.Migrations != 0 || len(got.Keys) != 1 || got.Keys[0].Private.Reveal() != "private one" {
		t.Errorf("an open file: %+v, %v", got, err)
	}
	addKey(t, s, "two", "one")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sqlite.Inspect(t.Context(), path); err != nil || len(got.Keys) != 2 {
		t.Errorf("a closed file: %+v, %v", got, err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed, %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
		t.Errorf("files are %v, %v", names, err)
	}
}

func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	s := open(t, newer)
	if _, err := s.DB().ExecContext(t.Context(), "PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.db")
	damage(t, damaged, -4096)
	for _, row := range []struct{ name, path, says string }{
		{"no directory", filepath.Join(dir, "no", "x.db"), "name a file in a directory that exists"},
		{"a directory", dir, "belongs to another program"},
		{"text", write("text", strings.Repeat("words ", 400)), "not a SQLite database"},
		{"newer schema", newer, "use the newer program"},
		{"damaged", damaged, "restore it from a backup"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := sqlite.Inspect(t.Context(), row.path); err == nil || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), row.path) {
				t.Errorf("got %v", err)
			}
		})
	}
}
