package client

import "strings"

// schemeDPoP precedes a token that is bound to a key, and is its token_type (RFC
// 9449 sections 5 and 7.1).
const schemeDPoP = "DPoP"

// maxChallenges bounds what is read of an answer's challenges, in bytes.
const maxChallenges = 8 << 10

// challengeError returns the error code of the first challenge of the scheme
// DPoP that has one (RFC 9449 section 7.1); "" for none. The fields form one
// list (RFC 9110 section 5.3).
func challengeError(fields []string) string {
	c, left := challenges{}, maxChallenges
	for _, field := range fields {
		if left -= len(field); left < 0 {
			break
		}
		c.rest = field
		for {
			name, value, ok := c.next()
			if !ok {
				break
			}
			if strings.EqualFold(c.scheme, schemeDPoP) && strings.EqualFold(name, "error") {
				return value
			}
		}
	}
	return ""
}

// challenges reads a field WWW-Authenticate (RFC 9110 sections 11.3 and 11.6.1).
// It accepts a missing comma, and stops reading where the field is malformed.
type challenges struct{ rest, scheme string }

// next returns the next parameter, which belongs to the scheme that c is at.
func (c *challenges) next() (name, value string, ok bool) {
	for {
		c.rest = strings.TrimLeft(c.rest, " \t,")
		word := c.token()
		if word == "" {
			return "", "", false
		}
		if after, ok := strings.CutPrefix(strings.TrimLeft(c.rest, " \t"), "="); ok {
			value, c.rest, ok = parameterValue(strings.TrimLeft(after, " \t"))
			return word, value, ok
		}
		c.scheme = word
		// A list of parameters follows, or one token68, which can look like the
		// beginning of a parameter.
		after := strings.TrimLeft(c.rest, " \t")
		after = strings.TrimLeft(after, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")
		after = strings.TrimLeft(after, "=")
		if after = strings.TrimLeft(after, " \t"); after == "" || after[0] == ',' {
			c.rest = after
		}
	}
}

// token removes a token (RFC 9110 section 5.6.2) from the rest; "" if there is
// none.
func (c *challenges) token() string {
	n := strings.IndexFunc(c.rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
	if n < 0 {
		n = len(c.rest)
	}
	word := c.rest[:n]
	c.rest = c.rest[n:]
	return word
}

// parameterValue removes a parameter's value from s: a quoted string (RFC 9110
// section 5.6.4), or the text up to a comma or a space.
func parameterValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, " \t,")
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:], true
	}
	var plain strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			return plain.String(), s[i+1:], true
		}
		if s[i] == '\\' {
			i++
		}
		if i < len(s) {
			plain.WriteByte(s[i])
		}
	}
	return "", "", false
}
