package sechash

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Random returns n random bytes.
func Random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// New returns the hash of a secret or an API key that the server made.
func New(value counterfoil.Secret, now time.Time) store.SecretHash {
	return store.SecretHash{ID: NewID(), Value: Own(value).String(), Created: now}
}

// NewID returns a random ID for a secret: 8 hexadecimal digits.
func NewID() string { return hex.EncodeToString(Random(4)) }

// IsSlow reports, by the tag of a hash, whether it is deliberately slow.
func IsSlow(text string) bool { return strings.HasPrefix(text, "$") }

// FindFast returns the fast hash of value that is accepted at that time, or nil. How
// long it takes depends on the number of hashes and their kinds, not on value.
func FindFast(hashes []store.SecretHash, value counterfoil.Secret, at time.Time) *store.SecretHash {
	given := []byte(Own(value).String())
	var found *store.SecretHash
	for i := range hashes {
		h, same := &hashes[i], false
		switch {
		case strings.HasPrefix(h.Value, "sha256:"):
			same = subtle.ConstantTimeCompare([]byte(h.Value), given) == 1
		case !IsSlow(h.Value):
			parsed, err := Parse(h.Value)
			same = err == nil && parsed.Verify(value)
		}
		if same && value != "" && h.AcceptedAt(at) {
			found = h
		}
	}
	return found
}
