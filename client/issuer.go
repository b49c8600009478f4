package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	// maxMetadata bounds an issuer's metadata, in bytes.
	maxMetadata = 64 << 10
	// metadataTimeout bounds the look for an issuer's metadata: without it an
	// assertion is made all the same.
	metadataTimeout = 5 * time.Second
	// metadataAgain is how long it stands that there is no metadata.
	metadataAgain = time.Hour
)

// audience is what an assertion names in aud, and nothing beside it: what Config
// or the description says, else the issuer where it is known, else the URL of the
// token endpoint.
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

// issuerFound is what the look for an issuer has given; "" for none.
type issuerFound struct {
	issuer string
	at     time.Time
}

// discovered returns the issuer that the token endpoint's own origin publishes
// metadata of (RFC 8414 section 3); "" for none. Whom an assertion is for must not
// be the word of who gets it: one that names another server is good there, in the
// wrong hands (CVE-2025-27370). So the issuer has to be the address that the
// metadata was asked for at, and the token endpoint the one that is used.
func (s *Source) discovered(ctx context.Context) string {
	if found := s.issuer.Load(); found != nil && (found.issuer != "" || s.cfg.Clock.Now().Sub(found.at).Abs() < metadataAgain) {
		return found.issuer
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if s.cfg.Clock.Sleep(ctx, metadataTimeout) == nil {
			cancel()
		}
	}()
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
			return "" // nobody can tell: the next token request looks again
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
	// Not an http.Client: a redirect leads to somebody else's word.
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
		err = ctx.Err() // what is cut off can look whole
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
	// A slash at the end of an issuer is no part of the address that its metadata
	// is at (RFC 8414 section 3.1).
	if strings.TrimSuffix(issuer, "/") != want || endpoint != own.String() && endpoint != s.tokenURL.String() {
		return "", errNoMetadata
	}
	return issuer, nil
}
