package peer

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
)

var forms = []counterfoil.CertificateForm{counterfoil.CertificateFormClientCert, counterfoil.CertificateFormEscapedPEM,
	counterfoil.CertificateFormBase64DER}

// MaxCertificate bounds the header that has a certificate or a chain, in bytes.
const MaxCertificate = 16 << 10

// ErrCertificate means that a trusted proxy forwarded something that is not a
// certificate in its form. The request must be refused: ignoring the header would
// attribute the request to another sender.
var ErrCertificate = errors.New("the forwarded client certificate cannot be read")

// Certificate returns the client's certificate: that of the TLS peer or, if the TCP
// peer is a trusted proxy and CertificateHeader is set, the one that the proxy
// forwarded, and then never the proxy's own. It returns nil if the client has no
// certificate. The error is ErrCertificate and repeats nothing of the header.
//
// The TLS peer has proved that it holds the certificate's key. A forwarded
// certificate is public and proves nothing; the proxy, which made the handshake, is
// trusted to forward only the sender's. In both cases the issuer of the certificate
// has not been checked, unless the TLS configuration did so.
func (c *Config) Certificate(r *http.Request) (*x509.Certificate, error) {
	if !c.Forwards(r) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return nil, nil
		}
		return r.TLS.PeerCertificates[0], nil
	}
	lines := r.Header.Values(c.CertificateHeader)
	if len(lines) > 1 {
		return nil, fmt.Errorf("%w: the request has %d headers %s", ErrCertificate, len(lines), c.CertificateHeader)
	}
	// A proxy may send the header empty for a client without a certificate.
	if len(lines) == 0 || lines[0] == "" || lines[0] == `""` {
		return nil, nil
	}
	if len(lines[0]) > MaxCertificate {
		return nil, fmt.Errorf("%w: the header %s is longer than %d bytes", ErrCertificate, c.CertificateHeader, MaxCertificate)
	}
	form := c.CertificateForm
	if form == "" {
		form = counterfoil.CertificateFormClientCert
	}
	der, ok := decode(form, lines[0])
	if !ok {
		return nil, fmt.Errorf("%w: the header %s is not in the form %s", ErrCertificate, c.CertificateHeader, form)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the header %s has no X.509 certificate", ErrCertificate, c.CertificateHeader)
	}
	return cert, nil
}

// Forwards reports whether a proxy forwards the certificate of r in
// CertificateHeader.
func (c *Config) Forwards(r *http.Request) bool {
	return c != nil && c.CertificateHeader != "" && c.trusted(connected(r))
}

// decode returns the DER in value.
func decode(form counterfoil.CertificateForm, value string) ([]byte, bool) {
	switch form {
	case counterfoil.CertificateFormClientCert:
		if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
			return nil, false
		}
		return decodeBase64(value[1 : len(value)-1])
	case counterfoil.CertificateFormBase64DER:
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		return decodeBase64(value)
	case counterfoil.CertificateFormEscapedPEM:
		// Not QueryUnescape: a + is a character of base64.
		text, err := url.PathUnescape(value)
		if err != nil {
			return nil, false
		}
		return firstOf(text)
	}
	return nil, false
}

// firstOf returns the first certificate of a chain in PEM, which is the sender's
// (RFC 8446 section 4.4.2). The chain must contain nothing but certificates.
func firstOf(chain string) (der []byte, ok bool) {
	for chain != "" {
		if !strings.HasPrefix(chain, "-----BEGIN CERTIFICATE-----") {
			return nil, false
		}
		block, rest := pem.Decode([]byte(chain))
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			return nil, false
		}
		// pem.Decode skips a broken block and continues with the next.
		if strings.Count(chain[:len(chain)-len(rest)], "-----BEGIN") != 1 {
			return nil, false
		}
		if der == nil {
			der = block.Bytes
		}
		chain = strings.TrimLeft(string(rest), " \r\n")
	}
	return der, len(der) > 0
}

// decodeBase64 accepts base64 with or without padding, as RFC 8941 section 4.2.7
// says.
func decodeBase64(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	der, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	return der, err == nil && len(der) > 0
}
