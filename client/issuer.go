package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

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

// audience returns the only value of an assertion's aud: what Config or the
// description says, else the issuer if it is known, else the URL of the token
// endpoint.
func (s *Source) audience(ctx context.Context) string {
	t := &s.cfg.Provider.TokenEndpoint
	switch {
	case s.cfg.AssertionAudience != "":
		return s.cfg.AssertionAudience
	case t.AssertionAudience == provider.TokenURLAudience:
		return s.tokenURL.String()
	case t.Issuer != "" && s.tokenURL.String() == t.URL:
		return t.Issuer
	}
	if issuer := s.discovered(ctx); issuer != "" {
		return issuer
	}
	return s.tokenURL.String()
}

// issuerFound is the result of looking for an issuer; "" for none.
type issuerFound struct {
	issuer string
	at     time.Time
}

// discovered returns the issuer that the token endpoint's own origin publishes
// metadata of (RFC 8414 section 3); "" for none. The recipient of an assertion
// must not choose its audience: if it named another server, it could use the
// assertion there (CVE-2025-27370). So the issuer must be the address that the
// metadata was requested from, and the token endpoint the one in use.
func (s *Source) discovered(ctx context.Context) string {
	if found := s.issuer.Load(); found != nil && (found.issuer != "" || s.cfg.Clock.Now().Sub(found.at).Abs() < metadataAgain) {
		return found.issuer
	}
	ctx, cancel := clock.WithTimeout(ctx, s.cfg.Clock, metadataTimeout)
	defer cancel()
	origin := s.tokenURL.Scheme + "://" + s.tokenURL.Host
	path, ok := strings.CutSuffix(s.tokenURL.Path, s.cfg.Provider.TokenEndpoint.Path)
	if !ok {
		path = ""
	}
	path = strings.TrimSuffix(path, "/")
	for _, at := range []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration", // OpenID Connect Discovery 1.0 section 4
	} {
		issuer, err := s.metadata(ctx, at, origin+path)
		if errors.Is(err, errNoMetadata) {
			continue
		}
		if err != nil {
			return "" // unknown: the next token request tries again
		}
		s.issuer.Store(&issuerFound{issuer: issuer})
		return issuer
	}
	s.issuer.Store(&issuerFound{at: s.cfg.Clock.Now()})
	return ""
}

// errNoMetadata is the error for an answer that is no metadata of the issuer.
var errNoMetadata = errors.New("no metadata of this issuer")

// metadata returns the issuer of the metadata at a URL, which was made from want.
func (s *Source) metadata(ctx context.Context, at, want string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", errNoMetadata
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "counterfoil")
	// Not an http.Client: a redirect would lead to another party's statement.
	resp, err := s.cfg.HTTP.RoundTrip(req)
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
	own := *s.tokenURL
	own.RawQuery, own.ForceQuery = "", false
	// A trailing slash of an issuer is not part of the address of its metadata
	// (RFC 8414 section 3.1).
	if strings.TrimSuffix(issuer, "/") != want || endpoint != own.String() && endpoint != s.tokenURL.String() {
		return "", errNoMetadata
	}
	return issuer, nil
}
