package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Transport is an [http.RoundTripper] that makes requests into calls of the
// Source's API: it adds the token, the tenant, the API key and the fixed
// headers that the description names (a fixed header only where the request has
// none), keeps to the API's requests per minute (all Transports of a Source
// together), and repeats a call once with a new token when it is answered 401.
//
// The original 401 is returned when no other token is to be had and when the
// body cannot be sent again: it can with GetBody (http.NewRequest sets it for
// the usual readers), when it is an io.Seeker, and otherwise up to 1 MiB.
//
// A request to another origin than the API's passes without any of the above,
// so that a redirect away from the API carries no credential. Plain http is
// refused.
type Transport struct {
	// Source gives the tokens; it must be set.
	Source *Source
	// Base carries the calls; default the Source's Config.HTTP.
	Base http.RoundTripper
}

// RoundTrip makes one call. Its errors are those of Source.Token, of the base
// transport, and a [*counterfoil.Error] with the Reason RateLimited when the
// context ends while the call waits for its turn.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := t.Source
	if err := s.callable(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	base := t.Base
	if base == nil {
		base = s.cfg.HTTP
	}
	if !sameOrigin(req.URL, s.apiURL) {
		return base.RoundTrip(req)
	}
	ctx := req.Context()
	h, err := s.ready(ctx)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	body := replayable(req, s.cfg.Clock)
	defer body.settle()
	call, err := s.dress(req, h)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	if body != nil {
		call.Body = body.first()
	}
	resp, err := base.RoundTrip(call)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		resp = s.again(base, req, resp, body, h)
	}
	resp.Request = req // not the call: whoever logs the response's request must not log the token
	return resp, nil
}

// again repeats a call that was answered 401; it returns rejected, that answer,
// when it cannot. An error of the second attempt is one of the way, so the
// first answer stands.
func (s *Source) again(base http.RoundTripper, req *http.Request, rejected *http.Response, body *replay, h *held) *http.Response {
	ctx := req.Context()
	s.Drop(ctx, h.token)
	if !body.possible() {
		return rejected
	}
	fresh, err := s.ready(ctx)
	if err != nil || fresh.token.Value == h.token.Value {
		return rejected
	}
	call, err := s.dress(req, fresh)
	if err != nil {
		return rejected
	}
	if call.Body, err = body.second(req, rejected); err != nil {
		return rejected
	}
	resp, err := base.RoundTrip(call)
	if err != nil {
		return rejected
	}
	_ = rejected.Body.Close()
	return resp
}

// callable refuses what must not be sent.
func (s *Source) callable(u *url.URL) error {
	switch {
	case s == nil || s.apiURL == nil:
		return &counterfoil.Error{Reason: counterfoil.InvalidRequest, Message: "client: a Transport needs a Source that has an API: give Config.APIURL"}
	case u.Scheme != "https":
		return &counterfoil.Error{Reason: counterfoil.InvalidRequest,
			Message: fmt.Sprintf("client: a request to %s by %q is refused: use https, a token goes over nothing else", u.Host, u.Scheme)}
	}
	return nil
}

// ready returns a token when it is the call's turn. The token comes first:
// calls that took their turns and then waited for it would leave all at once.
func (s *Source) ready(ctx context.Context) (*held, error) {
	for {
		h, err := s.current(ctx)
		if err != nil || s.calls == nil {
			return h, err
		}
		wait := s.calls.take(s.cfg.Clock.Now())
		if wait == 0 {
			return h, nil
		}
		if s.cfg.Clock.Sleep(ctx, wait) != nil {
			return nil, &counterfoil.Error{Reason: counterfoil.RateLimited, Err: context.Cause(ctx), RetryAfter: wait,
				Message: fmt.Sprintf("client: gave up waiting: %s wants at most %d requests a minute", s.api.Name, s.api.RequestsPerMinute)}
		}
	}
}

// dress returns a copy of req with what a call carries.
func (s *Source) dress(req *http.Request, h *held) (*http.Request, error) {
	c := &struct { // one allocation, not two
		request http.Request
		values  [4]string
	}{request: *req}
	call, values := &c.request, c.values[:]
	if len(s.headers) > len(values) {
		values = make([]string, len(s.headers))
	}
	if call.Header = maps.Clone(req.Header); call.Header == nil {
		call.Header = make(http.Header, len(s.headers))
	}
	for i := range s.headers {
		ch := &s.headers[i]
		switch ch.from {
		case provider.HeaderFromToken:
			values[i] = h.authorization
		case provider.HeaderFromAPIKey:
			key, err := reveal(req.Context(), s.cfg.APIKey, "API key", counterfoil.APIKeyMissing)
			if err != nil {
				return nil, err
			}
			values[i] = key.Reveal()
		case provider.HeaderFromTenant:
			values[i] = ch.value
		default:
			if len(call.Header[ch.name]) > 0 {
				continue
			}
			values[i] = ch.value
		}
		call.Header[ch.name] = values[i : i+1 : i+1]
	}
	return call, nil
}

// sameOrigin compares scheme, host and port (RFC 6454 section 5).
func sameOrigin(a, b *url.URL) bool {
	if a.Scheme != b.Scheme {
		return false
	}
	if a.Host == b.Host {
		return true
	}
	return strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// port is that of an https URL.
func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// drained reads body to its end, at most limit, and returns what stands for it.
func drained(body io.ReadCloser, limit int64) (io.ReadCloser, bool) {
	head, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil || int64(len(head)) > limit {
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(string(head)), body), body}, false
	}
	_ = body.Close()
	return io.NopCloser(strings.NewReader(string(head))), true
}
