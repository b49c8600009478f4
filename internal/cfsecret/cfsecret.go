// Package cfsecret is the form of the secrets and API keys that a server makes, which
// scanners for leaked secrets can find: cf_, 256 random bits, a checksum. It is
// internal and makes no compatibility promise; docs/security.md documents the form.
package cfsecret

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// The parts of a secret. 43 digits to the base of 62 hold 256 bits, 6 hold 32.
const (
	Prefix   = "cf_"
	random   = 43
	checksum = 6
	// Length is the length of a secret, in bytes.
	Length = len(Prefix) + random + checksum
)

// digits are those of base 62: letters and digits only, which need no escape in a
// shell, a form, a URL or a file, and which a double click selects as one word
// together with the prefix.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// New returns a new secret.
func New() counterfoil.Secret {
	bits := make([]byte, 32)
	_, _ = rand.Read(bits) // never fails
	body := base62(new(big.Int).SetBytes(bits), random)
	return counterfoil.Secret(Prefix + body + sum(body))
}

// sum returns the checksum of the random part: its CRC-32 (IEEE 802.3).
func sum(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), checksum)
}

// base62 returns n with the digits, the highest first, with zeros in front.
func base62(n *big.Int, size int) string {
	text := make([]byte, size)
	base, rest := big.NewInt(int64(len(digits))), new(big.Int)
	for i := size - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		text[i] = digits[rest.Int64()]
	}
	return string(text)
}

// Is reports whether a secret has the form, with the right checksum.
func Is(s counterfoil.Secret) bool {
	text := s.Reveal()
	if len(text) != Length || !strings.HasPrefix(text, Prefix) {
		return false
	}
	body := text[len(Prefix) : len(Prefix)+random]
	return isDigits(body) && text[len(Prefix)+random:] == sum(body)
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(digits, r) })
}

// least is the length from which a text that begins like a secret is taken for a
// damaged one: what others call cf_something is shorter.
const least = 20

// Damage says what is wrong with a secret of the form that was cut off or mistyped,
// without showing it: the text continues a sentence about it. It is empty for one
// that is whole, and for one of another form.
func Damage(s counterfoil.Secret) string {
	text := strings.TrimSpace(s.Reveal())
	switch {
	case Is(s), len(text) < least, !strings.HasPrefix(text, Prefix), !isDigits(text[len(Prefix):]):
		return ""
	case len(text) < Length:
		return fmt.Sprintf("is cut off: it has %d of %d characters", len(text), Length)
	case len(text) > Length:
		return fmt.Sprintf("is too long: it has %d characters instead of %d", len(text), Length)
	case len(text) != len(s):
		return "has spaces or line breaks around it"
	}
	return "is mistyped: its checksum is wrong"
}

// Masked returns a text with the Hint of each secret that it has in place of the
// secret.
func Masked(text string) string {
	var b strings.Builder
	done := 0
	for at := 0; ; {
		i := strings.Index(text[at:], Prefix)
		if i < 0 || at+i+Length > len(text) {
			break
		}
		at += i
		s := counterfoil.Secret(text[at : at+Length])
		if !Is(s) {
			at++
			continue
		}
		b.WriteString(text[done:at])
		b.WriteString(Hint(s))
		at += Length
		done = at
	}
	if done == 0 {
		return text
	}
	return b.String() + text[done:]
}

// Hint returns what may be shown of a secret: enough to recognise it by, and too
// little to guess it.
func Hint(s counterfoil.Secret) string {
	return s.Reveal()[:min(len(s), len(Prefix)+4)] + "…"
}
