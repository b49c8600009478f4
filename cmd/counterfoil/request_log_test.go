package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/requestid"
)

// logging returns a log of requests, what it has written, and its clock.
func logging(level slog.Level) (*requestLog, *bytes.Buffer, *clock.Manual) {
	var out bytes.Buffer
	now := clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	log := slog.New(requestid.Logging(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level})))
	return newRequestLog(log, now, nil), &out, now
}

// taken are the lines that were written since the last time, without their times.
func taken(t *testing.T, out *bytes.Buffer) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(out.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		delete(v, "time")
		lines = append(lines, v)
	}
	out.Reset()
	return lines
}

var wrongSecret = counterfoil.Event{Type: "token.refused", Realm: "acme", ClientID: "c", Reason: counterfoil.ReasonWrongSecret, Address: "192.0.2.1", Method: "client_secret_post", Duration: 1500 * time.Microsecond}

// A refusal is one line with what happened; those that are alike are one line a
// second, and then their number. Nothing is left out in silence.
func TestRequestLogRepeats(t *testing.T) {
	l, out, now := logging(slog.LevelInfo)
	var left int64
	l.leftOut = func(n int64) { left += n }
	ctx := t.Context()
	l.onEvent(ctx, wrongSecret)
	want := map[string]any{"level": "INFO", "msg": "token.refused", "realm": "acme", "client_id": "c", "reason": "wrong_secret", "ip_address": "192.0.2.1", "user_agent": "", "auth_method": "client_secret_post", "milliseconds": 1.5}
	if got := taken(t, out); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("logged %v, want %v", got, want)
	}
	for i := range 10_000 {
		e := wrongSecret
		switch i % 3 {
		case 1:
			e.Address = "192.0.2.2" // another line
		case 2:
			e.Endpoint, e.Reason = "/introspect", counterfoil.ReasonUnknownClient
		}
		l.onEvent(ctx, e)
	}
	if got := taken(t, out); len(got) != 2 || got[0]["ip_address"] != "192.0.2.2" || got[1]["endpoint"] != "/introspect" {
		t.Errorf("10,000 refusals of three kinds make %v", got)
	}
	now.Turn(time.Second)
	l.onEvent(ctx, wrongSecret)
	got := taken(t, out)
	if len(got) != 3 || got[0]["repeated"] != 6666.0 || got[0]["reason"] != "wrong_secret" || got[1]["repeated"] != 3332.0 || got[2]["repeated"] != nil {
		t.Errorf("a second later it says %v", got)
	}
	if left != 9998 {
		t.Errorf("%d lines were left out", left)
	}
	// Strangers who are all different: as many lines as a second may have.
	now.Turn(time.Second)
	for i := range 500 {
		e := wrongSecret
		e.ClientID = fmt.Sprint("stray ", i)
		l.onEvent(ctx, e)
	}
	if got := taken(t, out); len(got) != maxLines {
		t.Errorf("500 strangers make %d lines", len(got))
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	l.run(stopped)
	if got := taken(t, out); len(got) != 1 || got[0]["repeated"] != 400.0 || got[0]["client_id"] != nil {
		t.Errorf("at the end it says %v", got)
	}
	if left != 9998+400 {
		t.Errorf("%d lines were left out", left)
	}
}

// While nobody asks, what was left out is told all the same.
func TestRequestLogTellsInTime(t *testing.T) {
	l, out, now := logging(slog.LevelInfo)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.run(ctx) }()
	if err := now.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.onEvent(ctx, wrongSecret)
	l.onEvent(ctx, wrongSecret)
	now.Turn(time.Second)
	if err := now.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	stop()
	<-ended
	if got := taken(t, out); len(got) != 2 || got[1]["repeated"] != 1.0 {
		t.Errorf("it says %v", got)
	}
}

// Granted requests are for debugging; of a sample, one in so many is logged, and
// says for how many it stands. Refusals are no part of it.
func TestRequestLogSamples(t *testing.T) {
	granted := counterfoil.Event{Type: "token.issued", Realm: "acme", ClientID: "c", Success: true}
	l, out, _ := logging(slog.LevelInfo)
	l.onEvent(t.Context(), granted)
	l.every.Store(100)
	for range 1000 {
		l.onEvent(t.Context(), granted)
	}
	got := taken(t, out)
	if len(got) != 10 || got[0]["sample"] != 100.0 || got[0]["level"] != "INFO" {
		t.Errorf("of 1,000, %d were logged: %v", len(got), got[0])
	}
	l.onEvent(t.Context(), wrongSecret)
	if got := taken(t, out); len(got) != 1 || got[0]["sample"] != nil {
		t.Errorf("a refusal is logged as %v", got)
	}
	l, out, _ = logging(slog.LevelDebug)
	l.every.Store(100)
	for range 50 {
		l.onEvent(t.Context(), granted)
	}
	if got := taken(t, out); len(got) != 50 || got[0]["level"] != "DEBUG" || got[0]["sample"] != nil {
		t.Errorf("for debugging, %d of 50 were logged: %v", len(got), got[0])
	}
	l, out, _ = logging(slog.LevelWarn)
	l.every.Store(1)
	l.onEvent(t.Context(), granted)
	l.onEvent(t.Context(), wrongSecret)
	if got := taken(t, out); len(got) != 0 {
		t.Errorf("of warnings only, it logs %v", got)
	}
}
