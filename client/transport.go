package client

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
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
// transport, and a [*counterfoil.Error] with [counterfoil.ReasonRateLimited] if
// the context ends before the call's turn comes.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := t.Source
	if err := t.callable(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	if !s.calls.own(req.URL) {
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
	repeatable := sync.OnceValue(func() bool { return s.calls.repeats.allowed(req, body) })
	for n, waits := 1, s.cfg.Retries; ; n++ {
		var wait time.Duration
		switch {
		case err == nil && resp.StatusCode == http.StatusUnauthorized:
			if !t.recoverFrom401(req.Context(), resp, h, done) || !body.possible() {
				return resp, nil
			}
		case len(waits) > 0 && !t.once && req.Context().Err() == nil && s.cfg.transient(resp, err) && body.possible() && repeatable():
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
		if !ended(req.Context(), s.cfg.Clock, resp, body == nil) {
			return resp, err
		}
		next, failure := body.again(req)
		if failure != nil {
			return resp, err
		}
		s.cfg.event(req.Context(), retried(req.Method, n, resp, err, wait))
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
	h, err := t.Source.turn(req.Context())
	if err != nil {
		return nil, nil, err
	}
	call, err := t.Source.calls.addHeaders(req, h, &done.proofs)
	return h, call, err
}

// send makes one attempt with the transport that belongs to its token.
func (t *Transport) send(call *http.Request, h *held) (*http.Response, error) {
	resp, err := h.place.roundTrip(t.Base, call)
	if err != nil {
		return nil, t.Source.calls.unshown(call, h, err)
	}
	t.Source.calls.proofs.learnFromResponse(resp)
	return resp, nil
}

// remedies are the ones that a call has tried after a 401.
type remedies struct {
	proof, token bool
	proofs       attempts
}

// recoverFrom401 reports whether a call that was answered 401 should be
// repeated: with another proof, or with another token than h's, which is
// dropped. It tries each once.
func (t *Transport) recoverFrom401(ctx context.Context, resp *http.Response, h *held, done *remedies) bool {
	s := t.Source
	if code := s.calls.proofs.refused(resp); code != "" { // another token would be sent with the same proofs
		tried := done.proof
		done.proof = true
		return !tried && s.calls.proofs.improve(code, resp, &done.proofs)
	}
	if done.token {
		return false
	}
	done.token = true
	s.Invalidate(ctx, h.token)
	fresh, err := s.current(ctx)
	return err == nil && fresh.token.Value != h.token.Value
}

// retried is the event of a call that is repeated after wait.
func retried(method string, n int, resp *http.Response, err error, wait time.Duration) counterfoil.Event {
	e := counterfoil.Event{Type: counterfoil.EventCallRetried, Reason: counterfoil.ReasonUnavailable, Attempt: n + 1}
	switch {
	case err != nil:
		e.Detail = fmt.Sprintf("%s: no answer, again in %s", method, wait.Round(time.Millisecond))
	default:
		e.Status = resp.StatusCode
		e.Detail = fmt.Sprintf("%s: answered %d, again in %s", method, e.Status, wait.Round(time.Millisecond))
	}
	switch e.Status {
	case http.StatusUnauthorized:
		e.Reason = counterfoil.ReasonTokenInvalid
	case http.StatusTooManyRequests:
		e.Reason = counterfoil.ReasonRateLimited
	case http.StatusInternalServerError:
		e.Reason = counterfoil.ReasonServerError
	}
	return e
}

// callable refuses requests that must not be sent.
func (t *Transport) callable(u *url.URL) error {
	s := t.Source
	switch {
	case s == nil:
		return &counterfoil.Error{Reason: counterfoil.ReasonInvalidRequest, Message: "client: a Transport needs a Source"}
	case s.calls.url == nil:
		return &counterfoil.Error{
			Reason:  counterfoil.ReasonInvalidRequest,
			Message: "client: a Transport needs a Source that has an API: give " + s.cfg.field("APIURL"),
		}
	case u.Scheme != "https":
		return &counterfoil.Error{Reason: counterfoil.ReasonInvalidRequest,
			Message: fmt.Sprintf("client: a request to %s by %q is refused: use https, tokens are sent over nothing else",
				u.Host, u.Scheme)}
	case t.Base != nil && len(s.cfg.Pins) > 0:
		return &counterfoil.Error{
			Reason:  counterfoil.ReasonInvalidRequest,
			Message: "client: Transport.Base does not support " + s.cfg.field("Pins") + ": leave one of them out",
		}
	}
	return nil
}
