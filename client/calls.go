package client

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	stdpath "path"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// contentType is the header whose value repeats knows.
const contentType = "Content-Type"

// callHeader is one header of every call.
type callHeader struct {
	name   string
	from   provider.HeaderSource
	scheme string
	value  string
}

// calls are those of a Source's API: what they carry, and when they are sent.
type calls struct {
	cfg     *Config
	api     *provider.API // nil for none
	url     *url.URL      // nil without an API
	headers []callHeader
	proofs  *proofs
	turns   *limiter
	repeats repeats
}

func newCalls(c *Config, api *provider.API, at *url.URL, headers []callHeader, proofs *proofs) *calls {
	cs := &calls{cfg: c, api: api, url: at, headers: headers, proofs: proofs}
	cs.repeats = repeats{api: api, url: at, clock: c.Clock}
	for _, h := range headers {
		if h.name == contentType && cs.repeats.mediaTypes == nil {
			cs.repeats.mediaTypes = []string{h.value}
		}
	}
	if api != nil {
		cs.turns = newLimiter(max(cmp.Or(c.RequestsPerMinute, api.RequestsPerMinute), 0))
	}
	return cs
}

// request is NewRequest of a Source.
func (c *calls) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	if c.url == nil {
		return nil, fmt.Errorf(
			"client: %s is missing, and the description has none: without it this Source makes no calls",
			c.cfg.field("APIURL"),
		)
	}
	ref, err := url.Parse(path)
	if err != nil || ref.IsAbs() || ref.Host != "" || ref.User != nil {
		return nil, fmt.Errorf("client: %q is not a path below the API's base URL", path)
	}
	u := *c.url
	if u.Path == "" {
		u.Path = "/"
	}
	if ref.Path != "" {
		base := strings.TrimSuffix(u.Path, "/")
		u = *u.JoinPath(ref.EscapedPath())
		if clean := stdpath.Clean(u.Path); clean != base && !strings.HasPrefix(clean, base+"/") {
			return nil, fmt.Errorf("client: %q leads outside the API's base URL", path)
		}
	}
	if ref.RawQuery != "" {
		u.RawQuery = ref.RawQuery
	}
	return http.NewRequestWithContext(ctx, method, u.String(), body)
}

// own reports whether u is one of the API's origin.
func (c *calls) own(u *url.URL) bool { return sameOrigin(u, c.url) }

// wait waits for the turn of a call, for which it has a token: calls that took
// their turns and then waited for one would be sent all at once. giveBack returns
// the turn; it is nil if nothing was waited for.
func (c *calls) wait(ctx context.Context) (giveBack func(), err error) {
	if c.turns == nil {
		return nil, nil
	}
	now := c.cfg.Clock.Now()
	end, _ := ctx.Deadline()
	at, ok := c.turns.reserve(now, end)
	if ok && !at.After(now) {
		return nil, nil
	}
	wait, failure := at.Sub(now), error(context.DeadlineExceeded)
	if ok {
		if failure = c.cfg.Clock.Sleep(ctx, wait); failure != nil {
			c.turns.giveBack(at)
		}
	}
	if failure != nil {
		return nil, &counterfoil.Error{Reason: counterfoil.ReasonRateLimited, Err: cmp.Or(context.Cause(ctx), failure), RetryAfter: wait,
			Message: fmt.Sprintf(
				"client: the call's turn comes too late: %s allows at most %d requests a minute", c.api.Name,
				len(c.turns.times),
			)}
	}
	return func() { c.turns.giveBack(at) }, nil
}

// addHeaders returns a copy of req with what a call carries.
func (c *calls) addHeaders(req *http.Request, h *held, proofs *attempts) (*http.Request, error) {
	both := &struct { // one allocation, not two
		request http.Request
		values  [4]string
	}{request: *req}
	call, values := &both.request, both.values[:]
	if len(c.headers) > len(values) {
		values = make([]string, len(c.headers))
	}
	// A clone of a small map has room for 8 entries; one more would allocate it
	// again.
	if n := len(req.Header) + len(c.headers); n <= 8 && req.Header != nil {
		call.Header = maps.Clone(req.Header)
	} else {
		call.Header = make(http.Header, n)
		maps.Copy(call.Header, req.Header)
	}
	for i := range c.headers {
		ch := &c.headers[i]
		switch ch.from {
		case provider.HeaderFromToken:
			values[i] = h.authorization
		case provider.HeaderFromAPIKey:
			key, err := c.cfg.sendable(req.Context(), c.cfg.APIKey, "API key", "APIKey", counterfoil.ReasonAPIKeyMissing)
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
	if c.proofs != nil {
		proof, err := c.proofs.ofCall(call, h.token.Value, proofs)
		if err != nil {
			return nil, &counterfoil.Error{
				Reason:  counterfoil.ReasonUnavailable,
				Message: "client: the key of " + c.cfg.field("DPoP") + " cannot sign: check where it is stored",
				Err:     err,
			}
		}
		call.Header[proofHeader] = []string{proof}
	}
	return call, nil
}

// unshown returns err of a call unchanged, unless its text discloses a
// credential of the call: net/http quotes an answer that it cannot parse, which
// may be an echo.
func (c *calls) unshown(call *http.Request, h *held, err error) error {
	cred := credentials{secret: h.token.Value, proof: counterfoil.Secret(call.Header.Get(proofHeader))}
	for _, ch := range c.headers {
		if ch.from == provider.HeaderFromAPIKey {
			cred.apiKey = counterfoil.Secret(call.Header.Get(ch.name))
		}
	}
	if cred.shownIn(err.Error()) {
		return errWithheld
	}
	return err
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
