package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/client/internal/flight"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// Health is the answer of [Source.Check]. In JSON it is
//
//	{"status":"healthy","authentication":"ok","api_connectivity":"ok","timestamp":"2026-01-02T03:04:05Z"}
//
// or
//
//	{"status":"unhealthy","error":"…","timestamp":"2026-01-02T03:04:05Z"}
type Health struct {
	// Status is "healthy" or "unhealthy".
	Status string `json:"status"`
	// Authentication and APIConnectivity are "ok" when healthy, else empty.
	Authentication  string `json:"authentication,omitempty"`
	APIConnectivity string `json:"api_connectivity,omitempty"`
	// Error is one line that begins with what failed: "authentication" or
	// "api_connectivity", or "check" if a HealthHandler's probe ended before the
	// result was known.
	Error string `json:"error,omitempty"`
	// Timestamp is when the check ended, in UTC, in whole seconds.
	Timestamp time.Time `json:"timestamp"`
	// AuthenticationErr and APIErr are the errors behind Error, for a program
	// that branches on them; at most one is set. Both are a [*counterfoil.Error].
	// That of an unsuccessful response of the API has its Status, and as Reason
	// what provider.API.Reason says. Where the description says nothing, a 401 is
	// TokenInvalid, and 408, 429, 500, 502, 503 and 504 are transient, with the
	// response's Retry-After.
	AuthenticationErr error `json:"-"`
	APIErr            error `json:"-"`
}

// reuseHealth is how long a result of the HealthHandler is reused: probes cost the
// API at most twelve calls a minute.
const reuseHealth = 5 * time.Second

// checked is a Health and when it was obtained.
type checked struct {
	health Health
	at     time.Time
}

// health is the check that all HealthHandlers of a Source share.
type health struct {
	check  func(context.Context) Health
	clock  counterfoil.Clock
	flight flight.Flight[Health]
	last   atomic.Pointer[checked] // nil until there was one
}

func newHealth(c *Config, check func(context.Context) Health) *health {
	return &health{check: check, clock: c.Clock, flight: flight.Flight[Health]{Clock: c.Clock, Limit: c.Timeout}}
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "use GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	found := h.shared(r.Context())
	body, err := json.Marshal(found)
	if err != nil {
		http.Error(w, "the health has no JSON form", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	if found.Status != "healthy" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n'))
}

// shared returns the last health, or that of the check under way. If ctx ends
// first, for example by a time limit in front of the handler, it returns an
// unhealthy one.
func (h *health) shared(ctx context.Context) Health {
	if found, ok := h.recent(); ok {
		return found
	}
	found, err := h.flight.Wait(ctx, func(ctx context.Context) (Health, error) {
		if found, ok := h.recent(); ok {
			return found, nil // of the flight that has just ended
		}
		found := h.check(ctx)
		found.Error = found.outside()
		h.last.Store(&checked{found, h.clock.Now()})
		return found, nil
	})
	if err != nil {
		return Health{
			Status:    "unhealthy",
			Error:     "check: not finished when the probe ended",
			Timestamp: h.clock.Now().UTC().Truncate(time.Second),
		}
	}
	return found
}

func (h *health) recent() (Health, bool) {
	c := h.last.Load()
	if c == nil {
		return Health{}, false
	}
	return c.health, clocks.Within(h.clock.Now(), c.at, reuseHealth)
}

// outside returns Error without causes.
func (h Health) outside() string {
	words := func(part string, err error) string {
		e, ok := errors.AsType[*counterfoil.Error](err)
		if !ok {
			return part + ": fails"
		}
		bare := *e
		bare.Err = nil
		return part + ": " + bare.Error()
	}
	switch {
	case h.AuthenticationErr != nil:
		return words("authentication", h.AuthenticationErr)
	case h.APIErr != nil:
		return words("api_connectivity", h.APIErr)
	}
	return ""
}

// judge says what is wrong with the answer to a health call. Every error but
// that of reading is a *counterfoil.Error.
func (c *calls) judge(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	status := resp.StatusCode
	e := &counterfoil.Error{
		Reason:  c.api.Reason(status, body),
		Status:  status,
		Message: fmt.Sprintf("the API answers %d", status),
	}
	if e.Reason != "" {
		e.Message += fmt.Sprintf(" (%s)", e.Reason)
	}
	if status == http.StatusUnauthorized {
		e.Reason = cmp.Or(e.Reason, counterfoil.ReasonTokenInvalid)
		e.Message += fmt.Sprintf(": check that %s and %s belong to the same provider", c.cfg.field("TokenURL"), c.cfg.field("APIURL"))
	}
	switch {
	case status == http.StatusTooManyRequests:
		e.Reason = counterfoil.ReasonRateLimited
	case passes(status) && e.Class() != counterfoil.ClassTransient:
		e.Reason = counterfoil.ReasonUnavailable
	case status >= 300 && status < 400:
		e.Reason = cmp.Or(e.Reason, counterfoil.ReasonBadResponse)
	}
	if e.Class() == counterfoil.ClassTransient {
		e.RetryAfter = retryAfter(resp.Header, c.cfg.Clock.Now())
	}
	if e.Reason != "" || status < 200 || status > 299 {
		return e
	}
	if c.api.Kind != provider.KindGraphQL {
		return nil
	}
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if body, err = files.Text(body); err != nil || json.Unmarshal(body, &answer) != nil || len(answer.Errors) > 0 {
		return &counterfoil.Error{Reason: counterfoil.ReasonBadResponse, Status: status,
			Message: fmt.Sprintf("the API answers %d, but with GraphQL errors or no JSON", status)}
	}
	return nil
}
