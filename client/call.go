package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Client returns an http.Client whose requests are calls of the API, each
// bounded by Config.Timeout. See [Transport].
func (s *Source) Client() *http.Client {
	return &http.Client{Transport: &Transport{Source: s}, Timeout: s.cfg.Timeout}
}

// HTTP returns the transport of token requests, without the certificate of
// Config.Certificate: Config.HTTP or its default, restricted to Config.Pins. Use
// it to examine the connection to a server: it adds no token.
func (s *Source) HTTP() http.RoundTripper { return s.cfg.HTTP }

// NewRequest is http.NewRequestWithContext with a path below the API's base URL
// in place of a URL; for a GraphQL API the empty path is the API itself. A path
// may have a query. A path that leads outside the base URL is refused.
func (s *Source) NewRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	return s.calls.request(ctx, method, path, body)
}

// Check gets a token, then makes the harmless call that the description names,
// once. It ends after Config.Timeout at the latest.
func (s *Source) Check(ctx context.Context) Health {
	ctx, cancel := clock.WithTimeout(ctx, s.cfg.Clock, s.cfg.Timeout)
	defer cancel()
	return s.check(ctx)
}

// check is Check until ctx ends.
func (s *Source) check(ctx context.Context) Health {
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
	return s.health
}

// healthCall makes the description's call. Every error is a *counterfoil.Error.
func (s *Source) healthCall(ctx context.Context) error {
	if s.calls.api == nil || s.calls.api.Health.Method == "" {
		return &counterfoil.Error{
			Reason:  counterfoil.ReasonInvalidRequest,
			Message: fmt.Sprintf("the description of %s names no health call", s.cfg.Provider.Name),
		}
	}
	call := s.calls.api.Health
	req, err := s.NewRequest(ctx, call.Method, call.Path, strings.NewReader(call.Body))
	if err != nil {
		return &counterfoil.Error{Reason: counterfoil.ReasonInvalidRequest, Message: err.Error()}
	}
	resp, err := (&Transport{Source: s, once: true}).RoundTrip(req) // a probe reports the current state, without retries
	if err != nil {
		return s.noAnswer(err)
	}
	defer resp.Body.Close()
	if err := s.calls.judge(resp); err != nil {
		return s.noAnswer(err)
	}
	return nil
}

// noAnswer makes an Error of the error that a call returned in place of a
// response.
func (s *Source) noAnswer(err error) error {
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		return e
	}
	reason := counterfoil.ReasonUnavailable
	if isUntrusted(err) || stays(err) {
		reason = counterfoil.ReasonBadResponse
	}
	return &counterfoil.Error{Reason: reason, Err: err, Message: "the API cannot be reached at " + s.calls.url.Host}
}
