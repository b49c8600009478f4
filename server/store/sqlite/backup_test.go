package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

// backup makes a backup in a new file.
func backup(t *testing.T, path string) (to string, c sqlite.Contents) {
	t.Helper()
	to = filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := sqlite.Backup(t.Context(), path, to)
	if err != nil {
		t.Fatal(err)
	}
	return to, c
}

// TestBackupUnderLoad: while a backup is made, writes go on, and the backup has
// what was acknowledged before it began, without a gap.
func TestBackupUnderLoad(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	// What makes a backup take some time.
	if _, err := s.DB().ExecContext(t.Context(), `CREATE TABLE other (x BLOB); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 8000)
		INSERT INTO other SELECT randomblob(3000) FROM n`); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var acknowledged atomic.Int64
	ended := make(chan error, 4)
	for n := range 4 {
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := s.RecordEvents(context.Background(), counterfoil.Event{
					Type: counterfoil.EventTokenRefused, Time: time.Now(), Realm: "r", ClientID: fmt.Sprintf("%d", n), Detail: fmt.Sprintf("%d", i),
				}); err != nil {
					ended <- err
					return
				}
				acknowledged.Add(1)
			}
			ended <- nil
		}()
	}
	for round := range 3 {
		for acknowledged.Load() < int64(100*(round+1)) {
			time.Sleep(time.Millisecond)
		}
		before := acknowledged.Load()
		copied, c := backup(t, path)
		during := acknowledged.Load() - before
		if during == 0 {
			t.Errorf("round %d: nothing was written while the backup was made", round)
		}
		if err := sqlite.Unpack(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
		restored := open(t, copied)
		events := storetest.Events(t, restored)
		if n := int64(len(events)); n != c.Records || n < before || events[n-1].Sequence != n {
			t.Errorf("round %d: the backup has %d records, says %d, and %d were acknowledged before it", round, n, c.Records, before)
		}
		if err := restored.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for range 4 {
		if err := <-ended; err != nil {
			t.Errorf("a write failed: %v", err)
		}
	}
}

// TestBackupIsNoDatabase: a backup that is put in the place of a database without
// 'restore' is refused, by name, and so is what is no backup.
func TestBackupIsNoDatabase(t *testing.T) {
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	copied, _ := backup(t, path)
	if _, err := sqlite.Open(t.Context(), copied); err == nil || !strings.Contains(err.Error(), "counterfoil restore") {
		t.Errorf("a backup is opened: %v", err)
	}
	if err := sqlite.Unpack(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("a database is unpacked: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Backup(t.Context(), text, copied); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("a foreign database is backed up: %v", err)
	}
}

// TestBackupOfEarlierSchema: a backup leaves an older schema as it is, and is
// upgraded when it is restored.
func TestBackupOfEarlierSchema(t *testing.T) {
	for n := 1; n <= sqlite.Migrations(); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := sqlite.Make(t.Context(), path, n); err != nil {
				t.Fatal(err)
			}
			copied, c := backup(t, path)
			if c.Schema != n || c.Records != 0 || c.Checkpoint != "" {
				t.Errorf("the backup is of %+v", c)
			}
			if found, err := sqlite.Inspect(t.Context(), path); err != nil || found.Migrations != sqlite.Migrations()-n {
				t.Errorf("the database is %+v, %v", found, err)
			}
			if err := sqlite.Unpack(t.Context(), copied); err != nil {
				t.Fatal(err)
			}
			if err := createClient(t.Context(), open(t, copied), "c"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestRestored: after a restore no token of before serves, followers of
// revocations begin anew and miss none, and no index of a status list comes again.
func TestRestored(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	const n = 1_000
	for i := range n {
		if err := createClient(t.Context(), s, fmt.Sprintf("c%04d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := record(s, "c0001", "one"); err != nil {
		t.Fatal(err)
	}
	off, err := s.Client(t.Context(), "r", "c0002")
	if err != nil {
		t.Fatal(err)
	}
	off.Disabled = true
	if err := s.UpdateClient(t.Context(), off, counterfoil.Event{Type: counterfoil.EventClientDisabled, Time: time.Now(), Realm: "r", ClientID: "c0002"}); err != nil {
		t.Fatal(err)
	}
	first, err := s.StatusIndexes(t.Context(), "r", 1024)
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Revocations(t.Context(), "r", 0, 2*n)
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	end := sqlite.EndOfTokens(now)
	if err := s.Restored(t.Context(), counterfoil.Event{Type: counterfoil.EventDatabaseRestored, Time: now, Success: true}, end); err != nil {
		t.Fatal(err)
	}
	after, err := s.Revocations(t.Context(), "r", 0, 2*n)
	if err != nil || after.Feed == before.Feed || len(after.Revocations) != n {
		t.Fatalf("the feed was %q with %d and is %q with %d, %v", before.Feed, len(before.Revocations), after.Feed, len(after.Revocations), err)
	}
	seen := map[int64]bool{}
	for _, r := range after.Revocations {
		if seen[r.Sequence] || r.Sequence <= before.Last || !r.NotBefore.Equal(end) || r.Disabled != (r.ClientID == "c0002") || r.Expires.Before(now.Add(store.MaxLifetime)) {
			t.Fatalf("%+v, and the last one before was %d", r, before.Last)
		}
		seen[r.Sequence] = true
	}
	// The next revocation comes after them.
	if err := s.DeleteClient(t.Context(), "r", "c0003", counterfoil.Event{Type: counterfoil.EventClientDeleted, Time: time.Now(), Realm: "r", ClientID: "c0003"}); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Revocations(t.Context(), "r", after.Last, 10); err != nil || len(page.Revocations) != 1 || page.Revocations[0].ClientID != "c0003" {
		t.Errorf("after it: %+v, %v", page, err)
	}
	if c, err := s.Client(t.Context(), "r", "c0001"); err != nil || !c.NotBefore.Equal(end) || c.Version != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if next, err := s.StatusIndexes(t.Context(), "r", 1); err != nil || next < first+1<<30 {
		t.Errorf("the next index is %d after %d, %v", next, first, err)
	}
	if is, err := s.Log(t.Context()); err != nil || is.ID != log.ID || is.Recorded != log.Recorded+2 {
		t.Errorf("the log was %+v and is %+v, %v", log, is, err)
	}
	// A second restore gives the feed a third name.
	if err := s.Restored(t.Context(), counterfoil.Event{Type: counterfoil.EventDatabaseRestored, Time: now, Success: true}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Revocations(t.Context(), "r", 0, 1); err != nil || again.Feed == after.Feed || len(again.Feed) != len(after.Feed) {
		t.Errorf("restored twice, the feed is %q after %q, %v", again.Feed, after.Feed, err)
	}
}

// TestExchange: a database that is open stays; otherwise the new one is in its
// place, and the old one, with what was acknowledged, is kept.
func TestExchange(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil { // which the child needs
		t.Fatal(err)
	}
	fresh := func() string {
		file := path + ".new"
		n := open(t, file)
		if err := createClient(t.Context(), n, "new"); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		return file
	}
	keep := path + ".kept"
	has := func(path, id string) {
		t.Helper()
		at := open(t, path)
		if _, err := at.Client(t.Context(), "r", id); err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		if err := at.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// In another process, as SQLite shares its locks within one.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	child, out := startChild(t, path, "all")
	lines := bufio.NewScanner(out)
	var token string
	for token == "" && lines.Scan() {
		token, _ = strings.CutPrefix(lines.Text(), "token ")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if err := sqlite.InUse(path); !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("open in another process: %v", err)
	}
	if _, err := sqlite.Exchange(t.Context(), fresh(), path, keep); !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("open in another process, it is exchanged: %v", err)
	}
	// Killed, it leaves a log.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Fatal("the other process has left no log")
	}
	if err := sqlite.InUse(path); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	if kept, err := sqlite.Exchange(t.Context(), path+".new", path, keep); err != nil || !kept {
		t.Fatalf("%v, %v", kept, err)
	}
	has(path, "new")
	has(keep, "c")
	old := open(t, keep)
	if events := storetest.Events(t, old); !slices.ContainsFunc(events, func(e store.RecordedEvent) bool { return e.TokenID == token }) {
		t.Errorf("what was acknowledged is not in the database that is kept: %s", token)
	}
	// A damaged one, with a log that must not be taken for the new one's.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.WriteFile(path+suffix, []byte(strings.Repeat("left", 10_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := sqlite.Exchange(t.Context(), fresh(), path, keep+"2"); err != nil || !kept {
		t.Fatalf("an empty one: %v, %v", kept, err)
	}
	has(path, "new")
	if left, err := os.ReadFile(keep + "2-wal"); err != nil || len(left) != 40_000 {
		t.Errorf("the log of the old one is not kept: %d bytes, %v", len(left), err)
	}
	// None.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if kept, err := sqlite.Exchange(t.Context(), fresh(), path, keep+"3"); err != nil || kept {
		t.Fatalf("none: %v, %v", kept, err)
	}
	has(path, "new")
}

// TestNobodyOpensWhatIsExchanged: while a database is exchanged, another process
// neither reads nor writes it: it would do so in the old one.
func TestNobodyOpensWhatIsExchanged(t *testing.T) {
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Alone(t.Context(), path, func() error {
		for _, statement := range []string{"SELECT * FROM totals", "UPDATE totals SET evicted = 1"} {
			out, err := exec.CommandContext(t.Context(), "sqlite3", path, statement).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "locked") {
				t.Errorf("%s: %v, %s", statement, err, out)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := createClient(t.Context(), open(t, path), "c"); err != nil {
		t.Error(err)
	}
}
