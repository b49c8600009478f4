package guard

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// Keys looks up the issuer's public keys.
type Keys interface {
	// PublicKey returns the key that is published now under the key ID of a token
	// (kid, RFC 7515 section 4.1.4), for the algorithm that the token is signed
	// with (RFC 7518 section 3.1): an *rsa.PublicKey, *ecdsa.PublicKey or
	// ed25519.PublicKey. A key that is published without an algorithm suits every
	// algorithm of its type (RFC 7517 section 4.4).
	//
	// A token without a kid names no key: for an empty kid, PublicKey returns the
	// only published key that suits the algorithm. If there is no such key, or
	// several, the error is ErrKeyUnknown; if the key is published for another
	// algorithm, it is a *counterfoil.Error with ReasonTokenAlgorithm. Any other
	// error means that the keys are not available, and the call is refused as
	// unavailable.
	//
	// PublicKey is called for every call, by many goroutines at once, and should
	// answer from memory. It should return the same pointer as long as the key is
	// the same, because that is cheapest to compare.
	PublicKey(ctx context.Context, kid, algorithm string) (crypto.PublicKey, error)
}

// errOtherAlgorithm is the error of PublicKey for a key of another algorithm.
var errOtherAlgorithm error = &counterfoil.Error{
	Reason: counterfoil.ReasonTokenAlgorithm, Message: "the key is published for another algorithm",
}

// ErrKeyUnknown is the error of Keys for an ID that is not published. Every
// *counterfoil.Error with ReasonTokenKeyUnknown means the same, so that an
// implementation need not import this package.
var ErrKeyUnknown error = &counterfoil.Error{Reason: counterfoil.ReasonTokenKeyUnknown, Message: "no key is published under this id"}

// keyReason returns the reason for refusing a token after an error of Keys; "" if
// the keys are not available.
func keyReason(err error) counterfoil.Reason {
	var e *counterfoil.Error
	if errors.As(err, &e) && (e.Reason == counterfoil.ReasonTokenKeyUnknown || e.Reason == counterfoil.ReasonTokenAlgorithm) {
		return e.Reason
	}
	return ""
}

// StaticKeys returns the keys of a JWK Set (RFC 7517 section 5) that never
// changes: for tests, and for issuers that cannot be reached. Keys of the set that
// cannot verify access tokens are left out and logged to slog.Default; it is an
// error if no key is left.
func StaticKeys(jwks []byte) (Keys, error) {
	list, left, err := jose.ParseSet(jwks)
	if err != nil {
		return nil, fmt.Errorf("static keys: %w", err)
	}
	if err := unusable(list, left); err != nil {
		return nil, fmt.Errorf("static keys: %w", err)
	}
	new(jose.LeftOutLog).Warn(slog.Default(), time.Time{}, "static keys", len(list), left)
	return keysOf(list, nil), nil
}

// unusable returns an error for a set without a usable key.
func unusable(list []jose.PublicKey, left []jose.LeftOut) error {
	switch {
	case len(list) > 0:
		return nil
	case len(left) == 0:
		return errors.New("the set has no keys")
	}
	return fmt.Errorf("no key of the set can verify tokens: publish RSA from 2,048 bits, P-256 or Ed25519; the first: %s", left[0].Why)
}

// keySet is a set of keys.
type keySet struct {
	named map[string]published // by ID
	all   []jose.PublicKey
}

// published is a key with the algorithm that it is for; "" if the set does not
// say.
type published struct {
	key       crypto.PublicKey
	algorithm string
}

// suits returns the key, or an error if it is for another algorithm.
func (p published) suits(algorithm string) (crypto.PublicKey, error) {
	if p.algorithm != "" && p.algorithm != algorithm {
		return nil, errOtherAlgorithm
	}
	return p.key, nil
}

// keysOf returns list as a set. A key that before has too keeps its pointer.
func keysOf(list []jose.PublicKey, before *keySet) *keySet {
	set := &keySet{named: make(map[string]published, len(list)), all: list}
	for i, k := range list {
		if before != nil {
			at := slices.IndexFunc(before.all, func(old jose.PublicKey) bool { return old.ID == k.ID && same(old.Key, k.Key) })
			if at >= 0 {
				list[i].Key = before.all[at].Key
			}
		}
		if k.ID != "" {
			set.named[k.ID] = published{list[i].Key, k.Algorithm}
		}
	}
	return set
}

// key returns the key of that ID; for an empty ID, the only one that suits the
// algorithm. A nil set has no keys.
func (s *keySet) key(id, algorithm string) (published, bool) {
	switch {
	case s == nil:
		return published{}, false
	case id == "":
		k, ok := jose.Fit(s.all, algorithm)
		return published{k.Key, k.Algorithm}, ok
	}
	k, ok := s.named[id]
	return k, ok
}

func (s *keySet) PublicKey(_ context.Context, id, algorithm string) (crypto.PublicKey, error) {
	key, ok := s.key(id, algorithm)
	if !ok {
		return nil, ErrKeyUnknown
	}
	return key.suits(algorithm)
}

// same reports whether two keys are equal; it is fastest for the same pointer.
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
