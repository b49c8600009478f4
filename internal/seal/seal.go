// Package seal encrypts private keys at rest under a master key. Use it for values
// that the server must read again; values that it only compares are hashed instead.
//
// A sealed value names the key that sealed it, so that a wrong master key can be
// told from damage, and is bound to a context, so that it cannot be moved to
// another place. The package is internal and makes no compatibility promise, except
// for its format: later versions open what earlier ones sealed.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// Errors of Open, always wrapped.
var (
	// ErrOtherKey means that the value was sealed under another master key.
	ErrOtherKey = errors.New("sealed under another master key")
	// ErrDamaged means that the value was changed, or sealed for another context.
	ErrDamaged = errors.New("damaged, or not sealed for this")
)

// The format, version 1: the magic, 4 bytes of the key's ID, a nonce of 96
// bits, and the AES-256-GCM ciphertext with its tag of 128 bits. Magic, ID and
// context are the additional data. No private key in DER or PEM form starts
// with the magic.
const (
	magic    = "cfseal1:"
	idSize   = 4
	header   = len(magic) + idSize
	overhead = 12 + 16 // of cipher.NewGCMWithRandomNonce
	keySize  = 32
)

var errKey = errors.New("the master key must be 32 random bytes in base64: make one with 'openssl rand -base64 32'")

// Key is a master key. It prints as its ID, never as its value. It is safe for
// concurrent use.
type Key struct {
	pseudorandom []byte // RFC 5869 section 2.2
	id           [idSize]byte
	aead         cipher.AEAD
}

// NewKey makes a master key, in the form that ParseKey reads.
func NewKey() counterfoil.Secret {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails: it ends the process instead
	return counterfoil.Secret(base64.StdEncoding.EncodeToString(key[:]))
}

// ParseKey reads a master key: 32 bytes in base64, in the standard or the URL
// alphabet, with or without padding (RFC 4648 sections 4 and 5). White space
// around it is ignored.
func ParseKey(text counterfoil.Secret) (*Key, error) {
	raw := strings.TrimSuffix(strings.TrimSpace(text.Reveal()), "=")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(raw, "-_") {
		encoding = base64.RawURLEncoding
	}
	// The length is checked too, because the decoder skips line breaks.
	master, err := encoding.Strict().DecodeString(raw)
	if err != nil || len(master) != keySize || len(raw) != encoding.EncodedLen(keySize) {
		return nil, errKey // not the decoder's error, which shows a byte of the key
	}
	pseudorandom, err := hkdf.Extract(sha256.New, master, []byte("counterfoil master key"))
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	k := &Key{pseudorandom: pseudorandom}
	copy(k.id[:], k.expand("id"))
	block, err := aes.NewCipher(k.expand("seal"))
	if err == nil {
		k.aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return k, nil
}

// expand returns 32 bytes for the use that info names.
func (k *Key) expand(info string) []byte {
	out, err := hkdf.Expand(sha256.New, k.pseudorandom, info, keySize)
	if err != nil {
		// 32 bytes are far below the limit of RFC 5869 section 2.3, and the
		// same call succeeded in ParseKey.
		panic("seal: " + err.Error())
	}
	return out
}

// ID returns 8 hexadecimal digits that tell this key from others. They do not
// reveal the key, and may be shown and logged.
func (k *Key) ID() string { return hex.EncodeToString(k.id[:]) }

// String returns "master key" and the ID.
func (k *Key) String() string { return "master key " + k.ID() }

// Format writes String for every verb, so that no verb shows the key.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Derive returns 32 bytes that are the same for the same key and purpose
// (HKDF-SHA-256, RFC 5869). They reveal nothing about the key or about the bytes
// for another purpose.
func (k *Key) Derive(purpose string) []byte { return k.expand("derive:" + purpose) }

// Seal encrypts plain for context, which identifies the value, such as "signing
// key/REALM/ID"; Open needs the same context. Each call returns different bytes. A
// key may seal at most 4,294,967,296 values, because its nonces are random (NIST SP
// 800-38D section 8.3).
func (k *Key) Seal(plain []byte, context string) []byte {
	sealed := make([]byte, 0, header+len(plain)+overhead)
	sealed = append(append(sealed, magic...), k.id[:]...)
	return k.aead.Seal(sealed, nil, plain, additional(sealed, context))
}

// Open returns the value that was sealed for context. Its errors are ErrOtherKey,
// with the IDs of both keys, and ErrDamaged.
func (k *Key) Open(sealed []byte, context string) ([]byte, error) {
	id, ok := Sealed(sealed)
	switch {
	case !ok:
		return nil, fmt.Errorf("open: no sealed value: %w", ErrDamaged)
	case id != k.ID():
		return nil, fmt.Errorf("open: %w: it needs master key %s, the given one is %s", ErrOtherKey, id, k.ID())
	}
	plain, err := k.aead.Open(nil, nil, sealed[header:], additional(sealed[:header], context))
	if err != nil {
		return nil, fmt.Errorf("open: %w", ErrDamaged)
	}
	return plain, nil
}

// Sealed returns the ID of the key that sealed data, and whether data has the form
// of a sealed value. The data may still be damaged.
func Sealed(data []byte) (keyID string, ok bool) {
	if len(data) < header+overhead || string(data[:len(magic)]) != magic {
		return "", false
	}
	return hex.EncodeToString(data[len(magic):header]), true
}

// additional returns the additional data of a ciphertext. The head has a fixed
// length, so the result is different for different pairs.
func additional(head []byte, context string) []byte {
	return append(head[:len(head):len(head)], context...)
}
