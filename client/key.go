package client

import (
	"context"
	"crypto"
	"crypto/tls"
)

// Key is a private key that signs: assertions (RFC 7523) or proofs (RFC 9449).
type Key struct {
	// Signer holds the key, here or in hardware.
	Signer crypto.Signer
	// Algorithm is RS256, PS256, ES256 or EdDSA; default the one that fits the
	// key, RS256 for RSA.
	Algorithm string
	// ID is the kid by which the provider knows the key; empty where it has one
	// only. A proof has none.
	ID string
}

// KeyFunc gives a key. It must be safe for concurrent use.
type KeyFunc func(context.Context) (Key, error)

// CertificateFunc gives a certificate with its private key. It must be safe for
// concurrent use.
type CertificateFunc func(context.Context) (*tls.Certificate, error)
