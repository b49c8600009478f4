// Package event cleans what a stranger wrote before it goes into a record: one
// boundary for the server's and the guard's events. It is a foundation without
// promises to importers.
package event

import (
	"net"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a record keeps of a request, in bytes.
const (
	MaxUserAgent = 256
	MaxClientID  = 128
)

// Clean returns at most most bytes of s, whole characters of UTF-8, without
// those that cannot be seen. It costs nothing for short printable ASCII.
func Clean(s string, most int) string {
	s = s[:min(len(s), most)] // what a cut leaves of a character goes with the rest
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

// Visible reports whether s has from 1 to most bytes, all of them characters that
// can be seen, or spaces.
func Visible(s string, most int) bool {
	hidden := func(r rune) bool { return !unicode.IsGraphic(r) }
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, hidden)
}

// Peer returns the IP address of a TCP peer, without its port.
func Peer(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
