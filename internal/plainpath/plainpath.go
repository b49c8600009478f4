// Package plainpath decides whether the path of a request is spelled in the one
// way that the server and guards serve. A path with a second spelling could be
// one resource to what checks it and another to what serves it. It is internal and
// makes no compatibility promise.
package plainpath

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Options say what an API needs beyond the rule.
type Options struct {
	// EncodedSlash allows %2F, %5C and escapes within escapes, such as %252F: for
	// an API whose identifiers may have any character, and that routes by the
	// escaped path.
	EncodedSlash bool
}

// OK reports whether the path that r was sent with is plain: that of the request
// line, whatever handlers in front have made of the URL, or the URL's if the
// request was never on a wire.
func (o Options) OK(r *http.Request) bool {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // the absolute form (RFC 9112 section 3.2.2) or none
		if r.URL == nil || r.URL.Path == "" {
			return target == "" || r.URL != nil && r.URL.Host != ""
		}
		return o.Plain(r.URL.EscapedPath())
	}
	path, _, _ := strings.Cut(target, "?")
	return o.Plain(path)
}

// Plain reports whether an escaped path is plain. It begins with a slash; no
// segment but the last is empty, and none is "." or ".."; it has no backslash, no
// parameters (;) and nothing but ASCII that can be seen. Its escapes decode to
// UTF-8 without control characters, slashes, backslashes and characters that need
// no escape (RFC 3986 section 2.3), and to nothing that is an escape again.
func (o Options) Plain(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	escaped := false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`\;#?`, c) >= 0:
			return false
		case c == '%':
			if i+2 >= len(path) || !hex(path[i+1]) || !hex(path[i+2]) {
				return false
			}
			if decoded := value(path[i+1])<<4 | value(path[i+2]); !o.needed(decoded, path[i+3:]) {
				return false
			}
			escaped, i = true, i+2
		}
	}
	if escaped {
		if text, err := url.PathUnescape(path); err != nil || !utf8.ValidString(text) {
			return false
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return false
		}
	}
	return true
}

// needed reports whether the escape of c says what c itself would not; rest is
// what follows it.
func (o Options) needed(c byte, rest string) bool {
	switch {
	case c < ' ' || c == 0x7f:
		return false
	case c == '/', c == '\\':
		return o.EncodedSlash
	case c == '%':
		return o.EncodedSlash || len(rest) < 2 || !hex(rest[0]) || !hex(rest[1])
	}
	return !unreserved(c)
}

// unreserved is RFC 3986 section 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// value is that of a digit of hex.
func value(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
