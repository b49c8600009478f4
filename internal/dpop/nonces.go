package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// DefaultNonceLife is the default lifetime of a nonce.
const DefaultNonceLife = 5 * time.Minute

// minNonceKey is the size of the shortest key, in bytes.
const minNonceKey = 32

// Nonces are a server's nonces (RFC 9449 section 8). Nothing is stored: a nonce is
// a MAC of the time, so every node that has the same key accepts those of the
// others. All clients get the same nonce; the jti makes a proof unique.
type Nonces struct {
	key   []byte
	clock counterfoil.Clock
	life  time.Duration
}

// NewNonces returns the nonces of key, which has 32 random bytes or more and may
// have other uses. A nil clock means the system clock. A nonce is valid for at
// least life and for less than twice that; life is a second or more, or 0 for
// DefaultNonceLife.
func NewNonces(key []byte, c counterfoil.Clock, life time.Duration) (*Nonces, error) {
	if len(key) < minNonceKey {
		return nil, fmt.Errorf("DPoP nonces: the key has %d bytes, give it %d or more", len(key), minNonceKey)
	}
	if life == 0 {
		life = DefaultNonceLife
	}
	if life < time.Second {
		return nil, fmt.Errorf("DPoP nonces: a life of %s is too short, give it a second or more", life)
	}
	if c == nil {
		c = clock.System
	}
	return &Nonces{key: slices.Clone(key), clock: c, life: life}, nil
}

// Issue returns the current nonce: 43 characters of base64url.
func (n *Nonces) Issue() string { return n.at(n.clock.Now()) }

// Valid reports whether nonce is the current one or the one before. It also accepts
// the next one shortly before its time, because another node's clock may be ahead
// by DefaultSkew.
func (n *Nonces) Valid(nonce string) bool {
	now := n.clock.Now()
	for _, at := range []time.Time{now, now.Add(-n.life), now.Add(DefaultSkew)} {
		if hmac.Equal([]byte(nonce), []byte(n.at(at))) {
			return true
		}
	}
	return false
}

// at returns the nonce of the interval that contains t.
func (n *Nonces) at(t time.Time) string {
	mac := hmac.New(sha256.New, n.key)
	mac.Write([]byte("counterfoil DPoP nonce\x00"))
	var span [16]byte
	binary.BigEndian.PutUint64(span[:8], uint64(n.life))
	binary.BigEndian.PutUint64(span[8:], uint64(t.UnixMilli()/n.life.Milliseconds()))
	mac.Write(span[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
