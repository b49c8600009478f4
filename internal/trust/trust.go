// Package trust is what TLS clients have in common: the transport that they dial
// with by default, what any other must do, the authorities that it trusts, and
// the words for a certificate that is refused. It is internal and makes no
// compatibility promise.
package trust

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

// File returns the system's authorities and those of a file in PEM.
func File(path string) (*x509.CertPool, error) {
	pem, err := files.Read(path, maxFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// Transport returns a transport like http.DefaultTransport that requires TLS
// 1.2.
func Transport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second}
	}
	t = t.Clone()
	t.TLSClientConfig = cmp.Or(t.TLSClientConfig, &tls.Config{})
	t.TLSClientConfig.MinVersion = tls.VersionTLS12
	return t
}

// Check says in which way rt would accept an unverified server, as far as can be
// seen. The text continues a sentence about rt.
func Check(rt http.RoundTripper) error {
	t, ok := rt.(*http.Transport)
	if !ok || t.TLSClientConfig == nil {
		return nil
	}
	if v := t.TLSClientConfig.MinVersion; v != 0 && v < tls.VersionTLS12 {
		return errors.New("allows TLS older than 1.2: raise MinVersion")
	}
	if t.TLSClientConfig.InsecureSkipVerify && t.TLSClientConfig.VerifyConnection == nil {
		return errors.New("does not verify certificates: set RootCAs or VerifyConnection instead of InsecureSkipVerify")
	}
	return nil
}

// Reason says what is wrong with the server's certificate, without repeating any
// part of it; nil if err is about something else.
func Reason(err error) error {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errors.New("its certificate is for another host")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return errors.New("its certificate is of an authority that is not trusted")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New("its certificate is invalid or has expired")
	}
	return nil
}
