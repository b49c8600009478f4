package lograte_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/lograte"
)

// A database that is away made two lines for each request.
func TestLimiter(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := clock.NewStepping(time.Now())
	var l lograte.Limiter
	lines := func() []string {
		defer out.Reset()
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	fail := func(times int) {
		for range times {
			l.Error(t.Context(), now, log, "it fails", "error", "why")
		}
	}
	fail(100)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], `level=ERROR msg="it fails" error=why`) || strings.Contains(got[0], "repeated") {
		t.Errorf("at once: %q", got)
	}
	now.Turn(lograte.Interval - 1)
	now.Step(time.Hour) // the wall clock does not count
	fail(1)
	if got := lines(); got[0] != "" {
		t.Errorf("within a second: %q", got)
	}
	now.Turn(1)
	fail(3)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "repeated=100") {
		t.Errorf("after a second: %q", got)
	}
	now.Turn(time.Minute)
	fail(1)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "repeated=2") {
		t.Errorf("after a minute: %q", got)
	}
}
