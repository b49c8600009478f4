package jose_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
)

func TestLeftOutLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Unix(1_800_000_000, 0)
	one := []jose.LeftOut{{Index: 1, ID: "old", Why: "not for signatures"}}
	two := append(one[:1:1], jose.LeftOut{Index: 2, ID: strings.Repeat("k", 1000) + "end\n", Why: "not JSON"})
	var many []jose.LeftOut
	for i := range 50 {
		many = append(many, jose.LeftOut{Index: i, ID: fmt.Sprint(i)})
	}
	var l jose.LeftOutLog
	for _, step := range []struct {
		name  string
		pass  time.Duration
		left  []jose.LeftOut
		lines int
	}{
		{"none", 0, nil, 0},
		{"one", 0, one, 2},
		{"the same at once", 0, one, 0},
		{"the same within the hour", 59 * time.Minute, one, 0},
		{"the same after an hour", time.Minute, one, 2},
		{"another at once", time.Second, two, 0},
		{"another after a minute", time.Minute, two, 3},
		{"none in between", time.Minute, nil, 0},
		{"many", time.Minute, many, 11},
		{"by a clock that was set back", -24 * time.Hour, many, 11},
	} {
		now = now.Add(step.pass)
		l.Warn(log, now, "https://issuer.example/keys", 3, step.left)
		if n := strings.Count(out.String(), "\n"); n != step.lines {
			t.Errorf("%s: %d lines: %s", step.name, n, out.String())
		}
		if step.name == "one" && !strings.Contains(out.String(), `url=https://issuer.example/keys kid=old position=2 why="not for signatures"`) {
			t.Errorf("the line is %s", out.String())
		}
		if strings.Contains(out.String(), "end") {
			t.Errorf("a kid without bounds: %s", out.String())
		}
		out.Reset()
	}
}
