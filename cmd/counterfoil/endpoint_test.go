package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What net/http says of callers is for debugging, except that a handler panicked.
func TestServerLog(t *testing.T) {
	for line, level := range map[string]string{
		"http: TLS handshake error from 192.0.2.1:1: EOF\n":     "DEBUG",
		"http: panic serving 192.0.2.1:1: oops\ngoroutine 1\n":  "ERROR",
		"http2: panic serving 192.0.2.1:1: oops\ngoroutine 1\n": "ERROR",
	} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if n, err := (serverLog{log}).Write([]byte(line)); n != len(line) || err != nil {
			t.Error(n, err)
		}
		if got := out.String(); !strings.Contains(got, "level="+level) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q is logged as %q", line, got)
		}
	}
}
