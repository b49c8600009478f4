package server

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
)

// maxParameters bounds the parameters of a form or a query.
const maxParameters = 32

// form holds the parameters of an application/x-www-form-urlencoded body or
// query.
type form []struct{ name, value string }

// get returns the value of a parameter; an empty one counts as omitted (RFC
// 6749 section 3.2).
func (f form) get(name string) string {
	for _, p := range f {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// all returns the values of a parameter that may be repeated.
func (f form) all(name string) []string {
	var values []string
	for _, p := range f {
		if p.name == name && p.value != "" {
			values = append(values, p.value)
		}
	}
	return values
}

// parseForm reads a form strictly: net/url would accept repeated parameters,
// and malformed ones beside valid ones.
func parseForm(s string) (form, *requestRefusal) {
	var f form
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		if len(f) == maxParameters {
			return nil, refused(counterfoil.MalformedRequest, "too many parameters")
		}
		name, value, _ := strings.Cut(pair, "=")
		name, ok := unescape(name)
		value, ok2 := unescape(value)
		if !ok || !ok2 {
			return nil, refused(counterfoil.MalformedRequest, "a parameter is not percent-encoded UTF-8")
		}
		for _, p := range f {
			if p.name == name && name != "resource" {
				return nil, refused(counterfoil.RepeatedParameter, "")
			}
		}
		f = append(f, struct{ name, value string }{name, value})
	}
	return f, nil
}

// unescape decodes percent-encoding with "+" for a space. It reports false for
// an invalid escape and for anything but UTF-8 without NUL.
func unescape(s string) (string, bool) {
	if strings.ContainsAny(s, "%+") {
		decoded, err := url.QueryUnescape(s)
		if err != nil {
			return "", false
		}
		s = decoded
	}
	return s, utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
