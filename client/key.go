package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// SecretFunc returns a credential. It is called at each token request, so that a
// rotated secret is used; for an API key that calls must carry, also at each
// call: cache a value that is slow to obtain. It must be safe for concurrent
// use. An error that wraps a net.Error, or a [*counterfoil.Error] of the
// ClassTransient, is transient; any other error is permanent.
type SecretFunc func(context.Context) (counterfoil.Secret, error)

// Static returns a SecretFunc that always returns secret.
func Static(secret counterfoil.Secret) SecretFunc {
	return func(context.Context) (counterfoil.Secret, error) { return secret, nil }
}

// Key is a private key that signs: assertions (RFC 7523) or proofs (RFC 9449).
type Key struct {
	// Signer holds the key, here or in hardware: RSA of 2,048 to 8,192 bits, P-256
	// or Ed25519.
	Signer crypto.Signer
	// Algorithm is RS256, PS256, ES256 or EdDSA; default the one that fits the
	// key, RS256 for RSA.
	Algorithm string
	// ID is the kid by which the provider knows the key; empty if the provider
	// has only one. A proof has none.
	ID string
}

// Format prints the algorithm and the ID, and nothing else, for every verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client.Key(%s %q)", k.Algorithm, k.ID) }

// LogValue keeps the key out of structured logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// MarshalJSON encodes what Format prints, so that a Key inside a larger value is
// never disclosed by accident.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(k)) }

// KeyFunc returns a key. It must be safe for concurrent use.
type KeyFunc func(context.Context) (Key, error)

// NewKey makes an ES256 key (P-256) in memory only, for Config.DPoP: tokens that
// are bound to it are for this process, whatever the cache. The error is the
// system's, if it has no randomness.
func NewKey() (Key, error) {
	signer, err := jose.Generate(jose.ES256)
	if err != nil {
		return Key{}, fmt.Errorf("client: make a key: %w", err)
	}
	return Key{Signer: signer, Algorithm: jose.ES256}, nil
}

// PrivateKey returns a KeyFunc that reads the key from secret: a JWK (RFC 7517
// section 4), whose kid and alg become the Key's, or PEM with PKCS #8, PKCS #1
// or SEC 1, whose Key has no ID: wrap the KeyFunc to set one. At most 64 KiB; an
// encrypted key is refused. It calls secret each time, parses the result only if
// it has changed, and keeps the last key.
func PrivateKey(secret SecretFunc) KeyFunc {
	var mu sync.Mutex
	var last Key
	var of [sha256.Size]byte
	return func(ctx context.Context) (Key, error) {
		text, err := secret(ctx)
		if err != nil {
			return Key{}, err
		}
		sum := sha256.Sum256([]byte(text.Reveal()))
		mu.Lock()
		defer mu.Unlock()
		if last.Signer == nil || sum != of {
			k, err := jose.ParsePrivateKey([]byte(text.Reveal()))
			if err != nil {
				return Key{}, err
			}
			last, of = Key{Signer: k.Key, Algorithm: k.Algorithm, ID: k.ID}, sum
		}
		return last, nil
	}
}

// complete returns k with its algorithm, or what is wrong with it.
func (k Key) complete() (Key, error) {
	if k.Signer == nil {
		return k, errors.New("it has no Signer")
	}
	public := k.Signer.Public()
	if _, err := jose.Thumbprint(public); err != nil {
		return k, errors.New("its Signer must be RSA (2048 to 8192 bits), P-256 or Ed25519")
	}
	var fits []string
	switch public.(type) {
	case *rsa.PublicKey:
		fits = []string{jose.RS256, jose.PS256}
	case *ecdsa.PublicKey:
		fits = []string{jose.ES256}
	case ed25519.PublicKey:
		fits = []string{jose.EdDSA}
	}
	if k.Algorithm == "" {
		k.Algorithm = fits[0]
	}
	for _, algorithm := range fits {
		if k.Algorithm == algorithm {
			return k, nil
		}
	}
	return k, fmt.Errorf("its Algorithm is %.20q, and a key of its kind signs with %s", k.Algorithm, fits[0])
}

// thumbprint identifies the key; "" for none.
func thumbprint(k Key) string {
	if k.Signer == nil {
		return ""
	}
	print, _ := jose.Thumbprint(k.Signer.Public()) // complete has checked it
	return print
}
