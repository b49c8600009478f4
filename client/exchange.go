package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	// retries is how often a failure that may pass is repeated, after at most
	// 2, 4 and 8 s (full jitter) or what Retry-After says.
	retries      = 3
	firstBackoff = 2 * time.Second
	// maxRetryAfter bounds what a Retry-After can make a client wait.
	maxRetryAfter = 60 * time.Second
	// maxResponse bounds a token response, in bytes.
	maxResponse = 64 << 10
)

// request gets a token from the provider:
//
//  1. ask for the credentials;
//  2. answer with the last failure while it is remembered for them;
//  3. send the request;
//  4. repeat what may pass, within the time that is left;
//  5. remember what will not.
func (s *Source) request(ctx context.Context) (counterfoil.Token, error) {
	deadline := s.cfg.Clock.Now().Add(s.cfg.Timeout)
	for attempt := 0; ; attempt++ {
		cred, err := s.credentials(ctx)
		if err == nil && attempt == 0 {
			if err := s.remembered(cred.print); err != nil {
				return counterfoil.Token{}, err
			}
		}
		var t counterfoil.Token
		if err == nil {
			t, err = s.exchange(ctx, cred)
		}
		if err == nil {
			s.forget()
			s.event(ctx, counterfoil.EventTokenObtained, "", "")
			return t, nil
		}
		if transient(err.Reason) && attempt < retries && ctx.Err() == nil {
			wait := max(rand.N(firstBackoff<<attempt+1), err.RetryAfter)
			if s.cfg.Clock.Now().Add(wait).Before(deadline) && s.cfg.Clock.Sleep(ctx, wait) == nil {
				continue
			}
		}
		if cred.print != [sha256.Size]byte{} {
			s.remember(err, cred.print)
		}
		s.event(ctx, counterfoil.EventTokenFailed, err.Reason, err.Message)
		return counterfoil.Token{}, err
	}
}

// transient reports whether a failure may pass without anybody's doing.
func transient(r counterfoil.Reason) bool {
	return r == counterfoil.Unavailable || r == counterfoil.RateLimited || r == counterfoil.ServerError
}

// credentials are what one request proves itself with.
type credentials struct {
	id             string
	secret, apiKey counterfoil.Secret
	// print tells these credentials from others without holding them.
	print [sha256.Size]byte
}

func (s *Source) credentials(ctx context.Context) (credentials, *counterfoil.Error) {
	c := credentials{id: s.cfg.ClientID}
	var err *counterfoil.Error
	if c.secret, err = reveal(ctx, s.cfg.ClientSecret, "client secret", counterfoil.CredentialsMissing); err != nil {
		return c, err
	}
	if _, ok := s.cfg.Provider.TokenEndpoint.Header(provider.HeaderFromAPIKey); ok {
		if c.apiKey, err = reveal(ctx, s.cfg.APIKey, "API key", counterfoil.APIKeyMissing); err != nil {
			return c, err
		}
	}
	c.print = sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(c.secret), c.secret.Reveal(), c.apiKey.Reveal()))
	return c, nil
}

// reveal asks for one credential.
func reveal(ctx context.Context, f SecretFunc, name string, missing counterfoil.Reason) (counterfoil.Secret, *counterfoil.Error) {
	v, err := f(ctx)
	switch {
	case err != nil:
		return "", &counterfoil.Error{Reason: missing, Message: "the " + name + " cannot be had from where Config says", Err: err}
	case v == "":
		return "", &counterfoil.Error{Reason: missing, Message: "the " + name + " is empty: look where Config takes it from"}
	}
	return v, nil
}

// shownIn reports whether text gives away any of the credentials, as they are
// or as a request carries them.
func (c credentials) shownIn(text string) bool {
	basic := base64.StdEncoding.EncodeToString([]byte(c.id + ":" + c.secret.Reveal()))
	for _, v := range []string{c.secret.Reveal(), url.QueryEscape(c.secret.Reveal()), c.apiKey.Reveal(), basic} {
		if v != "" && strings.Contains(text, v) {
			return true
		}
	}
	return false
}

// exchange sends one token request. It uses the transport itself, not an
// http.Client: a redirect is an answer like any other here.
func (s *Source) exchange(ctx context.Context, cred credentials) (counterfoil.Token, *counterfoil.Error) {
	none := counterfoil.Token{}
	req, err := s.tokenRequest(ctx, cred)
	if err != nil {
		return none, &counterfoil.Error{Reason: counterfoil.InvalidRequest, Message: "the token request cannot be made", Err: err}
	}
	issued := s.cfg.Clock.Now().Round(0) // the wall's: a suspended machine's monotonic clock stands still
	resp, err := s.cfg.HTTP.RoundTrip(req)
	if err != nil {
		return none, s.unreachable(ctx, cred, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return none, s.unreachable(ctx, cred, err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return none, s.refusal(resp, body, cred)
	}
	t, err := parseToken(body, &s.cfg.Provider.TokenEndpoint)
	if err != nil {
		return none, &counterfoil.Error{Reason: counterfoil.BadResponse, Status: resp.StatusCode,
			Message: fmt.Sprintf("the token endpoint of %s answers no usable token: %v", s.cfg.Provider.Name, err)}
	}
	t.Issued, t.Expires = issued, issued.Add(t.Expires.Sub(time.Time{}))
	return t, nil
}

func (s *Source) unreachable(ctx context.Context, cred credentials, err error) *counterfoil.Error {
	e := &counterfoil.Error{Reason: counterfoil.Unavailable, Err: err,
		Message: fmt.Sprintf("the token endpoint of %s cannot be reached at %s", s.cfg.Provider.Name, s.tokenURL.Host)}
	if cause := context.Cause(ctx); cause != nil {
		e.Message, e.Err = fmt.Sprintf("the token endpoint of %s gives no answer within %s", s.cfg.Provider.Name, s.cfg.Timeout), cause
	} else if cred.shownIn(err.Error()) {
		e.Err = errors.New("the transport's error is withheld, because it shows a credential")
	}
	return e
}

// tokenRequest builds what RFC 6749 section 4.4.2 asks for, in the provider's
// manner.
func (s *Source) tokenRequest(ctx context.Context, cred credentials) (*http.Request, error) {
	t, target, form := &s.cfg.Provider.TokenEndpoint, *s.tokenURL, url.Values{}
	if t.GrantTypeIn == provider.InQuery {
		q := target.Query()
		q.Set("grant_type", "client_credentials")
		target.RawQuery = q.Encode()
	} else {
		form.Set("grant_type", "client_credentials")
	}
	if len(s.cfg.Scopes) > 0 {
		form.Set("scope", s.cfg.Scopes.String())
	}
	if s.method() == provider.ClientSecretPost {
		form.Set("client_id", cred.id)
		form.Set("client_secret", cred.secret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "counterfoil")
	if s.method() == provider.ClientSecretBasic {
		id, secret := cred.id, cred.secret.Reveal()
		if t.BasicEncoding == provider.FormEncoding {
			id, secret = url.QueryEscape(id), url.QueryEscape(secret)
		}
		req.SetBasicAuth(id, secret)
	}
	for _, h := range t.Headers {
		if h.From == provider.HeaderFromAPIKey {
			req.Header.Set(h.Name, cred.apiKey.Reveal())
		} else {
			req.Header.Set(h.Name, h.Value)
		}
	}
	return req, nil
}

// refusal says what an answer other than success means.
func (s *Source) refusal(resp *http.Response, body []byte, cred credentials) *counterfoil.Error {
	e := &counterfoil.Error{Status: resp.StatusCode, Code: errorCode(body),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), s.cfg.Clock.Now())}
	if cred.shownIn(e.Code) {
		e.Code = ""
	}
	e.Reason = s.cfg.Provider.TokenEndpoint.Reason(resp.StatusCode, body)
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		e.Reason = counterfoil.RateLimited
	case (status >= 500 || status == http.StatusRequestTimeout) && !transient(e.Reason):
		e.Reason = counterfoil.Unavailable
	case e.Reason != "":
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

// codes are the error codes of RFC 6749 section 5.2 and its neighbours.
var codes = map[string]counterfoil.Reason{
	"invalid_request":         counterfoil.InvalidRequest,
	"invalid_client":          counterfoil.InvalidClient,
	"invalid_grant":           counterfoil.InvalidClient,
	"unauthorized_client":     counterfoil.InvalidClient,
	"access_denied":           counterfoil.InvalidClient,
	"unsupported_grant_type":  counterfoil.UnsupportedGrantType,
	"invalid_scope":           counterfoil.InvalidScope,
	"slow_down":               counterfoil.RateLimited,
	"server_error":            counterfoil.ServerError,
	"temporarily_unavailable": counterfoil.Unavailable,
}

// advice says what happened and what to do next.
func (s *Source) advice(e *counterfoil.Error) string {
	broad := e.Reason
	for broad.Parent() != "" {
		broad = broad.Parent()
	}
	switch {
	case broad == counterfoil.InvalidClient:
		return fmt.Sprintf("refuses the client %q: check its id and secret", s.cfg.ClientID)
	case broad == counterfoil.APIKeyInvalid:
		return "refuses the API key: check it"
	case broad == counterfoil.InvalidScope:
		return fmt.Sprintf("refuses the scope %q: ask for those that the client is granted", s.cfg.Scopes)
	case broad == counterfoil.RateLimited:
		return "has too many requests of this client: ask less often"
	case transient(broad):
		return fmt.Sprintf("answers %d: try again later", e.Status)
	case e.Status < 400:
		return fmt.Sprintf("answers %d, a redirect, which is not followed: set Config.TokenURL to where the endpoint is", e.Status)
	case broad == counterfoil.BadResponse:
		return fmt.Sprintf("answers %d, which is no OAuth error: check Config.TokenURL (%s)", e.Status, s.tokenURL.Host)
	}
	return fmt.Sprintf("refuses the request (%s): check that the provider description fits", broad)
}

// retryAfter reads a Retry-After (RFC 9110 section 10.2.3): seconds or a date.
// What it cannot read is 0, and no answer is above maxRetryAfter.
func retryAfter(value string, now time.Time) time.Duration {
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
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
