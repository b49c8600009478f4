package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// pinPrefix begins a pin: the digest's name, as in curl --pinnedpubkey.
const pinPrefix = "sha256/"

// PublicKeyPin returns the pin of a certificate's public key, for Config.Pins:
// "sha256/" and the base64 of the SHA-256 of its SubjectPublicKeyInfo (RFC 7469
// section 2.4). It stays the same when a certificate is renewed with its key.
func PublicKeyPin(c *x509.Certificate) string {
	digest := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return pinPrefix + base64.StdEncoding.EncodeToString(digest[:])
}

// parsePins returns the pins in the form of PublicKeyPin. It also accepts curl's
// two slashes between the digest's name and the digest.
func (c *Config) parsePins() ([]string, error) {
	parsed := make([]string, len(c.Pins))
	for i, pin := range c.Pins {
		digest, ok := strings.CutPrefix(pin, pinPrefix)
		if len(digest) > base64.StdEncoding.EncodedLen(sha256.Size) { // a slash that is part of the base64 stays
			digest = strings.TrimPrefix(digest, "/")
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(digest)
		if !ok || err != nil || len(raw) != sha256.Size {
			return nil, c.wrong("Pins", "has %q: a pin is sha256/ and the base64 of 32 bytes", pin)
		}
		parsed[i] = pinPrefix + base64.StdEncoding.EncodeToString(raw)
	}
	return parsed, nil
}

// PinError reports that no certificate of a verified chain has a pinned key.
type PinError struct {
	// Shown is the pin of the server's own certificate.
	Shown string
}

func (e *PinError) Error() string {
	return fmt.Sprintf("the server's public key is not pinned (it shows %s): if its operator has changed the key, add the new pin", e.Shown)
}

// pin restricts connections to servers with a pinned key, in addition to what
// Config.HTTP requires of them.
func (s *Source) pin() error {
	pins, err := s.cfg.parsePins()
	if err == nil {
		err = s.cfg.ownTLS("Pins")
	}
	if err != nil {
		return err
	}
	t := cloned(s.cfg.HTTP.(*http.Transport))
	if t.TLSClientConfig.InsecureSkipVerify {
		return s.cfg.wrong("Pins", "needs chains that are verified: leave InsecureSkipVerify out of %s", s.cfg.field("HTTP"))
	}
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
	s.cfg.HTTP = t
	return nil
}

// isUntrusted reports whether err is that of a server's certificate.
func isUntrusted(err error) bool {
	certificate, pin := new(tls.CertificateVerificationError), new(PinError)
	return errors.As(err, &certificate) || errors.As(err, &pin)
}
