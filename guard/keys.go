package guard

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// Keys answers for the public keys of a token issuer.
type Keys interface {
	// PublicKey returns the key that is published under id now: an
	// *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey. For an id that is
	// not published, or not any more, the error is ErrKeyUnknown; any other
	// error means that the keys are not to be had, and refuses the call as
	// unavailable.
	//
	// It is asked on every call, so it answers from memory; the same pointer
	// for as long as the key is the same makes the answer cheapest to compare.
	// It is safe for concurrent use.
	PublicKey(ctx context.Context, id string) (crypto.PublicKey, error)
}

// ErrKeyUnknown is the error of Keys for an id that is not published. Every
// *counterfoil.Error with the reason counterfoil.TokenKeyUnknown means the same,
// so that an implementation need not import this package.
var ErrKeyUnknown error = &counterfoil.Error{Reason: counterfoil.TokenKeyUnknown, Message: "no key is published under this id"}

func isKeyUnknown(err error) bool {
	var e *counterfoil.Error
	return errors.As(err, &e) && e.Reason == counterfoil.TokenKeyUnknown
}

// StaticKeys returns the keys of a JWK Set (RFC 7517 section 5) that never
// changes: for tests, and for issuers that cannot be reached. Keys of the set
// that cannot verify access tokens are left out; it is an error when none is
// left.
func StaticKeys(jwks []byte) (Keys, error) {
	list, skipped, err := jose.ParseSet(jwks)
	if err != nil {
		return nil, fmt.Errorf("static keys: %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("static keys: none of %d keys can verify tokens: publish RSA from 2,048 bits, P-256 or Ed25519, with a kid", skipped)
	}
	return keysOf(list, nil), nil
}

// keySet is a set by key id.
type keySet map[string]crypto.PublicKey

// keysOf returns list by id, with the values of before where a key is the same.
func keysOf(list []jose.PublicKey, before keySet) keySet {
	set := make(keySet, len(list))
	for _, k := range list {
		if old, ok := before[k.ID]; ok && same(old, k.Key) {
			k.Key = old
		}
		set[k.ID] = k.Key
	}
	return set
}

func (s keySet) PublicKey(_ context.Context, id string) (crypto.PublicKey, error) {
	key, ok := s[id]
	if !ok {
		return nil, ErrKeyUnknown
	}
	return key, nil
}

// same reports whether two keys are one, at once when they are one value.
func same(a, b crypto.PublicKey) bool {
	switch k := a.(type) {
	case *rsa.PublicKey:
		if b == crypto.PublicKey(k) {
			return true
		}
	case *ecdsa.PublicKey:
		if b == crypto.PublicKey(k) {
			return true
		}
	}
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
