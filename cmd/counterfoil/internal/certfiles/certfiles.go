// Package certfiles has the certificate of a server that is kept in files, and
// follows them: use it where certificates are renewed while the server runs.
package certfiles

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
)

// maxFile bounds each file, in bytes.
const maxFile = 1 << 20

// LookEvery is how often Look should be called.
const LookEvery = 5 * time.Second

// Certificate is a certificate that is reloaded when Look finds its files changed.
// Files that are invalid, or half replaced, change nothing: the loaded certificate
// stays, and the files are tried again.
type Certificate struct {
	certificate, key string
	clock            clock.Clock
	private          func(crypto.PrivateKey) crypto.PrivateKey
	// Failed is called when files cannot be loaded, once for each reason; Loaded,
	// when they were. Either may be nil.
	Failed func(error)
	Loaded func(*tls.Certificate)

	current atomic.Pointer[tls.Certificate]
	mu      sync.Mutex
	seen    [2]fileMark
	failure string // that Failed was last called with; "" since files were loaded
}

// fileMark identifies the state of a file.
type fileMark struct {
	changed time.Time
	size    int64
	id      fs.FileInfo
}

// Open loads a certificate and its key, which must match and be valid now. The
// result of private signs in place of each key that is loaded; nil for the key.
func Open(certificate, key string, now clock.Clock, private func(crypto.PrivateKey) crypto.PrivateKey) (*Certificate, error) {
	c := &Certificate{certificate: certificate, key: key, clock: now, private: private}
	c.seen = c.look()
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) load() error {
	var text [2][]byte
	var err error
	for i, file := range []string{c.certificate, c.key} {
		if err == nil {
			text[i], err = files.Read(file, maxFile)
		}
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.X509KeyPair(text[0], text[1])
	}
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certificate, c.key, err)
	}
	switch now := c.clock.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return fmt.Errorf("certificate %s expired at %s: renew it", c.certificate, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return fmt.Errorf("certificate %s is valid from %s only", c.certificate, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if c.private != nil {
		pair.PrivateKey = c.private(pair.PrivateKey)
	}
	c.current.Store(&pair)
	return nil
}

// look returns marks of the files; a missing file has none.
func (c *Certificate) look() (marks [2]fileMark) {
	for i, file := range []string{c.certificate, c.key} {
		if info, err := os.Stat(file); err == nil {
			marks[i] = fileMark{info.ModTime(), info.Size(), info}
		}
	}
	return marks
}

func (m fileMark) same(other fileMark) bool {
	return m.changed.Equal(other.changed) && m.size == other.size && (m.id == nil) == (other.id == nil) &&
		(m.id == nil || os.SameFile(m.id, other.id))
}

// File is the path of the file with the certificate.
func (c *Certificate) File() string { return c.certificate }

// Leaf is the certificate itself, as it was loaded last.
func (c *Certificate) Leaf() *x509.Certificate { return c.current.Load().Leaf }

// Get is for tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Look loads the files if they changed.
func (c *Certificate) Look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := c.look()
	if marks[0].same(c.seen[0]) && marks[1].same(c.seen[1]) {
		c.failure = ""
		return
	}
	before := c.current.Load()
	switch err := c.load(); {
	case err != nil:
		if c.Failed != nil && c.failure != err.Error() {
			c.Failed(err)
		}
		c.failure = err.Error()
	default:
		c.seen, c.failure = marks, ""
		if now := c.current.Load(); c.Loaded != nil && !now.Leaf.Equal(before.Leaf) {
			c.Loaded(now)
		}
	}
}
