package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
)

const (
	// maxMetadata bounds an issuer's metadata, in bytes.
	maxMetadata = 64 << 10
	// discoveryTimeout bounds Discover, in addition to its context.
	discoveryTimeout = 10 * time.Second
)

// Metadata is the part of an issuer's metadata that a guard needs (RFC 8414
// section 2). URLs are https. The rest of the metadata is ignored.
type Metadata struct {
	// Issuer is for [Config].
	Issuer string
	// JWKSURI is for [NewRemoteKeySet].
	JWKSURI string
	// IntrospectionEndpoint is for [NewIntrospector]; empty if the issuer has
	// none.
	IntrospectionEndpoint string
	// RevocationFeedEndpoint is for [FollowRevocations]; empty if the issuer has
	// none. Counterfoil's metadata has it as revocation_feed_endpoint, which RFC
	// 8414 does not define.
	RevocationFeedEndpoint string
}

// Discover reads an issuer's metadata: that of RFC 8414 section 3, else that of
// OpenID Connect Discovery 1.0 section 4. The issuer is an https URL, and the
// metadata must name exactly the same issuer (RFC 8414 section 3.3): otherwise the
// server that answers could make this guard trust the tokens of another issuer.
// If client is nil, Discover uses one of its own. It follows no redirects and
// returns within 10 seconds.
func Discover(ctx context.Context, issuer string, client *http.Client) (*Metadata, error) {
	u, ok := httpsurl.Base(issuer)
	if !ok {
		return nil, errors.New("discover: the issuer must be an https URL without credentials, query and fragment, " +
			"such as https://auth.example.com")
	}
	if client == nil {
		client = &http.Client{}
	}
	client = withoutRedirects(client)
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	places := []string{origin + "/.well-known/oauth-authorization-server" + path, origin + path + "/.well-known/openid-configuration"}
	var failed []error
	for _, at := range places {
		m, err := discover(ctx, client, at, issuer)
		if err == nil {
			return m, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", at, err))
	}
	return nil, fmt.Errorf("discover: %w", errors.Join(failed...))
}

// discover reads the metadata at a URL.
func discover(ctx context.Context, client *http.Client, at, issuer string) (*Metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err == nil && len(data) > maxMetadata {
		err = fmt.Errorf("the metadata is larger than %d bytes", maxMetadata)
	}
	if err == nil {
		data, err = files.Text(data)
	}
	if err != nil {
		return nil, err
	}
	members, err := jose.Object(data)
	if err != nil {
		return nil, err
	}
	m := &Metadata{}
	fields := map[string]*string{
		"issuer": &m.Issuer, "jwks_uri": &m.JWKSURI,
		"introspection_endpoint": &m.IntrospectionEndpoint, "revocation_feed_endpoint": &m.RevocationFeedEndpoint,
	}
	for name, field := range fields {
		value, there := members[name]
		text, ok := value.(string)
		if there && !ok {
			return nil, fmt.Errorf("the member %q is not text", name)
		}
		if name != "issuer" && text != "" && !strings.HasPrefix(text, "https://") {
			return nil, fmt.Errorf("the member %q is not an https URL", name)
		}
		*field = text
	}
	switch {
	case m.Issuer != issuer:
		return nil, fmt.Errorf("the metadata is that of the issuer %q", m.Issuer)
	case m.JWKSURI == "":
		return nil, errors.New(`the member "jwks_uri" is missing`)
	}
	return m, nil
}
