package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"time"
)

// idleTime bounds how long connections with a certificate are kept if
// Config.HTTP has no bound.
const idleTime = 90 * time.Second

// showing returns a transport like t that presents cert, whichever authorities
// the server names, and no certificate of t's.
func showing(t *http.Transport, cert *tls.Certificate) *http.Transport {
	t = cloned(t)
	c := t.TLSClientConfig
	c.Certificates = nil
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = idleTime
	}
	return t
}

// cloned returns a transport like t that shares neither connections nor sessions
// with it, and has a TLSClientConfig.
func cloned(t *http.Transport) *http.Transport {
	t = t.Clone()
	c := t.TLSClientConfig
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
		t.TLSClientConfig = c
	}
	if c.ClientSessionCache != nil { // a resumed session keeps the certificates it began with
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	// The HTTP/2 transport of a clone is that of the original, connections
	// included.
	if t.TLSNextProto["h2"] != nil {
		t.TLSNextProto = nil
	}
	if t.TLSNextProto == nil && slices.Contains(c.NextProtos, "h2") {
		t.ForceAttemptHTTP2 = true
	}
	return t
}

// pinned returns a transport like t that connects only to servers with a pinned
// key, in addition to what t requires of them.
func pinned(t *http.Transport, pins []string) *http.Transport {
	t = cloned(t)
	before := t.TLSClientConfig.VerifyConnection
	t.TLSClientConfig.VerifyConnection = func(cs tls.ConnectionState) error {
		if before != nil {
			if err := before(cs); err != nil {
				return err
			}
		}
		for _, chain := range cs.VerifiedChains { // a certificate outside the chain proves nothing
			if slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return slices.Contains(pins, PublicKeyPin(c)) }) {
				return nil
			}
		}
		return &PinError{Shown: PublicKeyPin(cs.PeerCertificates[0])}
	}
	return t
}
