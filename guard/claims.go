package guard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/provider"
)

// claims says what the claims of a token must be.
type claims struct {
	provider string
	api      string
	issuer   string
	audience []string
	typ      string
	leeway   time.Duration
	// late is the leeway of exp.
	late time.Duration
	// tenants reports whether the tokens name the client's tenants.
	tenants bool
	checks  []check
}

// check says what one claim must be.
type check struct {
	name string
	from provider.ClaimSource
	// value is the fixed value, a string or a json.Number.
	value any
	// optional says that a token without the claim is valid.
	optional bool
}

// order is the order of the checks. Issuer and client come first, so that the
// record of a refusal names the client. Times come last, so that a token is
// refused as expired only if a new one would be accepted.
var order = []provider.ClaimSource{provider.FromIssuer, provider.FromClientID, provider.FromTokenID, provider.FromAudience}

func claimsOf(cfg Config, api *provider.API) (claims, error) {
	t := &cfg.Provider.AccessToken
	c := claims{
		provider: cfg.Provider.Name, api: api.Name, issuer: cfg.Issuer, audience: []string{cfg.Issuer},
		typ: mediatype.OfJWT(t.Type), leeway: api.Leeway, tenants: t.Claim(provider.FromTenants) != "",
	}
	if !cfg.SameClock {
		c.late = api.Leeway
	}
	switch {
	case cfg.Audience != "":
		c.audience = []string{cfg.Audience}
	case api.Audience != "":
		c.audience = []string{api.Audience}
	case len(t.Audience) > 0:
		c.audience = t.Audience
	}
	for _, source := range []provider.ClaimSource{provider.FromIssuer, provider.FromClientID, provider.FromExpiresAt} {
		if t.Claim(source) == "" {
			return claims{}, fmt.Errorf("the tokens have no claim from %s: a guard needs one", source)
		}
	}
	named := map[string]bool{}
	for _, d := range t.Claims {
		k, err := checkOf(d)
		if err != nil {
			return claims{}, err
		}
		named[d.Name] = true
		c.checks = append(c.checks, k)
	}
	// RFC 7519 sections 4.1.3 and 4.1.5 hold for aud and nbf even if the
	// description does not mention them.
	for name, from := range map[string]provider.ClaimSource{"aud": provider.FromAudience, "nbf": provider.FromNotBefore} {
		if !named[name] {
			c.checks = append(c.checks, check{name: name, from: from, optional: true})
		}
	}
	slices.SortStableFunc(c.checks, func(a, b check) int { return cmp.Compare(rank(a.from), rank(b.from)) })
	return c, nil
}

func checkOf(d provider.Claim) (check, error) {
	k := check{name: d.Name, from: d.From}
	switch v := d.Value.(type) {
	case nil:
	case string:
		k.value = v
	case int, int64, uint64:
		k.value = json.Number(fmt.Sprint(v))
	default:
		return k, fmt.Errorf("the claim %s has a value of type %T: it must be text or a whole number", d.Name, v)
	}
	// A token without scopes or tenants is valid; it allows less.
	switch d.From {
	case provider.FromScope, provider.FromScopeList, provider.FromTenants, provider.FromStatus:
		k.optional = true
	}
	return k, nil
}

func rank(from provider.ClaimSource) int {
	if i := slices.Index(order, from); i >= 0 {
		return i
	}
	return len(order)
}

// read checks the type and the claims of a token, except that it does not compare
// times with the clock. With a reason, the principal is nil until the client is
// known.
func (c *claims) read(typ string, members map[string]any) (*verified, counterfoil.Reason, string) {
	v := &verified{}
	p := &counterfoil.Principal{Provider: c.provider, Issuer: c.issuer, Claims: members}
	for i := range c.checks {
		k := &c.checks[i]
		value, there := members[k.name]
		if !there && k.optional {
			continue
		}
		if reason := c.claim(k, value, v, p); reason != "" {
			return v, reason, c.wrong(k, value, reason)
		}
		if p.ClientID != "" {
			v.principal = p
		}
	}
	bound, reason := bindingOf(members)
	if reason != "" {
		return v, reason, "claim cnf"
	}
	v.bound = bound
	if c.typ != "" && !strings.EqualFold(mediatype.OfJWT(typ), c.typ) {
		return v, counterfoil.ReasonTokenUse, "header typ is " + said(typ) + ": it must be " + c.typ
	}
	return v, "", ""
}

// wrong says what a claim is and must be, for the operator: the token is signed by
// the issuer.
func (c *claims) wrong(k *check, value any, reason counterfoil.Reason) string {
	text := "claim " + k.name + " is missing"
	if value != nil {
		text = "claim " + k.name + " is " + said(value)
	}
	switch {
	case reason == counterfoil.ReasonTokenMalformed:
		return "claim " + k.name
	case k.from == provider.FromIssuer:
		return text + ": it must be " + c.issuer
	case k.from == provider.FromAudience:
		return text + ": for the API " + c.api + " it must contain " + strings.Join(c.audience, " or ")
	}
	return text + ": it must be " + fmt.Sprint(k.value)
}

// said returns what a token says, for a record.
func said(value any) string { return event.Clean(fmt.Sprint(value), event.MaxClaim) }

// claim checks one claim and stores its value.
func (c *claims) claim(k *check, value any, v *verified, p *counterfoil.Principal) counterfoil.Reason {
	ok := true
	switch k.from {
	case provider.FromIssuer:
		if value != any(c.issuer) {
			return counterfoil.ReasonTokenIssuer
		}
	case provider.FromAudience:
		list, _ := texts(value)
		if !slices.ContainsFunc(list, func(a string) bool { return slices.Contains(c.audience, a) }) {
			return counterfoil.ReasonTokenAudience
		}
	case provider.FromClientID:
		id, _ := value.(string)
		if ok = id != "" && (p.ClientID == "" || p.ClientID == id); ok {
			p.ClientID = id
		}
	case provider.FromTokenID:
		p.TokenID, ok = value.(string)
		ok = ok && p.TokenID != ""
	case provider.FromExpiresAt:
		p.Expires, ok = seconds(value)
		v.notAfter = p.Expires.Add(c.late)
	case provider.FromIssuedAt, provider.FromNotBefore:
		var t time.Time
		if t, ok = seconds(value); t.Add(-c.leeway).After(v.notBefore) {
			v.notBefore = t.Add(-c.leeway)
		}
		if k.from == provider.FromIssuedAt || p.Issued.IsZero() {
			p.Issued = t
		}
	case provider.FromScope, provider.FromScopeList:
		p.Scopes, ok = scopes(value)
	case provider.FromTenants:
		v.tenants, ok = texts(value)
	case provider.FromStatus:
		_, ok = value.(map[string]any)
	default:
		if value != k.value {
			return counterfoil.ReasonTokenUse
		}
	}
	if !ok {
		return counterfoil.ReasonTokenMalformed
	}
	return ""
}

// texts returns the strings of a claim that is one string or an array of them.
func texts(value any) ([]string, bool) {
	if s, ok := value.(string); ok {
		return []string{s}, true
	}
	list, ok := value.([]any)
	all := make([]string, len(list))
	for i := range list {
		s, text := list[i].(string)
		if all[i] = s; !text {
			return nil, false
		}
	}
	return all, ok
}

// scopes reads a claim of scopes: one string with spaces (RFC 8693 section 4.2) or
// an array, whichever the description says. Issuers change from one to the other
// with an update, and both mean the same.
func scopes(value any) (counterfoil.Scopes, bool) {
	text, one := value.(string)
	if !one {
		list, ok := texts(value)
		if !ok || slices.ContainsFunc(list, func(s string) bool { return s == "" || strings.Contains(s, " ") }) {
			return nil, false
		}
		text = strings.Join(list, " ")
	}
	parsed, err := counterfoil.ParseScopes(text)
	return parsed, err == nil
}

// seconds reads a NumericDate (RFC 7519 section 2) without its fraction: issuers
// count revocations and replaced tokens in whole seconds.
func seconds(value any) (time.Time, bool) {
	t, ok := jose.NumericDate(value)
	return time.Unix(t.Unix(), 0), ok
}
