package provider

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Overrides are an operator's changes to a description for one realm. A field that
// is left out changes nothing; a list replaces the description's.
type Overrides struct {
	// Scopes are all scopes of the realm.
	Scopes []Scope `yaml:"scopes,omitempty"`
	// Lifetime is the time after which a token expires: whole seconds, 1s to 720h.
	Lifetime time.Duration `yaml:"lifetime,omitempty"`
	// Policy says how a new token affects the client's earlier ones. ReusePercent
	// is the share of a token's lifetime during which the policy reuse returns the
	// same token again, 1 to 90.
	Policy       Policy `yaml:"policy,omitempty"`
	ReusePercent int    `yaml:"reuse_percent,omitempty"`
	// SigningAlgorithms are those that tokens may be signed with; the first is the
	// default of a client.
	SigningAlgorithms []Algorithm `yaml:"signing_algorithms,omitempty"`
	// ClientAuthentication are the accepted methods.
	ClientAuthentication []Method `yaml:"client_authentication,omitempty"`
	// AssertionAudience is the accepted audience of clients' own assertions.
	AssertionAudience AssertionAudience `yaml:"assertion_audience,omitempty"`
	// Resources are what a request may name in the parameter resource (RFC
	// 8707).
	Resources []string `yaml:"resources,omitempty"`
	// Audience is the value of the claim whose source is audience.
	Audience []string `yaml:"audience,omitempty"`
	// Claims replace the description's claims of the same names; others are added
	// at the end.
	Claims []Claim `yaml:"claims,omitempty"`
}

// Override returns a copy of p with the overrides applied, checked like a
// description. Use the same copy for the server, the guard and the client of a
// realm. The error is Problems; each has no file but the Way to the override in
// question, which may be empty.
func (p *Provider) Override(o Overrides) (*Provider, error) {
	d := *p
	t, a := &d.TokenEndpoint, &d.AccessToken
	d.Scopes = instead(o.Scopes, d.Scopes)
	t.Lifetime = cmp.Or(o.Lifetime, t.Lifetime)
	t.Policy = cmp.Or(o.Policy, t.Policy)
	t.ReusePercent = cmp.Or(o.ReusePercent, t.ReusePercent)
	t.ClientAuthentication = instead(o.ClientAuthentication, t.ClientAuthentication)
	t.AssertionAudience = cmp.Or(o.AssertionAudience, t.AssertionAudience)
	t.Resources = instead(o.Resources, t.Resources)
	a.Audience = instead(o.Audience, a.Audience)
	if len(o.SigningAlgorithms) > 0 {
		a.SigningAlgorithm, a.SigningAlgorithms = o.SigningAlgorithms[0], slices.Clone(o.SigningAlgorithms)
	}
	var found overrideProblems
	if len(o.Claims) > 0 {
		a.Claims = slices.Clone(a.Claims)
	}
	for i, c := range o.Claims {
		if slices.ContainsFunc(o.Claims[:i], func(other Claim) bool { return other.Name == c.Name }) {
			found.list = append(found.list, &Problem{Way: at("claims", i), Message: fmt.Sprintf("a second claim is called %q", c.Name)})
		}
		if at := slices.IndexFunc(a.Claims, func(old Claim) bool { return old.Name == c.Name }); at >= 0 {
			a.Claims[at] = c
		} else {
			a.Claims = append(a.Claims, c)
		}
	}
	(&validator{problems: &found, p: &d}).provider()
	if len(found.list) > 0 {
		return nil, found.list
	}
	return &d, nil
}

// instead returns a copy of the override, or was if it is empty.
func instead[T any](override, was []T) []T {
	if len(override) == 0 {
		return was
	}
	return slices.Clone(override)
}

// overrideProblems turns the ways of a description into those of Overrides.
type overrideProblems struct{ list Problems }

func (o *overrideProblems) Fail(way []any, allowed []string, format string, args ...any) {
	says := fmt.Sprintf(format, args...)
	if way = overrideWay(way); way != nil {
		says = overrideNames.Replace(says)
	}
	o.list = append(o.list, &Problem{Way: way, Allowed: allowed, Message: says})
}

// overrideNames maps the names of a description's values to those of Overrides.
var overrideNames = strings.NewReplacer(
	"token_endpoint.lifetime", "lifetime", "token_endpoint.policy", "policy", "token_endpoint.reuse_percent", "reuse_percent",
	"token_endpoint.client_authentication", "client_authentication", "token_endpoint.assertion_audience", "assertion_audience",
	"token_endpoint.resources", "resources", "access_token.signing_algorithms", "signing_algorithms",
	"access_token.signing_algorithm", "signing_algorithms", "access_token.audience", "audience", "access_token.claims", "claims",
)

// overrideWay returns the way to the override that sets a value of a description;
// nil if no override sets it. A missing scope is a problem of the list of scopes.
func overrideWay(way []any) []any {
	key := func(i int) any {
		if i < len(way) {
			return way[i]
		}
		return nil
	}
	switch key(0) {
	case "scopes":
		return way
	case "apis":
		if key(2) == "scopes" {
			return at("scopes")
		}
	case "token_endpoint":
		switch key(1) {
		case "scope":
			return at("scopes")
		case "lifetime", "policy", "reuse_percent", "client_authentication", "assertion_audience", "resources":
			return way[1:]
		}
	case "access_token":
		switch key(1) {
		case "signing_algorithm", "signing_algorithms":
			return at("signing_algorithms")
		case "audience", "claims":
			return way[1:2]
		}
	}
	return nil
}
