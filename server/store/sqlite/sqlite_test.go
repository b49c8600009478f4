package sqlite_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

var kills = flag.Int("kills", 10, "rounds of the kill -9 test; 200 for the long form")

// cuts is a flag of every system, so that 'make crash' can be asked for anywhere.
var cuts = flag.Int("cuts", 4, "rounds of the test that cuts the power; 200 for the long form")

// childEnv names the database to a copy of this test that writes to it.
const childEnv = "COUNTERFOIL_TEST_CHILD"

func TestMain(m *testing.M) {
	disktest.Main()
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path, os.Args[len(os.Args)-1]))
	}
	flag.Parse()
	os.Exit(m.Run())
}

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "a b%20?#.db") }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := newPath(t)
		return func() store.Store { return open(t, path) }
	})
}

func TestReopen(t *testing.T) {
	path := newPath(t)
	first := open(t, path)
	if err := createClient(t.Context(), first, "c"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path).Client(t.Context(), "r", "c"); err != nil {
		t.Error(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the file%s: %v, %v; want 0600", suffix, info.Mode(), err)
		}
	}
}

func TestWideModeIsNarrowed(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	statements := func(list ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", "file:"+filepath.Join(filepath.Dir(path), "plain.db"))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				if _, err := db.Exec(s); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(db.Close(), os.Rename(filepath.Join(filepath.Dir(path), "plain.db"), path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, row := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"damaged": {func(t *testing.T, path string) { damage(t, path, 4096) }, "restore it from a backup"},
		// What is read to open a file is whole, the clients are not.
		"damaged in its last page": {func(t *testing.T, path string) { damage(t, path, -4096) }, "restore it from a backup"},
		"damaged, beside a whole index of its log": {func(t *testing.T, path string) {
			damage(t, path, 4096)
			if err := os.WriteFile(path+"-shm", make([]byte, 32<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "restore it from a backup"},
		"a link to nothing": {func(t *testing.T, path string) {
			if err := os.Symlink(path+".gone", path); err != nil {
				t.Fatal(err)
			}
		}, "directory that exists"},
		"foreign text": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 500)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "belongs to another program"},
		"foreign database":       {statements("CREATE TABLE t (x)"), "belongs to another program"},
		"foreign application id": {statements("PRAGMA application_id = 7"), "belongs to another program"},
		// A file of before a migration was changed was opened, and each request failed.
		"another schema": {statements("PRAGMA application_id = 1128681292", "PRAGMA user_version = 1"), "use the program that wrote it"},
		"newer version":  {statements("PRAGMA application_id = 1128681292", "PRAGMA user_version = 99"), "use the newer program"},
		"a directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			row.prepare(t, path)
			wantOpenError(t, path, row.want)
		})
	}
	t.Run("no directory", func(t *testing.T) {
		wantOpenError(t, filepath.Join(t.TempDir(), "none", "x.db"), "directory that exists")
	})
	t.Run("read-only directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			dir = "/proc" // where even root can make no file
		}
		wantOpenError(t, filepath.Join(dir, "x.db"), "directory that exists and that this user may write to")
	})
}

// damage makes a database with clients and writes noise over every other page from
// one on, which is counted from the end when it is negative.
func damage(t *testing.T, path string, from int64) {
	t.Helper()
	s := open(t, path)
	for i := range 50 {
		if err := createClient(t.Context(), s, strings.Repeat("c", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if from < 0 {
		from += info.Size()
	}
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i*7 + 1)
	}
	for at := from; at < info.Size(); at += 8192 {
		if _, err := f.WriteAt(noise, at); err != nil {
			t.Fatal(err)
		}
	}
}

func wantOpenError(t *testing.T, path, want string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err == nil {
		_ = s.Close()
		t.Fatal("the file was opened")
	}
	if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q; want the path and %q on one line", err, want)
	}
}

// TestNewClientsEndNothing: a follower of the revocations hears nothing of a
// client that is made.
func TestNewClientsEndNothing(t *testing.T) {
	s := open(t, newPath(t))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Revocations(t.Context(), "r", 0, 10); err != nil || len(page.Revocations) != 0 || page.Last != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if n, err := s.Rows("client_tokens"); err != nil || n != 0 {
		t.Errorf("%d rows about tokens of a client that has none, %v", n, err)
	}
}

// TestOpenWaitsForReaders: a file that another program reads cannot be switched to the
// log, which SQLite does not wait for.
func TestOpenWaitsForReaders(t *testing.T) {
	path := newPath(t)
	if err := sqlite.Make(t.Context(), path, sqlite.Migrations()); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM clients").Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if s, err := sqlite.Open(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v; want it to wait", s, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// TestLockedDatabase holds the lock that the writer needs: its callers get an
// error in the end, not a hang, and the store works on afterwards.
func TestLockedDatabase(t *testing.T) {
	s := open(t, newPath(t))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	s.SetPatience(20*time.Millisecond, time.Hour)
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := record(s, "c", "t"); err == nil || !strings.Contains(err.Error(), "another process holds the database") {
				t.Errorf("while locked: %v", err)
			}
		})
	}
	if _, err := s.Client(t.Context(), "r", "c"); err != nil {
		t.Errorf("a read while locked: %v", err)
	}
	wg.Wait()
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready while locked")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := record(s, "c", "t"); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready after the lock: %v", err)
	}
}

// TestLockedDatabaseWaitsOnce: each request in turn waited for a lock that those
// before it had waited for in vain.
func TestLockedDatabaseWaitsOnce(t *testing.T) {
	s := open(t, newPath(t))
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	s.SetPatience(0, time.Hour)
	if err := s.Ready(t.Context()); err == nil {
		t.Fatal("ready while locked")
	}
	s.SetPatience(time.Hour, time.Hour)
	again := make(chan error, 1)
	go func() { again <- s.Ready(t.Context()) }()
	select {
	case err := <-again:
		if err == nil {
			t.Error("ready while locked")
		}
	case <-time.After(time.Minute):
		t.Error("the second write waits anew for the lock")
	}
}

// TestLockedAgain: a process that holds the lock once more, after it has committed,
// is not the one that was waited for in vain.
func TestLockedAgain(t *testing.T) {
	path := newPath(t)
	s, other, third := open(t, path), open(t, path), open(t, path)
	hold := func() *sql.Tx {
		t.Helper()
		tx, err := other.DB().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	tx := hold()
	open(t, path) // a reader waits for no writer
	s.SetPatience(0, time.Hour)
	if err := s.Ready(t.Context()); err == nil {
		t.Fatal("ready while locked")
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE totals SET changes = changes + 1"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	tx = hold()
	s.SetPatience(time.Hour, time.Hour)
	ready := make(chan error, 1)
	go func() { ready <- s.Ready(t.Context()) }()
	// It looks several times meanwhile.
	third.SetPatience(300*time.Millisecond, time.Hour)
	if err := third.Ready(t.Context()); err == nil {
		t.Fatal("ready while locked")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-ready; err != nil {
		t.Errorf("a write gave up at once on a process that commits: %v", err)
	}
}

// TestLockedInTurn: a process that commits again and again held the lock whenever
// this one looked, and was taken for one that is stuck.
func TestLockedInTurn(t *testing.T) {
	path := newPath(t)
	s, other := open(t, path), open(t, path)
	s.SetPatience(200*time.Millisecond, time.Hour)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for lane := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := record(other, "c", fmt.Sprint("other ", lane, n)); err != nil && !strings.Contains(err.Error(), "another process holds") {
					t.Error(err)
				}
			}
		})
	}
	for n := range 50 {
		if err := record(s, "c", fmt.Sprint(n)); err != nil {
			t.Error(err)
		}
	}
	stop()
	wg.Wait()
}

// TestNeighbours sends writes together of which some fail in the database
// itself: the others must not notice.
func TestNeighbours(t *testing.T) {
	s := open(t, newPath(t))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DB().Exec(`CREATE TRIGGER fault BEFORE INSERT ON client_tokens WHEN NEW.live LIKE 'bad%' BEGIN SELECT RAISE(FAIL, 'fault'); END`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			token := fmt.Sprintf("good-%d", i)
			if i%8 == 0 {
				token = fmt.Sprintf("bad-%d", i)
			}
			if err := record(s, "c", token); (err != nil) != (i%8 == 0) {
				t.Errorf("%s: %v", token, err)
			}
		})
	}
	wg.Wait()
	events := storetest.Events(t, s)
	for _, e := range events {
		if strings.HasPrefix(e.TokenID, "bad") {
			t.Errorf("a failed write left the event of %s", e.TokenID)
		}
	}
	if len(events) != 1+56 {
		t.Errorf("%d events, want 57", len(events))
	}
}

func createClient(ctx context.Context, s store.Store, id string) error {
	return s.CreateClient(ctx, store.Client{Realm: "r", ID: id}, counterfoil.Event{Type: counterfoil.EventClientCreated, Realm: "r", ClientID: id})
}

func record(s store.Store, id, token string) error {
	now := time.Now()
	_, err := s.RecordIssued(context.Background(), store.Issuance{
		Event:   counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: id, TokenID: token},
		Version: 1, Replace: true, Issued: now.Truncate(time.Second), Expires: now.Add(time.Hour).Truncate(time.Second), StatusIndex: -1,
		ReplayKeys: []store.ReplayKey{onceOf(token, now)},
	})
	if errors.Is(err, store.ErrConflict) {
		return record(s, id, token) // another was dated later
	}
	return err
}

// onceOf is what each token of these tests uses up.
func onceOf(token string, now time.Time) store.ReplayKey {
	return store.ReplayKey{Hash: sha256.Sum256([]byte(token)), Until: now.Add(time.Hour)}
}

// TestHashIsFoundByIndex: whoever sends invented secrets must not have a million
// clients read for each.
func TestHashIsFoundByIndex(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "x.db"))
	plan, err := s.PlanOfHash(t.Context())
	for _, name := range []string{"clients_secret_1", "clients_secret_2", "clients_api_key_1", "clients_api_key_2"} {
		if strings.Count(plan, "SEARCH c USING INDEX "+name+" (") != 1 {
			t.Errorf("%s is not used", name)
		}
	}
	if err != nil || strings.Contains(plan, "SCAN c") {
		t.Errorf("the plan is\n%s%v", plan, err)
	}
}
