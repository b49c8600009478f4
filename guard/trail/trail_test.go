package trail_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard/trail"
	"github.com/counterfoil/counterfoil/internal/clock"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func allowed(client, token string, at time.Time) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventCallAllowed, Time: at, Realm: "r", ClientID: client, Success: true, TokenID: token,
		Address: "192.0.2.1", Resource: "GET /x", RequestID: token}
}

func refused(client string, at time.Time) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventCallRefused, Time: at, Realm: "r", ClientID: client, Reason: counterfoil.ReasonTokenExpired,
		Address: "192.0.2.1"}
}

// read returns the events of a file.
func read(t *testing.T, path string) (all []counterfoil.Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e counterfoil.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

// TestDecisions: each refusal is in the file at once, allowed calls by minute and
// client, and nothing is left out when the program ends.
func TestDecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	file, err := trail.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := clock.NewManual(start)
	tr := trail.New(trail.Config{Sink: file, Clock: c})
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); tr.Run(ctx) }()
	var all sync.WaitGroup
	for n := range 10 {
		all.Go(func() {
			for i := range 100 {
				tr.OnEvent(ctx, allowed(fmt.Sprint("c", n%2), fmt.Sprint(n, "-", i), start))
			}
		})
	}
	all.Wait()
	tr.OnEvent(ctx, allowed("once", "t", start))
	if got := read(t, path); len(got) != 0 {
		t.Errorf("allowed calls are recorded at once: %+v", got)
	}
	tr.OnEvent(ctx, refused("c0", start))
	tr.OnEvent(ctx, refused("c0", start))
	if got := read(t, path); len(got) != 1 || got[0] != refused("c0", start) {
		t.Errorf("a refusal is recorded as %+v", got)
	}
	for range 12 { // a minute, and the first look after it
		if err := c.Sleepers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		c.Turn(5 * time.Second)
	}
	if err := c.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, e := range read(t, path) {
		counts[e.Type+" "+e.ClientID] += max(1, e.Count)
		if e.ClientID == "c1" && (e.TokenID != "" || e.Resource != "" || e.RequestID != "") {
			t.Errorf("%+v names one call of many", e)
		}
		if e.ClientID == "once" && e != allowed("once", "t", start) {
			t.Errorf("one call is recorded as %+v", e)
		}
	}
	if fmt.Sprint(counts) != "map[call.allowed c0:500 call.allowed c1:500 call.allowed once:1 call.refused c0:2]" {
		t.Errorf("after a minute: %v", counts)
	}
	tr.OnEvent(ctx, allowed("last", "t", c.Now()))
	end()
	<-ended
	if got := read(t, path); got[len(got)-1].ClientID != "last" {
		t.Errorf("at the end: %+v", got)
	}
}

// TestEach records each allowed call where that is wanted.
func TestEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	file, err := trail.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tr := trail.New(trail.Config{Sink: file, Clock: clock.NewManual(start), Each: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the caller has left
	for i := range 3 {
		tr.OnEvent(ctx, allowed("c", fmt.Sprint(i), start))
	}
	if got := read(t, path); len(got) != 3 || got[2] != allowed("c", "2", start) {
		t.Errorf("got %+v", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
}

// TestMovedFile: the file that logrotate has moved away is complete, and the next
// event begins a new one.
func TestMovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	file, err := trail.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	record := func(client string) {
		t.Helper()
		if err := file.RecordEvents(t.Context(), refused(client, start)); err != nil {
			t.Fatal(err)
		}
	}
	record("a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record("b")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	record("c")
	if old, now := read(t, path+".1"), read(t, path); len(old) != 1 || old[0].ClientID != "a" || len(now) != 1 || now[0].ClientID != "c" {
		t.Errorf("got %+v and %+v", old, now)
	}
	if err := errors.Join(file.Close(), file.Close()); err != nil {
		t.Error(err)
	}
	if err := file.RecordEvents(t.Context(), refused("d", start)); err == nil {
		t.Error("a closed file records")
	}
}

// TestTornLine: what a killed program has left of a line spoils no other.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	if err := os.WriteFile(path, []byte(`{"event_type":"call.ref`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := trail.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 2 {
		if err := file.RecordEvents(t.Context(), refused("a", start)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) != 4 || lines[0] != `{"event_type":"call.ref` || !json.Valid([]byte(lines[1])) || lines[1] != lines[2] {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// away is a sink that fails at first.
type away struct {
	left   int
	events []counterfoil.Event
}

func (a *away) RecordEvents(_ context.Context, events ...counterfoil.Event) error {
	if a.left--; a.left >= 0 {
		return errors.New("away")
	}
	a.events = append(a.events, events...)
	return nil
}

// TestNothingIsLost: what could not be recorded is counted and recorded later.
func TestNothingIsLost(t *testing.T) {
	for _, each := range []bool{false, true} {
		sink := &away{left: 2}
		tr := trail.New(trail.Config{Sink: sink, Clock: clock.NewManual(start), Logger: slog.New(slog.DiscardHandler), Each: each})
		tr.OnEvent(t.Context(), refused("a", start))
		tr.OnEvent(t.Context(), refused("b", start))
		tr.OnEvent(t.Context(), refused("a", start))
		for range 3 {
			tr.OnEvent(t.Context(), allowed("c", "t", start))
		}
		ctx, end := context.WithCancel(t.Context())
		end()
		tr.Run(ctx)
		counts := map[string]int64{}
		for _, e := range sink.events {
			counts[e.Type+" "+e.ClientID] += max(1, e.Count)
		}
		if fmt.Sprint(counts) != "map[call.allowed c:3 call.refused a:2 call.refused b:1]" {
			t.Errorf("each %v: recorded are %v", each, counts)
		}
	}
}

// broken is a sink that fails.
type broken struct{ err error }

func (b broken) RecordEvents(context.Context, ...counterfoil.Event) error { return b.err }

// TestSinkFails: the call goes on, and the operator is told once a second.
func TestSinkFails(t *testing.T) {
	var log strings.Builder
	tr := trail.New(trail.Config{Sink: broken{errors.New("disk on fire")}, Clock: clock.NewManual(start), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 100 {
		tr.OnEvent(t.Context(), refused(fmt.Sprint(i), start))
	}
	if n := strings.Count(log.String(), "disk on fire"); n != 1 {
		t.Errorf("%d lines in a second: %s", n, log.String())
	}
}
