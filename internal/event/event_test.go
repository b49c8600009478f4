package event_test

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/event"
)

func TestClean(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, row := range []struct{ name, in, want string }{
		{"plain", "curl/7.88.1", "curl/7.88.1"},
		{"control characters", "a\r\nb\x00\x1b[2J", `a\u000d\u000ab\u0000\u001b[2J`},
		{"a deleted character", "\x7f", `\u007f`},
		{"C1 and line separators", "a\u009bb\u2028c\u200bd", `a\u009bb\u2028c\u200bd`},
		{"text from right to left", "a\u202eb\u2066c\u200fd", `a\u202eb\u2066c\u200fd`},
		{"other spaces", "a b\u00a0c\u3000d", `a b\u00a0c\u3000d`},
		{"fillers", "a\u3164b\u115fc\u2800d", `a\u3164b\u115fc\u2800d`},
		{"variants", "a\ufe0fb\U000e0100", `a\ufe0fb\U000e0100`},
		{"tags", "a\U000e0001", `a\U000e0001`},
		{"other scripts", "naïve ☕ クライアント", "naïve ☕ クライアント"},
		{"broken UTF-8", "a\xff\xc3b", `a\xff\xc3b`},
		{"the character for what is broken", "a\ufffdb", "a\ufffdb"},
		{"what is written as an escape", `a\u200bb`, `a\\u200bb`},
		{"a backslash before what is escaped", "a\\\u200b", `a\\\u200b`},
		{"a backslash that means nothing", `DOMAIN\client\`, `DOMAIN\client\`},
		{"two backslashes", `a\\b`, `a\\\b`},
		{"the first and the last of ASCII", " ~", " ~"},
		{"as long as it may be", x(32), x(32)},
		{"long", x(33), x(14) + `\~73c08bdc74e86ac4`},
		{"long by its escapes", x(27) + "\u200b", x(14) + `\~20f5de2e6d0ba84f`},
		{"cut inside a character", x(12) + "☕" + x(40), x(12) + `\~d7f0aa5c2d3f2b54`},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := event.Clean(row.in, 32)
			if want, digest, cut := strings.Cut(row.want, `\~`); cut {
				if got[:min(len(got), len(want)+2)] != want+`\~` || len(got) != len(want)+2+len(digest) {
					t.Errorf("got %q, want %q and digits", got, want)
				}
			} else if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// The end of what is cut off counts, and so does a backslash at the cut.
func TestCleanKeepsLongTextsApart(t *testing.T) {
	long := strings.Repeat("x", 1000)
	one, two := event.Clean(long+"1", 128), event.Clean(long+"2", 128)
	if one == two || len(one) != 128 || event.Clean(one, 128) == one {
		t.Errorf("got %q and %q", one, two)
	}
	// 93 and the mark's 34 leave a place for a backslash.
	cut := event.Clean(strings.Repeat("x", 93)+`\yz`+long, 128)
	if again := event.Clean(strings.Replace(cut, `\\~`, `\~`, 1), 128); again == cut {
		t.Errorf("another text becomes %q", cut)
	}
	if again := event.Clean(cut, 128); again == cut {
		t.Errorf("what was cut is a text that becomes %q", cut)
	}
}

// A text can be read from what it became, so that no two become the same.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"a", `\u200b`, "\u200b", `\\`, "\\\xff", "\U000e0001", `\~`, `\x`, "a\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all := event.Clean(s, 12*len(s)+1)
		if got := unescape(t, all); got != s {
			t.Errorf("%q became %q, which is %q", s, all, got)
		}
		for _, most := range []int{16, 64, 128} {
			if got := event.Clean(s, most); len(got) > most || len(all) <= most && got != all {
				t.Errorf("%q became %q of %d bytes, at most %d", s, got, len(got), most)
			}
		}
		for _, shown := range []string{all, event.Escape(s), event.Clean(s, 16)} {
			if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool {
				return !unicode.IsGraphic(r) || r != ' ' && unicode.Is(unicode.Zs, r) || unicode.Is(unicode.Bidi_Control, r)
			}) {
				t.Errorf("%q became %q", s, shown)
			}
		}
	})
}

// unescape is the inverse of Clean for what is not cut off.
func unescape(t *testing.T, s string) string {
	var b strings.Builder
	for s != "" {
		c, rest, digits := s[0], s[1:], 0
		if c == '\\' && rest != "" {
			digits = map[byte]int{'u': 4, 'U': 8, 'x': 2}[rest[0]]
			if rest[0] == '\\' {
				rest = rest[1:]
			}
		}
		if digits == 0 {
			b.WriteByte(c)
			s = rest
			continue
		}
		n, err := strconv.ParseUint(rest[1:1+digits], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if digits == 2 {
			b.WriteByte(byte(n))
		} else {
			b.WriteRune(rune(n))
		}
		s = rest[1+digits:]
	}
	return b.String()
}
