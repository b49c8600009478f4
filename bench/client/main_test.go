package main_test

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// run runs the program as 'make bench-client' does, for moments, and returns
// its tables: the rows by their first cell, in the order of the tables.
func run(t *testing.T, args ...string) map[string][][]string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "bench-client")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := map[string][][]string{}
	for line := range strings.Lines(string(out)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if ok {
			rows[name] = append(rows[name], strings.Fields(rest))
		}
	}
	t.Logf("%s", out)
	return rows
}

// What is asserted are counts: a time would fail on a busy machine.
func TestEachCallIsCountedAndNoneFails(t *testing.T) {
	rows := run(t, "-only", "renewal", "-rounds", "2", "-duration", "2500ms", "-life", "2s", "-rate", "40", "-delay", "20ms")
	for _, side := range []string{"no authentication", "client.Transport", "x/oauth2"} {
		t.Run(side, func(t *testing.T) {
			got := rows[side]
			if len(got) == 0 || got[0][0] != "200" || got[0][1] != "0" {
				t.Fatalf("the side's rows are %v, want 200 calls of which 0 failed", got)
			}
			if side == "no authentication" {
				return
			}
			if requests, err := strconv.Atoi(got[1][1]); err != nil || requests < 2 {
				t.Errorf("%v says of token requests that there were %q, want one in each round at least", got[1], got[1][1])
			}
		})
	}
}

func TestCallsSpendNoAllocationMoreThanTheirPeers(t *testing.T) {
	rows := run(t, "-only", "memory,tls", "-rounds", "1", "-short", "20ms")
	for _, row := range []struct {
		name, side, peer string
		table            int
	}{
		{"one goroutine beside the request's clone", "client.Transport", "Request.Clone alone", 0},
		{"1,000 goroutines beside the request's clone", "client.Transport", "Request.Clone alone", 1},
		{"one goroutine with eight headers beside the request's clone", "client.Transport", "Request.Clone alone", 2},
		{"one goroutine beside x/oauth2", "client.Transport", "x/oauth2", 0},
		{"one goroutine with eight headers beside x/oauth2", "client.Transport", "x/oauth2", 2},
		{"a cached token beside that of x/oauth2", "Source.Token", "x/oauth2 TokenSource.Token", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, peer := allocations(t, rows[row.side], row.table), allocations(t, rows[row.peer], row.table)
			if got > peer+0.5 { // what the runtime does by itself is in both
				t.Errorf("%s allocates %.1f times a call, %s %.1f", row.side, got, row.peer, peer)
			}
		})
	}
	for _, side := range []string{"no authentication", "client.Transport", "x/oauth2"} {
		if len(rows[side]) != 6 {
			t.Errorf("%s has %d rows, want one of each of 6 tables", side, len(rows[side]))
		}
	}
}

func allocations(t *testing.T, rows [][]string, table int) float64 {
	t.Helper()
	if table >= len(rows) || len(rows[table]) != 6 {
		t.Fatalf("no row of 6 cells in table %d: %v", table, rows)
	}
	n, err := strconv.ParseFloat(rows[table][4], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, row := range []struct {
		name, flag, value string
	}{
		{"no calls", "-rate", "0"},
		{"a token that ends at once", "-life", "1s"},
		{"a section that is not there", "-only", "memory,disk"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "run", ".", row.flag, row.value).CombinedOutput()
			if err == nil || !strings.Contains(string(out), row.flag) {
				t.Errorf("%s %s gives %v and %q, want a failure that names the flag", row.flag, row.value, err, out)
			}
		})
	}
}
