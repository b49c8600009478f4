package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/counterfoil/counterfoil"
)

// newHash is what is kept of a new secret or API key.
func newHash(value counterfoil.Secret, now time.Time) Hash {
	return Hash{ID: hex.EncodeToString(random(4)), Value: hash(value), Created: now}
}

func hash(value counterfoil.Secret) string {
	sum := sha256.Sum256([]byte(value.Reveal()))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// verify returns the hash that serves at the given time and that value is
// behind, or nil. How long it takes depends on how many there are, not on value.
func verify(hashes []Hash, value counterfoil.Secret, at time.Time) *Hash {
	given := []byte(hash(value))
	var found *Hash
	for i := range hashes {
		h := &hashes[i]
		if same := subtle.ConstantTimeCompare([]byte(h.Value), given) == 1; same && (h.Ends.IsZero() || at.Before(h.Ends)) {
			found = h
		}
	}
	return found
}
