package client

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// shownIn reports whether text discloses any of the credentials, as they are or
// as they are sent, however quoted or escaped.
func (c credentials) shownIn(text string) bool {
	b64, bare := base64.StdEncoding.EncodeToString, lettersAndDigits(text)
	for _, v := range []string{c.secret.Reveal(), c.apiKey.Reveal(), c.assertion.Reveal(), c.proof.Reveal()} {
		if v == "" {
			continue
		}
		basic, escaped := b64([]byte(c.id+":"+v)), b64([]byte(url.QueryEscape(c.id)+":"+url.QueryEscape(v)))
		for _, form := range []string{
			v, url.QueryEscape(v), url.PathEscape(v), b64([]byte(v)), hex.EncodeToString([]byte(v)), basic, escaped,
		} {
			if strings.Contains(text, form) {
				return true
			}
			// A short credential would be found everywhere.
			if f := lettersAndDigits(form); len(f) >= 6 && strings.Contains(bare, f) {
				return true
			}
		}
	}
	return false
}

var errWithheld = errors.New("the transport's error is withheld, because it contains a credential")

// lettersAndDigits returns those of s, in lower case: the part that quoting,
// escaping and the alphabets of base64 do not change.
func lettersAndDigits(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case '0' <= r && r <= '9', 'a' <= r && r <= 'z':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return -1
	}, s)
}

// maxCause bounds the text of a transport's error, in bytes.
const maxCause = 300

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)

// quiet returns err for an error that others may read. A transport's error
// quotes what it could not parse, which is untrusted text, and an error about a
// certificate contains the certificate's names.
func quiet(err error) error {
	text := err.Error()
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 64*maxCause)])
	certificate := new(tls.CertificateVerificationError)
	of := errors.As(err, &certificate)
	if !of {
		clean = quoted.ReplaceAllString(clean, `"…"`)
	}
	if len(clean) > maxCause {
		clean = strings.ToValidUTF8(clean[:maxCause], "") + "…"
	}
	switch {
	case clean == text:
		return err
	case of:
		return fmt.Errorf("%s%w", clean, hidden{err})
	}
	return errors.New(clean)
}

// hidden is an error that errors.As finds and that prints nothing.
type hidden struct{ error }

func (hidden) Error() string { return "" }

func (h hidden) Unwrap() error { return h.error }
