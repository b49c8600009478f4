package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/provider"
)

// exchange is one request to the token endpoint.
type exchange struct {
	cfg    *Config
	url    *url.URL
	auth   *authenticator
	proofs *proofs
	clock  *providerClock
	// expiring is what the answers say of the credentials.
	expiring expiring
}

// send sends one token request with p's transport, and sets in c what only this
// attempt carries. It uses the transport itself, not an
// http.Client: a redirect is a response like any other here.
func (x *exchange) send(ctx context.Context, p *place, c *credentials) (counterfoil.Token, *counterfoil.Error) {
	none := counterfoil.Token{}
	if err := x.prove(c); err != nil {
		return none, err
	}
	cred := *c
	req, err := x.request(ctx, cred)
	if err != nil {
		return none, &counterfoil.Error{Reason: counterfoil.ReasonInvalidRequest, Message: "the token request cannot be made", Err: err}
	}
	issued := x.cfg.Clock.Now()
	resp, err := p.roundTrip(nil, req)
	if err != nil {
		return none, x.unreachable(ctx, cred, err)
	}
	defer resp.Body.Close()
	x.clock.measure(issued, resp)
	if x.proofs != nil {
		x.proofs.endpoint.learn(resp.Header)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return none, x.unreachable(ctx, cred, err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return none, x.refusal(resp, body, cred)
	}
	t, err := parseToken(body, &x.cfg.Provider.TokenEndpoint, x.proofs != nil)
	if err != nil && ctx.Err() != nil {
		// A server that sees the connection closing ends its body, and what it
		// had sent until then looks complete.
		return none, x.unreachable(ctx, cred, err)
	}
	if err != nil {
		if code, _ := refusalWords(body); code != "" {
			return none, x.refusal(resp, body, cred) // some endpoints answer each request with 200
		}
		return none, &counterfoil.Error{Reason: counterfoil.ReasonBadResponse, Status: resp.StatusCode, Err: err,
			Message: fmt.Sprintf("the token endpoint of %s returns no usable token", x.cfg.Provider.Name)}
	}
	x.expiring.learn(resp.Header)
	t.Issued, t.Expires = issued, issued.Add(t.Expires.Sub(time.Time{}))
	if !p.ends.IsZero() { // unusable without the certificate, whose expiry is by the provider's clock
		now := x.cfg.Clock.Now()
		if left := p.ends.Sub(now.Round(0).Add(x.clock.ahead(now))); left < t.Expires.Sub(now) {
			t.Expires = now.Add(left)
		}
	}
	if !clocks.Before(x.cfg.Clock.Now(), t.Expires) { // the machine was suspended, or the answer took longer than the lifetime
		return none, &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Status: resp.StatusCode,
			Message: fmt.Sprintf("the token endpoint of %s answers so late that the token has expired: try again", x.cfg.Provider.Name)}
	}
	return t, nil
}

func (x *exchange) unreachable(ctx context.Context, cred credentials, err error) *counterfoil.Error {
	e := &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Err: err,
		Message: fmt.Sprintf("the token endpoint of %s cannot be reached at %s", x.cfg.Provider.Name, x.url.Host)}
	if cause := context.Cause(ctx); cause != nil {
		e.Message, e.Err = fmt.Sprintf("the token endpoint of %s gives no answer within %s", x.cfg.Provider.Name, x.cfg.Timeout), cause
	} else if pin := new(PinError); errors.As(err, &pin) {
		e.Reason = counterfoil.ReasonBadResponse
		e.Message = fmt.Sprintf("the token endpoint of %s at %s has no public key of %s",
			x.cfg.Provider.Name, x.url.Host, x.cfg.field("Pins"))
	} else if _, told := errors.AsType[*ProxyError](err); told || stays(err) {
		if stays(err) {
			e.Reason = counterfoil.ReasonBadResponse
		}
	} else if isUntrusted(err) {
		e.Reason = counterfoil.ReasonBadResponse // permanent
		e.Message = fmt.Sprintf("the certificate of the token endpoint of %s at %s is invalid: "+
			"check %s, the trusted authorities of %s and this machine's clock",
			x.cfg.Provider.Name, x.url.Host, x.cfg.field("TokenURL"), x.cfg.field("HTTP"))
	} else if refusesCertificate(err) {
		e.Reason = counterfoil.ReasonCertificateUnknown
		e.Message = fmt.Sprintf("the token endpoint of %s at %s refuses this client's certificate: check %s",
			x.cfg.Provider.Name, x.url.Host, x.cfg.field("Certificate"))
	} else {
		e.Message += through(x.cfg.HTTP, x.url)
	}
	if cred.shownIn(e.Err.Error()) { // before it is cut: part of a credential counts, too
		e.Err = errWithheld
		return e
	}
	e.Err = quiet(e.Err)
	return e
}

// prove makes what only this attempt carries: the assertion and the proof.
func (x *exchange) prove(cred *credentials) *counterfoil.Error {
	cred.ahead = x.clock.ahead(x.cfg.Clock.Now())
	err := x.auth.sign(cred)
	if x.proofs != nil && err == nil {
		cred.proof, cred.nonce, err = x.proofs.ofRequest(x.url)
	}
	if err != nil { // the key is valid, but its store may be unavailable
		return &counterfoil.Error{
			Reason:  counterfoil.ReasonUnavailable,
			Message: "the client's key cannot sign: check where it is stored",
			Err:     err,
		}
	}
	return nil
}

// request builds the request of RFC 6749 section 4.4.2, in the provider's manner.
func (x *exchange) request(ctx context.Context, cred credentials) (*http.Request, error) {
	t, target, form := &x.cfg.Provider.TokenEndpoint, *x.url, url.Values{}
	if t.GrantTypeIn == provider.PlaceQuery {
		q := target.Query()
		q.Set("grant_type", "client_credentials")
		target.RawQuery = q.Encode()
	} else {
		form.Set("grant_type", "client_credentials")
	}
	if len(x.cfg.Scopes) > 0 {
		form.Set("scope", x.cfg.Scopes.String())
	}
	for _, r := range x.cfg.Resources {
		form.Add("resource", r)
	}
	for name, values := range x.cfg.Parameters {
		form[name] = slices.Clone(values)
	}
	h := http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {"counterfoil"},
	}
	x.auth.apply(cred, form, h)
	if cred.proof != "" {
		h[proofHeader] = []string{cred.proof.Reveal()}
	}
	for _, own := range t.Headers {
		if own.From == provider.HeaderFromAPIKey {
			h.Set(own.Name, cred.apiKey.Reveal())
		} else {
			h.Set(own.Name, own.Value)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = h
	return req, nil
}

// outdated reports whether err, the response to an attempt with cred, has
// provided what the next attempt needs: a nonce (RFC 9449 section 8) or the
// time.
func (x *exchange) outdated(cred credentials, err *counterfoil.Error) bool {
	if x.proofs != nil && (err.Reason == counterfoil.ReasonUseDPoPNonce || err.Code == string(counterfoil.ReasonUseDPoPNonce)) {
		fresh := x.proofs.endpoint.known()
		return fresh != "" && fresh != cred.nonce
	}
	broad := broadest(err.Reason)
	timed := cred.proof != "" || cred.key.Signer != nil
	return timed && (broad == counterfoil.ReasonInvalidClient || broad == counterfoil.ReasonInvalidRequest) &&
		(x.clock.ahead(x.cfg.Clock.Now())-cred.ahead).Abs() > wrongClock
}

// refusal interprets a response other than success.
func (x *exchange) refusal(resp *http.Response, body []byte, cred credentials) *counterfoil.Error {
	e := &counterfoil.Error{Status: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header, x.cfg.Clock.Now())}
	e.Code, e.Description = refusalWords(body)
	if codes[e.Code] == "" && cred.shownIn(e.Code) {
		e.Code = ""
	}
	if cred.shownIn(e.Description) {
		e.Description = ""
	}
	e.Description = e.Description[:min(len(e.Description), maxDescription)] // after the search: part of a credential counts, too
	e.Reason = x.cfg.Provider.TokenEndpoint.Reason(resp.StatusCode, body)
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		e.Reason = counterfoil.ReasonRateLimited
	case (status >= 500 && !refusesForGood[status] || status == http.StatusRequestTimeout) && e.Class() != counterfoil.ClassTransient:
		e.Reason = counterfoil.ReasonUnavailable
	case e.Reason != "":
	case status < 300 && codes[e.Code] != "":
		e.Reason = codes[e.Code]
	case status < 400 || status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		e.Reason = counterfoil.ReasonBadResponse
	case codes[e.Code] != "":
		e.Reason = codes[e.Code]
	case e.Code != "":
		e.Reason = counterfoil.ReasonInvalidRequest
	case status == http.StatusUnauthorized:
		e.Reason = counterfoil.ReasonInvalidClient
	default:
		e.Reason = counterfoil.ReasonBadResponse
	}
	e.Message = fmt.Sprintf("the token endpoint of %s %s", x.cfg.Provider.Name, x.advice(e))
	return e
}

// refusesForGood are statuses above 499 that are permanent.
var refusesForGood = map[int]bool{
	http.StatusNotImplemented: true, http.StatusHTTPVersionNotSupported: true,
	http.StatusNetworkAuthenticationRequired: true,
}

// codes are the error codes of RFC 6749 section 5.2 and its neighbours.
var codes = map[string]counterfoil.Reason{
	"invalid_request":         counterfoil.ReasonInvalidRequest,
	"invalid_client":          counterfoil.ReasonInvalidClient,
	"invalid_grant":           counterfoil.ReasonInvalidClient,
	"unauthorized_client":     counterfoil.ReasonInvalidClient,
	"access_denied":           counterfoil.ReasonInvalidClient,
	"unsupported_grant_type":  counterfoil.ReasonUnsupportedGrantType,
	"invalid_scope":           counterfoil.ReasonInvalidScope,
	"invalid_target":          counterfoil.ReasonInvalidTarget,
	"invalid_dpop_proof":      counterfoil.ReasonInvalidDPoPProof,
	"use_dpop_nonce":          counterfoil.ReasonUseDPoPNonce,
	"slow_down":               counterfoil.ReasonRateLimited,
	"server_error":            counterfoil.ReasonServerError,
	"temporarily_unavailable": counterfoil.ReasonUnavailable,
}

// advice says what happened, with the code that the other side sent, and what to
// do next.
func (x *exchange) advice(e *counterfoil.Error) string {
	broad := broadest(e.Reason)
	code := ""
	if e.Code != "" {
		code = " (" + e.Code + ")"
	}
	switch {
	case broad == counterfoil.ReasonInvalidClient:
		where := ""
		if x.cfg.FieldName != nil && x.cfg.ClientSecret != nil { // a file has places to look at
			where = fmt.Sprintf(", which are %s and %s", x.cfg.field("ClientID"), x.cfg.field("ClientSecret"))
		}
		return fmt.Sprintf("refuses the client %q%s: check its id and %s%s", x.cfg.ClientID, code, x.auth.words(), where)
	case e.Reason == counterfoil.ReasonInvalidDPoPProof || e.Reason.Parent() == counterfoil.ReasonInvalidDPoPProof ||
		e.Reason == counterfoil.ReasonUseDPoPNonce:
		return fmt.Sprintf(
			"refuses the DPoP proof (%s): check the algorithm of %s, %s and this machine's clock",
			cmp.Or(e.Code, string(e.Reason)), x.cfg.field("DPoP"), x.cfg.field("TokenURL"),
		)
	case e.Reason == counterfoil.ReasonInvalidTarget:
		return fmt.Sprintf("refuses the resources %q%s: ask for those that the client is granted", x.cfg.Resources, code)
	case broad == counterfoil.ReasonAPIKeyInvalid:
		return fmt.Sprintf("refuses the API key%s: check it", code)
	case broad == counterfoil.ReasonInvalidScope:
		return fmt.Sprintf("refuses the scope %q%s: ask for those that the client is granted", x.cfg.Scopes, code)
	case broad == counterfoil.ReasonRateLimited:
		return fmt.Sprintf("has too many requests of this client%s: send fewer", code)
	case e.Class() == counterfoil.ClassTransient:
		return fmt.Sprintf("answers %d%s: try again later", e.Status, code)
	case e.Status >= 300 && e.Status < 400:
		return fmt.Sprintf(
			"answers %d%s, a redirect, which is not followed: set %s to the endpoint's address", e.Status, code,
			x.cfg.field("TokenURL"),
		)
	case broad == counterfoil.ReasonBadResponse:
		return fmt.Sprintf(
			"answers %d%s, which is not an OAuth error: check %s, which leads to %s", e.Status, code,
			x.cfg.field("TokenURL"), x.url.Host,
		)
	}
	return fmt.Sprintf("refuses the request (%s): check that the provider description fits", cmp.Or(e.Code, string(broad)))
}

// broadest returns the reason without a parent that r is a case of.
func broadest(r counterfoil.Reason) counterfoil.Reason {
	for r.Parent() != "" {
		r = r.Parent()
	}
	return r
}
