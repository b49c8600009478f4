package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// TestFilesLost removes and replaces the files of an open database: SQLite
// goes on writing into a file that can no longer be opened, and reports that
// all is written.
func TestFilesLost(t *testing.T) {
	remove := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Remove(path + suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			text, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".copy", text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".copy", path+suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, row := range []struct {
		name string
		do   func(*testing.T, string)
		says string
	}{
		{"database removed", remove(""), ".db was removed"},
		{"log removed", remove("-wal"), ".db-wal was removed"},
		{"index of the log removed", remove("-shm"), ".db-shm was removed"},
		{"database replaced by a copy", replace(""), ".db was replaced"},
		{"log replaced by a copy", replace("-wal"), ".db-wal was replaced"},
		{"database moved away", func(t *testing.T, path string) {
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
		}, ".db was removed"},
		{"a file in place of the directory", func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, ".db cannot be looked at (stat "},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := newPath(t)
			s := open(t, path)
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			if err := record(s, "c", "one"); err != nil {
				t.Fatal(err)
			}
			row.do(t, path)
			if err := record(s, "c", "two"); !errors.Is(err, sqlite.ErrLost) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("a token was recorded, or the error does not say %q: %v", row.says, err)
			}
			for what, do := range map[string]func() error{
				"ready":       func() error { return s.Ready(t.Context()) },
				"read client": func() error { _, err := s.Client(t.Context(), "r", "c"); return err },
				"status":      func() error { _, err := s.TokenStatus(t.Context(), "r", "c", "one"); return err },
				"events":      func() error { _, err := s.Events(t.Context(), 0, 10); return err },
				"revocations": func() error { _, err := s.Revocations(t.Context(), "r", 0, 10); return err },
			} {
				if err := do(); !errors.Is(err, sqlite.ErrLost) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestFilesLostUnderReads: a server that only reads notices as well, and does not
// trust a client that was disabled elsewhere.
func TestFilesLostUnderReads(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	s.LookedLongAgo()
	if _, err := s.TokenStatus(t.Context(), "r", "c", "t"); !errors.Is(err, sqlite.ErrLost) {
		t.Errorf("a read long after the last check: %v", err)
	}
}

// TestFilesLostUnderManyReads: none of many reads looks long after the last look.
func TestFilesLostUnderManyReads(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "a read fails", func() bool {
		_, err := s.TokenStatus(t.Context(), "r", "c", "t")
		return errors.Is(err, sqlite.ErrLost)
	})
}

// TestFilesOverwritten: a backup that was copied over the file, or a log that was
// emptied, keeps its inode: a server went on to answer, and most of it was lost.
func TestFilesOverwritten(t *testing.T) {
	grow := func(t *testing.T, s *sqlite.Store, name string, n int) error {
		t.Helper()
		for i := range n {
			e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: time.Now(), Realm: "r", Detail: strings.Repeat(name, 2000/len(name))}
			if err := s.RecordEvents(t.Context(), e); err != nil {
				return fmt.Errorf("write %d: %w", i, err)
			}
		}
		return nil
	}
	checkpoint := func(t *testing.T, s *sqlite.Store, mode string) {
		t.Helper()
		if _, err := s.DB().ExecContext(t.Context(), "PRAGMA wal_checkpoint("+mode+")"); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(t *testing.T, path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil { // as cp does
			t.Fatal(err)
		}
	}
	// copied returns what the file has now.
	copied := func(t *testing.T, path string) []byte {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	grown := func(t *testing.T, s *sqlite.Store, name string, n int) {
		t.Helper()
		if err := grow(t, s, name, n); err != nil {
			t.Fatal(err)
		}
	}
	// written writes over the beginning of a file, and leaves the rest.
	written := func(t *testing.T, path string, text []byte) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// foreign writes as another program does, which looks at nothing.
	foreign := func(t *testing.T, s *sqlite.Store) {
		t.Helper()
		if _, err := s.DB().ExecContext(t.Context(), "UPDATE totals SET changes = changes + 1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		do   func(t *testing.T, s *sqlite.Store, path string)
		lost bool
	}{
		{"an older copy of the same size over the database", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 1)
			checkpoint(t, s, "PASSIVE")
			grown(t, s, "b", 1)
			written(t, path, old)
		}, true},
		{"an older copy of the same size while no log is kept", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 1)
			checkpoint(t, s, "TRUNCATE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			written(t, path, old)
		}, true},
		{"an older copy before the log begins anew", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 1)
			checkpoint(t, s, "PASSIVE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkpoint(t, s, "TRUNCATE")
			written(t, path, old)
		}, true},
		{"an older copy after another program began the log anew", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 1)
			checkpoint(t, s, "PASSIVE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			foreign(t, s)
			written(t, path, old)
		}, true},
		{"another program wrote, began the log anew and wrote", func(t *testing.T, s *sqlite.Store, _ string) {
			checkpoint(t, s, "PASSIVE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 3 { // the first one begins it anew, too
				foreign(t, s)
				checkpoint(t, s, "FULL")
			}
			foreign(t, s)
		}, false},
		{"another program wrote and emptied the log", func(t *testing.T, s *sqlite.Store, _ string) {
			reader, err := s.DB().QueryContext(t.Context(), "SELECT rowid FROM records") // keeps the log from beginning anew
			if err != nil || !reader.Next() {
				t.Fatal(err)
			}
			checkpoint(t, s, "PASSIVE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			foreign(t, s)
			if err := reader.Close(); err != nil {
				t.Fatal(err)
			}
			checkpoint(t, s, "TRUNCATE")
		}, false},
		{"an older copy before another program's checkpoint", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			if err := createClient(t.Context(), s, "later"); err != nil {
				t.Fatal(err)
			}
			checkpoint(t, s, "PASSIVE")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			grown(t, s, "b", 3)
			written(t, path, old)
			checkpoint(t, s, "PASSIVE")
		}, true},
		{"older copies of all its files", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "PASSIVE")
			grown(t, s, "a", 3)
			var old [3][]byte
			for i, suffix := range []string{"", "-wal", "-shm"} {
				old[i] = copied(t, path+suffix)
			}
			grown(t, s, "b", 3)
			for i, suffix := range []string{"", "-wal", "-shm"} {
				written(t, path+suffix, old[i])
			}
		}, true},
		{"older copies of all its files, of another generation of the log", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "RESTART")
			grown(t, s, "a", 3)
			var old [3][]byte
			for i, suffix := range []string{"", "-wal", "-shm"} {
				old[i] = copied(t, path+suffix)
			}
			grown(t, s, "b", 3)
			checkpoint(t, s, "RESTART")
			grown(t, s, "c", 5)
			for i, suffix := range []string{"", "-wal", "-shm"} {
				written(t, path+suffix, old[i])
			}
		}, true},
		{"vacuumed, then larger than before", func(t *testing.T, s *sqlite.Store, _ string) {
			grown(t, s, "gone", 200)
			for _, statement := range []string{"DELETE FROM records", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
				if _, err := s.DB().ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.DB().ExecContext(t.Context(), "CREATE TABLE more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500) SELECT randomblob(4000) FROM n"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a log that another program cuts", func(t *testing.T, s *sqlite.Store, _ string) {
			grown(t, s, "a", 100)
			checkpoint(t, s, "RESTART")
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			conn, err := s.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, statement := range []string{
				"PRAGMA journal_size_limit = 0", "PRAGMA cache_size = 5", "BEGIN IMMEDIATE",
				"CREATE TABLE more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50) SELECT randomblob(4000) FROM n",
				"COMMIT",
			} {
				s.LookedLongAgo()
				if _, err := s.TokenStatus(t.Context(), "r", "c", "t"); errors.Is(err, sqlite.ErrLost) {
					t.Errorf("before %q: %v", statement, err)
				}
				if _, err := conn.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
		}, false},
		{"a larger copy of earlier over the database", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 30)
			checkpoint(t, s, "PASSIVE")
			grown(t, s, "b", 1)
			written(t, path, append(old, make([]byte, 1<<20)...))
		}, true},
		{"another database over the database", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "PASSIVE")
			grown(t, s, "b", 1)
			another := newPath(t)
			other := open(t, another)
			grown(t, other, "a", 25)
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			written(t, path, copied(t, another))
		}, true},
		{"an older copy right after the other program started", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "a", 1)
			checkpoint(t, s, "PASSIVE")
			other := open(t, path)
			written(t, path, old)
			if err := grow(t, other, "more", 1); !errors.Is(err, sqlite.ErrLost) {
				t.Errorf("the other program's first write: %v", err)
			}
			if err := s.Ready(t.Context()); err == nil {
				t.Error("this one goes on")
			}
		}, true},
		{"a log of another generation over the log", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "RESTART")
			grown(t, s, "before", 5)
			old := copied(t, path+"-wal")
			checkpoint(t, s, "RESTART")
			grown(t, s, "later", 5)
			written(t, path+"-wal", old)
		}, true},
		{"zeros over the end of the log", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			grown(t, s, "before", 5)
			log := copied(t, path+"-wal")
			clear(log[len(log)-6000:])
			written(t, path+"-wal", log)
		}, true},
		{"an older copy over the database", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "later", 200)
			checkpoint(t, s, "TRUNCATE")
			grown(t, s, "last", 1)
			overwrite(t, path, old)
		}, true},
		{"an older copy over the database, beside a log of its usual size", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "later", 600)
			checkpoint(t, s, "PASSIVE") // the log's file stays as large as it was
			grown(t, s, "last", 1)
			overwrite(t, path, old)
		}, true},
		{"the same, after a write that takes a page that was free", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "later", 600)
			checkpoint(t, s, "PASSIVE")
			if _, err := s.DB().ExecContext(t.Context(), "DELETE FROM records WHERE last <= 100"); err != nil {
				t.Fatal(err)
			}
			grown(t, s, "last", 1)
			overwrite(t, path, old)
		}, true},
		{"the same, after a write that leaves the first page as it is", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "later", 600)
			for range 2 { // there is room for the second
				checkpoint(t, s, "PASSIVE")
				e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: time.Now(), Realm: "r"}
				if err := s.RecordEvents(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			overwrite(t, path, old)
		}, true},
		{"the database emptied after a few writes", func(t *testing.T, s *sqlite.Store, path string) {
			grown(t, s, "few", 5)
			overwrite(t, path, nil)
		}, true},
		{"the database emptied beside a long log", func(t *testing.T, s *sqlite.Store, path string) {
			grown(t, s, "many", 300)
			overwrite(t, path, nil)
		}, true},
		{"the database emptied beside an empty log", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			overwrite(t, path, nil)
		}, true},
		{"half of the database after a few writes", func(t *testing.T, s *sqlite.Store, path string) {
			grown(t, s, "few", 5)
			overwrite(t, path, copied(t, path)[:8192])
		}, true},
		{"an older copy over the log", func(t *testing.T, s *sqlite.Store, path string) {
			grown(t, s, "before", 50)
			old := copied(t, path+"-wal")
			grown(t, s, "later", 50)
			overwrite(t, path+"-wal", old)
		}, true},
		{"half of the log", func(t *testing.T, s *sqlite.Store, path string) {
			grown(t, s, "before", 100)
			info, err := os.Stat(path + "-wal")
			if err == nil {
				err = os.Truncate(path+"-wal", info.Size()/2)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the index of the log emptied", cutIndex(0), true},
		{"a piece of the index of the log", cutIndex(100), true},
		{"half of the index of the log", cutIndex(16 << 10), true},
		{"all but a byte of the index of the log", cutIndex(32<<10 - 1), true},
		{"the index of the log grows", func(t *testing.T, s *sqlite.Store, path string) {
			reader, err := s.DB().QueryContext(t.Context(), "SELECT rowid FROM records") // keeps the log from beginning anew
			if err != nil || !reader.Next() {
				t.Fatal(err)
			}
			defer reader.Close()
			grown(t, s, "more", 1500)
			if info, err := os.Stat(path + "-shm"); err != nil || info.Size() <= 32<<10 {
				t.Errorf("it did not grow: %v, %v", info.Size(), err)
			}
		}, false},
		{"the log begun anew many times", func(t *testing.T, s *sqlite.Store, _ string) {
			for _, mode := range []string{"PASSIVE", "RESTART", "TRUNCATE", "FULL", "RESTART", "TRUNCATE"} {
				grown(t, s, "more", 30)
				checkpoint(t, s, mode)
			}
		}, false},
		{"the log emptied", func(t *testing.T, _ *sqlite.Store, path string) { overwrite(t, path+"-wal", nil) }, true},
		{"the log emptied by SQLite", func(t *testing.T, s *sqlite.Store, _ string) { checkpoint(t, s, "TRUNCATE") }, false},
		{"an older copy before another program's first look", func(t *testing.T, s *sqlite.Store, path string) {
			checkpoint(t, s, "TRUNCATE")
			old := copied(t, path)
			grown(t, s, "later", 200)
			checkpoint(t, s, "TRUNCATE")
			grown(t, s, "last", 1)
			other := open(t, path)
			overwrite(t, path, old)
			if err := grow(t, other, "more", 1); !errors.Is(err, sqlite.ErrLost) {
				t.Errorf("the other program's first write: %v", err)
			}
		}, true},
		{"vacuumed, then written to", func(t *testing.T, s *sqlite.Store, _ string) {
			grown(t, s, "gone", 500)
			for _, statement := range []string{"DELETE FROM records", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
				if _, err := s.DB().ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			// More than was left, in one commit that is looked at afterwards.
			if _, err := s.DB().ExecContext(t.Context(), "CREATE TABLE more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50) SELECT randomblob(4000) FROM n"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a few pages less", func(t *testing.T, s *sqlite.Store, _ string) {
			checkpoint(t, s, "TRUNCATE")
			for _, statement := range []string{"CREATE TABLE more AS SELECT randomblob(20000)", "DROP TABLE more", "VACUUM"} {
				if _, err := s.DB().ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			checkpoint(t, s, "PASSIVE")
		}, false},
		{"vacuumed", func(t *testing.T, s *sqlite.Store, _ string) {
			grown(t, s, "gone", 500)
			for _, statement := range []string{"DELETE FROM records", "VACUUM"} {
				if _, err := s.DB().ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			checkpoint(t, s, "TRUNCATE")
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := newPath(t)
			s := open(t, path)
			if err := grow(t, s, "first", 20); err != nil {
				t.Fatal(err)
			}
			row.do(t, s, path)
			err := grow(t, s, "more", 20)
			if row.lost && !strings.HasPrefix(fmt.Sprint(err), "write 0:") {
				t.Errorf("the first write after it: %v; want it refused", err)
			}
			if err != nil && (strings.Contains(row.name, "index") != strings.Contains(err.Error(), "-shm was cut off") || strings.Contains(err.Error(), "disk")) {
				t.Errorf("it says %v", err)
			}
			if errors.Is(err, sqlite.ErrLost) != row.lost || !row.lost && err != nil {
				t.Errorf("writes go on with %v; want them refused: %v", err, row.lost)
			}
		})
	}
}

// TestOverwrittenAfterAKill: what a process that was killed left in the log is copied
// when the file is opened, so that an older copy over it is noticed from then on.
func TestOverwrittenAfterAKill(t *testing.T) {
	path, left := newPath(t), newPath(t)
	s := open(t, path)
	copied := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	checkpoint := func() {
		t.Helper()
		if _, err := s.DB().ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint()
	copied(path, path+".old")
	for n := range 5 {
		if err := createClient(t.Context(), s, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			checkpoint()
		}
	}
	for _, suffix := range []string{"", "-wal"} {
		copied(path+suffix, left+suffix)
	}
	again := open(t, left)
	copied(path+".old", left)
	if err := createClient(t.Context(), again, "more"); !errors.Is(err, sqlite.ErrLost) {
		t.Errorf("the first write after an older copy was written over the file: %v", err)
	}
}

// cutIndex cuts the index of the log to a size.
func cutIndex(size int64) func(*testing.T, *sqlite.Store, string) {
	return func(t *testing.T, _ *sqlite.Store, path string) {
		t.Helper()
		if err := os.Truncate(path+"-shm", size); err != nil {
			t.Fatal(err)
		}
	}
}

// TestErrorsOfACutIndex: what SQLite says of an index that was cut off is no full
// disk, and no damaged database.
func TestErrorsOfACutIndex(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	cutIndex(0)(t, s, path)
	_, err := s.DB().ExecContext(t.Context(), "DELETE FROM clients")
	if said := fmt.Sprint(sqlite.Explain(err)); err == nil || strings.Contains(said, "disk is full") || !strings.Contains(said, "-shm") || !strings.Contains(said, "end every program") {
		t.Errorf("a write: %s", said)
	}
	if _, err := s.Client(t.Context(), "r", "c"); !errors.Is(err, sqlite.ErrLost) || !strings.Contains(err.Error(), "-shm was cut off") {
		t.Errorf("a read: %v", err)
	}
}

// TestCloseOfALostDatabase: a server that had lost its log wrote it into the file in
// the end, over what others had written there.
func TestCloseOfALostDatabase(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	for n := range 20 {
		if err := createClient(t.Context(), s, string(rune('a'+n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, sqlite.ErrLost) {
		t.Fatalf("without its log: %v", err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, sqlite.ErrLost) {
		t.Errorf("close: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was written to: %d bytes, before %d, %v", len(after), len(before), err)
	}
}

// TestNoNewFileIsMade: a connection that was opened after the file was removed made
// an empty one in its place, and the next start would have begun anew with that.
func TestNoNewFileIsMade(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			rows, err := s.DB().QueryContext(t.Context(), "SELECT count(*) FROM clients") // as an API on the same database does
			if err == nil {
				_ = rows.Close()
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a new file was made: %v", err)
	}
}

// TestFilesBack: what was written in between is in none of the files that are
// there again.
func TestFilesBack(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := os.Rename(path+"-wal", path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, sqlite.ErrLost) {
		t.Errorf("without its log: %v", err)
	}
	if err := os.Rename(path+".away", path+"-wal"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, sqlite.ErrLost) {
		t.Errorf("with its log again: %v", err)
	}
}
