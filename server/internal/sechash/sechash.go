// Package sechash holds the forms in which client secrets and API keys are
// kept, and verifies secrets against them. Use Own for secrets of the server,
// and the From functions for those of another server.
//
// The server's own secrets carry 256 random bits. They cannot be guessed,
// however fast the hash, so SHA-256 and a comparison in constant time are
// right for them, and take almost no time in a token request. An imported
// secret may be guessable: it is verified in its original form, slowly where
// that is slow, and keeps working unchanged.
//
// The forms at rest:
//
//	sha256:BASE64URL, sha512:BASE64URL               of the secret's UTF-8, without padding
//	$2a$COST$…, $2b$COST$…, $2y$COST$…               bcrypt
//	$pbkdf2-DIGEST$i=ITERATIONS,l=LENGTH$SALT$KEY    PBKDF2 (RFC 8018) with sha1, sha256 or sha512
//	$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$KEY   Argon2id (RFC 9106)
//
// Salts and keys are base64 in the standard alphabet without padding. Parse
// bounds the cost of each, because an imported hash determines the cost of an
// anonymous caller's wrong guess. The package is internal, but stored hashes
// stay readable.
package sechash

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// Bounds of Parse.
const (
	maxText       = 512 // bytes of a form at rest
	maxBcryptCost = 16
	maxIterations = 2_000_000 // of PBKDF2
	maxMemory     = 256 << 10 // of Argon2id, KiB
	maxPasses     = 64
	maxWork       = 1 << 20 // memory times passes, KiB
	maxLanes      = 16
	minKey        = 16 // bytes
	maxKey        = 64
	minSalt       = 4
	maxSalt       = 128
)

// errForm does not show the text: it may be a secret that was given instead of
// its hash.
var errForm = errors.New("not a known form of a hashed secret: give sha256:, sha512:, $2a$, $2b$, $2y$, " +
	"$pbkdf2-sha1$, $pbkdf2-sha256$, $pbkdf2-sha512$ or $argon2id$")

// Hash is a secret in its stored form. Printed or logged, it shows only the
// name of its form: a weak secret can be guessed from its hash. The zero Hash
// verifies nothing. It is safe for concurrent use.
type Hash struct {
	text string
	form form
}

// form is a parsed text.
type form interface {
	// matches takes the same time for every secret of the same length.
	matches(secret string) bool
	name() string
}

// Parse reads a form at rest. The error never shows the text.
func Parse(text string) (Hash, error) {
	if len(text) > maxText {
		return Hash{}, fmt.Errorf("a hashed secret is larger than %d bytes: %w", maxText, errForm)
	}
	switch tag, rest, _ := strings.Cut(text, ":"); tag {
	case "sha256":
		return parseDigest(base64.RawURLEncoding, rest, sha256.Size)
	case "sha512":
		return parseDigest(base64.RawURLEncoding, rest, sha512.Size)
	}
	fields := strings.Split(text, "$")
	if len(fields) < 4 || fields[0] != "" {
		return Hash{}, errForm
	}
	switch fields[1] {
	case "2a", "2b", "2y":
		return parseBcrypt(text)
	case "argon2id":
		return parseArgon2(fields[2:])
	}
	if digest, ok := strings.CutPrefix(fields[1], "pbkdf2-"); ok {
		return parsePBKDF2(digest, fields[2:])
	}
	return Hash{}, errForm
}

// Own returns the form of a secret of 256 random bits, such as the server
// makes; it must not be used for others.
func Own(secret counterfoil.Secret) Hash {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	return digest(sum[:]).hash()
}

// Verify reports whether secret matches the hash. The empty secret never does.
// A slow hash takes milliseconds to seconds of CPU time, Argon2id also up to
// 256 MiB of memory; the caller limits how many run at once, and the length of
// a secret.
func (h Hash) Verify(secret counterfoil.Secret) bool {
	return h.form != nil && secret != "" && h.form.matches(secret.Reveal())
}

// Slow reports whether Verify is deliberately slow.
func (h Hash) Slow() bool {
	_, fast := h.form.(digest)
	return h.form != nil && !fast
}

// String returns the form at rest, which Parse reads; "" for the zero Hash.
func (h Hash) String() string { return h.text }

// name returns the name of the form, without anything of the secret.
func (h Hash) name() string {
	if h.form == nil {
		return "no hash"
	}
	return "[" + h.form.name() + "]"
}

// Format writes the name of the form for every verb; only String gives the
// hash.
func (h Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.name()) }

// LogValue keeps the hash out of structured logs.
func (h Hash) LogValue() slog.Value { return slog.StringValue(h.name()) }

// digest is SHA-256 or SHA-512 of a secret; its length says which.
type digest []byte

func (d digest) name() string {
	if len(d) == sha512.Size {
		return "sha512"
	}
	return "sha256"
}

func (d digest) matches(secret string) bool {
	if len(d) == sha512.Size {
		sum := sha512.Sum512([]byte(secret))
		return subtle.ConstantTimeCompare(d, sum[:]) == 1
	}
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(d, sum[:]) == 1
}

func (d digest) hash() Hash {
	return Hash{text: d.name() + ":" + base64.RawURLEncoding.EncodeToString(d), form: d}
}

// parseDigest reads a digest of one of the given sizes, in bytes.
func parseDigest(encoding *base64.Encoding, text string, sizes ...int) (Hash, error) {
	sum, err := decode(encoding, text)
	for _, size := range sizes {
		if err == nil && len(sum) == size {
			return digest(sum).hash(), nil
		}
	}
	return Hash{}, errors.New("a hashed secret: SHA-256 must be 32 bytes and SHA-512 64 bytes, in base64")
}

// decode reads base64 that has one form only: no line breaks, no surplus bits.
func decode(encoding *base64.Encoding, text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errForm
	}
	out, err := encoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errForm
	}
	return out, nil
}
