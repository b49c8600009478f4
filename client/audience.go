package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	// maxMetadata bounds an issuer's metadata, in bytes.
	maxMetadata = 64 << 10
	// metadataTimeout bounds the request for an issuer's metadata. If it fails,
	// the assertion is made without it.
	metadataTimeout = 5 * time.Second
	// metadataAgain is how long the absence of metadata is remembered.
	metadataAgain = time.Hour
)

// audience is what a client's assertions are for.
type audience struct {
	// fixed is the value when it does not have to be discovered; else "".
	fixed string
	// tokenURL is the token endpoint, and path its path below the issuer.
	tokenURL *url.URL
	path     string
	http     http.RoundTripper
	clock    counterfoil.Clock
	found    atomic.Pointer[issuerFound] // nil until it was looked for
}

// issuerFound is the result of looking for an issuer; "" for none.
type issuerFound struct {
	issuer string
	at     time.Time
}

// newAudience returns the audience that c or the description names.
func newAudience(c *Config, tokenURL *url.URL) *audience {
	t := &c.Provider.TokenEndpoint
	a := &audience{tokenURL: tokenURL, path: t.Path, http: c.HTTP, clock: c.Clock}
	switch {
	case c.AssertionAudience != "":
		a.fixed = c.AssertionAudience
	case t.AssertionAudience == provider.AssertionAudienceTokenURL:
		a.fixed = tokenURL.String()
	case t.Issuer != "" && tokenURL.String() == t.URL:
		a.fixed = t.Issuer
	}
	return a
}

// get returns the only value of an assertion's aud: what Config or the
// description says, else the issuer if it is known, else the URL of the token
// endpoint.
func (a *audience) get(ctx context.Context) string {
	if a.fixed != "" {
		return a.fixed
	}
	if issuer := a.discovered(ctx); issuer != "" {
		return issuer
	}
	return a.tokenURL.String()
}

// discovered returns the issuer that the token endpoint's own origin publishes
// metadata of (RFC 8414 section 3); "" for none. The recipient of an assertion
// must not choose its audience: if it named another server, it could use the
// assertion there (CVE-2025-27370). So the issuer must be the address that the
// metadata was requested from, and the token endpoint the one in use.
func (a *audience) discovered(ctx context.Context) string {
	found := a.found.Load()
	if found != nil && (found.issuer != "" || a.clock.Now().Sub(found.at).Abs() < metadataAgain) {
		return found.issuer
	}
	ctx, cancel := clock.WithTimeout(ctx, a.clock, metadataTimeout)
	defer cancel()
	origin := a.tokenURL.Scheme + "://" + a.tokenURL.Host
	path, ok := strings.CutSuffix(a.tokenURL.Path, a.path)
	if !ok {
		path = ""
	}
	path = strings.TrimSuffix(path, "/")
	for _, at := range []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration", // OpenID Connect Discovery 1.0 section 4
	} {
		issuer, err := a.metadata(ctx, at, origin+path)
		if errors.Is(err, errNoMetadata) {
			continue
		}
		if err != nil {
			return "" // unknown: the next token request tries again
		}
		a.found.Store(&issuerFound{issuer: issuer})
		return issuer
	}
	a.found.Store(&issuerFound{at: a.clock.Now()})
	return ""
}

// errNoMetadata is the error for an answer that is no metadata of the issuer.
var errNoMetadata = errors.New("no metadata of this issuer")

// metadata returns the issuer of the metadata at a URL, which was made from want.
func (a *audience) metadata(ctx context.Context, at, want string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", errNoMetadata
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "counterfoil")
	// Not an http.Client: a redirect would lead to another party's statement.
	resp, err := a.http.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return "", fmt.Errorf("the answer is %d", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return "", errNoMetadata
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err == nil {
		err = ctx.Err() // a truncated body can look complete
	}
	if err != nil {
		return "", err
	}
	members, err := jose.Object(text)
	if err != nil || len(text) > maxMetadata {
		return "", errNoMetadata
	}
	issuer, _ := members["issuer"].(string)
	endpoint, _ := members["token_endpoint"].(string)
	own := *a.tokenURL
	own.RawQuery, own.ForceQuery = "", false
	// A trailing slash of an issuer is not part of the address of its metadata
	// (RFC 8414 section 3.1).
	if strings.TrimSuffix(issuer, "/") != want || endpoint != own.String() && endpoint != a.tokenURL.String() {
		return "", errNoMetadata
	}
	return issuer, nil
}
