package clientauth

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// assertionLeeway is the tolerance for an assertion's times.
const assertionLeeway = 30 * time.Second

// maxTriedKeys bounds the keys that are tried on an assertion without kid.
const maxTriedKeys = 4

// AssertionAlgorithms returns the algorithms that an assertion may be signed
// with.
func AssertionAlgorithms() []string {
	return []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}
}

// badAssertion returns the refusal for an error of package jose; it repeats
// nothing of the assertion.
func badAssertion(err error) *Refusal {
	reason := counterfoil.ReasonAssertionMalformed
	switch {
	case errors.Is(err, jose.ErrAlgorithm):
		reason = counterfoil.ReasonAssertionAlgorithm
	case errors.Is(err, jose.ErrSignature):
		reason = counterfoil.ReasonAssertionSignature
	}
	return Refused(reason, err.Error())
}

// decoys returns a key of each algorithm that verifies no signature.
var decoys = sync.OnceValue(func() map[string]crypto.PublicKey {
	modulus := sechash.Random(jose.MinRSABits / 8)
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	rsaKey := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	all := map[string]crypto.PublicKey{jose.RS256: rsaKey, jose.PS256: rsaKey}
	for _, algorithm := range []string{jose.ES256, jose.EdDSA} {
		if key, err := jose.Generate(algorithm); err == nil { // it never fails
			all[algorithm] = key.Public()
		}
	}
	return all
})

// keyless returns a refusal of an assertion for which there is no key. The
// assertion is verified all the same, by a key that nobody has: otherwise the
// time of the answer would tell the clients that have keys.
func keyless(token *jose.Token, refusal *Refusal) *Refusal {
	_, _ = token.Verify(decoys()[token.Algorithm()])
	return refusal
}

// verifyAssertion returns the claims when one of the keys made the signature.
func verifyAssertion(token *jose.Token, keys []jose.PublicKey) (map[string]any, *Refusal) {
	if len(keys) == 0 {
		return nil, keyless(token, Refused(counterfoil.ReasonAssertionKey, "no such key"))
	}
	refusal, tried := Refused(counterfoil.ReasonAssertionKey, "no key for its algorithm"), 0
	for _, key := range keys {
		if !key.Suits(token.Algorithm()) {
			continue
		}
		if tried++; tried > maxTriedKeys {
			return nil, Refused(counterfoil.ReasonAssertionKey, "too many keys match: it needs a kid")
		}
		payload, err := token.Verify(key.Key)
		if err != nil {
			refusal = badAssertion(err)
			continue
		}
		claims, err := jose.Object(payload)
		if err != nil {
			return nil, Refused(counterfoil.ReasonAssertionMalformed, "claims: "+err.Error())
		}
		return claims, nil
	}
	if tried == 0 {
		return nil, keyless(token, refusal)
	}
	return nil, refusal
}

// hasAudience reports whether aud is want or an array that contains it.
func hasAudience(aud any, want string) bool {
	list, ok := aud.([]any)
	if !ok {
		return aud == any(want)
	}
	return slices.Contains(list, any(want))
}

// checkTimes checks that now is within an assertion's times, and returns when
// it expires.
func checkTimes(claims map[string]any, now time.Time) (time.Time, *Refusal) {
	expires, ok := jose.NumericDate(claims["exp"])
	if !ok {
		return time.Time{}, Refused(counterfoil.ReasonAssertionClaims, "its exp is not a number of seconds")
	}
	for _, name := range []string{"iat", "nbf"} {
		at, ok := jose.NumericDate(claims[name])
		if _, there := claims[name]; there && !ok {
			return time.Time{}, Refused(counterfoil.ReasonAssertionClaims, "its "+name+" is not a number of seconds")
		}
		if at.After(now.Add(assertionLeeway)) {
			return time.Time{}, Refused(counterfoil.ReasonAssertionClaims, "its "+name+" is in the future")
		}
	}
	if !now.Before(expires.Add(assertionLeeway)) {
		return time.Time{}, Refused(counterfoil.ReasonAssertionExpired, "")
	}
	return expires, nil
}
