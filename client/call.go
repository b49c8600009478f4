package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	stdpath "path"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Client returns an http.Client whose requests are calls of the API, each
// bounded by Config.Timeout. See [Transport].
func (s *Source) Client() *http.Client {
	return &http.Client{Transport: &Transport{Source: s}, Timeout: s.cfg.Timeout}
}

// NewRequest is http.NewRequestWithContext with a path below the API's base URL
// in place of a URL; for a GraphQL API the empty path is the API itself. A path
// may have a query. One that leads out of the base URL is refused.
func (s *Source) NewRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	if s.apiURL == nil {
		return nil, errors.New("client: this Source makes no calls: give Config.APIURL")
	}
	ref, err := url.Parse(path)
	if err != nil || ref.IsAbs() || ref.Host != "" || ref.User != nil {
		return nil, fmt.Errorf("client: %q is not a path below the API's base URL", path)
	}
	u := *s.apiURL
	if u.Path == "" {
		u.Path = "/"
	}
	if ref.Path != "" {
		base := strings.TrimSuffix(u.Path, "/")
		u = *u.JoinPath(ref.EscapedPath())
		if clean := stdpath.Clean(u.Path); clean != base && !strings.HasPrefix(clean, base+"/") {
			return nil, fmt.Errorf("client: %q leads out of the API's base URL", path)
		}
	}
	if ref.RawQuery != "" {
		u.RawQuery = ref.RawQuery
	}
	return http.NewRequestWithContext(ctx, method, u.String(), body)
}

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
	// "api_connectivity".
	Error string `json:"error,omitempty"`
	// Timestamp is when the check ended, in UTC, in whole seconds.
	Timestamp time.Time `json:"timestamp"`
	// AuthenticationErr and APIErr are what is behind Error, for a program that
	// branches on it: one at most is set. An answer of the API that is no
	// success is a [*counterfoil.Error] with its Status.
	AuthenticationErr error `json:"-"`
	APIErr            error `json:"-"`
}

// Check gets a token, then makes the harmless call that the description names.
// It ends after Config.Timeout at the latest.
func (s *Source) Check(ctx context.Context) Health {
	ctx, cancel := withTimeout(ctx, s.cfg.Clock, s.cfg.Timeout)
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

func (s *Source) healthCall(ctx context.Context) error {
	if s.api == nil || s.api.Health.Method == "" {
		return fmt.Errorf("the description of %s names no health call", s.cfg.Provider.Name)
	}
	call := s.api.Health
	req, err := s.NewRequest(ctx, call.Method, call.Path, strings.NewReader(call.Body))
	if err != nil {
		return err
	}
	resp, err := (&Transport{Source: s}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch reason := s.api.Reason(resp.StatusCode, body); {
	case err != nil:
		return err
	case reason != "":
		return &counterfoil.Error{Reason: reason, Status: resp.StatusCode, Message: fmt.Sprintf("the API answers %d (%s)", resp.StatusCode, reason)}
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return &counterfoil.Error{Status: resp.StatusCode, Message: fmt.Sprintf("the API answers %d", resp.StatusCode)}
	}
	if s.api.Kind != provider.GraphQL {
		return nil
	}
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) > 0 {
		return fmt.Errorf("the API answers %d, but with GraphQL errors or no JSON", resp.StatusCode)
	}
	return nil
}
