package health_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/health"
	"github.com/counterfoil/counterfoil/internal/clock"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func ask(h http.Handler, method, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// A check is asked once for all who ask, and again when its answer is too old.
// Strangers learn whether the server is ready and nothing else.
func TestReady(t *testing.T) {
	now := clock.NewManual(start)
	var asked atomic.Int64
	var failure error
	h := health.New(
		now,
		health.Check{Name: "database", Word: "unwritable", Every: time.Second, Ask: func(context.Context) error { asked.Add(1); return failure }},
		health.Check{Name: "keys", Word: "unusable", Every: time.Hour, Ask: func(context.Context) error { return nil }},
	)
	public, private := h.Handler("/healthz", false, http.NotFoundHandler()), h.Handler("/healthz", true, http.NotFoundHandler())
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if status, body := ask(public, "GET", "/healthz/ready"); status != 200 || body != `{"status":"good"}` {
				t.Errorf("a good server answers %d %s", status, body)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	failure = errors.New("database or disk is full: free some space on its disk")
	now.Turn(time.Second - 1)
	if status, _ := ask(public, "GET", "/healthz"); status != 200 {
		t.Errorf("within a second it answers %d", status)
	}
	now.Turn(1)
	for _, row := range []struct {
		handler      http.Handler
		method, path string
		status       int
		body         string
	}{
		{public, "GET", "/healthz/ready", 503, `{"status":"unavailable"}`},
		{public, "GET", "/healthz", 503, `{"status":"unavailable"}`},
		{private, "GET", "/healthz/ready", 503, `{"status":"unavailable","checks":[{"check":"database","status":"unwritable",` +
			`"detail":"database or disk is full: free some space on its disk"},{"check":"keys","status":"good"}]}`},
		{public, "GET", "/healthz/live", 200, `{"status":"good"}`},
		{private, "GET", "/healthz/live", 200, `{"status":"good"}`},
		{public, "POST", "/healthz/ready", 405, "method not allowed"},
		{public, "GET", "/healthzz", 404, "404 page not found"},
	} {
		if status, body := ask(row.handler, row.method, row.path); status != row.status || body != row.body {
			t.Errorf("%s %s: %d %s", row.method, row.path, status, body)
		}
	}
}

// A check that does not end in time is a failure.
func TestCheckHangs(t *testing.T) {
	h := health.New(clock.System, health.Check{Name: "database", Word: "unwritable", Ask: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	if got := h.Ask(); got[0].Good() || got[0].Detail != context.DeadlineExceeded.Error() {
		t.Errorf("got %+v", got)
	}
}

// The clock fails while it is behind what it was, until it is right again or the
// tokens of before have expired.
func TestClock(t *testing.T) {
	long := func() time.Duration { return 10 * time.Minute }
	for name, row := range map[string]struct {
		newest time.Time // of the record
		turns  func(*clock.Manual)
		behind bool
	}{
		"goes on":             {start.Add(-time.Hour), func(c *clock.Manual) { c.Turn(time.Hour) }, false},
		"no record":           {time.Time{}, func(c *clock.Manual) {}, false},
		"slightly back":       {start, func(c *clock.Manual) { c.Step(-10 * time.Second) }, false},
		"an hour back":        {start, func(c *clock.Manual) { c.Turn(5 * time.Hour); c.Step(-time.Hour) }, true},
		"ahead":               {start, func(c *clock.Manual) { c.Step(time.Hour) }, false},
		"back while down":     {start.Add(time.Hour), func(c *clock.Manual) {}, true},
		"slightly while down": {start.Add(9 * time.Second), func(c *clock.Manual) {}, false},
		"set right":           {start.Add(time.Hour), func(c *clock.Manual) { c.Step(time.Hour) }, false},
	} {
		c := clock.NewStepping(start)
		h := health.New(c, health.Clock(c, row.newest, long))
		row.turns(c)
		if got := h.Ask()[0]; got.Good() == row.behind || row.behind && (got.Status != "behind" || !strings.Contains(got.Detail, "1h0m0s")) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	c := clock.NewStepping(start)
	h := health.New(c, health.Clock(c, start, func() time.Duration { return 30 * 24 * time.Hour }))
	c.Step(-time.Hour)
	h.Ask()
	c.Turn(time.Hour - 1)
	if h.Ask()[0].Good() {
		t.Error("within the hour, it is good")
	}
	c.Turn(1)
	if !h.Ask()[0].Good() {
		t.Error("an hour later, where tokens live for a month, it is not good")
	}
	c = clock.NewStepping(start)
	h = health.New(c, health.Clock(c, start, long))
	good := func() bool { return h.Ask()[0].Good() }
	c.Step(-time.Hour)
	if good() {
		t.Error("set back, it is good")
	}
	c.Turn(10*time.Minute - 1)
	if good() {
		t.Error("while tokens of before are valid, it is good")
	}
	c.Turn(1)
	if !good() {
		t.Error("when they have expired, it is not good")
	}
	c.Step(-time.Minute)
	if good() {
		t.Error("set back again, it is good")
	}
	c.Step(time.Minute)
	if !good() {
		t.Error("set right again, it is not")
	}
	c.Step(time.Hour)
	c.Step(-time.Hour)
	if !good() {
		t.Error("a jump that nobody saw is one")
	}
}

func TestCertificate(t *testing.T) {
	c := clock.NewManual(start)
	h := health.New(c, health.Certificate(c, func() time.Time { return start.Add(time.Hour) }))
	if !h.Ask()[0].Good() {
		t.Error("a valid one is not good")
	}
	c.Turn(time.Hour + 1)
	if got := h.Ask()[0]; got.Status != "expired" {
		t.Errorf("one that has expired: %+v", got)
	}
}
