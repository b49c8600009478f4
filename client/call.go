package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	stdpath "path"
	"strings"
)

// Client returns an http.Client whose requests are calls of the API, each
// bounded by Config.Timeout. See [Transport].
func (s *Source) Client() *http.Client {
	return &http.Client{Transport: &Transport{Source: s}, Timeout: s.cfg.Timeout}
}

// HTTP returns the transport of token requests, without the certificate of
// Config.Certificate: Config.HTTP or its default, restricted to Config.Pins. Use
// it to examine the connection to a server: it adds no token.
func (s *Source) HTTP() http.RoundTripper { return s.cfg.HTTP }

// NewRequest is http.NewRequestWithContext with a path below the API's base URL
// in place of a URL; for a GraphQL API the empty path is the API itself. A path
// may have a query. A path that leads outside the base URL is refused.
func (s *Source) NewRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	if s.apiURL == nil {
		return nil, fmt.Errorf(
			"client: %s is missing, and the description has none: without it this Source makes no calls",
			s.cfg.field("APIURL"),
		)
	}
	ref, err := url.Parse(path)
	if err != nil || ref.IsAbs() || ref.Host != "" || ref.User != nil {
		return nil, fmt.Errorf("client: %q is not a path below the API's base URL", path)
	}
	u := *s.apiURL
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
