package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// CertificateFunc returns a certificate with its private key. It must be safe
// for concurrent use.
type CertificateFunc func(context.Context) (*tls.Certificate, error)

const (
	// maxCertificateFile bounds a file of CertificateFiles, in bytes.
	maxCertificateFile = 1 << 20
	// idleTime bounds how long connections with a certificate are kept if
	// Config.HTTP has no bound.
	idleTime = 90 * time.Second
)

// CertificateFiles returns a CertificateFunc that reads PEM files, which may be
// the same: the certificate with its intermediates, and its key. It reads them
// again when they change. While they do not match, because only one has been
// replaced yet, it returns the previous pair.
//
// A key that other users can write, by the mode of its file or because one of
// them owns it, is refused: they could impersonate this program. It must belong
// to the program's user or to root. A key that others can read is accepted,
// because mounts of secrets have such modes; keep your own at mode 0600.
func CertificateFiles(certificate, key string) CertificateFunc {
	f := &certificateFiles{names: [2]string{certificate, key}}
	return f.get
}

type certificateFiles struct {
	names [2]string

	mu   sync.Mutex
	last *tls.Certificate
	seen [2]os.FileInfo // of last
}

func (f *certificateFiles) get(context.Context) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now [2]os.FileInfo
	var text [2][]byte
	var err error
	for i, name := range f.names {
		if now[i], err = os.Stat(name); err != nil {
			return f.before(err)
		}
	}
	if f.last != nil && unchanged(now[0], f.seen[0]) && unchanged(now[1], f.seen[1]) && files.Foreign(now[1]) == nil {
		return f.last, nil
	}
	for i, name := range f.names {
		var read os.FileInfo
		if text[i], read, err = readBounded(name, maxCertificateFile); err != nil {
			return f.before(err)
		}
		if i != 1 {
			continue
		}
		if err := files.Foreign(read); err != nil { // even if there is a previous pair
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
	}
	pair, err := tls.X509KeyPair(text[0], text[1])
	if err != nil {
		return f.before(fmt.Errorf("certificate %s with key %s: %w", f.names[0], f.names[1], err))
	}
	f.last, f.seen = &pair, now
	return f.last, nil
}

// before returns the last valid pair, or err without one.
func (f *certificateFiles) before(err error) (*tls.Certificate, error) {
	if f.last != nil {
		return f.last, nil
	}
	return nil, err
}

func unchanged(a, b os.FileInfo) bool {
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// readBounded also returns the file's info.
func readBounded(name string, limit int64) ([]byte, os.FileInfo, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	if err == nil {
		text, err = files.Text(text)
	}
	return text, info, err
}

// certificate reads the certificate and parses its Leaf. An expired one is not
// presented. It counts as expired only by both clocks, so not before the
// provider's is known.
func (s *Source) certificate(ctx context.Context) (*tls.Certificate, *counterfoil.Error) {
	given, err := s.cfg.Certificate(ctx)
	if err == nil && (given == nil || len(given.Certificate) == 0 || given.PrivateKey == nil) {
		err = errors.New("it is missing, or has no key")
	}
	var leaf *x509.Certificate
	if err == nil {
		if leaf = given.Leaf; leaf == nil || !bytes.Equal(leaf.Raw, given.Certificate[0]) {
			leaf, err = x509.ParseCertificate(given.Certificate[0])
		}
	}
	if err != nil {
		return nil, s.notHad("client's certificate", "Certificate", counterfoil.CertificateMissing, err)
	}
	if s.past(leaf.NotAfter) && !s.cfg.Clock.Now().Before(leaf.NotAfter) {
		return nil, &counterfoil.Error{Reason: counterfoil.CertificateMissing,
			Message: fmt.Sprintf(
				"the client's certificate expired at %s: renew it where %s reads it from",
				leaf.NotAfter.UTC().Format(time.RFC3339), s.cfg.field("Certificate"),
			)}
	}
	own := *given // the caller may change its own
	own.Leaf = leaf
	return &own, nil
}

// binds returns the entry of tokens that are bound to cert, with a transport
// that presents only cert.
func (s *Source) binds(cert *tls.Certificate) *entry {
	print := jose.CertificateThumbprint(cert.Leaf)
	key := cacheKey(&s.cfg, s.tokenURL, s.prover.binding(), print)
	return &entry{
		key:         key,
		changes:     s.cfg.Cache.Changes(key),
		base:        showing(s.cfg.HTTP.(*http.Transport), cert),
		certificate: chainPrint(cert),
		ends:        cert.Leaf.NotAfter,
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

// ownTLS refuses an HTTP whose TLS cannot be extended by what the other field
// holds.
func (c *Config) ownTLS(field string) error {
	if c.HTTP == nil {
		return nil
	}
	t, ok := c.HTTP.(*http.Transport)
	switch {
	case !ok:
		return c.wrong("HTTP", "is a %T, which cannot be given %s: leave it out or give an *http.Transport", c.HTTP, c.field(field))
	//lint:ignore SA1019 users of the deprecated field need the error, too
	case t.DialTLSContext != nil || t.DialTLS != nil:
		return c.wrong("HTTP", "makes its TLS connections itself, without %s: leave DialTLSContext out", c.field(field))
	}
	return nil
}

// endsWith reports whether t, obtained after old, expires no later because both
// expire with their certificate.
func (e *entry) endsWith(old, t counterfoil.Token) bool {
	return !e.ends.IsZero() && !old.Issued.After(t.Issued) && t.Expires.Before(old.Expires.Add(minSkew))
}

// refusesCertificate reports whether err is the peer's TLS alert about this
// side's certificate (RFC 8446 section 6.2).
func refusesCertificate(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate")
}

// retire closes the connections that presented the certificate of e, as soon as
// their calls have ended.
func (e *entry) retire() {
	if t, ok := e.base.(*http.Transport); ok && e.certificate != "" {
		t.CloseIdleConnections()
	}
}
