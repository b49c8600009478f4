// Package provider describes an API provider once: how its tokens are requested,
// what they contain, what a call to its APIs must carry and what each refusal
// looks like. The server, the guard and the client all take their behaviour from
// the same Provider, so the two ends of the wire cannot diverge.
//
// Use [Builtin] for a provider of the embedded catalog, [Open] if a user may name
// either a catalog entry or a file, and [Parse] for a description that is already
// in memory. All three check strictly: an unknown, missing or contradictory field
// is an error that shows the file, the line and what is allowed there. A Provider
// that is returned without an error is complete and may be shared; it must not be
// changed.
//
// Every later version of the same major version accepts all descriptions that this
// version accepts, with the same meaning.
package provider

import (
	"time"

	"github.com/counterfoil/counterfoil"
)

// Provider is one API provider.
type Provider struct {
	// Extends names a catalog entry, or a file in the same directory or below,
	// whose fields this description inherits: mappings are merged, lists and
	// scalars replaced. The title is never inherited. That description may extend
	// another; a chain has at most 8 files.
	Extends string `yaml:"extends,omitempty"`
	// Name is the provider's identifier on command lines and in paths: lower-case
	// letters, digits and hyphens.
	Name string `yaml:"name" check:"required"`
	// Title is the provider's name for people.
	Title string `yaml:"title,omitempty"`
	// Scopes are all scopes that the provider knows.
	Scopes []Scope `yaml:"scopes,omitempty"`
	// TokenEndpoint is where tokens are requested.
	TokenEndpoint TokenEndpoint `yaml:"token_endpoint"`
	// AccessToken is what the issued tokens contain.
	AccessToken AccessToken `yaml:"access_token"`
	// APIs are the APIs that accept the tokens.
	APIs []API `yaml:"apis,omitempty"`
	// Variables are the names that the provider's guide gives to the settings of
	// a client, in addition to those in every provider's environment file.
	Variables []Variable `yaml:"variables,omitempty"`

	source Source
}

// Scope is a scope token (RFC 6749 section 3.3) with a description for people.
type Scope struct {
	// Name is the scope token. Description says in one line what it allows.
	Name        string `yaml:"name" check:"required"`
	Description string `yaml:"description" check:"required"`
}

// TokenEndpoint says how a token is requested (RFC 6749 section 3.2) and how the
// endpoint answers.
type TokenEndpoint struct {
	// Path is the endpoint's path below the realm's base URL.
	Path string `yaml:"path"`
	// URL is the endpoint of the real provider, for clients that are not given
	// another one.
	URL string `yaml:"url,omitempty"`
	// GrantTypeIn says where the grant_type parameter is sent.
	GrantTypeIn Place `yaml:"grant_type_in,omitempty"`
	// MediaType says whether a request must have the Content-Type
	// application/x-www-form-urlencoded; if optional, a request without a
	// Content-Type is accepted too, and one without a body may have any. A body
	// of another media type is always refused.
	MediaType Presence `yaml:"media_type,omitempty"`
	// CheckFirst says what is checked first, and so reported if both are wrong:
	// the client's credentials or the grant type.
	CheckFirst Check `yaml:"check_first,omitempty"`
	// ClientAuthentication lists the accepted methods (RFC 7591 section 2). A
	// client uses the first that its credentials allow: with a secret, the first
	// of client_secret_basic and client_secret_post.
	ClientAuthentication []Method `yaml:"client_authentication"`
	// Issuer is the issuer identifier of the real provider (RFC 8414 section 2),
	// which belongs to URL.
	Issuer string `yaml:"issuer,omitempty"`
	// AssertionAudience is what the aud of a client's own assertion names
	// (private_key_jwt): the issuer, or the URL of the token endpoint, which a
	// server then accepts in addition to the issuer; default the issuer. A client
	// that knows no issuer names the URL.
	AssertionAudience AssertionAudience `yaml:"assertion_audience,omitempty"`
	// BasicEncoding says how client ID and secret are encoded in Basic
	// credentials: "form" is RFC 6749 section 2.3.1, "raw" is RFC 7617.
	BasicEncoding Encoding `yaml:"basic_encoding,omitempty"`
	// Headers are those that a token request must carry in addition to those of
	// OAuth.
	Headers []Header `yaml:"headers,omitempty"`
	// Scope says what the scope parameter must be.
	Scope ScopeParameter `yaml:"scope,omitempty"`
	// Limits bound what a request may carry.
	Limits Limits `yaml:"limits,omitempty"`
	// Lifetime is the time after which a token expires.
	Lifetime time.Duration `yaml:"lifetime"`
	// Policy says how a new token affects the client's earlier ones.
	Policy Policy `yaml:"policy,omitempty"`
	// ReusePercent is the share of a token's lifetime during which the policy
	// "reuse" returns the same token again: from 1 to 90, default 50.
	ReusePercent int `yaml:"reuse_percent,omitempty"`
	// Resources are those that a request may name with the parameter resource
	// (RFC 8707): absolute URIs without a fragment. They become the token's
	// audience. Without any, the parameter is ignored.
	Resources []string `yaml:"resources,omitempty"`
	// Response is the shape of success.
	Response Response `yaml:"response"`
	// Errors are the shapes of refusal, by reason.
	Errors map[counterfoil.Reason]Refusal `yaml:"errors"`
}

// ScopeParameter says what the scope parameter of a token request must be.
type ScopeParameter struct {
	// Parameter says whether it may be left out; the client is then granted all
	// scopes that it is allowed.
	Parameter Presence `yaml:"parameter,omitempty"`
	// Spaces says what separates scopes: "single" is one space, as in RFC 6749
	// section 3.3, and "any" is any number of spaces, also before the first scope
	// and after the last. Default single.
	Spaces Spaces `yaml:"spaces,omitempty"`
	// MustInclude are scopes without which no token is issued.
	MustInclude counterfoil.Scopes `yaml:"must_include,omitempty"`
}

// Limits bound a token request; more is refused.
type Limits struct {
	// Body is in bytes; default 16 KiB.
	Body int `yaml:"body,omitempty"`
	// ClientID, ClientSecret and Scope are in bytes after decoding; default
	// 256, 256 and 1,024.
	ClientID     int `yaml:"client_id,omitempty"`
	ClientSecret int `yaml:"client_secret,omitempty"`
	Scope        int `yaml:"scope,omitempty"`
}

// Response is the shape of a successful token response (RFC 6749 section 5.1).
type Response struct {
	// TokenType is sent exactly as written: some providers answer "bearer".
	TokenType string `yaml:"token_type"`
	// Fields are the members of the JSON object, in order.
	Fields []Field `yaml:"fields"`
	// Headers are set on every answer of the endpoint, refusals included;
	// Content-Type only on those with a body.
	Headers map[string]string `yaml:"headers"`
}

// AccessToken is the form of the issued JWT access tokens.
type AccessToken struct {
	// SigningAlgorithm is the JWS algorithm (RFC 7518 section 3.1) of tokens
	// whose client has no other.
	SigningAlgorithm Algorithm `yaml:"signing_algorithm"`
	// SigningAlgorithms are all that a client of the realm may have; a guard
	// accepts no others. Default: SigningAlgorithm alone, which is always one
	// of them.
	SigningAlgorithms []Algorithm `yaml:"signing_algorithms,omitempty"`
	// Header are the members of the protected header, in order.
	Header []HeaderMember `yaml:"header"`
	// Type is the value of the header's typ member.
	Type string `yaml:"type,omitempty"`
	// KeyID is the form of the kid member.
	KeyID KeyIDForm `yaml:"key_id,omitempty"`
	// TokenID is the form of the claim whose source is token_id.
	TokenID TokenIDForm `yaml:"token_id,omitempty"`
	// Audience is the value of the claim whose source is audience; default the
	// issuer.
	Audience []string `yaml:"audience,omitempty"`
	// Claims are the members of the payload, in order.
	Claims []Claim `yaml:"claims"`
}

// Claim is one claim: its name and either a source or a fixed value. A guard
// checks each claim against the same source.
type Claim struct {
	// Name is the name of the member of the payload.
	Name string `yaml:"name" check:"required"`
	// From is the source of the value.
	From ClaimSource `yaml:"from,omitempty"`
	// Value is a fixed value: a string or a whole number.
	Value any `yaml:"value,omitempty"`
}

// API is one protected API.
type API struct {
	// Name is the API's identifier in configurations.
	Name string `yaml:"name" check:"required"`
	// Title is the API's name for people.
	Title string `yaml:"title,omitempty"`
	// Kind says how calls are made.
	Kind Kind `yaml:"kind" check:"required"`
	// URL is the API's base URL at the real provider.
	URL string `yaml:"url,omitempty"`
	// Path is the path of the API below the realm's base URL. A GraphQL API is at
	// the path itself, a REST API at everything below it.
	Path string `yaml:"path" check:"required"`
	// BasePath is where the API's base URL ends for clients, if their calls include
	// a part of Path; default Path.
	BasePath string `yaml:"base_path,omitempty"`
	// Explorer is the path of a page for people, served to GET without a token; a
	// POST there is a call of the API.
	Explorer string `yaml:"explorer,omitempty"`
	// Headers are those that a call carries. A guard checks them in this order,
	// and refuses a call for the first that is missing.
	Headers []Header `yaml:"headers" check:"required"`
	// Audience is what the token's aud claim must contain: one of the audiences
	// or the resources that tokens are issued for, or the issuer if they have no
	// other audience. Default: any of the audiences, else the issuer.
	Audience string `yaml:"audience,omitempty"`
	// Scopes are those that every call needs.
	Scopes counterfoil.Scopes `yaml:"scopes,omitempty"`
	// Leeway is how far exp, nbf and iat may be off; default 30 s.
	Leeway time.Duration `yaml:"leeway,omitempty"`
	// SafeCalls are calls of a REST API that change nothing although their method
	// does not say so (RFC 9110 section 9.2.1): a client retries them like GET.
	SafeCalls []SafeCall `yaml:"safe_calls,omitempty"`
	// SafeDocuments says which documents of a GraphQL API a client retries like
	// GET; default queries.
	SafeDocuments Documents `yaml:"safe_documents,omitempty"`
	// RequestsPerMinute is how many calls the provider allows one client; 0 for no
	// limit. A client keeps to it in any minute, and a guard enforces it with a
	// tenth more.
	RequestsPerMinute int `yaml:"requests_per_minute,omitempty"`
	// Health is a harmless call that shows whether the API answers; default GET of
	// the base path, for GraphQL a query of __typename.
	Health Call `yaml:"health,omitempty"`
	// Example is a call for people to try; default Health.
	Example Call `yaml:"example,omitempty"`
	// Refusals are the shapes of refusal, by reason.
	Refusals map[counterfoil.Reason]Refusal `yaml:"refusals" check:"required"`
}

// SafeCall is a call that may be retried, whatever its query and its body.
type SafeCall struct {
	// Method is the HTTP method.
	Method string `yaml:"method" check:"required"`
	// Path is below the API's base path. A segment in braces, as in
	// /orders/{id}/search, is any one segment.
	Path string `yaml:"path" check:"required"`
}

// Call is one call of an API.
type Call struct {
	// Method is the HTTP method; default POST for a GraphQL API, GET for others.
	Method string `yaml:"method,omitempty"`
	// Path is below the API's base path; it may have a query.
	Path string `yaml:"path,omitempty"`
	// Body is sent exactly as written.
	Body string `yaml:"body,omitempty"`
}

// Header is a header that a request must carry: its name and either a source or
// a fixed value.
type Header struct {
	// Name is the header's name (RFC 9110 section 5.1); its case does not matter.
	Name string `yaml:"name" check:"required"`
	// From is the source of the value: a credential or a setting.
	From HeaderSource `yaml:"from,omitempty"`
	// Value is the fixed value. For Content-Type, parameters are ignored, and so
	// is the whole header if a request has no content.
	Value string `yaml:"value,omitempty"`
	// Scheme precedes a token, as in "Bearer TOKEN"; its case is ignored in
	// requests (RFC 9110 section 11.1).
	Scheme string `yaml:"scheme,omitempty"`
	// Bare says that a token without its scheme is accepted too.
	Bare bool `yaml:"bare,omitempty"`
	// Presence says whether a request without the header is refused; default
	// required. A client always sends it.
	Presence Presence `yaml:"presence,omitempty"`
}

// Variable is a setting under the name that the provider's guide gives it.
type Variable struct {
	// Name is the name of an environment variable. It ends with the kind of the
	// setting, as in ACME_CLIENT_ID.
	Name string `yaml:"name" check:"required"`
	// From is the setting; Value is a fixed value instead.
	From  Setting `yaml:"from,omitempty"`
	Value string  `yaml:"value,omitempty"`
}

// API returns the API of that name; for an empty name, the only one.
func (p *Provider) API(name string) (*API, bool) {
	if name == "" && len(p.APIs) == 1 {
		return &p.APIs[0], true
	}
	for i := range p.APIs {
		if p.APIs[i].Name == name {
			return &p.APIs[i], true
		}
	}
	return nil, false
}

// ScopeNames returns the names of all scopes of the provider.
func (p *Provider) ScopeNames() counterfoil.Scopes {
	names := make(counterfoil.Scopes, len(p.Scopes))
	for i, s := range p.Scopes {
		names[i] = s.Name
	}
	return names
}

// Algorithms returns all algorithms that tokens may be signed with, the default
// first.
func (a *AccessToken) Algorithms() []Algorithm {
	all := []Algorithm{a.SigningAlgorithm}
	for _, other := range a.SigningAlgorithms {
		if other != all[0] {
			all = append(all, other)
		}
	}
	return all
}

// Claim returns the name of the claim with that source; "" if the provider's
// tokens have none.
func (a *AccessToken) Claim(source ClaimSource) string {
	for _, c := range a.Claims {
		if c.From == source {
			return c.Name
		}
	}
	return ""
}

// Header returns the header with that source.
func (a *API) Header(source HeaderSource) (Header, bool) { return find(a.Headers, source) }

// Header returns the header of the token request with that source.
func (t *TokenEndpoint) Header(source HeaderSource) (Header, bool) { return find(t.Headers, source) }

func find(headers []Header, source HeaderSource) (Header, bool) {
	for _, h := range headers {
		if h.From == source {
			return h, true
		}
	}
	return Header{}, false
}

// Needs reports whether any request of the provider's clients carries a header
// with that source.
func (p *Provider) Needs(source HeaderSource) bool {
	if _, ok := p.TokenEndpoint.Header(source); ok {
		return true
	}
	for i := range p.APIs {
		if _, ok := p.APIs[i].Header(source); ok {
			return true
		}
	}
	return false
}
