package provider

// The words that a description chooses from. Each type lists its words in Words,
// for the messages about invalid descriptions.

// Place is where a parameter is sent.
type Place string

// The places.
const (
	PlaceBody  Place = "body"
	PlaceQuery Place = "query"
)

// Words returns the values of a Place.
func (Place) Words() []string { return []string{"body", "query"} }

// Presence says whether something may be left out.
type Presence string

// The presences.
const (
	PresenceRequired Presence = "required"
	PresenceOptional Presence = "optional"
)

// Words returns the values of a Presence.
func (Presence) Words() []string { return []string{"required", "optional"} }

// Spaces says what separates the scopes of a request.
type Spaces string

// The spaces.
const (
	SpacesSingle Spaces = "single"
	SpacesAny    Spaces = "any"
)

// Words returns the values of a Spaces.
func (Spaces) Words() []string { return []string{"single", "any"} }

// Check is what a token endpoint checks.
type Check string

// The checks.
const (
	CheckGrantType Check = "grant_type"
	CheckClient    Check = "client"
)

// Words returns the values of a Check.
func (Check) Words() []string { return []string{"grant_type", "client"} }

// Method is a way to authenticate a client at the token endpoint, by its name
// in the OAuth Token Endpoint Authentication Methods registry (RFC 7591).
type Method string

// The methods.
const (
	MethodClientSecretBasic Method = "client_secret_basic"
	MethodClientSecretPost  Method = "client_secret_post"
	// MethodPrivateKeyJWT is an assertion that is signed by the client, or by an issuer
	// that the realm federates with (RFC 7523 section 2.2).
	MethodPrivateKeyJWT Method = "private_key_jwt"
	// MethodTLSClientAuth and MethodSelfSignedTLSClientAuth are those of RFC 8705 section 2.
	MethodTLSClientAuth           Method = "tls_client_auth"
	MethodSelfSignedTLSClientAuth Method = "self_signed_tls_client_auth"
)

// Words returns the values of a Method.
func (Method) Words() []string {
	return []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"}
}

// Encoding is how client ID and secret are encoded in Basic credentials.
type Encoding string

// The encodings.
const (
	EncodingForm Encoding = "form"
	EncodingRaw  Encoding = "raw"
)

// Words returns the values of an Encoding.
func (Encoding) Words() []string { return []string{"form", "raw"} }

// Policy says how a new token affects the client's earlier tokens.
type Policy string

// The policies. With PolicyIndependent, each token is in force until it expires.
// With PolicyReplace, a client has at most one token in force, the one issued
// last. With PolicyReuse, the same request gets the same token until a share of
// its lifetime has passed, and each token is in force until it expires.
const (
	PolicyIndependent Policy = "independent"
	PolicyReplace     Policy = "replace"
	PolicyReuse       Policy = "reuse"
)

// Words returns the values of a Policy.
func (Policy) Words() []string { return []string{"independent", "replace", "reuse"} }

// Field is a member of a token response.
type Field string

// The fields.
const (
	FieldAccessToken Field = "access_token"
	FieldExpiresIn   Field = "expires_in"
	FieldTokenType   Field = "token_type"
	FieldScope       Field = "scope"
)

// Words returns the values of a Field.
func (Field) Words() []string { return []string{"access_token", "expires_in", "token_type", "scope"} }

// AssertionAudience is the audience of a client's assertion (RFC 7523 section 3).
type AssertionAudience string

// The audiences: the issuer alone, which reliably tells servers apart
// (CVE-2025-27370), or the token endpoint's URL.
const (
	AssertionAudienceIssuer   AssertionAudience = "issuer"
	AssertionAudienceTokenURL AssertionAudience = "token_url"
)

// Words returns the values of an AssertionAudience.
func (AssertionAudience) Words() []string { return []string{"issuer", "token_url"} }

// Algorithm is a JWS algorithm (RFC 7518 section 3.1, RFC 8037).
type Algorithm string

// The algorithms.
const (
	AlgorithmRS256 Algorithm = "RS256"
	AlgorithmPS256 Algorithm = "PS256"
	AlgorithmES256 Algorithm = "ES256"
	AlgorithmEdDSA Algorithm = "EdDSA"
)

// Words returns the values of an Algorithm.
func (Algorithm) Words() []string { return []string{"RS256", "PS256", "ES256", "EdDSA"} }

// HeaderMember is a member of a token's protected header.
type HeaderMember string

// The header members.
const (
	HeaderAlg HeaderMember = "alg"
	HeaderKid HeaderMember = "kid"
	HeaderTyp HeaderMember = "typ"
)

// Words returns the values of a HeaderMember.
func (HeaderMember) Words() []string { return []string{"alg", "kid", "typ"} }

// KeyIDForm is the form of a key's identifier.
type KeyIDForm string

// The forms: 32 random bytes in base64 with padding, 16 random bytes in
// upper-case hexadecimal, or the key's own thumbprint (RFC 7638).
const (
	KeyIDBase64     KeyIDForm = "base64"
	KeyIDHex        KeyIDForm = "hex"
	KeyIDThumbprint KeyIDForm = "thumbprint"
)

// Words returns the values of a KeyIDForm.
func (KeyIDForm) Words() []string { return []string{"base64", "hex", "thumbprint"} }

// TokenIDForm is the form of a token's identifier.
type TokenIDForm string

// The forms: a random UUID (RFC 9562 version 4), or 32 upper-case hexadecimal
// digits.
const (
	TokenIDUUID TokenIDForm = "uuid"
	TokenIDHex  TokenIDForm = "hex"
)

// Words returns the values of a TokenIDForm.
func (TokenIDForm) Words() []string { return []string{"uuid", "hex"} }

// ClaimSource is the source of a claim's value.
type ClaimSource string

// The sources. Times are whole seconds since 1970 (RFC 7519 section 2);
// FromScope is one string with spaces, FromScopeList an array; FromAudience is a
// string for one audience and an array for several.
const (
	FromIssuer    ClaimSource = "issuer"
	FromClientID  ClaimSource = "client_id"
	FromAudience  ClaimSource = "audience"
	FromIssuedAt  ClaimSource = "issued_at"
	FromNotBefore ClaimSource = "not_before"
	FromExpiresAt ClaimSource = "expires_at"
	FromScope     ClaimSource = "scope"
	FromScopeList ClaimSource = "scope_list"
	FromTokenID   ClaimSource = "token_id"
	FromTenants   ClaimSource = "tenants"
	// FromStatus is a reference into a Token Status List
	// (draft-ietf-oauth-status-list section 6.2): an object.
	FromStatus ClaimSource = "status"
)

// Words returns the values of a ClaimSource.
func (ClaimSource) Words() []string {
	return []string{
		"issuer", "client_id", "audience", "issued_at", "not_before", "expires_at", "scope", "scope_list", "token_id", "tenants", "status",
	}
}

// Kind says how an API is called.
type Kind string

// The kinds.
const (
	KindGraphQL Kind = "graphql"
	KindREST    Kind = "rest"
)

// Words returns the values of a Kind.
func (Kind) Words() []string { return []string{"graphql", "rest"} }

// Documents selects documents of a GraphQL API (GraphQL specification, section
// 2.2).
type Documents string

// The choices: the documents in which every operation is a query, or no documents.
const (
	DocumentsOfQueries Documents = "queries"
	NoDocuments        Documents = "none"
)

// Words returns the values of a Documents.
func (Documents) Words() []string { return []string{"queries", "none"} }

// HeaderSource is the source of a header's value.
type HeaderSource string

// The sources.
const (
	HeaderFromToken  HeaderSource = "token"
	HeaderFromAPIKey HeaderSource = "api_key"
	HeaderFromTenant HeaderSource = "tenant"
)

// Words returns the values of a HeaderSource.
func (HeaderSource) Words() []string { return []string{"token", "api_key", "tenant"} }

// Setting is a setting of a client.
type Setting string

// The settings.
const (
	SettingBaseURL      Setting = "base_url"
	SettingTokenURL     Setting = "token_url"
	SettingAPIURL       Setting = "api_url"
	SettingClientID     Setting = "client_id"
	SettingClientSecret Setting = "client_secret"
	SettingScope        Setting = "scope"
	SettingAPIKey       Setting = "api_key"
	SettingTenant       Setting = "tenant"
)

// Words returns the values of a Setting.
func (Setting) Words() []string {
	return []string{"base_url", "token_url", "api_url", "client_id", "client_secret", "scope", "api_key", "tenant"}
}
