// Package jose handles JSON Object Signing and Encryption for all other packages:
// signed tokens in compact form (RFC 7515), the keys that sign and verify them (RFC
// 7517) and key thumbprints (RFC 7638). It wraps a general library and accepts only
// what access tokens, assertions and proofs need: one signature, an algorithm that
// the caller names, no instructions in a token, and no keys in it, except for
// ParseProof.
//
// The algorithms are RS256, PS256, ES256 (RFC 7518 section 3.1) and EdDSA with
// Ed25519 (RFC 8037), which RFC 9864 calls Ed25519: tokens and keys with that name
// are read as EdDSA. Functions are safe for concurrent use and accept untrusted
// input unless they say otherwise. The package is internal and makes no
// compatibility promise.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
)

// The algorithms, by their names in the "alg" header parameter.
const (
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// Ed25519 is the name that RFC 9864 section 2.2 gives EdDSA with Ed25519, and that
// newer clients use. It is for metadata only: tokens and keys that have it are read
// as EdDSA, and lists of algorithms have EdDSA.
const Ed25519 = "Ed25519"

// nameOf returns this package's name of an algorithm.
func nameOf(algorithm string) string {
	if algorithm == Ed25519 {
		return EdDSA
	}
	return algorithm
}

// MinRSABits is the size of the smallest RSA key that is accepted (RFC 7518
// section 3.3).
const MinRSABits = 2048

// maxRSABits is the size of the largest: it bounds the time that verifying with an
// untrusted key takes.
const maxRSABits = 8192

// known reports whether algorithm is one of this package's: signatures with a
// public key, never "none" and never a shared secret.
func known(algorithm string) bool {
	return algorithm == RS256 || algorithm == PS256 || algorithm == ES256 || algorithm == EdDSA
}

// suits returns an error if key cannot verify signatures of algorithm.
func suits(algorithm string, key crypto.PublicKey) error {
	ok := false
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < MinRSABits || k.N.BitLen() > maxRSABits || k.N.Bit(0) == 0 || k.E < 3 || k.E%2 == 0 {
			return fmt.Errorf("the RSA key must have %d to %d bits, an odd modulus and an odd exponent from 3", MinRSABits, maxRSABits)
		}
		ok = algorithm == RS256 || algorithm == PS256
	case *ecdsa.PublicKey:
		ok = k != nil && k.Curve == elliptic.P256() && algorithm == ES256
	case ed25519.PublicKey:
		ok = len(k) == ed25519.PublicKeySize && algorithm == EdDSA
	}
	if !ok {
		return fmt.Errorf("a key of type %T does not suit the algorithm %q", key, algorithm)
	}
	return nil
}
