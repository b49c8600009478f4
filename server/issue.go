package server

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// template is a JSON object of which everything but the values of one grant is
// rendered beforehand. Its members keep the described order.
type template []member

type member struct {
	// text is the member up to its value, or with it where that is fixed.
	text []byte
	// value appends the value of a grant; nil where it is fixed. A value of
	// nothing leaves the member out.
	value func([]byte, *grant) []byte
}

// grant is what one token response is made of.
type grant struct {
	clientID       string
	scopes         counterfoil.Scopes
	tenants        []string
	tokenID        string
	token          string
	issued, expire int64 // seconds since 1970 (RFC 7519 section 2)
}

func (t template) fixed(name string, value []byte) template {
	text := append(appendString(nil, name), ':')
	return append(t, member{text: append(text, value...)})
}

func (t template) filled(name string, value func([]byte, *grant) []byte) template {
	return append(t, member{text: append(appendString(nil, name), ':'), value: value})
}

// append renders the object for one grant.
func (t template) append(b []byte, g *grant) []byte {
	b = append(b, '{')
	first := len(b)
	for _, m := range t {
		start := len(b)
		if start > first {
			b = append(b, ',')
		}
		b = append(b, m.text...)
		if m.value == nil {
			continue
		}
		from := len(b)
		if b = m.value(b, g); len(b) == from {
			b = b[:start]
		}
	}
	return append(b, '}')
}

// sources are the values of a grant by the words of a description.
var sources = map[provider.ClaimSource]func([]byte, *grant) []byte{
	provider.FromClientID:  func(b []byte, g *grant) []byte { return appendString(b, g.clientID) },
	provider.FromIssuedAt:  func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.issued, 10) },
	provider.FromNotBefore: func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.issued, 10) },
	provider.FromExpiresAt: func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.expire, 10) },
	provider.FromTokenID:   func(b []byte, g *grant) []byte { return appendString(b, g.tokenID) },
	provider.FromScope:     appendScope,
	provider.FromScopeList: func(b []byte, g *grant) []byte { return appendList(b, g.scopes) },
	provider.FromTenants:   func(b []byte, g *grant) []byte { return appendList(b, g.tenants) },
}

// claimsOf returns the template of the realm's claims.
func claimsOf(r *Realm) template {
	audience := r.Provider.AccessToken.Audience
	if len(audience) == 0 {
		audience = []string{r.Issuer}
	}
	var t template
	for _, c := range r.Provider.AccessToken.Claims {
		switch c.From {
		case "":
			t = t.fixed(c.Name, appendAny(nil, c.Value))
		case provider.FromIssuer:
			t = t.fixed(c.Name, appendString(nil, r.Issuer))
		case provider.FromAudience:
			t = t.fixed(c.Name, appendAudience(nil, audience))
		default:
			t = t.filled(c.Name, sources[c.From])
		}
	}
	return t
}

// answerOf returns the template of a token response (RFC 6749 section 5.1).
func answerOf(e *provider.TokenEndpoint) template {
	var t template
	for _, f := range e.Response.Fields {
		switch f {
		case provider.FieldAccessToken:
			t = t.filled(string(f), func(b []byte, g *grant) []byte { return appendString(b, g.token) })
		case provider.FieldExpiresIn:
			t = t.fixed(string(f), strconv.AppendInt(nil, int64(e.Lifetime.Seconds()), 10))
		case provider.FieldTokenType:
			t = t.fixed(string(f), appendString(nil, e.Response.TokenType))
		case provider.FieldScope:
			t = t.filled(string(f), appendScope)
		}
	}
	return t
}

// issue signs a token for the grant and keeps it there.
func (rl *realm) issue(g *grant) error {
	g.tokenID = newTokenID(rl.Provider.AccessToken.TokenID)
	payload := rl.claims.append(make([]byte, 0, 512), g)
	token, err := jose.Sign(rl.key.signer, rl.key.algorithm, rl.key.protected, payload)
	g.token = token
	return err
}

// newTokenID returns 128 random bits as 32 upper-case hexadecimal digits, or a
// UUID of version 4 (RFC 9562 section 5.4).
func newTokenID(form provider.TokenIDForm) string {
	b := random(16)
	if form == provider.TokenIDHex {
		return strings.ToUpper(hex.EncodeToString(b))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id := make([]byte, 0, 36)
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			id = append(id, '-')
		}
		id = hex.AppendEncode(id, part)
	}
	return string(id)
}

// appendScope appends the scopes as one string; nothing when there are none,
// because a scope of no tokens does not exist (RFC 6749 section 3.3).
func appendScope(b []byte, g *grant) []byte {
	if len(g.scopes) == 0 {
		return b
	}
	return appendString(b, g.scopes.String())
}

// appendAudience appends one audience as a string, several as an array (RFC
// 7519 section 4.1.3).
func appendAudience(b []byte, audience []string) []byte {
	if len(audience) == 1 {
		return appendString(b, audience[0])
	}
	return appendList(b, audience)
}

// appendList appends an array of strings; nothing when there are none.
func appendList(b []byte, list []string) []byte {
	for i, s := range list {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	if len(list) > 0 {
		b = append(b, ']')
	}
	return b
}

// appendString appends s as a JSON string; the plain ones without reflection.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return appendAny(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendAny appends a string or a number of a description as JSON.
func appendAny(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a description holds strings and numbers only
	}
	return append(b, text...)
}
