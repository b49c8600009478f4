package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// MaxPrivateKey bounds what ParsePrivateKey takes, in bytes.
const MaxPrivateKey = 64 << 10

// PrivateKey is a key that signs.
type PrivateKey struct {
	// ID is the key's kid; empty if it has none.
	ID string
	// Algorithm is the one it signs with: that of the key, else the one that fits,
	// RS256 for RSA.
	Algorithm string
	// Key is an *rsa.PrivateKey, an *ecdsa.PrivateKey on P-256 or an
	// ed25519.PrivateKey.
	Key crypto.Signer
}

// ParsePrivateKey reads a private key from a JWK (RFC 7517 section 4), or the first
// private key in PEM (RFC 7468), in PKCS #8, PKCS #1 or SEC 1. It refuses a key
// that is encrypted, or whose halves do not match. The error repeats nothing of
// data.
func ParsePrivateKey(data []byte) (PrivateKey, error) {
	if len(data) > MaxPrivateKey {
		return PrivateKey{}, fmt.Errorf("parse private key: longer than %d bytes", MaxPrivateKey)
	}
	read := privatePEM
	if data = bytes.TrimSpace(data); bytes.HasPrefix(data, []byte("{")) {
		read = privateJWK
	}
	k, err := read(data)
	if err == nil {
		err = k.whole()
	}
	if err != nil {
		return PrivateKey{}, fmt.Errorf("parse private key: %w", err)
	}
	return k, nil
}

// MarshalPrivateKey returns a JWK that ParsePrivateKey reads.
func MarshalPrivateKey(k PrivateKey) ([]byte, error) {
	if err := k.whole(); err != nil {
		return nil, fmt.Errorf("marshal private key: %w", err)
	}
	return json.Marshal(jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
}

func privatePEM(data []byte) (PrivateKey, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return PrivateKey{}, errors.New("it is encrypted: give it decrypted, such as openssl pkey writes it")
		default:
			continue // parameters, certificates
		}
		if block.Headers["DEK-Info"] != "" {
			return PrivateKey{}, errors.New("it is encrypted: give it decrypted, such as openssl pkey writes it")
		}
		if err != nil {
			return PrivateKey{}, fmt.Errorf("what is inside %q is malformed", block.Type)
		}
		signer, _ := key.(crypto.Signer)
		return PrivateKey{Key: signer}, nil
	}
	return PrivateKey{}, errors.New("neither PEM with a private key nor a JWK")
}

func privateJWK(data []byte) (PrivateKey, error) {
	members, err := Object(data)
	if err != nil {
		return PrivateKey{}, err
	}
	withoutNulls(members)
	if _, set := members["keys"]; set {
		return PrivateKey{}, errors.New("a JWK Set: give one key of it")
	}
	if use, there := members["use"]; there && use != any("sig") {
		return PrivateKey{}, errors.New("not for signatures")
	}
	if !allows(members, "sign") {
		return PrivateKey{}, errors.New("not for signing")
	}
	// Certificates and their thumbprints are ignored, as in a public key.
	for _, name := range []string{"x5c", "x5t", "x5t#S256", "x5u"} {
		delete(members, name)
	}
	text, err := json.Marshal(members)
	if err != nil {
		return PrivateKey{}, errors.New("not a JWK")
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(text); err != nil {
		return PrivateKey{}, errors.New("not a whole key of a known kind")
	}
	signer, ok := k.Key.(crypto.Signer)
	if !ok {
		return PrivateKey{}, errors.New("not a private key")
	}
	return PrivateKey{ID: k.KeyID, Algorithm: nameOf(k.Algorithm), Key: signer}, nil
}

// whole checks that the key can sign, and that its public half verifies the
// signature.
func (k *PrivateKey) whole() error {
	switch k.Key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		return errors.New("its kind is not one of RSA, P-256 and Ed25519")
	}
	if k.Algorithm == "" {
		k.Algorithm = usual(k.Key.Public())
	}
	if err := suits(k.Algorithm, k.Key.Public()); err != nil {
		return errKind
	}
	header, err := json.Marshal(map[string]string{"alg": k.Algorithm})
	if err != nil {
		return err
	}
	trial, err := Sign(k.Key, k.Algorithm, header, []byte("{}"))
	if err != nil {
		return errors.New("it does not sign")
	}
	token, err := Parse(trial, k.Algorithm)
	if err == nil {
		_, err = token.Verify(k.Key.Public())
	}
	if err != nil {
		return errors.New("its private half does not belong to its public one")
	}
	return nil
}

// MarshalKey returns key as a JWK with nothing but the key in it, for the header of
// a proof (RFC 9449 section 4.2).
func MarshalKey(key crypto.PublicKey) ([]byte, error) {
	if err := suits(usual(key), key); err != nil {
		return nil, fmt.Errorf("marshal key: %w", err)
	}
	return json.Marshal(jose.JSONWebKey{Key: key})
}
