package audit_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"golang.org/x/mod/sumdb/note"
)

// TestRestored: a record that was restored agrees with the checkpoints of before
// the backup and goes on; checkpoints of what was lost are told from those of a
// record that somebody has cut off, unless the event that says so is forged.
func TestRestored(t *testing.T) {
	for _, row := range []struct {
		name   string
		detail func(l *audit.Log, r audit.Restore) string
		want   string
	}{
		{"signed", (*audit.Log).RestoreDetail, "were lost when the database was restored from the backup of 2026-03-01T12:00:00Z"},
		{"forged", func(l *audit.Log, r audit.Restore) string {
			return strings.Replace(l.RestoreDetail(audit.Restore{Kept: r.Kept, Lost: r.Lost - 1, Made: r.Made}), " 611 ", " 612 ", 1)
		}, "do not match the kept checkpoint of 612 entries"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRecord(t)
			r.add(299) // beside the event of the log's key
			r.extend()
			state, err := r.store.Log(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			early, made := state.Checkpoint.Note, r.clock.Now()
			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.WriteFile(copied, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := sqlite.Backup(t.Context(), r.path, copied); err != nil {
				t.Fatal(err)
			}
			r.add(312)
			r.extend()
			if state, err = r.store.Log(t.Context()); err != nil || state.Recorded != 612 {
				t.Fatalf("%+v, %v", state, err)
			}
			late := state.Checkpoint.Note
			if err := r.store.Close(); err != nil {
				t.Fatal(err)
			}
			if err := sqlite.Unpack(t.Context(), copied); err != nil {
				t.Fatal(err)
			}
			r.path = copied
			r.open()
			detail := row.detail(r.log, audit.Restore{Kept: 300, Lost: 612, Made: made})
			if err := r.store.Restored(t.Context(), counterfoil.Event{
				Type: counterfoil.EventDatabaseRestored, Time: r.clock.Now(), Success: true, Detail: detail,
			}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			r.add(500)
			r.extend()
			if report := r.verify(early); len(report.Findings) != 0 || report.Entries != 801 {
				t.Errorf("by a checkpoint of before: %+v", report)
			}
			if report := r.verify(early, late); len(report.Findings) != 1 || !strings.Contains(report.Findings[0].What, row.want) {
				t.Errorf("by a checkpoint of what was lost: %+v", report)
			}
		})
	}
}

func FuzzParseRestore(f *testing.F) {
	r := audit.Restore{Kept: 7, Lost: 9, Made: time.Unix(1_800_000_000, 0).UTC()}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	db, err := sqlite.Open(f.Context(), filepath.Join(f.TempDir(), "c.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	l, err := audit.New(f.Context(), audit.Config{Store: db, Clock: clock.System, Key: private})
	if err != nil {
		f.Fatal(err)
	}
	by, err := note.NewVerifier(l.VerifierKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.RestoreDetail(r))
	f.Add("7 9 2026-03-01T12:00:00Z AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := audit.ParseRestore(text, by.Name(), by); ok && got != r {
			t.Errorf("%q is accepted as %+v", text, got)
		}
	})
}
