package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/go-jose/go-jose/v4"
)

// MaxKeys bounds the keys of a set; those beyond are left out.
const MaxKeys = 100

// PublicKey is a key that verifies tokens.
type PublicKey struct {
	// ID is the key's kid; empty if it has none.
	ID string
	// Algorithm is the one it is for; empty if the set does not say.
	Algorithm string
	// Key is an *rsa.PublicKey, an *ecdsa.PublicKey on P-256 or an
	// ed25519.PublicKey.
	Key crypto.PublicKey
}

// MarshalSet returns the JWK Set (RFC 7517 section 5) that publishes keys, each
// with use "sig". Each key needs a unique ID and an algorithm that suits it.
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

// LeftOut is a key of a set that cannot be used here.
type LeftOut struct {
	// Index is the key's index in the set, from 0. ID is its kid; empty if it has
	// none that can be read.
	Index int
	ID    string
	// Why is one line that repeats nothing of the key.
	Why string
}

// ParseSet reads a JWK Set. A key that cannot be used here does not make the set
// invalid: it is left out, whether it is of another kind, size or purpose, private,
// symmetric, malformed, has the kid of an earlier one, or is one too many. The
// first MaxKeys of those are returned in left. A key without a kid is kept: the kid
// is optional (RFC 7517 section 4.5). Certificates are ignored. The caller bounds
// data.
func ParseSet(data []byte) (keys []PublicKey, left []LeftOut, err error) {
	// A map, because names of members have their case (RFC 8259 section 8.3).
	var set map[string]json.RawMessage
	data, err = files.Text(data)
	if err != nil {
		return nil, nil, fmt.Errorf("parse key set: %w", err)
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, nil, errors.New("parse key set: not a JWK Set")
	}
	var list []json.RawMessage
	if raw, there := set["keys"]; there && json.Unmarshal(raw, &list) != nil {
		return nil, nil, errors.New("parse key set: not a JWK Set")
	}
	if list == nil {
		return nil, nil, errors.New(`parse key set: the member "keys" is missing (RFC 7517 section 5)`)
	}
	for i, raw := range list {
		key, err := parseKey(raw)
		switch {
		case err != nil:
		case len(keys) == MaxKeys:
			err = fmt.Errorf("%d keys are before it, which is the most", MaxKeys)
		case key.ID != "" && slices.ContainsFunc(keys, func(other PublicKey) bool { return other.ID == key.ID }):
			err = errors.New("an earlier key has the same kid")
		default:
			keys = append(keys, key)
			continue
		}
		if len(left) < MaxKeys {
			left = append(left, LeftOut{Index: i, ID: key.ID, Why: err.Error()})
		}
	}
	return keys, left, nil
}

// Fit returns the key of a set to verify a token without a kid: the only one that
// is for its algorithm, or of the right kind and without an algorithm. It is not ok
// if there is no such key, or several; a key that is published twice counts once.
func Fit(keys []PublicKey, algorithm string) (key PublicKey, ok bool) {
	for _, k := range keys {
		switch {
		case !k.Suits(algorithm):
			continue
		case ok && !key.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Key):
			return PublicKey{}, false
		case ok:
			continue
		}
		key, ok = k, true
	}
	return key, ok
}

// Suits reports whether the key may have made signatures of algorithm.
func (k PublicKey) Suits(algorithm string) bool {
	return (k.Algorithm == "" || k.Algorithm == algorithm) && suits(algorithm, k.Key) == nil
}

// ParseKey reads one public JWK (RFC 7517 section 4) for signatures; kid and alg
// may be missing. It refuses what ParseSet leaves out. The error repeats nothing of
// jwk; the caller bounds it.
func ParseKey(jwk []byte) (PublicKey, error) {
	key, err := parseKey(jwk)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse key: %w", err)
	}
	return key, nil
}

// parameters are the members of a public JWK that are passed to the library (RFC
// 7518 section 6.2, RFC 8037 section 2).
var parameters = []string{"kty", "crv", "x", "y"}

// secrets are members of a private or symmetric JWK.
var secrets = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

func parseKey(raw []byte) (PublicKey, error) {
	members, err := Object(raw)
	if err != nil {
		return PublicKey{}, err
	}
	return fromMembers(members)
}

// fromMembers makes a key of the members of a JWK, as Object reads them. With an
// error, the key has only its kid. Members that are null count as absent, because
// many programs write them.
func fromMembers(members map[string]any) (PublicKey, error) {
	members = maps.Clone(members)
	withoutNulls(members)
	key, err := usable(members)
	if err != nil {
		kid, _ := members["kid"].(string)
		return PublicKey{ID: kid}, err
	}
	return key, nil
}

func withoutNulls(members map[string]any) {
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
}

// allows reports whether the key_ops of a key allow an operation; a missing or
// empty list allows all.
func allows(members map[string]any, operation string) bool {
	ops, _ := members["key_ops"].([]any)
	return len(ops) == 0 || slices.Contains(ops, any(operation))
}

// errKind is the error for a key of another kind, size or algorithm.
var errKind = fmt.Errorf("its kind, size or alg is not one of %s, %s (%d to %d bits), %s and %s",
	RS256, PS256, MinRSABits, maxRSABits, ES256, EdDSA)

func usable(members map[string]any) (PublicKey, error) {
	for _, name := range secrets {
		if _, there := members[name]; there {
			return PublicKey{}, errors.New("not a public key")
		}
	}
	if !allows(members, "verify") {
		return PublicKey{}, errors.New("not for verifying")
	}
	var kid, alg, use string
	for name, field := range map[string]*string{"kid": &kid, "alg": &alg, "use": &use} {
		var ok bool
		if value, there := members[name]; there {
			if *field, ok = value.(string); !ok {
				return PublicKey{}, fmt.Errorf("its %s is not a string", name)
			}
		}
	}
	// "jwt-svid" is the use of such keys in the trust bundles of SPIFFE.
	if use != "" && use != "sig" && use != "jwt-svid" {
		return PublicKey{}, errors.New("not for signatures")
	}
	key, err := public(members)
	if err != nil {
		return PublicKey{}, err
	}
	alg = nameOf(alg)
	algorithm := alg
	if algorithm == "" {
		algorithm = usual(key)
	}
	if err := suits(algorithm, key); err != nil {
		if members["kty"] == "RSA" && known(algorithm) {
			return PublicKey{}, err
		}
		return PublicKey{}, errKind
	}
	return PublicKey{ID: kid, Algorithm: alg, Key: key}, nil
}

// public reads the key itself. It does not use the library for RSA: the limit of
// the library is 4,096 bits, and changing it would affect the whole process.
func public(members map[string]any) (crypto.PublicKey, error) {
	if members["kty"] == "RSA" {
		var numbers [2]*big.Int
		for i, name := range []string{"n", "e"} {
			text, _ := members[name].(string)
			data, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil || len(data) == 0 || len(data) > maxRSABits/8+1 {
				return nil, fmt.Errorf("its %s is not a number of up to %d bits in base64url", name, maxRSABits)
			}
			numbers[i] = new(big.Int).SetBytes(data)
		}
		if numbers[1].BitLen() > 31 {
			return nil, errors.New("its exponent has more than 31 bits")
		}
		if numbers[0].BitLen() >= MinRSABits && factorable(numbers[0]) {
			return nil, errors.New("its modulus is that of a chip whose keys can be factored (CVE-2017-15361): make another key, elsewhere")
		}
		return &rsa.PublicKey{N: numbers[0], E: int(numbers[1].Int64())}, nil
	}
	chosen := make(map[string]any, len(parameters))
	for _, name := range parameters {
		if v, there := members[name]; there {
			chosen[name] = v
		}
	}
	raw, err := json.Marshal(chosen)
	if err != nil {
		return nil, errors.New("not a JWK")
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return nil, errors.New("not a key of a known kind")
	}
	return k.Key, nil
}

// factorable reports whether a modulus was made by the library of the chips of
// CVE-2017-15361 (ROCA), which were used in smart cards and TPMs: modulo each of
// these primes it is a power of 65537. So is one in 100 million others.
func factorable(modulus *big.Int) bool {
	for _, p := range []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157} {
		rest, power := new(big.Int).Mod(modulus, big.NewInt(p)).Int64(), int64(1)
		for range p {
			if power == rest {
				break
			}
			power = power * 65537 % p
		}
		if power != rest {
			return false
		}
	}
	return true
}

// usual returns an algorithm for a key of that type.
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

// CertificateThumbprint returns the SHA-256 thumbprint of cert, x5t#S256 (RFC
// 8705 section 3.1), in base64url: 43 characters, or "" for nil.
func CertificateThumbprint(cert *x509.Certificate) string {
	if cert == nil {
		return ""
	}
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
