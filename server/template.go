package server

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// template is a JSON object in which everything but the values of one grant is
// rendered in advance. Its members keep the described order.
type template []member

type member struct {
	// text is the member up to its value, or with its value where that is fixed.
	text []byte
	// value appends the value of a grant; nil where it is fixed. A member whose
	// value appends nothing is left out.
	value func([]byte, *grant) []byte
}

// listSize is how many tokens one status list has, one bit each.
const listSize = 1 << 20

// grant holds the data of one token response.
type grant struct {
	client *store.Client
	scopes counterfoil.Scopes
	// audience is what the request asked for; nil for the default one.
	audience []string
	// confirmation is the value of the claim cnf (RFC 7800 section 3.1), a JSON
	// object; nil for a bearer token.
	confirmation []byte
	// tokenType is the response's token_type where the binding changes it.
	tokenType string
	// once are the assertions and proofs of the request.
	once []store.ReplayKey

	tokenID, token, keyID string
	// status is the index in the realm's status lists; negative for none.
	status int64
	// setBack is set when the client has tokens that are dated far ahead of the
	// clock.
	setBack bool
	// made is when the token was made; now is the time of the answer; issued,
	// notBefore and expire are the token's. All are seconds since 1970 (RFC 7519
	// section 2).
	made, now, issued, notBefore, expire int64
	// revision is that of the store at which all this was read.
	revision int64
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

// sources are the values of a grant by the claim sources of a description.
var sources = map[provider.ClaimSource]func([]byte, *grant) []byte{
	provider.FromClientID:  func(b []byte, g *grant) []byte { return appendString(b, g.client.ID) },
	provider.FromIssuedAt:  func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.issued, 10) },
	provider.FromNotBefore: func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.notBefore, 10) },
	provider.FromExpiresAt: func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.expire, 10) },
	provider.FromTokenID:   func(b []byte, g *grant) []byte { return appendString(b, g.tokenID) },
	provider.FromScope:     appendScope,
	provider.FromScopeList: func(b []byte, g *grant) []byte { return appendList(b, g.scopes) },
	provider.FromTenants:   func(b []byte, g *grant) []byte { return appendList(b, g.client.Tenants) },
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
			usual := appendAudience(nil, audience)
			t = t.filled(c.Name, func(b []byte, g *grant) []byte {
				if len(g.audience) > 0 {
					return appendAudience(b, g.audience)
				}
				return append(b, usual...)
			})
		case provider.FromStatus:
			lists := r.BaseURL + statusPath
			t = t.filled(c.Name, func(b []byte, g *grant) []byte { return appendStatus(b, lists, g) })
		default:
			t = t.filled(c.Name, sources[c.From])
		}
	}
	// Whatever the description says, a sender-constrained token has cnf.
	return t.filled("cnf", func(b []byte, g *grant) []byte { return append(b, g.confirmation...) })
}

// answerOf returns the template of a token response (RFC 6749 section 5.1).
func answerOf(e *provider.TokenEndpoint) template {
	var t template
	for _, f := range e.Response.Fields {
		switch f {
		case provider.FieldAccessToken:
			t = t.filled(string(f), func(b []byte, g *grant) []byte { return appendString(b, g.token) })
		case provider.FieldExpiresIn:
			t = t.filled(string(f), func(b []byte, g *grant) []byte { return strconv.AppendInt(b, g.expire-g.now, 10) })
		case provider.FieldTokenType:
			t = t.filled(string(f), func(b []byte, g *grant) []byte { return appendString(b, cmp.Or(g.tokenType, e.Response.TokenType)) })
		case provider.FieldScope:
			t = t.filled(string(f), appendScope)
		}
	}
	return t
}

// appendClaims adds a client's own claims to a payload, in the order of their
// names.
func appendClaims(payload []byte, claims map[string]string) []byte {
	payload = payload[:len(payload)-1]
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		payload = append(payload, ',')
		payload = append(appendString(payload, name), ':')
		payload = appendString(payload, claims[name])
	}
	return append(payload, '}')
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

// appendStatus appends the claim that refers to a status list (section 6.2).
func appendStatus(b []byte, lists string, g *grant) []byte {
	if g.status < 0 {
		return b
	}
	b = append(b, `{"status_list":{"idx":`...)
	b = strconv.AppendInt(b, g.status%listSize, 10)
	b = append(b, `,"uri":`...)
	b = appendString(b, lists+strconv.FormatInt(g.status/listSize, 10))
	return append(b, `}}`...)
}

// protected returns the protected header of a realm's tokens (RFC 7515 section
// 4), its members in the described order.
func protected(d *provider.AccessToken, kid, algorithm string) []byte {
	values := map[provider.HeaderMember]string{
		provider.HeaderAlg: algorithm,
		provider.HeaderKid: kid,
		provider.HeaderTyp: d.Type,
	}
	var t template
	for _, m := range d.Header {
		t = t.fixed(string(m), appendString(nil, values[m]))
	}
	return t.append(nil, nil)
}
