package event_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/event"
)

func TestClean(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"plain", "curl/7.88.1", "curl/7.88.1"},
		{"control characters", "a\r\nb\x00c\x1b[2Jd\x7f", "abc[2Jd"},
		{"C1 and line separators", "a\u009bb\u2028c\u200bd", "abcd"},
		{"other scripts", "naïve ☕ クライアント", "naïve ☕ クライアント"},
		{"broken UTF-8", "a\xff\xc3b", "ab"},
		{"nothing but control characters", "\r\n\x1f", ""},
		{"nothing but a deleted character", "\x7f", ""},
		{"nothing but broken UTF-8", "\xff\xfe", ""},
		{"the first and the last of ASCII", " ~", " ~"},
		{"as long as it may be", strings.Repeat("x", 32), strings.Repeat("x", 32)},
		{"cut behind a character", strings.Repeat("x", 29) + "☕☕", strings.Repeat("x", 29) + "☕"},
		{"long, and broken at the cut", strings.Repeat("x", 31) + "\xff\xff", strings.Repeat("x", 31)},
		{"nothing", "", ""},
		{"long", strings.Repeat("x", 40), strings.Repeat("x", 32)},
		{"cut inside a character", strings.Repeat("x", 31) + "☕", strings.Repeat("x", 31)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := event.Clean(row.in, 32); got != row.want || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
