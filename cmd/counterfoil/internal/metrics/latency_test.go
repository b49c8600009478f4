package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// What is read from a server is what it measured, by realm and since a time.
func TestLatency(t *testing.T) {
	m, now := metrics.New(), clock.NewManual(time.Now())
	ts := httptest.NewServer(m.Handler(now))
	defer ts.Close()
	address := strings.TrimPrefix(ts.URL, "http://")
	took := func(realm string, d time.Duration, n int) {
		for range n {
			m.OnEvent(t.Context(), counterfoil.Event{Type: "token.issued", Realm: realm, Success: true, Duration: d})
		}
	}
	read := func(realm string) metrics.Latency {
		t.Helper()
		now.Turn(metrics.Stands)
		l, err := metrics.ReadLatency(t.Context(), address, realm)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := read(""); l.Count() != 0 || l.Quantile(.5) != 0 {
		t.Errorf("without requests: %v", l)
	}
	took("a", 2*time.Millisecond, 90)
	took("b", 20*time.Millisecond, 10)
	all := read("")
	if n, p50, p95 := all.Count(), all.Quantile(.5), all.Quantile(.95); n != 100 || p50 < time.Millisecond || p50 > 2500*time.Microsecond ||
		p95 != 17500*time.Microsecond {
		t.Errorf("of all: %v requests, %v and %v", n, p50, p95)
	}
	if l := read("b"); l.Count() != 10 || l.Quantile(.5) < 10*time.Millisecond {
		t.Errorf("of a realm: %v", l)
	}
	took("a", time.Minute, 10)
	if l := read("").Since(all); l.Count() != 10 || l.Quantile(.5) != 10*time.Second {
		t.Errorf("since: %v, %v", l.Count(), l.Quantile(.5))
	}
	if l := all.Since(read("")); l.Count() != 100 {
		t.Errorf("of a server that was restarted: %v", l.Count())
	}
	for _, wrong := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
	} {
		other := httptest.NewServer(wrong)
		if _, err := metrics.ReadLatency(t.Context(), strings.TrimPrefix(other.URL, "http://"), ""); err == nil {
			t.Error("a stranger's page is read")
		}
		other.Close()
	}
}
