package provider

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

// The reasons whose shapes a description must have, and those that it may have.
var (
	tokenReasons = []counterfoil.Reason{
		counterfoil.ReasonInvalidRequest, counterfoil.ReasonInvalidClient, counterfoil.ReasonUnsupportedGrantType,
		counterfoil.ReasonInvalidScope, counterfoil.ReasonRateLimited, counterfoil.ReasonServerError, counterfoil.ReasonUnavailable,
	}
	tokenDetails = []counterfoil.Reason{
		counterfoil.ReasonMethodNotAllowed, counterfoil.ReasonUnsupportedMediaType, counterfoil.ReasonRequestTooLarge,
		counterfoil.ReasonMalformedRequest, counterfoil.ReasonRepeatedParameter, counterfoil.ReasonMisplacedParameter,
		counterfoil.ReasonGrantTypeMissing, counterfoil.ReasonMultipleCredentials, counterfoil.ReasonCredentialsMissing,
		counterfoil.ReasonCredentialsMalformed, counterfoil.ReasonUnknownClient, counterfoil.ReasonWrongSecret,
		counterfoil.ReasonClientDisabled, counterfoil.ReasonMethodNotAccepted, counterfoil.ReasonScopeMissing,
		counterfoil.ReasonScopeMalformed, counterfoil.ReasonScopeNotAllowed, counterfoil.ReasonHeaderMissing,
		counterfoil.ReasonHeaderInvalid, counterfoil.ReasonAPIKeyMissing, counterfoil.ReasonAPIKeyInvalid,
		counterfoil.ReasonInvalidTarget, counterfoil.ReasonClientExpired,
		counterfoil.ReasonAddressNotAllowed, counterfoil.ReasonSecretsBusy,
		counterfoil.ReasonAssertionMalformed, counterfoil.ReasonAssertionAlgorithm, counterfoil.ReasonAssertionKey,
		counterfoil.ReasonAssertionSignature, counterfoil.ReasonAssertionIssuer, counterfoil.ReasonAssertionAudience,
		counterfoil.ReasonAssertionExpired, counterfoil.ReasonAssertionLifetime, counterfoil.ReasonAssertionReplayed,
		counterfoil.ReasonAssertionClaims, counterfoil.ReasonCertificateMissing, counterfoil.ReasonCertificateUnknown,
		counterfoil.ReasonInvalidDPoPProof, counterfoil.ReasonUseDPoPNonce, counterfoil.ReasonDPoPProofReplayed,
	}
	callReasons = []counterfoil.Reason{
		counterfoil.ReasonTokenMissing, counterfoil.ReasonTokenInvalid, counterfoil.ReasonScopeInsufficient, counterfoil.ReasonUnavailable,
	}
	callDetails = []counterfoil.Reason{
		counterfoil.ReasonPathMalformed, counterfoil.ReasonTokenRepeated, counterfoil.ReasonTokenMalformed,
		counterfoil.ReasonTokenAlgorithm, counterfoil.ReasonTokenKeyUnknown,
		counterfoil.ReasonTokenSignature, counterfoil.ReasonTokenIssuer, counterfoil.ReasonTokenAudience, counterfoil.ReasonTokenUse,
		counterfoil.ReasonTokenExpired, counterfoil.ReasonTokenNotYetValid, counterfoil.ReasonTokenReplaced, counterfoil.ReasonTokenRevoked,
		counterfoil.ReasonTokenCertificate, counterfoil.ReasonTokenProof, counterfoil.ReasonTokenProofNonce,
		counterfoil.ReasonTokenAddress, counterfoil.ReasonTenantMissing, counterfoil.ReasonTenantDenied,
		counterfoil.ReasonHeaderMissing, counterfoil.ReasonHeaderInvalid,
		counterfoil.ReasonAPIKeyMissing, counterfoil.ReasonAPIKeyInvalid, counterfoil.ReasonRateLimited,
	}
)

var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	methodForm = regexp.MustCompile(`^[A-Z]{1,20}$`)
	callForm   = regexp.MustCompile(`^(/[A-Za-z0-9._~/%:@+,=-]*(\?[A-Za-z0-9._~/%:@+,=&-]*)?)?$`)
	// safeForm is a callForm without a query, whose segments may be in braces.
	safeForm = regexp.MustCompile(`^(/([A-Za-z0-9._~%:@+,=-]*|\{[A-Za-z0-9_]+\}))*$`)
	// envForm excludes names that a shell or a loader interprets: the name of a
	// setting ends with its kind.
	envForm = regexp.MustCompile(`^([A-Z][A-Z0-9]*_)*(ACCOUNT|AUDIENCE|CODE|ENDPOINT|ENVIRONMENT|HOST|ID|KEY|PASSWORD|REGION` +
		`|SCOPE|SCOPES|SECRET|TENANT|URL|USERNAME|VERSION)$`)
)

// defaults sets the fields that a description leaves out.
func defaults(p *Provider) {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	t, a := &p.TokenEndpoint, &p.AccessToken
	set(&p.Title, p.Name)
	set((*string)(&t.GrantTypeIn), string(PlaceBody))
	set((*string)(&t.MediaType), string(PresenceRequired))
	set((*string)(&t.CheckFirst), string(CheckGrantType))
	set((*string)(&t.AssertionAudience), string(AssertionAudienceIssuer))
	set((*string)(&t.BasicEncoding), string(EncodingForm))
	set((*string)(&t.Scope.Parameter), string(PresenceOptional))
	set((*string)(&t.Scope.Spaces), string(SpacesSingle))
	set((*string)(&t.Policy), string(PolicyIndependent))
	set((*string)(&a.KeyID), string(KeyIDThumbprint))
	set((*string)(&a.TokenID), string(TokenIDUUID))
	if t.ReusePercent == 0 {
		t.ReusePercent = 50
	}
	if !slices.Contains(a.SigningAlgorithms, a.SigningAlgorithm) && a.SigningAlgorithm != "" {
		a.SigningAlgorithms = append([]Algorithm{a.SigningAlgorithm}, a.SigningAlgorithms...)
	}
	l := &t.Limits
	for limit, value := range map[*int]int{&l.Body: 16 << 10, &l.ClientID: 256, &l.ClientSecret: 256, &l.Scope: 1024} {
		if *limit == 0 {
			*limit = value
		}
	}
	headers(t.Headers)
	for i := range p.APIs {
		api := &p.APIs[i]
		set(&api.Title, p.Title)
		set(&api.BasePath, api.Path)
		if api.Health == (Call{}) && api.Kind == KindGraphQL {
			api.Health.Body = `{"query":"{ __typename }"}`
		}
		if api.Health.Method == "" {
			api.Health.Method = methodOf(api.Kind)
		}
		if api.Example == (Call{}) {
			api.Example = api.Health
		}
		if api.Example.Method == "" {
			api.Example.Method = methodOf(api.Kind)
		}
		if api.Kind == KindGraphQL {
			set((*string)(&api.SafeDocuments), string(DocumentsOfQueries))
		}
		if api.Leeway == 0 {
			api.Leeway = 30 * time.Second
		}
		headers(api.Headers)
	}
}

func methodOf(kind Kind) string {
	if kind == KindGraphQL {
		return http.MethodPost
	}
	return http.MethodGet
}

func headers(hs []Header) {
	for i := range hs {
		if hs[i].Presence == "" {
			hs[i].Presence = PresenceRequired
		}
	}
}

// validator finds contradictions in a description that was decoded, merged with
// what it extends and given its defaults.
type validator struct {
	problems
	p *Provider
}

// problems collects what a validator finds: the document that a description was
// decoded from, or a list.
type problems interface {
	Fail(way []any, allowed []string, format string, args ...any)
}

func (v *validator) fail(at []any, format string, args ...any) {
	v.Fail(at, nil, format, args...)
}

// at is the way to a value from the top of the description.
func at(keys ...any) []any { return keys }

// under returns the way to a value below p.
func under(p []any, keys ...any) []any { return append(slices.Clip(slices.Clone(p)), keys...) }

func (v *validator) provider() {
	p := v.p
	if !nameForm.MatchString(p.Name) {
		v.fail(at("name"), "the name %q must be lower-case letters, digits and hyphens, starting with a letter", p.Name)
	}
	v.line(at("title"), p.Title)
	v.tokenEndpoint(&p.TokenEndpoint)
	v.accessToken(&p.AccessToken)
	names := map[string]bool{}
	for i := range p.APIs {
		way := at("apis", i)
		if names[p.APIs[i].Name] {
			v.fail(under(way, "name"), "a second API is called %q", p.APIs[i].Name)
		}
		names[p.APIs[i].Name] = true
		v.api(way, &p.APIs[i])
	}
	v.places()
	for i, s := range p.Scopes {
		v.line(at("scopes", i, "description"), s.Description)
		if parsed, err := counterfoil.ParseScopes(s.Name); err != nil || len(parsed) != 1 {
			v.fail(at("scopes", i, "name"), "%q is not one scope token (RFC 6749 section 3.3)", s.Name)
		}
	}
	for i, x := range p.Variables {
		if !envForm.MatchString(x.Name) {
			v.fail(at("variables", i, "name"), "%q is not a name for a setting: use capitals, digits and underscores, "+
				"and end with its kind, as in ACME_CLIENT_ID", x.Name)
		}
		v.either(at("variables", i), string(x.From), x.Value)
	}
}

func (v *validator) tokenEndpoint(t *TokenEndpoint) {
	way := at("token_endpoint")
	v.path(under(way, "path"), t.Path)
	v.url(under(way, "url"), t.URL)
	v.url(under(way, "issuer"), t.Issuer)
	if len(t.ClientAuthentication) == 0 {
		v.fail(under(way, "client_authentication"), "token_endpoint.client_authentication is missing: name at least one of %s",
			strings.Join(Method("").Words(), ", "))
	}
	v.headers(under(way, "headers"), t.Headers, HeaderFromAPIKey)
	v.known(under(way, "scope", "must_include"), t.Scope.MustInclude)
	for name, n := range t.Limits.byName() {
		if n < 1 || n > 1<<20 {
			v.fail(under(way, "limits", name), "the limit must be from 1 to 1048576 bytes")
		}
	}
	if t.Lifetime < time.Second || t.Lifetime > 30*24*time.Hour || t.Lifetime%time.Second != 0 {
		v.fail(under(way, "lifetime"), "token_endpoint.lifetime must be whole seconds, from 1s to 720h")
	}
	if t.ReusePercent < 1 || t.ReusePercent > 90 {
		v.fail(under(way, "reuse_percent"), "reuse_percent must be from 1 to 90")
	}
	for i, r := range t.Resources {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Fragment != "" || len(r) > 500 || slices.Contains(t.Resources[:i], r) {
			v.fail(under(way, "resources", i), "%q is not an absolute URI without a fragment that is named once (RFC 8707 section 2)", r)
		}
	}
	if t.Response.TokenType == "" {
		v.fail(under(way, "response", "token_type"), "token_endpoint.response.token_type is missing: for example Bearer")
	}
	for _, f := range []Field{FieldAccessToken, FieldTokenType} {
		if !slices.Contains(t.Response.Fields, f) {
			v.fail(under(way, "response", "fields"), "token_endpoint.response.fields must include %s (RFC 6749 section 5.1)", f)
		}
	}
	if !strings.Contains(strings.ToLower(headerValue(t.Response.Headers, "Cache-Control")), "no-store") {
		v.fail(under(way, "response", "headers"),
			"token_endpoint.response.headers must set Cache-Control with no-store (RFC 6749 section 5.1)")
	}
	for name, value := range t.Response.Headers {
		v.header(under(way, "response", "headers", name), name, value)
	}
	need := slices.Clone(tokenReasons)
	if _, ok := t.Header(HeaderFromAPIKey); ok {
		need = append(need, counterfoil.ReasonAPIKeyInvalid)
	}
	if slices.ContainsFunc(t.Headers, func(h Header) bool { return h.Value != "" }) {
		need = append(need, counterfoil.ReasonHeaderMissing)
	}
	v.refusals(under(way, "errors"), t.Errors, need, append(slices.Clone(tokenReasons), tokenDetails...))
}

// byName returns the limits by their names in a description.
func (l *Limits) byName() map[string]int {
	return map[string]int{"body": l.Body, "client_id": l.ClientID, "client_secret": l.ClientSecret, "scope": l.Scope}
}

func (v *validator) accessToken(a *AccessToken) {
	way := at("access_token")
	if a.SigningAlgorithm == "" {
		v.fail(under(way, "signing_algorithm"), "access_token.signing_algorithm is missing: name one of %s",
			strings.Join(Algorithm("").Words(), ", "))
	}
	for _, m := range []HeaderMember{HeaderAlg, HeaderKid} {
		if !slices.Contains(a.Header, m) {
			v.fail(under(way, "header"), "access_token.header must include %s", m)
		}
	}
	if slices.Contains(a.Header, HeaderTyp) != (a.Type != "") {
		v.fail(under(way, "type"), "access_token.type and typ in access_token.header go together")
	}
	if len(slices.Compact(slices.Sorted(slices.Values(a.Header)))) != len(a.Header) {
		v.fail(under(way, "header"), "access_token.header names a member twice")
	}
	names, sources := map[string]bool{}, map[ClaimSource]bool{}
	for i, c := range a.Claims {
		if names[c.Name] {
			v.fail(under(way, "claims", i), "a second claim is called %q", c.Name)
		}
		value := ""
		if c.Value != nil {
			value = fmt.Sprint(c.Value)
		}
		v.either(under(way, "claims", i), string(c.From), value)
		names[c.Name], sources[c.From] = true, true
	}
	for _, s := range []ClaimSource{FromIssuer, FromClientID, FromExpiresAt} {
		if !sources[s] {
			v.fail(under(way, "claims"), "access_token.claims must have one whose source is %s", s)
		}
	}
	if !sources[FromScope] && !sources[FromScopeList] {
		v.fail(under(way, "claims"), "access_token.claims must have one whose source is scope or scope_list")
	}
	if !sources[FromIssuedAt] && !sources[FromNotBefore] {
		v.fail(under(way, "claims"), "access_token.claims must have one whose source is issued_at or not_before: "+
			"revocation depends on it")
	}
	if sources[FromStatus] && a.Type == "" {
		// The lists are public.
		v.fail(under(way, "type"), "a claim whose source is status needs access_token.type: the same key signs the status lists, "+
			"and typ tells a list from a token")
	}
	if v.p.TokenEndpoint.Policy == PolicyReplace && !sources[FromTokenID] {
		v.fail(at("token_endpoint", "policy"), "the policy replace needs a claim whose source is token_id, to tell tokens apart")
	}
}

// line refuses text for people that is not one line.
func (v *validator) line(way []any, s string) {
	if len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		v.fail(way, "this must be one line of visible text, 200 bytes at most")
	}
}

func (v *validator) call(way []any, c Call) {
	if !methodForm.MatchString(c.Method) {
		v.fail(under(way, "method"), "%q is not an HTTP method", c.Method)
	}
	if !callForm.MatchString(c.Path) {
		v.fail(under(way, "path"), "%q is not a path with an optional query, or has a character that must be percent-encoded", c.Path)
	}
}

func (v *validator) headers(way []any, hs []Header, sources ...HeaderSource) {
	seen := map[string]bool{}
	for i, h := range hs {
		way := under(way, i)
		name := textproto.CanonicalMIMEHeaderKey(h.Name)
		if seen[name] {
			v.fail(way, "a second header is called %s", name)
		}
		seen[name] = true
		v.header(under(way, "name"), h.Name, h.Value)
		v.either(way, string(h.From), h.Value)
		if h.From != "" && !slices.Contains(sources, h.From) {
			v.fail(under(way, "from"), "a header whose source is %s is not allowed here", h.From)
		}
		if h.From != HeaderFromToken && (h.Scheme != "" || h.Bare) {
			v.fail(way, "scheme and bare belong to a header whose source is token")
		}
	}
}

func (v *validator) header(way []any, name, value string) {
	if !headerForm.MatchString(name) {
		v.fail(way, "%q is not a header name (RFC 9110 section 5.1)", name)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		v.fail(way, "the value of header %s must be printable ASCII", name)
	}
}

func (v *validator) refusals(way []any, shapes map[counterfoil.Reason]Refusal, need, known []counterfoil.Reason) {
	last := way[len(way)-1]
	for _, r := range need {
		if _, ok := shapes[r]; !ok {
			v.fail(way, "%v has no shape for %s", last, r)
		}
	}
	for r, s := range shapes {
		way := under(way, string(r))
		if !slices.Contains(known, r) {
			words := make([]string, len(known))
			for i, k := range known {
				words[i] = string(k)
			}
			v.Fail(way, words, "unknown reason %q", r)
		}
		if s.Status < 400 || s.Status > 599 {
			v.fail(under(way, "status"), "the status of a refusal must be from 400 to 599")
		}
		for name, value := range s.Headers {
			v.header(under(way, "headers", name), name, value)
		}
	}
}

func (v *validator) either(way []any, from, value string) {
	if (from == "") == (value == "") {
		v.fail(way, "give either from or value")
	}
}

func (v *validator) path(way []any, p string) {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	if !strings.HasPrefix(p, "/") || p != clean || strings.ContainsAny(p, "{}%?# ") {
		v.fail(way, "%q must be a plain path that starts with a slash", p)
	}
}

func (v *validator) url(way []any, s string) {
	if _, ok := httpsurl.Parse(s); s != "" && !ok {
		v.fail(way, "%q must be an https URL", s)
	}
}

func (v *validator) known(way []any, scopes counterfoil.Scopes) {
	for _, s := range scopes {
		if !v.p.ScopeNames().Contains(s) {
			v.fail(way, "the scope %q is not listed under scopes", s)
		}
	}
}

func headerValue(headers map[string]string, name string) string {
	for k, value := range headers {
		if strings.EqualFold(k, name) {
			return value
		}
	}
	return ""
}
