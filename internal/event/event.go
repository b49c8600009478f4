// Package event cleans text from requests before it goes into an event, for the
// server and the guard. It is internal and makes no compatibility promise.
package event

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a record keeps of a request, in bytes.
const (
	MaxUserAgent = 256
	MaxClientID  = 128
	MaxClaim     = 256
)

// Clean returns s, cut off at most bytes, without invisible characters and invalid
// UTF-8. It does not allocate for printable ASCII.
func Clean(s string, most int) string {
	s = s[:min(len(s), most)] // ToValidUTF8 removes a character that was cut
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e {
			return strings.Map(func(r rune) rune {
				if unicode.IsGraphic(r) {
					return r
				}
				return -1
			}, strings.ToValidUTF8(s, ""))
		}
	}
	return s
}

// Visible reports whether s has from 1 to most bytes and only visible characters
// or spaces.
func Visible(s string, most int) bool {
	hidden := func(r rune) bool { return !unicode.IsGraphic(r) }
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, hidden)
}
