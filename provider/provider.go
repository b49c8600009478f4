// Package provider describes an API provider once: how its tokens are asked
// for, what they contain, what a call to its APIs must carry and what each
// refusal looks like. The server, the guard and the client all take their
// behaviour from the same Provider, so the two ends of the wire cannot drift
// apart.
//
// Use [Builtin] for a provider of the embedded catalog, [Open] where a user may
// name either a catalog entry or a file of their own, and [Parse] for a
// description that is already in memory. All three check strictly: an unknown,
// missing or contradictory field is an error that shows the file, the line and
// what is allowed there. A Provider that was returned without an error is
// complete and may be shared; it must not be changed.
//
// The package promises that a description that it accepts today it will accept
// in every later version of the same major version, with the same meaning.
package provider

import (
	"time"

	"github.com/counterfoil/counterfoil"
)

// Provider is one API provider.
type Provider struct {
	// Extends names a catalog entry, or a file beside this one or below, whose
	// fields this description takes where it has none of its own: mappings are
	// merged, lists and scalars replaced. The title is never taken. That
	// description may extend another; 8 files at most extend one another.
	Extends string `yaml:"extends,omitempty"`
	// Name is the provider's word on command lines and in paths: lower-case
	// letters, digits and hyphens.
	Name string `yaml:"name" check:"required"`
	// Title is the provider's name for people.
	Title string `yaml:"title,omitempty"`
	// Scopes are all scopes that the provider knows.
	Scopes []Scope `yaml:"scopes,omitempty"`
	// TokenEndpoint is where tokens are asked for.
	TokenEndpoint TokenEndpoint `yaml:"token_endpoint"`
	// AccessToken is what the issued tokens contain.
	AccessToken AccessToken `yaml:"access_token"`
	// APIs are those that the tokens open.
	APIs []API `yaml:"apis,omitempty"`
	// Variables are the names that the provider's guide gives to the settings
	// of a client, beyond those that every provider's environment file has.
	Variables []Variable `yaml:"variables,omitempty"`

	source Source
}

// Scope is a scope token (RFC 6749 section 3.3) with words for people.
type Scope struct {
	// Name is the scope token, Description says in one line what it allows.
	Name        string `yaml:"name" check:"required"`
	Description string `yaml:"description" check:"required"`
}

// TokenEndpoint says how a token is asked for (RFC 6749 section 3.2) and how
// the endpoint answers.
type TokenEndpoint struct {
	// Path is the endpoint's path below the realm's base URL.
	Path string `yaml:"path"`
	// URL is the endpoint of the real provider, for clients that are given no
	// other.
	URL string `yaml:"url,omitempty"`
	// GrantTypeIn says where the grant_type parameter travels.
	GrantTypeIn Place `yaml:"grant_type_in,omitempty"`
	// MediaType says whether a request must be marked as
	// application/x-www-form-urlencoded; when optional, a request without a
	// Content-Type is taken as well. Another media type is always refused.
	MediaType Presence `yaml:"media_type,omitempty"`
	// CheckFirst says what is looked at first when both are wrong: the client's
	// credentials or the grant type.
	CheckFirst Check `yaml:"check_first,omitempty"`
	// ClientAuthentication lists the accepted methods (RFC 7591 section 2); a
	// client uses the first.
	ClientAuthentication []Method `yaml:"client_authentication"`
	// Issuer is the issuer identifier of the real provider (RFC 8414 section 2),
	// which goes with URL.
	Issuer string `yaml:"issuer,omitempty"`
	// AssertionAudience is what the aud of a client's own assertion names
	// (private_key_jwt): the issuer, or the URL of the token endpoint, which a
	// server then takes beside the issuer; default the issuer. A client that
	// knows no issuer takes the URL.
	AssertionAudience AssertionAudience `yaml:"assertion_audience,omitempty"`
	// BasicEncoding says how client id and secret are written inside the Basic
	// credentials: "form" is RFC 6749 section 2.3.1, "raw" is RFC 7617.
	BasicEncoding Encoding `yaml:"basic_encoding,omitempty"`
	// Headers are those that a token request must carry beyond what OAuth
	// asks for.
	Headers []Header `yaml:"headers,omitempty"`
	// Scope says what the scope parameter must be.
	Scope ScopeParameter `yaml:"scope,omitempty"`
	// Limits bound what a request may carry.
	Limits Limits `yaml:"limits,omitempty"`
	// Lifetime is how long a token serves.
	Lifetime time.Duration `yaml:"lifetime"`
	// Policy says what a new token does to the client's earlier ones.
	Policy Policy `yaml:"policy,omitempty"`
	// ReusePercent is how much of a token's life may have passed when it is
	// answered again under the policy "reuse": from 1 to 90, default 50.
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
	// Parameter says whether it may be left out; left out, all scopes that the
	// client is allowed are granted.
	Parameter Presence `yaml:"parameter,omitempty"`
	// Spaces says what stands between scopes: "single" is one space, as RFC 6749
	// section 3.3 has it, and "any" is as many as there are, also before the
	// first and after the last. Default single.
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
	// TokenType is written as given: some providers answer "bearer".
	TokenType string `yaml:"token_type"`
	// Fields are the members of the JSON object, in order.
	Fields []Field `yaml:"fields"`
	// Headers are set on every answer of the endpoint, refusals included;
	// Content-Type only where there is a body.
	Headers map[string]string `yaml:"headers"`
}

// AccessToken is the form of the issued JWT access tokens.
type AccessToken struct {
	// SigningAlgorithm is the JWS algorithm (RFC 7518 section 3.1) of tokens
	// whose client asks for no other.
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
	// TokenID is the form of the claim that comes from token_id.
	TokenID TokenIDForm `yaml:"token_id,omitempty"`
	// Audience is the value of the claim that comes from audience; without it,
	// the issuer.
	Audience []string `yaml:"audience,omitempty"`
	// Claims are the members of the payload, in order.
	Claims []Claim `yaml:"claims"`
}

// Claim is one claim: its name and either a source or a fixed value. A guard
// checks each claim against the same source.
type Claim struct {
	// Name is that of the payload's member.
	Name string `yaml:"name" check:"required"`
	// From is the source of the value.
	From ClaimSource `yaml:"from,omitempty"`
	// Value is a fixed value: a string or a whole number.
	Value any `yaml:"value,omitempty"`
}

// API is one protected API.
type API struct {
	// Name is the API's word in configurations.
	Name string `yaml:"name" check:"required"`
	// Title is the API's name for people.
	Title string `yaml:"title,omitempty"`
	// Kind says how calls are made.
	Kind Kind `yaml:"kind" check:"required"`
	// URL is the API's base URL at the real provider.
	URL string `yaml:"url,omitempty"`
	// Path is where the API stands below the realm's base URL. A GraphQL API
	// is the path itself, a REST API everything below it.
	Path string `yaml:"path" check:"required"`
	// BasePath is what clients take as the API's base URL, when their calls
	// spell out a part of Path; default Path.
	BasePath string `yaml:"base_path,omitempty"`
	// Explorer is the path of a page for people, answered to GET without a
	// token; what is posted there is a call of the API.
	Explorer string `yaml:"explorer,omitempty"`
	// Headers are those that a call carries. A guard looks for them in this
	// order, and the first that is missing names the refusal.
	Headers []Header `yaml:"headers" check:"required"`
	// Audience is what the token's aud claim must contain; default, the
	// audience that tokens are issued for.
	Audience string `yaml:"audience,omitempty"`
	// Scopes are those that every call needs.
	Scopes counterfoil.Scopes `yaml:"scopes,omitempty"`
	// Leeway is what exp, nbf and iat may be off; default 30 s.
	Leeway time.Duration `yaml:"leeway,omitempty"`
	// SafeCalls are those that change nothing although their method does not say
	// so (RFC 9110 section 9.2.1): a client repeats them as it does GET. For a
	// REST API.
	SafeCalls []SafeCall `yaml:"safe_calls,omitempty"`
	// SafeDocuments says which documents of a GraphQL API a client repeats as it
	// does GET; default queries.
	SafeDocuments Documents `yaml:"safe_documents,omitempty"`
	// RequestsPerMinute is how many calls the provider wants at most from one
	// client; 0 for no limit.
	RequestsPerMinute int `yaml:"requests_per_minute,omitempty"`
	// Health is a harmless call that shows whether the API answers; default GET of
	// the base path, for GraphQL a query of __typename.
	Health Call `yaml:"health,omitempty"`
	// Example is a call for people to try; default Health.
	Example Call `yaml:"example,omitempty"`
	// Refusals are the shapes of refusal, by reason.
	Refusals map[counterfoil.Reason]Refusal `yaml:"refusals" check:"required"`
}

// SafeCall is a call that may be repeated, whatever its query and its body.
type SafeCall struct {
	// Method is the HTTP method.
	Method string `yaml:"method" check:"required"`
	// Path is below the API's base path. A segment in braces, as in
	// /orders/{id}/search, is any one segment.
	Path string `yaml:"path" check:"required"`
}

// Call is one call of an API.
type Call struct {
	// Method is the HTTP method; default POST for a GraphQL API, or else GET.
	Method string `yaml:"method,omitempty"`
	// Path is below the API's base path; it may have a query.
	Path string `yaml:"path,omitempty"`
	// Body is sent as it stands.
	Body string `yaml:"body,omitempty"`
}

// Header is a header that a request must carry: its name and either a source or
// a fixed value.
type Header struct {
	// Name is the header's name (RFC 9110 section 5.1); its case does not matter.
	Name string `yaml:"name" check:"required"`
	// From is the credential or setting that fills the header.
	From HeaderSource `yaml:"from,omitempty"`
	// Value is the fixed value. For Content-Type, parameters are ignored, and so
	// is the whole header where a request has no content.
	Value string `yaml:"value,omitempty"`
	// Scheme precedes a token, as in "Bearer TOKEN"; its case does not matter
	// when it is read (RFC 9110 section 11.1).
	Scheme string `yaml:"scheme,omitempty"`
	// Bare says that a token without its scheme is understood as well.
	Bare bool `yaml:"bare,omitempty"`
	// Presence says whether a request without the header is refused; default
	// required. A client always sends it.
	Presence Presence `yaml:"presence,omitempty"`
}

// Variable is a setting under the name that the provider's guide gives it.
type Variable struct {
	// Name is that of an environment variable, and ends with what it is, as in
	// ACME_CLIENT_ID.
	Name string `yaml:"name" check:"required"`
	// From is the setting; Value a fixed value instead.
	From  Setting `yaml:"from,omitempty"`
	Value string  `yaml:"value,omitempty"`
}

// API returns the API of that name; for the empty name the only one.
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

// Claim returns the name of the claim that comes from source; "" when the
// provider's tokens have none.
func (a *AccessToken) Claim(source ClaimSource) string {
	for _, c := range a.Claims {
		if c.From == source {
			return c.Name
		}
	}
	return ""
}

// Header returns the header that is filled from source.
func (a *API) Header(source HeaderSource) (Header, bool) { return find(a.Headers, source) }

// Header returns the header of the token request that is filled from source.
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
// that is filled from source.
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
