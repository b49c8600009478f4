package metrics_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

func page(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// One request is counted where it belongs, and nowhere else.
func TestEvents(t *testing.T) {
	for _, row := range []struct {
		e    counterfoil.Event
		want string
	}{
		{counterfoil.Event{Type: "token.issued", Success: true, Method: "private_key_jwt"},
			`counterfoil_token_requests_total{method="private_key_jwt",outcome="issued",realm="acme",reason=""} 1`},
		{counterfoil.Event{Type: "token.reused", Success: true}, `counterfoil_token_requests_total{method="",outcome="reused",realm="acme",reason=""} 1`},
		{counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonWrongSecret},
			`counterfoil_token_requests_total{method="",outcome="refused",realm="acme",reason="wrong_secret"} 1`},
		{counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonUnavailable},
			`counterfoil_token_requests_total{method="",outcome="failed",realm="acme",reason="unavailable"} 1`},
		{counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonSecretsBusy},
			`counterfoil_token_requests_total{method="",outcome="failed",realm="acme",reason="secrets_busy"} 1`},
		{counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonServerError},
			`counterfoil_token_requests_total{method="",outcome="failed",realm="acme",reason="server_error"} 1`},
		{counterfoil.Event{Type: "token.refused", Reason: counterfoil.ReasonWrongSecret, Endpoint: "/revocations"},
			`counterfoil_endpoint_requests_total{endpoint="/revocations",outcome="refused",realm="acme",reason="wrong_secret"} 1`},
		{counterfoil.Event{Type: "tokens.revoked", Success: true, Endpoint: "/revoke"},
			`counterfoil_endpoint_requests_total{endpoint="/revoke",outcome="allowed",realm="acme",reason=""} 1`},
		{counterfoil.Event{Type: counterfoil.EventSecretLeaked, Success: true, Endpoint: "/leaked"},
			`counterfoil_endpoint_requests_total{endpoint="/leaked",outcome="allowed",realm="acme",reason=""} 1`},
		{counterfoil.Event{Type: "call.refused", Reason: counterfoil.ReasonTokenExpired},
			`counterfoil_guard_calls_total{outcome="refused",realm="acme",reason="token_expired"} 1`},
		{counterfoil.Event{Type: "admin.called", Success: true}, `counterfoil_admin_calls_total{outcome="allowed",realm="acme",reason=""} 1`},
		{counterfoil.Event{Type: "client.created", Success: true}, ""},
	} {
		m := metrics.New()
		row.e.Realm, row.e.ClientID, row.e.Address, row.e.UserAgent = "acme", "stray", "192.0.2.1", "stray"
		m.OnEvent(t.Context(), row.e)
		var counted []string
		for line := range strings.Lines(page(t, m.Handler(clock.System))) {
			if strings.Contains(line, "_total{") && !strings.HasPrefix(line, "counterfoil_alerts") && !strings.HasPrefix(line, "go_") {
				counted = append(counted, strings.TrimSpace(line))
			}
			if strings.Contains(line, "stray") || strings.Contains(line, "192.0.2.1") {
				t.Errorf("%s: %s", row.e.Type, line)
			}
		}
		if got := strings.Join(counted, "\n"); got != row.want {
			t.Errorf("%s: %s, want %s", row.e.Type, got, row.want)
		}
	}
}

// Whatever reasons and realms there come to be, the series are bounded, and what is
// not told apart is counted.
func TestSeriesAreBounded(t *testing.T) {
	m := metrics.New()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 4000 {
				m.OnEvent(t.Context(), counterfoil.Event{Type: "call.refused", Realm: "acme", Reason: counterfoil.Reason(fmt.Sprint(worker, "-", i))})
			}
		})
	}
	all.Wait()
	m.OnEvent(t.Context(), counterfoil.Event{Type: "call.refused", Realm: "acme\xff", Reason: "x"})
	text := page(t, m.Handler(clock.System))
	if n := strings.Count(text, "\ncounterfoil_guard_calls_total{"); n != 4001 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(text, "\n"+`counterfoil_guard_calls_total{outcome="refused",realm="other",reason="other"} 12001`+"\n") {
		t.Error("what is not told apart is lost")
	}
}

// A scrape is answered again for a second, and then anew.
func TestScrapesAreCached(t *testing.T) {
	now := clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	m := metrics.New()
	h := m.Handler(now)
	const line = `counterfoil_alerts_total{kind="clock"} `
	if !strings.Contains(page(t, h), line+"0") {
		t.Error("an alert does not begin at 0")
	}
	m.Alert(alerts.KindClock)
	now.Turn(metrics.Stands - 1)
	if !strings.Contains(page(t, h), line+"0") {
		t.Error("within a second the metrics are collected again")
	}
	now.Turn(1)
	if !strings.Contains(page(t, h), line+"1") {
		t.Error("a second later they are not")
	}
	m.Alert(alerts.KindClock)
	now.Step(-time.Hour)
	if !strings.Contains(page(t, h), line+"2") {
		t.Error("after the clock was set back they are not")
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("POST", "/metrics", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestNamesAreOfPrometheus(t *testing.T) {
	m := metrics.New()
	m.OnCommit(sqlite.Commit{Writes: 3, Failed: 1, Duration: time.Millisecond})
	m.LeftOut(7)
	text := page(t, m.Handler(clock.System))
	problems, err := promlint.New(bytes.NewBufferString(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, line := range []string{
		`counterfoil_store_commit_writes_bucket{le="4"} 1`, "counterfoil_store_failed_writes_total 1", "counterfoil_log_left_out_total 7",
		`counterfoil_store_commit_duration_seconds_bucket{le="0.001"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
}

// What counting costs each token request; half a microsecond is the most.
func BenchmarkToken(b *testing.B) {
	m := metrics.New()
	e := counterfoil.Event{Type: "token.issued", Realm: "acme", ClientID: "c", Method: "client_secret_basic", Success: true, Duration: time.Millisecond}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.OnEvent(b.Context(), e)
		}
	})
}
