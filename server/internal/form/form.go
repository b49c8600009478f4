// Package form reads bodies and queries of the media type
// application/x-www-form-urlencoded strictly: net/url would accept repeated
// parameters, and malformed ones beside valid ones.
package form

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxParameters bounds the parameters of a form or a query.
const maxParameters = 32

// ErrRepeated says that a parameter other than resource occurs twice.
var ErrRepeated = errors.New("a parameter is repeated")

var (
	errTooMany = errors.New("too many parameters")
	errEncoded = errors.New("a parameter is not percent-encoded UTF-8")
)

// Form holds the parameters of a body or a query, in their order.
type Form []Parameter

// Parameter is one parameter of a form.
type Parameter struct{ Name, Value string }

// Get returns the value of a parameter; an empty one counts as omitted (RFC
// 6749 section 3.2).
func (f Form) Get(name string) string {
	for _, p := range f {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// All returns the values of a parameter that may be repeated.
func (f Form) All(name string) []string {
	var values []string
	for _, p := range f {
		if p.Name == name && p.Value != "" {
			values = append(values, p.Value)
		}
	}
	return values
}

// Parse reads a form of at most 32 parameters. Only resource may be repeated
// (RFC 8707 section 2). The error repeats nothing of the form.
func Parse(s string) (Form, error) {
	var f Form
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		if len(f) == maxParameters {
			return nil, errTooMany
		}
		name, value, _ := strings.Cut(pair, "=")
		name, ok := Unescape(name)
		value, ok2 := Unescape(value)
		if !ok || !ok2 {
			return nil, errEncoded
		}
		for _, p := range f {
			if p.Name == name && name != "resource" {
				return nil, ErrRepeated
			}
		}
		f = append(f, Parameter{name, value})
	}
	return f, nil
}

// Unescape decodes percent-encoding with "+" for a space. It reports false for
// an invalid escape and for anything but UTF-8 without NUL.
func Unescape(s string) (string, bool) {
	if strings.ContainsAny(s, "%+") {
		decoded, err := url.QueryUnescape(s)
		if err != nil {
			return "", false
		}
		s = decoded
	}
	return s, utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
