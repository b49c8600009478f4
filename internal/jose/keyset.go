package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// MaxKeys bounds the keys of a set; those beyond are skipped.
const MaxKeys = 100

// PublicKey is a key that verifies tokens.
type PublicKey struct {
	// ID is the key's kid, never empty.
	ID string
	// Algorithm is the one it is for; empty in a set that does not say.
	Algorithm string
	// Key is an *rsa.PublicKey, an *ecdsa.PublicKey on P-256 or an
	// ed25519.PublicKey.
	Key crypto.PublicKey
}

// MarshalSet returns the JWK Set (RFC 7517 section 5) that publishes keys, each
// with use "sig". Keys need an ID of their own and an algorithm that suits.
func MarshalSet(keys []PublicKey) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(keys))}
	for i, k := range keys {
		if k.ID == "" {
			return nil, fmt.Errorf("marshal key set: key %d has no id", i)
		}
		if slices.ContainsFunc(keys[:i], func(other PublicKey) bool { return other.ID == k.ID }) {
			return nil, fmt.Errorf("marshal key set: a second key is called %q", k.ID)
		}
		if err := suits(k.Algorithm, k.Key); err != nil {
			return nil, fmt.Errorf("marshal key set: key %q: %w", k.ID, err)
		}
		set.Keys[i] = jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
	}
	return json.Marshal(set)
}

// ParseSet reads a JWK Set. A key that is of no use here never fails the set: it
// is skipped and counted, be it of another kind, size or purpose, private,
// symmetric, malformed, without a kid, with the kid of an earlier one, or one
// too many. Certificates are not looked at. The caller bounds data.
func ParseSet(data []byte) (keys []PublicKey, skipped int, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, 0, errors.New("parse key set: not a JWK Set")
	}
	if set.Keys == nil {
		return nil, 0, errors.New(`parse key set: the member "keys" is missing (RFC 7517 section 5)`)
	}
	for _, raw := range set.Keys {
		if len(keys) == MaxKeys {
			break
		}
		key, err := parseKey(raw)
		if err == nil && !slices.ContainsFunc(keys, func(other PublicKey) bool { return other.ID == key.ID }) {
			keys = append(keys, key)
		}
	}
	return keys, len(set.Keys) - len(keys), nil
}

// parameters are the members of a public JWK that are passed on to the library
// (RFC 7518 section 6, RFC 8037 section 2).
var parameters = []string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}

// secrets are members of a private or symmetric one.
var secrets = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

func parseKey(raw []byte) (PublicKey, error) {
	members, err := Object(raw)
	if err != nil {
		return PublicKey{}, err
	}
	for _, name := range secrets {
		if _, there := members[name]; there {
			return PublicKey{}, errors.New("not a public key")
		}
	}
	if ops, there := members["key_ops"].([]any); there && !slices.Contains(ops, "verify") {
		return PublicKey{}, errors.New("not for verifying")
	}
	public := make(map[string]any, len(parameters))
	for _, name := range parameters {
		if v, there := members[name]; there {
			public[name] = v
		}
	}
	if raw, err = json.Marshal(public); err != nil {
		return PublicKey{}, err
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return PublicKey{}, err
	}
	if k.KeyID == "" || (k.Use != "" && k.Use != "sig") {
		return PublicKey{}, errors.New("no kid, or not for signatures")
	}
	algorithm := k.Algorithm
	if algorithm == "" {
		algorithm = usual(k.Key)
	}
	if err := suits(algorithm, k.Key); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{ID: k.KeyID, Algorithm: k.Algorithm, Key: k.Key}, nil
}

// usual returns an algorithm that a key of the right size suits.
func usual(key crypto.PublicKey) string {
	switch key.(type) {
	case *rsa.PublicKey:
		return RS256
	case *ecdsa.PublicKey:
		return ES256
	case ed25519.PublicKey:
		return EdDSA
	}
	return ""
}

// Thumbprint returns the SHA-256 thumbprint of key (RFC 7638) in base64url: 43
// characters.
func Thumbprint(key crypto.PublicKey) (string, error) {
	if err := suits(usual(key), key); err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
