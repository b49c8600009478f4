package sqlite_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// landed are the migrations that databases out there have seen. They never change:
// a program with another text of one refuses those databases.
var landed = []string{
	"d46bca85d2fdb6ac",
	"bc32cd754b335f10",
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
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			if found, err := sqlite.Inspect(t.Context(), path); err != nil || found.Migrations != sqlite.Migrations()-n {
				t.Errorf("%+v, %v", found, err)
			}
			s := open(t, path)
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
