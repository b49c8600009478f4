package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

const (
	// retries is how often a transient failure is retried, after at most 2, 4
	// and 8 s (full jitter) or after Retry-After.
	retries      = 3
	firstBackoff = 2 * time.Second
	// maxRetryAfter bounds the wait for a Retry-After.
	maxRetryAfter = 60 * time.Second
	// maxResponse bounds a token response, in bytes.
	maxResponse = 64 << 10
	// maxLessons bounds how often one request is repeated at once.
	maxLessons = 3
	// maxSkew bounds the assumed difference between the provider's clock and
	// this machine's; minSkew is the smallest difference that counts: Date has
	// whole seconds.
	maxSkew = 24 * time.Hour
	minSkew = 2 * time.Second
)

// request gets a token from the provider, newer than old:
//
//  1. send the request;
//  2. again at once, when the answer has taught something: other credentials by
//     now, the clock of the provider, a nonce;
//  3. repeat what may pass, within the time that is left: not while old still
//     serves, because then nobody waits for it; once after a second, when the
//     token had no time to live;
//  4. remember what will not.
func (s *Source) request(ctx context.Context, e *entry, cred credentials, old *held) (counterfoil.Token, error) {
	deadline := s.cfg.Clock.Now().Add(s.cfg.Timeout)
	ended := false
	for n, attempt, lessons := 1, 0, 0; ; n++ {
		began := s.cfg.Clock.Now()
		t, err := s.exchange(ctx, e, &cred)
		took := s.cfg.Clock.Now().Sub(began)
		if err == nil {
			s.event(ctx, counterfoil.Event{Type: counterfoil.EventTokenRequested, Status: http.StatusOK, Attempt: n, Duration: took})
			kind := counterfoil.EventTokenObtained
			if old != nil {
				kind, t = counterfoil.EventTokenRenewed, old.bounding(t, s.cfg.Clock.Now())
			}
			s.event(ctx, counterfoil.Event{Type: kind, Status: http.StatusOK, Attempt: n})
			return t, nil
		}
		s.event(
			ctx,
			counterfoil.Event{
				Type:     counterfoil.EventTokenRequested,
				Reason:   err.Reason,
				Status:   err.Status,
				Attempt:  n,
				Duration: took,
				Detail:   err.Error(),
			},
		)
		if lessons < maxLessons && ctx.Err() == nil {
			if again, ok := s.learned(ctx, e, cred, err); ok {
				cred, lessons = again, lessons+1
				continue
			}
		}
		again := err.Class() == counterfoil.Transient && attempt < retries && !s.permanent(err)
		wait := max(rand.N(firstBackoff<<attempt+1), err.RetryAfter)
		if errors.Is(err, errEnded) {
			again, wait, ended = !ended, time.Second, true
		}
		serves := old.live(s.cfg.Clock.Now()) // the wall clock may have been changed meanwhile
		if again && ctx.Err() == nil && !serves {
			if attempt++; s.cfg.Clock.Now().Add(wait).Before(deadline) && s.cfg.Clock.Sleep(ctx, wait) == nil {
				if again, failure := s.credentials(ctx, e); failure == nil {
					cred = again
				}
				continue
			}
		}
		s.remember(err, cred.print, serves)
		return counterfoil.Token{}, s.failed(ctx, err)
	}
}

// bounding returns t, which was obtained while h was the token in use, limited
// by now: if a provider returns the same token again, that does not extend its
// life.
func (h *held) bounding(t counterfoil.Token, now time.Time) counterfoil.Token {
	if t.Value != h.token.Value || !h.live(now) {
		return t
	}
	if left := clocks.Left(now, h.ends); left < clocks.Left(now, t.Expires) {
		t.Expires = now.Add(left)
	}
	if h.issued.Before(t.Issued) && !ahead(h.issued, now) { // not from when the clock was wrong
		t.Issued = h.issued
	}
	return t
}

// learned returns the credentials for an immediate attempt, if err is the
// response to credentials that are no longer current.
func (s *Source) learned(ctx context.Context, e *entry, cred credentials, err *counterfoil.Error) (credentials, bool) {
	if err.Class() != counterfoil.Refused {
		return cred, false
	}
	now, failure := s.credentials(ctx, e)
	return now, failure == nil && (now.print != cred.print && s.changed.take(s.cfg.Clock.Now()) == 0 || s.outdated(cred, err))
}

// exchange sends one token request. It uses the transport itself, not an
// http.Client: a redirect is a response like any other here.
func (s *Source) exchange(ctx context.Context, e *entry, c *credentials) (counterfoil.Token, *counterfoil.Error) {
	none := counterfoil.Token{}
	if err := s.prove(c); err != nil {
		return none, err
	}
	cred := *c
	req, err := s.tokenRequest(ctx, cred)
	if err != nil {
		return none, &counterfoil.Error{Reason: counterfoil.InvalidRequest, Message: "the token request cannot be made", Err: err}
	}
	issued := s.cfg.Clock.Now()
	resp, err := e.base.RoundTrip(req)
	if err != nil {
		return none, s.unreachable(ctx, cred, err)
	}
	defer resp.Body.Close()
	s.measure(issued, resp)
	if s.prover != nil {
		s.prover.endpoint.learn(resp.Header)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return none, s.unreachable(ctx, cred, err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return none, s.refusal(resp, body, cred)
	}
	t, err := parseToken(body, &s.cfg.Provider.TokenEndpoint, s.prover != nil)
	if err != nil && ctx.Err() != nil {
		// A server that sees the connection closing ends its body, and what it
		// had sent until then looks complete.
		return none, s.unreachable(ctx, cred, err)
	}
	if err != nil {
		if code, _ := refusalWords(body); code != "" {
			return none, s.refusal(resp, body, cred) // some endpoints answer each request with 200
		}
		return none, &counterfoil.Error{Reason: counterfoil.BadResponse, Status: resp.StatusCode, Err: err,
			Message: fmt.Sprintf("the token endpoint of %s returns no usable token", s.cfg.Provider.Name)}
	}
	t.Issued, t.Expires = issued, issued.Add(t.Expires.Sub(time.Time{}))
	if !e.ends.IsZero() { // unusable without the certificate, whose expiry is by the provider's clock
		now := s.cfg.Clock.Now()
		if left := e.ends.Sub(now.Round(0).Add(s.ahead(now))); left < t.Expires.Sub(now) {
			t.Expires = now.Add(left)
		}
	}
	if !clocks.Before(s.cfg.Clock.Now(), t.Expires) { // the machine was suspended, or the answer took longer than the lifetime
		return none, &counterfoil.Error{Reason: counterfoil.Unavailable, Status: resp.StatusCode,
			Message: fmt.Sprintf("the token endpoint of %s answers so late that the token has expired: try again", s.cfg.Provider.Name)}
	}
	return t, nil
}

func (s *Source) unreachable(ctx context.Context, cred credentials, err error) *counterfoil.Error {
	e := &counterfoil.Error{Reason: counterfoil.Unavailable, Err: err,
		Message: fmt.Sprintf("the token endpoint of %s cannot be reached at %s", s.cfg.Provider.Name, s.tokenURL.Host)}
	if cause := context.Cause(ctx); cause != nil {
		e.Message, e.Err = fmt.Sprintf("the token endpoint of %s gives no answer within %s", s.cfg.Provider.Name, s.cfg.Timeout), cause
	} else if pin := new(PinError); errors.As(err, &pin) {
		e.Reason = counterfoil.BadResponse
		e.Message = fmt.Sprintf("the token endpoint of %s at %s has no public key of %s",
			s.cfg.Provider.Name, s.tokenURL.Host, s.cfg.field("Pins"))
	} else if _, told := errors.AsType[*ProxyError](err); told || stays(err) {
		if stays(err) {
			e.Reason = counterfoil.BadResponse
		}
	} else if isUntrusted(err) {
		e.Reason = counterfoil.BadResponse // permanent
		e.Message = fmt.Sprintf("the certificate of the token endpoint of %s at %s is invalid: "+
			"check %s, the trusted authorities and this machine's clock", s.cfg.Provider.Name, s.tokenURL.Host, s.cfg.field("TokenURL"))
	} else if refusesCertificate(err) {
		e.Reason = counterfoil.CertificateUnknown
		e.Message = fmt.Sprintf("the token endpoint of %s at %s refuses this client's certificate: check %s",
			s.cfg.Provider.Name, s.tokenURL.Host, s.cfg.field("Certificate"))
	} else {
		e.Message += s.through(s.tokenURL)
	}
	if cred.shownIn(e.Err.Error()) { // before it is cut: part of a credential counts, too
		e.Err = errWithheld
		return e
	}
	e.Err = quiet(e.Err)
	return e
}

// refusal interprets a response other than success.
func (s *Source) refusal(resp *http.Response, body []byte, cred credentials) *counterfoil.Error {
	e := &counterfoil.Error{Status: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header, s.cfg.Clock.Now())}
	e.Code, e.Description = refusalWords(body)
	if codes[e.Code] == "" && cred.shownIn(e.Code) {
		e.Code = ""
	}
	if cred.shownIn(e.Description) {
		e.Description = ""
	}
	e.Description = e.Description[:min(len(e.Description), maxDescription)] // after the search: part of a credential counts, too
	e.Reason = s.cfg.Provider.TokenEndpoint.Reason(resp.StatusCode, body)
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		e.Reason = counterfoil.RateLimited
	case (status >= 500 && !refusesForGood[status] || status == http.StatusRequestTimeout) && e.Class() != counterfoil.Transient:
		e.Reason = counterfoil.Unavailable
	case e.Reason != "":
	case status < 300 && codes[e.Code] != "":
		e.Reason = codes[e.Code]
	case status < 400 || status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		e.Reason = counterfoil.BadResponse
	case codes[e.Code] != "":
		e.Reason = codes[e.Code]
	case e.Code != "":
		e.Reason = counterfoil.InvalidRequest
	case status == http.StatusUnauthorized:
		e.Reason = counterfoil.InvalidClient
	default:
		e.Reason = counterfoil.BadResponse
	}
	e.Message = fmt.Sprintf("the token endpoint of %s %s", s.cfg.Provider.Name, s.advice(e))
	return e
}

// refusesForGood are statuses above 499 that are permanent.
var refusesForGood = map[int]bool{
	http.StatusNotImplemented: true, http.StatusHTTPVersionNotSupported: true,
	http.StatusNetworkAuthenticationRequired: true,
}

// codes are the error codes of RFC 6749 section 5.2 and its neighbours.
var codes = map[string]counterfoil.Reason{
	"invalid_request":         counterfoil.InvalidRequest,
	"invalid_client":          counterfoil.InvalidClient,
	"invalid_grant":           counterfoil.InvalidClient,
	"unauthorized_client":     counterfoil.InvalidClient,
	"access_denied":           counterfoil.InvalidClient,
	"unsupported_grant_type":  counterfoil.UnsupportedGrantType,
	"invalid_scope":           counterfoil.InvalidScope,
	"invalid_target":          counterfoil.InvalidTarget,
	"invalid_dpop_proof":      counterfoil.InvalidDPoPProof,
	"use_dpop_nonce":          counterfoil.UseDPoPNonce,
	"slow_down":               counterfoil.RateLimited,
	"server_error":            counterfoil.ServerError,
	"temporarily_unavailable": counterfoil.Unavailable,
}

// advice says what happened, with the code that the other side sent, and what to
// do next.
func (s *Source) advice(e *counterfoil.Error) string {
	broad := e.Reason
	for broad.Parent() != "" {
		broad = broad.Parent()
	}
	code := ""
	if e.Code != "" {
		code = " (" + e.Code + ")"
	}
	switch {
	case broad == counterfoil.InvalidClient:
		return fmt.Sprintf("refuses the client %q%s: check its id and %s", s.cfg.ClientID, code, s.proofOfClient())
	case e.Reason == counterfoil.InvalidDPoPProof || e.Reason.Parent() == counterfoil.InvalidDPoPProof ||
		e.Reason == counterfoil.UseDPoPNonce:
		return fmt.Sprintf(
			"refuses the DPoP proof (%s): check the algorithm of %s, %s and this machine's clock",
			cmp.Or(e.Code, string(e.Reason)), s.cfg.field("DPoP"), s.cfg.field("TokenURL"),
		)
	case e.Reason == counterfoil.InvalidTarget:
		return fmt.Sprintf("refuses the resources %q%s: ask for those that the client is granted", s.cfg.Resources, code)
	case broad == counterfoil.APIKeyInvalid:
		return fmt.Sprintf("refuses the API key%s: check it", code)
	case broad == counterfoil.InvalidScope:
		return fmt.Sprintf("refuses the scope %q%s: ask for those that the client is granted", s.cfg.Scopes, code)
	case broad == counterfoil.RateLimited:
		return fmt.Sprintf("has too many requests of this client%s: send fewer", code)
	case e.Class() == counterfoil.Transient:
		return fmt.Sprintf("answers %d%s: try again later", e.Status, code)
	case e.Status >= 300 && e.Status < 400:
		return fmt.Sprintf(
			"answers %d%s, a redirect, which is not followed: set %s to the endpoint's address", e.Status, code,
			s.cfg.field("TokenURL"),
		)
	case broad == counterfoil.BadResponse:
		return fmt.Sprintf(
			"answers %d%s, which is not an OAuth error: check %s, which leads to %s", e.Status, code,
			s.cfg.field("TokenURL"), s.tokenURL.Host,
		)
	}
	return fmt.Sprintf("refuses the request (%s): check that the provider description fits", cmp.Or(e.Code, string(broad)))
}

// retryAfter reads a Retry-After (RFC 9110 section 10.2.3): seconds, or a date,
// which is compared with the Date of the same response if it has one, because
// the clocks may differ. An invalid value is 0, and no result exceeds
// maxRetryAfter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		n, err := strconv.Atoi(value)
		if err != nil || n > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// skew is by how much the provider's clock was ahead of this machine's, at a time
// that has a monotonic reading.
type skew struct {
	at    time.Time
	ahead time.Duration
}

// measure determines how far the provider's clock is ahead of this machine's
// from the Date of a response (RFC 9110 section 6.6.1) to a request sent at
// sent.
func (s *Source) measure(sent time.Time, resp *http.Response) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	now := s.cfg.Clock.Now()
	if err != nil || clocks.Drift(now, sent).Abs() >= minSkew { // it is unknown which of the two clocks Date is relative to
		return
	}
	// Date was truncated to a second, somewhere between sending and now.
	here := now.Round(0).Add(-now.Sub(sent) / 2)
	ahead := date.Add(time.Second / 2).Sub(here)
	if ahead.Abs() < minSkew {
		ahead = 0
	}
	s.skew.Store(&skew{now, within(ahead, maxSkew)})
}

// timed reports whether the provider's clock is known: it was measured within
// the hour. If a measurement were valid forever, a token that has expired by a
// wrong time would never be tried and the time never measured again.
func (s *Source) timed() bool {
	m := s.skew.Load()
	return m != nil && s.cfg.Clock.Now().Sub(m.at).Abs() <= time.Hour
}

// ahead is how far the provider's clock is ahead of this machine's, as far as
// known. A clock that has been set back since the measurement is behind by as
// much; one that has gained may be right, because the machine was suspended.
func (s *Source) ahead(now time.Time) time.Duration {
	m := s.skew.Load()
	if m == nil {
		return 0
	}
	return within(m.ahead-min(clocks.Drift(now, m.at), 0), maxSkew)
}

// providerTime is the time by the provider's clock, as far as it is known.
func (s *Source) providerTime() time.Time {
	now := s.cfg.Clock.Now()
	return now.Round(0).Add(s.ahead(now))
}

// past reports whether a time of the provider's clock is certainly past: even if
// the time that this machine's clock has gained since the measurement has not
// really passed.
func (s *Source) past(at time.Time) bool {
	m, now := s.skew.Load(), s.cfg.Clock.Now()
	return s.timed() && !m.at.Round(0).Add(m.ahead+now.Sub(m.at)).Before(at)
}

// within returns d, limited to the most that it can be.
func within(d, most time.Duration) time.Duration { return min(max(d, -most), most) }
