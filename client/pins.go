package client

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
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
func parsePins(pins []string) ([]string, error) {
	parsed := make([]string, len(pins))
	for i, pin := range pins {
		digest, ok := strings.CutPrefix(pin, pinPrefix)
		if len(digest) > base64.StdEncoding.EncodedLen(sha256.Size) { // a slash that is part of the base64 stays
			digest = strings.TrimPrefix(digest, "/")
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(digest)
		if !ok || err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("has %q: a pin is sha256/ and the base64 of 32 bytes", pin)
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

// Error returns the message.
func (e *PinError) Error() string {
	return fmt.Sprintf("the server's public key is not pinned (it shows %s): if its operator has changed the key, add the new pin", e.Shown)
}
