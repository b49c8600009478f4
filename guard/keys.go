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

// AlgorithmKeys are Keys that know the algorithm which a key is published for.
// A guard asks them with PublicKeyFor instead, so that a key of RS256 never
// verifies a token of PS256; other Keys leave that to the kind of the key.
type AlgorithmKeys interface {
	Keys
	// PublicKeyFor is PublicKey for a token of that algorithm (RFC 7518 section
	// 3.1). When the key is published for another one (RFC 7517 section 4.4),
	// the error is a *counterfoil.Error with the reason
	// counterfoil.TokenAlgorithm; a key that is published for none in particular
	// suits each that its kind does.
	PublicKeyFor(ctx context.Context, id, algorithm string) (crypto.PublicKey, error)
}

// anyAlgorithm makes AlgorithmKeys of Keys that do not know.
type anyAlgorithm struct{ Keys }

func (k anyAlgorithm) PublicKeyFor(ctx context.Context, id, _ string) (crypto.PublicKey, error) {
	return k.PublicKey(ctx, id)
}

func withAlgorithms(k Keys) AlgorithmKeys {
	if known, ok := k.(AlgorithmKeys); ok {
		return known
	}
	return anyAlgorithm{k}
}

// errOtherAlgorithm is the error of PublicKeyFor for a key of another algorithm.
var errOtherAlgorithm error = &counterfoil.Error{Reason: counterfoil.TokenAlgorithm, Message: "the key is published for another algorithm"}

// ErrKeyUnknown is the error of Keys for an id that is not published. Every
// *counterfoil.Error with the reason counterfoil.TokenKeyUnknown means the same,
// so that an implementation need not import this package.
var ErrKeyUnknown error = &counterfoil.Error{Reason: counterfoil.TokenKeyUnknown, Message: "no key is published under this id"}

// keyReason returns what an error of Keys says of the token; "" when it is a
// failure of the keys.
func keyReason(err error) counterfoil.Reason {
	var e *counterfoil.Error
	if errors.As(err, &e) && (e.Reason == counterfoil.TokenKeyUnknown || e.Reason == counterfoil.TokenAlgorithm) {
		return e.Reason
	}
	return ""
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
type keySet map[string]published

// published is a key with the algorithm that it is for; "" when the set does
// not say.
type published struct {
	key       crypto.PublicKey
	algorithm string
}

// suits returns the key, for a token of that algorithm; "" when it is not known.
func (p published) suits(algorithm string) (crypto.PublicKey, error) {
	if p.algorithm != "" && algorithm != "" && p.algorithm != algorithm {
		return nil, errOtherAlgorithm
	}
	return p.key, nil
}

// keysOf returns list by id, with the values of before where a key is the same.
func keysOf(list []jose.PublicKey, before keySet) keySet {
	set := make(keySet, len(list))
	for _, k := range list {
		if old, ok := before[k.ID]; ok && same(old.key, k.Key) {
			k.Key = old.key
		}
		set[k.ID] = published{k.Key, k.Algorithm}
	}
	return set
}

func (s keySet) PublicKey(ctx context.Context, id string) (crypto.PublicKey, error) {
	return s.PublicKeyFor(ctx, id, "")
}

func (s keySet) PublicKeyFor(_ context.Context, id, algorithm string) (crypto.PublicKey, error) {
	key, ok := s[id]
	if !ok {
		return nil, ErrKeyUnknown
	}
	return key.suits(algorithm)
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
