package client

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// place is one in the cache, for the tokens that are bound alike.
type place struct {
	key     string
	changes *atomic.Uint64
	// base carries the token requests, and the calls with the tokens obtained.
	base http.RoundTripper
	// certificate identifies the certificate that base presents, with its
	// intermediates; ends is its expiry by the provider's clock. "" and the zero
	// time without one.
	certificate string
	ends        time.Time

	mu       sync.Mutex
	underWay int // requests with the certificate
	retired  bool
}

// newPlace returns the place of tokens that are bound to the key and to cert, whose
// transport presents only cert; nil for none.
func newPlace(c *Config, tokenURL *url.URL, key string, cert *tls.Certificate) *place {
	p := &place{base: c.HTTP}
	print := ""
	if cert != nil {
		print = jose.CertificateThumbprint(cert.Leaf)
		p.base, p.certificate, p.ends = showing(c.HTTP.(*http.Transport), cert), chainPrint(cert), cert.Leaf.NotAfter
	}
	p.key = cacheKey(c, tokenURL, key, print)
	p.changes = c.Cache.Changes(p.key)
	return p
}

// endsWith reports whether t, obtained after old, expires no later because both
// expire with their certificate.
func (p *place) endsWith(old, t counterfoil.Token) bool {
	return !p.ends.IsZero() && !old.Issued.After(t.Issued) && t.Expires.Before(old.Expires.Add(minSkew))
}

// roundTrip sends r with base, which is that of p if it is nil.
func (p *place) roundTrip(base http.RoundTripper, r *http.Request) (*http.Response, error) {
	if p.certificate != "" {
		p.count(1)
		defer p.count(-1)
	}
	return cmp.Or(base, p.base).RoundTrip(r)
}

// retire closes the connections that presented the certificate of p, as soon as
// their requests have been answered.
func (p *place) retire() {
	if p.certificate == "" {
		return
	}
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.count(0)
}

// count counts the requests under way. Connections are closed only when there are
// none: HTTP/1.1 keeps a connection for others a moment before it returns the
// answer that came on it, and loses the answer if it is closed then. A request
// that began before p was retired, and was sent after that, would leave an open
// connection.
func (p *place) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.underWay += n; p.underWay == 0 && p.retired {
		p.base.(*http.Transport).CloseIdleConnections()
	}
}

// chainPrint identifies a certificate with its intermediates: the same
// certificate can have another chain.
func chainPrint(cert *tls.Certificate) string {
	h := sha256.New()
	for _, der := range cert.Certificate {
		fmt.Fprintf(h, "%d:%s", len(der), der)
	}
	return string(h.Sum(nil))
}

// cacheKey returns the key of the token that c describes. Sources share a token
// if they name the same endpoint, client, scopes and resources (in any order),
// further parameters and tenant, and bind it to the same key and certificate,
// named by their thumbprints. Where a new token replaces the old one the tenant
// does not count: a token for each tenant would replace the others. Secrets do
// not count, so that rotation keeps the token.
func cacheKey(c *Config, tokenURL *url.URL, key, certificate string) string {
	tenant := c.Tenant
	if c.Provider.TokenEndpoint.Policy == provider.PolicyReplace {
		tenant = ""
	}
	parts := []string{
		tokenURL.String(), strings.Join(slices.Sorted(slices.Values(c.Scopes)), " "), tenant,
		strings.Join(slices.Sorted(slices.Values(c.Resources)), " "), c.Parameters.Encode(), key, certificate,
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return KeyPrefix(c.ClientID) + "-" + hex.EncodeToString(h.Sum(nil))
}
