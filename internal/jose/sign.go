package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Generate makes a key for one of the algorithms RS256 and PS256 (2,048 bits),
// ES256 (P-256) and EdDSA (Ed25519).
func Generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case RS256, PS256:
		return rsa.GenerateKey(rand.Reader, MinRSABits)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no key can be made for the algorithm %q", algorithm)
}

// Sign returns the compact serialization (RFC 7515 section 3.1) of payload under
// exactly the protected header that is given: the order of its members is the
// caller's, and so is the duty to name the algorithm in it.
func Sign(key crypto.Signer, algorithm string, protected, payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	// The longest signature, of 2,048 bits, takes 342 characters.
	token := make([]byte, 0, enc.EncodedLen(len(protected))+enc.EncodedLen(len(payload))+2+342)
	token = enc.AppendEncode(token, protected)
	token = append(token, '.')
	token = enc.AppendEncode(token, payload)
	signature, err := signature(key, algorithm, token)
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", algorithm, err)
	}
	token = append(token, '.')
	return string(enc.AppendEncode(token, signature)), nil
}

// signature signs input in the form that RFC 7518 section 3 and RFC 8037
// section 3.1 want.
func signature(key crypto.Signer, algorithm string, input []byte) ([]byte, error) {
	if err := suits(algorithm, key.Public()); err != nil {
		return nil, err
	}
	if algorithm == EdDSA {
		return key.Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	if algorithm == PS256 {
		return key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	der, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || algorithm == RS256 {
		return der, err
	}
	return fixed(der)
}

// fixed turns the ASN.1 form of an ECDSA signature into r and s of 32 bytes
// each (RFC 7518 section 3.4).
func fixed(der []byte) ([]byte, error) {
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	pair.R.FillBytes(out[:32])
	pair.S.FillBytes(out[32:])
	return out, nil
}
