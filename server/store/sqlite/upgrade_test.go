package sqlite_test

import (
	"bufio"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

// landed are the migrations that databases out there have seen. They never change:
// a program with another text of one refuses those databases.
var landed = []string{
	"d46bca85d2fdb6ac",
	"bc32cd754b335f10",
	"cf5e5aa17d343a2c",
	"18991ab8fac6613c",
	"deb6a45e2e28ff25",
	"65fa6564fa1b4566",
}

func TestLandedMigrationsStay(t *testing.T) {
	if n := sqlite.Migrations(); n != len(landed) {
		t.Errorf("there are %d migrations and %d sums: add that of the new one", n, len(landed))
	}
	for i, want := range landed {
		text, err := os.ReadFile(fmt.Sprintf("migrations/%04d.sql", i+1))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:8]) != want {
			t.Errorf("migration %d has the sum %x, and databases have seen %s: undo the change and add a migration", i+1, sum[:8], want)
		}
	}
}

// TestUpgrade opens a file of each earlier program that has a client in it.
func TestUpgrade(t *testing.T) {
	for n := 1; n < sqlite.Migrations(); n++ {
		t.Run(fmt.Sprintf("from migration %d", n), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := sqlite.Make(t.Context(), path, n); err != nil {
				t.Fatal(err)
			}
			old, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			// What a revocation of a client that is gone has left.
			if _, err := old.ExecContext(t.Context(), `INSERT INTO client_tokens (realm, client_id, live, issued, expires, sequence, not_before, disabled, ends, revoked)
				VALUES ('r', 'gone', '', 0, 0, 7, 1772600768000000, 1, 4000000000000000, 0)`); err != nil {
				t.Fatal(err)
			}
			hash := "sha256:" + strings.Repeat("h", 43)
			if _, err := old.ExecContext(t.Context(), `INSERT INTO clients (key, realm, id, version, disabled, created, changed, not_before, scopes, tenants, secrets, api_keys, rest, name)
				VALUES (1, 'r', 'earlier', 1, 0, 0, 0, 0, '', '', ?, '', '', '')`, "0123abcd $2b$x 0 0\n0123abce "+hash+" 0 0\n"); err != nil {
				t.Fatal(err)
			}
			earlier := []store.RecordedEvent{
				{Sequence: 1, Event: counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: time.UnixMicro(1_772_600_768_000_001).UTC(), Realm: "r",
					ClientID: "c\"λ\\", Reason: counterfoil.ReasonUnknownClient, Actor: "a", TokenID: "t", Address: "192.0.2.1", UserAgent: "agent", Detail: "d"}},
				{Sequence: 4, Event: counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_772_600_768_000_002).UTC(), Realm: "r", ClientID: "c", Success: true}},
			}
			e := &earlier[0]
			if n < 3 {
				if _, err := old.ExecContext(t.Context(), `INSERT INTO events VALUES (1, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, 1)`, e.Time.UnixMicro(),
					e.Type, e.Realm, e.ClientID, string(e.Reason), e.Actor, e.TokenID, e.Address, e.UserAgent, e.Detail); err != nil {
					t.Fatal(err)
				}
				run := append(binary.AppendVarint(nil, earlier[1].Time.UnixMicro()), 1)
				for _, text := range []string{counterfoil.EventTokenIssued, "r", "c", "", "", "", "", "", ""} {
					run = append(append(run, byte(len(text))), text...)
				}
				if _, err := old.ExecContext(t.Context(), `INSERT INTO issued VALUES (4, 4, ?); UPDATE totals SET sequence = 4`, run); err != nil {
					t.Fatal(err)
				}
			}
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			if found, err := sqlite.Inspect(t.Context(), path); err != nil || found.Migrations != sqlite.Migrations()-n {
				t.Errorf("%+v, %v", found, err)
			}
			s := open(t, path)
			if events := storetest.Events(t, s); n < 3 && !reflect.DeepEqual(events, earlier) {
				t.Errorf("the record was %+v\nand is %+v", earlier, events)
			}
			if found, err := s.ClientsWithHash(t.Context(), "r", hash, 2); err != nil || len(found) != 1 || found[0].ID != "earlier" {
				t.Errorf("found by a secret: %+v, %v", found, err)
			}
			// What happened before is no reason for an alert.
			if state, err := s.AlertState(t.Context()); err != nil || n < 3 && state.Sequence != 4 {
				t.Errorf("the search for alerts begins after event %d, %v", state.Sequence, err)
			}
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			if err := record(s, "c", "one"); err != nil {
				t.Fatal(err)
			}
			page, err := s.Revocations(t.Context(), "r", 0, 10)
			if err != nil || len(page.Revocations) != 2 || page.Revocations[1].ClientID != "gone" || !page.Revocations[1].Disabled {
				t.Errorf("what was revoked before is %+v, %v", page.Revocations, err)
			}
		})
	}
}

// TestUpgradeUnderAnother: a database that another program has open is not
// upgraded under it: that program knows the old schema only. It may stay open
// where nothing is to be upgraded.
func TestUpgradeUnderAnother(t *testing.T) {
	for n := 1; n <= sqlite.Migrations(); n++ {
		t.Run(fmt.Sprintf("from migration %d", n), func(t *testing.T) {
			t.Parallel() // each waits for the other program
			path := filepath.Join(t.TempDir(), "x.db")
			if err := sqlite.Make(t.Context(), path, n); err != nil {
				t.Fatal(err)
			}
			other := exec.CommandContext(t.Context(), "sqlite3", path)
			in, err := other.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := other.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Start(); err != nil {
				t.Fatalf("%v: run 'make needs'", err)
			}
			if _, err := io.WriteString(in, "PRAGMA journal_mode = WAL; SELECT 'open' FROM totals;\n"); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "open"; {
			}
			before := version(t, path)
			s, err := sqlite.Open(t.Context(), path)
			if n == sqlite.Migrations() {
				if err != nil {
					t.Errorf("with nothing to upgrade: %v", err)
				} else if err := s.Close(); err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "stop that program") {
				t.Errorf("under another program: %v", err)
			}
			if after := version(t, path); after != before {
				t.Errorf("the schema was %d and is %d", before, after)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := other.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := createClient(t.Context(), open(t, path), "c"); err != nil {
				t.Error(err)
			}
		})
	}
}

// version is the user_version of a file as another program sees it.
func version(t *testing.T, path string) (n int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sqlite3", path, "PRAGMA user_version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUpgradeFromTheEarlyThird: the third migration had an earlier form, without the
// column horizon. Its files become as all others are.
func TestUpgradeFromTheEarlyThird(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := sqlite.Make(t.Context(), path, 2); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/0003-early.sql")
	if err != nil {
		t.Fatal(err)
	}
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.ExecContext(t.Context(), string(text)+fmt.Sprintf(";PRAGMA user_version = %d", sqlite.EarlyThird)); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	columns := func(s *sqlite.Store) (all string) {
		t.Helper()
		if err := s.DB().QueryRowContext(t.Context(), "SELECT group_concat(name || ' ' || type || ' ' || dflt_value) FROM pragma_table_info('records')").Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got, want := columns(s), columns(open(t, newPath(t))); got != want {
		t.Errorf("the columns are %s, want %s", got, want)
	}
	if n := version(t, path) & 0xff; n != sqlite.Migrations() {
		t.Errorf("the schema has version %d", n)
	}
	sum := crc32.NewIEEE()
	for _, name := range []string{"migrations/0001.sql", "migrations/0002.sql"} {
		earlier, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(earlier)
	}
	sum.Write(text)
	if got := int(sum.Sum32()>>9)<<8 | 3; got != sqlite.EarlyThird {
		t.Errorf("its files have the version %#x", got)
	}
}
