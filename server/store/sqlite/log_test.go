package sqlite_test

import (
	"os"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// TestLogShrinks: while somebody reads in one long transaction the write-ahead log
// only grows, and it kept its size until the server was stopped.
func TestLogShrinks(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: clock.System.Now(), Realm: "r", Detail: strings.Repeat("x", 256<<10)}
	write := func(n int) {
		t.Helper()
		for range n {
			if err := s.RecordEvents(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	reader, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.ExecContext(t.Context(), "BEGIN DEFERRED"); err != nil {
		t.Fatal(err)
	}
	if err := reader.QueryRowContext(t.Context(), "SELECT count(*) FROM records").Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	write(200)
	if n := size(); n < 40<<20 {
		t.Fatalf("the log has %d bytes under a reader: this test sees nothing", n)
	}
	if _, err := reader.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	write(10)
	if n := size(); n > 20<<20 {
		t.Errorf("the log still has %d bytes after the reader is gone", n)
	}
	if page, err := s.Events(t.Context(), 0, 1000); err != nil || len(page) != 210 {
		t.Errorf("%d events, %v; want 210", len(page), err)
	}
}
