// Package event makes text from requests fit for an event, for the server and the
// guard. It is internal and makes no compatibility promise.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

// Bounds of what a record keeps of a request, in bytes.
const (
	MaxUserAgent = 256
	MaxClientID  = 128
	MaxClaim     = 256
)

// Clean returns s with everything escaped that cannot be seen: \u200b, \U000e0001
// or, for a byte that is not UTF-8, \xff. A backslash that could be taken for the
// beginning of an escape is doubled. If the result would have more than most bytes,
// it is cut off and ends with \~ and digits of the SHA-256 of s, so that two texts
// never become one: 32 digits, or half of a smaller most. Clean does not allocate
// for printable ASCII.
func Clean(s string, most int) string {
	if len(s) <= most && plain(s) {
		return s
	}
	digits := min(32, most/2)
	room := most - len(`\~`) - digits
	var b strings.Builder
	fits := 0 // what stays in front of the digits
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		rest := s[i+size:]
		lone := r == '\\' && !escapes(rest)
		switch {
		case r == '\\' && !lone:
			b.WriteString(`\\`)
		default:
			escape(&b, r, s[i:i+size])
		}
		if b.Len() > most {
			sum := sha256.Sum256([]byte(s))
			return b.String()[:fits] + `\~` + hex.EncodeToString(sum[:])[:digits]
		}
		if b.Len() <= room && !lone { // or the mark would double the backslash
			fits = b.Len()
		}
		i += size
	}
	return b.String()
}

// ClientID returns what a record has of a client ID that a caller claims: clean, and
// without a secret, which some callers send in its place.
func ClientID(claimed string) string { return Clean(cfsecret.Masked(claimed), MaxClientID) }

// Resource returns what a record has of the method and the path of a request, in
// which some callers send a secret.
func Resource(method, path string) string { return Clean(cfsecret.Masked(method+" "+path), MaxClaim) }

// Escape is Clean for text that may be escaped already: it leaves backslashes as
// they are, and cuts nothing off. It is for terminals.
func Escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		escape(&b, r, s[i:i+size])
		i += size
	}
	return b.String()
}

// plain reports whether s is printable ASCII without a backslash.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '\\' {
			return false
		}
	}
	return true
}

// escapes reports whether a backslash before rest could be taken for the beginning
// of an escape, or stands before one.
func escapes(rest string) bool {
	if rest == "" {
		return false
	}
	r, size := utf8.DecodeRuneInString(rest)
	return strings.ContainsRune(`\uUx~`, r) || hidden(r) || r == utf8.RuneError && size == 1
}

// escape writes the character r, which is text in UTF-8 or one byte that is not.
func escape(b *strings.Builder, r rune, text string) {
	switch {
	case r == utf8.RuneError && len(text) == 1:
		fmt.Fprintf(b, `\x%02x`, text[0])
	case !hidden(r):
		b.WriteString(text)
	case r > 0xffff:
		fmt.Fprintf(b, `\U%08x`, r)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

// hidden reports whether r shows nothing or what another character shows, or
// changes how others are shown: control and format characters, those for other
// directions, spaces but the common one, fillers and selectors of variants.
func hidden(r rune) bool {
	switch {
	case r < 0x7f:
		return r < 0x20
	case r == '\u2800': // Braille without a dot
		return true
	}
	return !unicode.IsGraphic(r) ||
		unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Visible reports whether s has from 1 to most bytes and only visible characters
// or spaces.
func Visible(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, hidden)
}
