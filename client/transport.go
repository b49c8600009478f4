package client

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// Transport is an [http.RoundTripper] that turns requests into calls of the
// Source's API: it adds the token, the tenant, the API key and the fixed
// headers that the description names (a fixed header only if the request has
// none), respects the API's requests per minute (all Transports of a Source
// together), and repeats a call:
//
//   - once, with a new token, when it is answered 401. The original 401 is
//     returned when no other token can be obtained. After a 401 that is about the
//     proof of a call (Config.DPoP), one more proof is tried before that;
//   - after 2, 4 and 8 s (Config.Retries, each longer by up to a tenth) after a
//     transient failure: of the network, or the statuses 408, 429, 500, 502, 503
//     and 504. A longer Retry-After is waited for, up to 60 s. Only idempotent
//     requests are retried: one with an Idempotency-Key header, which as in
//     net/http is not sent when it has no value; with a REST API GET, HEAD, OPTIONS,
//     TRACE, PUT, DELETE (RFC 9110 section 9.2.2), unless a header changes the
//     method, and the calls that the description declares safe; with a GraphQL
//     API, whatever the method, requests in which every operation is a query, and
//     those without any. A request that cannot be classified with certainty is not
//     retried: one that names a document outside query, is longer than 1 MiB or is
//     not JSON, and a GET that has a body or another parameter.
//
// A call is repeated only if its body can be sent again: from GetBody
// (http.NewRequest sets it for the usual readers), if it is an io.Seeker, and
// otherwise up to 1 MiB. If the next attempt would be after the end of the
// request's context, or after the last wait, the response is returned as it is.
//
// A request to another origin than the API's is sent without any of the above,
// so that a redirect away from the API carries no credential. Plain http is
// refused.
type Transport struct {
	// Source provides the tokens; it must be set.
	Source *Source
	// Base carries the calls; default the Source's Config.HTTP, with the
	// certificate that the token is bound to. Certificate-bound tokens require
	// that default.
	Base http.RoundTripper
	// once disables retries after transient failures.
	once bool
}

// RoundTrip makes one call. Its errors are those of Source.Token and of the base
// transport, and a [*counterfoil.Error] with the Reason RateLimited if the
// context ends before the call's turn comes.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := t.Source
	if err := t.callable(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	if !sameOrigin(req.URL, s.apiURL) {
		return cmp.Or(t.Base, s.cfg.HTTP).RoundTrip(req)
	}
	var done remedies
	h, call, err := t.prepare(req, &done)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	body := replayable(req, s.cfg.Clock)
	defer body.settle()
	call.Body = body.first(req)
	resp, err := t.send(call, h)
	if err != nil || resp.StatusCode == http.StatusUnauthorized || passes(resp.StatusCode) {
		resp, err = t.again(req, body, h, &done, resp, err)
	}
	if err != nil {
		return nil, err
	}
	resp.Request = req // not the call: logging the response's request must not log the token
	return resp, nil
}

// again decides what follows a response or an error, and repeats the call as
// long as there is reason to. A call that was sent and got no response never
// returns an earlier one.
func (t *Transport) again(
	req *http.Request, body *replay, h *held, done *remedies, resp *http.Response, err error,
) (*http.Response, error) {
	s := t.Source
	repeatable := sync.OnceValue(func() bool { return s.repeatable(req, body) })
	for n, waits := 1, s.retries; ; n++ {
		var wait time.Duration
		switch {
		case err == nil && resp.StatusCode == http.StatusUnauthorized:
			if !s.recoverFrom401(req.Context(), resp, h, done) || !body.possible() {
				return resp, nil
			}
		case len(waits) > 0 && !t.once && req.Context().Err() == nil && s.failsForAWhile(resp, err) && body.possible() && repeatable():
			wait = waits[0] + rand.N(waits[0]/10+1)
			if resp != nil {
				wait = max(wait, retryAfter(resp.Header, s.cfg.Clock.Now()))
			}
			if end, ok := req.Context().Deadline(); ok && s.cfg.Clock.Now().Add(wait).After(end) {
				return resp, err
			}
			waits = waits[1:]
		default:
			return resp, err
		}
		if !s.ended(req.Context(), resp, body == nil) {
			return resp, err
		}
		next, failure := body.again(req)
		if failure != nil {
			return resp, err
		}
		s.retried(req, n, resp, err, wait)
		if failure := s.cfg.Clock.Sleep(req.Context(), wait); failure != nil {
			closeReader(next)
			return nil, failure
		}
		fresh, call, failure := t.prepare(req, done)
		if failure != nil {
			closeReader(next)
			if resp != nil && resp.StatusCode == http.StatusUnauthorized && req.Context().Err() == nil {
				return resp, nil
			}
			return nil, failure
		}
		call.Body = next
		h = fresh
		resp, err = t.send(call, h)
	}
}

// prepare makes the call of req with a token, when it is its turn.
func (t *Transport) prepare(req *http.Request, done *remedies) (*held, *http.Request, error) {
	h, err := t.Source.acquire(req.Context())
	if err != nil {
		return nil, nil, err
	}
	call, err := t.Source.addHeaders(req, h, done)
	return h, call, err
}

// send makes one attempt with the transport that belongs to its token.
func (t *Transport) send(call *http.Request, h *held) (*http.Response, error) {
	resp, err := cmp.Or(t.Base, h.entry.base).RoundTrip(call)
	if err != nil {
		return nil, t.Source.unshown(call, h, err)
	}
	t.Source.learnFromResponse(resp)
	return resp, nil
}

// remedies are the ones that a call has tried after a 401.
type remedies struct {
	proof, token bool
	proofs       proofs
}

// recoverFrom401 reports whether a call that was answered 401 should be
// repeated: with another proof, or with another token than h's, which is
// dropped. It tries each once.
func (s *Source) recoverFrom401(ctx context.Context, resp *http.Response, h *held, done *remedies) bool {
	if code := s.proofRefused(resp); code != "" { // another token would be sent with the same proofs
		tried := done.proof
		done.proof = true
		return !tried && s.provesBetter(code, resp, &done.proofs)
	}
	if done.token {
		return false
	}
	done.token = true
	s.Invalidate(ctx, h.token)
	fresh, err := s.current(ctx)
	return err == nil && fresh.token.Value != h.token.Value
}

// retried emits the event of a call that is repeated after wait.
func (s *Source) retried(req *http.Request, n int, resp *http.Response, err error, wait time.Duration) {
	e := counterfoil.Event{Type: counterfoil.EventCallRetried, Reason: counterfoil.Unavailable, Attempt: n + 1}
	switch {
	case err != nil:
		e.Detail = fmt.Sprintf("%s: no answer, again in %s", req.Method, wait.Round(time.Millisecond))
	default:
		e.Status = resp.StatusCode
		e.Detail = fmt.Sprintf("%s: answered %d, again in %s", req.Method, e.Status, wait.Round(time.Millisecond))
	}
	switch e.Status {
	case http.StatusUnauthorized:
		e.Reason = counterfoil.TokenInvalid
	case http.StatusTooManyRequests:
		e.Reason = counterfoil.RateLimited
	case http.StatusInternalServerError:
		e.Reason = counterfoil.ServerError
	}
	s.event(req.Context(), e)
}

// passes reports whether a status means that the same request may succeed later.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (s *Source) failsForAWhile(resp *http.Response, err error) bool {
	if err == nil {
		return passes(resp.StatusCode)
	}
	return !s.permanent(err) && !isUntrusted(err) && !stays(err) && !refusesCertificate(err) &&
		!strings.Contains(err.Error(), "net/http: invalid ")
}

// maxRest is how much of an answer's body is read to end its call, in bytes.
const maxRest = 64 << 10

// ended reads the body of resp to its end, so that the connection can be reused,
// and replaces it with what was read. It abandons a body that is long or slow if
// that is certain not to be needed; otherwise ended is false, and the body can
// be read on.
func (s *Source) ended(ctx context.Context, resp *http.Response, certain bool) bool {
	if resp == nil {
		return true
	}
	ctx, cancel := clock.WithTimeout(ctx, s.cfg.Clock, patience)
	defer cancel()
	body := resp.Body
	stop := context.AfterFunc(ctx, func() { _ = body.Close() })
	head, err := io.ReadAll(io.LimitReader(body, maxRest+1))
	open := stop()
	long := err == nil && len(head) > maxRest
	if long && !certain && open {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), body), body}
		return false
	}
	if open {
		_ = body.Close()
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(head), &cut{long || err != nil}))
	return true
}

// cut ends a body: as abandoned, or properly.
type cut struct{ early bool }

func (c *cut) Read([]byte) (int, error) {
	if c.early {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, io.EOF
}

// callable refuses requests that must not be sent.
func (t *Transport) callable(u *url.URL) error {
	s := t.Source
	switch {
	case s == nil:
		return &counterfoil.Error{Reason: counterfoil.InvalidRequest, Message: "client: a Transport needs a Source"}
	case s.apiURL == nil:
		return &counterfoil.Error{
			Reason:  counterfoil.InvalidRequest,
			Message: "client: a Transport needs a Source that has an API: give " + s.cfg.field("APIURL"),
		}
	case u.Scheme != "https":
		return &counterfoil.Error{Reason: counterfoil.InvalidRequest,
			Message: fmt.Sprintf("client: a request to %s by %q is refused: use https, tokens are sent over nothing else",
				u.Host, u.Scheme)}
	case t.Base != nil && len(s.cfg.Pins) > 0:
		return &counterfoil.Error{
			Reason:  counterfoil.InvalidRequest,
			Message: "client: Transport.Base does not support " + s.cfg.field("Pins") + ": leave one of them out",
		}
	}
	return nil
}

// acquire returns a token when it is the call's turn. The token comes first:
// calls that took their turns and then waited for it would be sent all at once.
func (s *Source) acquire(ctx context.Context) (*held, error) {
	for {
		h, err := s.current(ctx)
		if err != nil || s.calls == nil {
			return h, err
		}
		now := s.cfg.Clock.Now()
		end, _ := ctx.Deadline()
		at, ok := s.calls.reserve(now, end)
		if ok && !at.After(now) {
			return h, nil
		}
		wait, err := at.Sub(now), error(context.DeadlineExceeded)
		if ok {
			if err = s.cfg.Clock.Sleep(ctx, wait); err != nil {
				s.calls.giveBack(at)
			}
		}
		if err != nil {
			return nil, &counterfoil.Error{Reason: counterfoil.RateLimited, Err: cmp.Or(context.Cause(ctx), err), RetryAfter: wait,
				Message: fmt.Sprintf(
					"client: the call's turn comes too late: %s allows at most %d requests a minute", s.api.Name,
					len(s.calls.times),
				)}
		}
		if h = s.held.Load(); h.live(s.cfg.Clock.Now()) {
			return h, nil
		}
		s.calls.giveBack(at) // the token expired meanwhile
	}
}

// addHeaders returns a copy of req with what a call carries.
func (s *Source) addHeaders(req *http.Request, h *held, done *remedies) (*http.Request, error) {
	c := &struct { // one allocation, not two
		request http.Request
		values  [4]string
	}{request: *req}
	call, values := &c.request, c.values[:]
	if len(s.headers) > len(values) {
		values = make([]string, len(s.headers))
	}
	// A clone of a small map has room for 8 entries; one more would allocate it
	// again.
	if n := len(req.Header) + len(s.headers); n <= 8 && req.Header != nil {
		call.Header = maps.Clone(req.Header)
	} else {
		call.Header = make(http.Header, n)
		maps.Copy(call.Header, req.Header)
	}
	for i := range s.headers {
		ch := &s.headers[i]
		switch ch.from {
		case provider.HeaderFromToken:
			values[i] = h.authorization
		case provider.HeaderFromAPIKey:
			key, err := s.reveal(req.Context(), s.cfg.APIKey, "API key", "APIKey", counterfoil.APIKeyMissing)
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
	if s.prover != nil {
		if err := s.proves(call, h, &done.proofs); err != nil {
			return nil, err
		}
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

// port returns that of an https URL.
func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

func closeBody(req *http.Request) { closeReader(req.Body) }

func closeReader(r io.Closer) {
	if r != nil {
		_ = r.Close()
	}
}
