package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/clock"
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
	// that branches on them; at most one is set. An unsuccessful response of the
	// API is a [*counterfoil.Error] with its Status.
	AuthenticationErr error `json:"-"`
	APIErr            error `json:"-"`
}

const (
	// reuseHealth is how long a result of the HealthHandler is reused: probes
	// cost the API at most twelve calls a minute.
	reuseHealth = 5 * time.Second
	// healthFlight is the flight of the check that all probes share; that of the
	// token is "".
	healthFlight = "health"
)

// checked is a Health and when it was obtained.
type checked struct {
	health Health
	at     time.Time
}

// Check gets a token, then makes the harmless call that the description names,
// once. It ends after Config.Timeout at the latest.
func (s *Source) Check(ctx context.Context) Health {
	ctx, cancel := clock.WithTimeout(ctx, s.cfg.Clock, s.cfg.Timeout)
	defer cancel()
	h := Health{Status: "healthy", Authentication: "ok", APIConnectivity: "ok"}
	if _, err := s.Token(ctx); err != nil {
		h = Health{Status: "unhealthy", Error: fmt.Sprintf("authentication: %v", err), AuthenticationErr: err}
	} else if err := s.healthCall(ctx); err != nil {
		h = Health{Status: "unhealthy", Error: fmt.Sprintf("api_connectivity: %v", err), APIErr: err}
	}
	h.Timestamp = s.cfg.Clock.Now().UTC().Truncate(time.Second)
	return h
}

// HealthHandler answers GET and HEAD with a [Health] in JSON: 200 when healthy,
// 503 when not. All handlers of a Source share one check at a time, which
// continues if a prober disconnects, and its result for 5 s, so that probes
// cannot exhaust the API's limit. The error says what failed, without the cause
// that a transport, a resolver or a secret store gave, because causes name
// internal hosts and paths: Config.OnEvent and [Source.Check] report them.
func (s *Source) HealthHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		h := s.sharedHealth(r.Context())
		body, err := json.Marshal(h)
		if err != nil {
			http.Error(w, "the health has no JSON form", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
		if h.Status != "healthy" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(append(body, '\n'))
	})
}

// sharedHealth returns the last health, or that of the check under way. If ctx
// ends first, for example by a time limit in front of the handler, it returns an
// unhealthy one.
func (s *Source) sharedHealth(ctx context.Context) Health {
	if h, ok := s.recentHealth(); ok {
		return h
	}
	flight := s.flights.DoChan(healthFlight, func() (any, error) {
		if h, ok := s.recentHealth(); ok {
			return h, nil // of the flight that has just ended
		}
		h := s.Check(context.Background())
		h.Error = h.outside()
		s.health.Store(&checked{h, s.cfg.Clock.Now()})
		return h, nil
	})
	select {
	case r := <-flight:
		return r.Val.(Health)
	case <-ctx.Done():
		return Health{
			Status:    "unhealthy",
			Error:     "check: not finished when the probe ended",
			Timestamp: s.cfg.Clock.Now().UTC().Truncate(time.Second),
		}
	}
}

func (s *Source) recentHealth() (Health, bool) {
	c := s.health.Load()
	if c == nil {
		return Health{}, false
	}
	return c.health, clocks.Within(s.cfg.Clock.Now(), c.at, reuseHealth)
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

// healthCall makes the description's call. Every error is a *counterfoil.Error.
func (s *Source) healthCall(ctx context.Context) error {
	if s.api == nil || s.api.Health.Method == "" {
		return &counterfoil.Error{
			Reason:  counterfoil.InvalidRequest,
			Message: fmt.Sprintf("the description of %s names no health call", s.cfg.Provider.Name),
		}
	}
	call := s.api.Health
	req, err := s.NewRequest(ctx, call.Method, call.Path, strings.NewReader(call.Body))
	if err != nil {
		return &counterfoil.Error{Reason: counterfoil.InvalidRequest, Message: err.Error()}
	}
	resp, err := (&Transport{Source: s, once: true}).RoundTrip(req) // a probe reports the current state, without retries
	if err != nil {
		return s.noAnswer(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch reason := s.api.Reason(resp.StatusCode, body); {
	case err != nil:
		return s.noAnswer(err)
	case reason != "":
		return &counterfoil.Error{
			Reason:  reason,
			Status:  resp.StatusCode,
			Message: fmt.Sprintf("the API answers %d (%s)", resp.StatusCode, reason),
		}
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return &counterfoil.Error{Status: resp.StatusCode, Message: fmt.Sprintf("the API answers %d", resp.StatusCode)}
	}
	if s.api.Kind != provider.GraphQL {
		return nil
	}
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if body, err = files.Text(body); err != nil || json.Unmarshal(body, &answer) != nil || len(answer.Errors) > 0 {
		return &counterfoil.Error{Reason: counterfoil.BadResponse, Status: resp.StatusCode,
			Message: fmt.Sprintf("the API answers %d, but with GraphQL errors or no JSON", resp.StatusCode)}
	}
	return nil
}

// noAnswer makes an Error of the error that a call returned in place of a
// response.
func (s *Source) noAnswer(err error) error {
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		return e
	}
	return &counterfoil.Error{Reason: counterfoil.Unavailable, Err: err, Message: "the API cannot be reached at " + s.apiURL.Host}
}
