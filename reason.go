package counterfoil

// Reason says, for programs, why a request was refused. A provider description
// gives each reason its status and body on the wire; the audit log records the
// reason itself. A reason that a description does not mention is answered like
// its Parent.
type Reason string

// Reasons of the token endpoint. The first group is the error codes of RFC 6749
// section 5.2 and of related RFCs. Each of the others is a case of one of them,
// told apart for the audit log and for dialects that answer it differently.
const (
	InvalidRequest       Reason = "invalid_request"
	InvalidClient        Reason = "invalid_client"
	UnsupportedGrantType Reason = "unsupported_grant_type"
	InvalidScope         Reason = "invalid_scope"
	RateLimited          Reason = "rate_limited"
	ServerError          Reason = "server_error"
	Unavailable          Reason = "unavailable"
	InvalidTarget        Reason = "invalid_target" // RFC 8707 section 2

	MethodNotAllowed     Reason = "method_not_allowed"
	UnsupportedMediaType Reason = "unsupported_media_type"
	RequestTooLarge      Reason = "request_too_large"
	MalformedRequest     Reason = "malformed_request"
	RepeatedParameter    Reason = "repeated_parameter"
	MisplacedParameter   Reason = "misplaced_parameter"
	GrantTypeMissing     Reason = "grant_type_missing"
	MultipleCredentials  Reason = "multiple_credentials"
	CredentialsMissing   Reason = "credentials_missing"
	CredentialsMalformed Reason = "credentials_malformed"
	UnknownClient        Reason = "unknown_client"
	WrongSecret          Reason = "wrong_secret"
	ClientDisabled       Reason = "client_disabled"
	MethodNotAccepted    Reason = "authentication_method_not_accepted"
	ScopeMissing         Reason = "scope_missing"
	ScopeMalformed       Reason = "scope_malformed"
	ScopeNotAllowed      Reason = "scope_not_allowed"
	ClientExpired        Reason = "client_expired"
	AddressNotAllowed    Reason = "address_not_allowed"
	SecretsBusy          Reason = "secrets_busy" // too many slow secrets at once

	AssertionMalformed Reason = "assertion_malformed" // RFC 7521, RFC 7523
	AssertionAlgorithm Reason = "assertion_algorithm"
	AssertionKey       Reason = "assertion_key"
	AssertionSignature Reason = "assertion_signature"
	AssertionIssuer    Reason = "assertion_issuer"
	AssertionAudience  Reason = "assertion_audience"
	AssertionExpired   Reason = "assertion_expired"
	AssertionLifetime  Reason = "assertion_lifetime"
	AssertionReplayed  Reason = "assertion_replayed"
	AssertionClaims    Reason = "assertion_claims"
	CertificateMissing Reason = "certificate_missing" // RFC 8705
	CertificateUnknown Reason = "certificate_unknown"

	InvalidDPoPProof  Reason = "invalid_dpop_proof" // RFC 9449 section 5
	UseDPoPNonce      Reason = "use_dpop_nonce"     // RFC 9449 section 8
	DPoPProofReplayed Reason = "dpop_proof_replayed"
)

// Reasons of a guard. The token endpoint has HeaderMissing, HeaderInvalid and
// those of the API key too.
const (
	TokenMissing      Reason = "token_missing"
	TokenInvalid      Reason = "token_invalid"
	ScopeInsufficient Reason = "scope_insufficient"
	TenantMissing     Reason = "tenant_missing"
	TenantDenied      Reason = "tenant_denied"
	HeaderMissing     Reason = "header_missing"
	HeaderInvalid     Reason = "header_invalid"
	APIKeyMissing     Reason = "api_key_missing"
	APIKeyInvalid     Reason = "api_key_invalid"

	TokenRepeated    Reason = "token_repeated"
	TokenMalformed   Reason = "token_malformed"
	TokenAlgorithm   Reason = "token_algorithm"
	TokenKeyUnknown  Reason = "token_key_unknown"
	TokenSignature   Reason = "token_signature"
	TokenIssuer      Reason = "token_issuer"
	TokenAudience    Reason = "token_audience"
	TokenUse         Reason = "token_use"
	TokenExpired     Reason = "token_expired"
	TokenNotYetValid Reason = "token_not_yet_valid"
	TokenReplaced    Reason = "token_replaced"
	TokenRevoked     Reason = "token_revoked"
	TokenCertificate Reason = "token_certificate" // RFC 8705 section 3
	TokenProof       Reason = "token_proof"       // RFC 9449 section 7
	TokenProofNonce  Reason = "token_proof_nonce" // RFC 9449 section 9
)

// BadResponse is the client's reason for an answer of the token endpoint that is
// neither a token nor a refusal: a web page, a redirect, a token that has already
// expired.
const BadResponse Reason = "bad_response"

var parents = map[Reason]Reason{
	MethodNotAllowed:     InvalidRequest,
	UnsupportedMediaType: InvalidRequest,
	RequestTooLarge:      InvalidRequest,
	MalformedRequest:     InvalidRequest,
	RepeatedParameter:    InvalidRequest,
	MisplacedParameter:   InvalidRequest,
	GrantTypeMissing:     InvalidRequest,
	MultipleCredentials:  InvalidRequest,
	CredentialsMissing:   InvalidClient,
	CredentialsMalformed: InvalidClient,
	UnknownClient:        InvalidClient,
	WrongSecret:          InvalidClient,
	ClientDisabled:       InvalidClient,
	MethodNotAccepted:    InvalidClient,
	ScopeMissing:         InvalidRequest,
	ScopeMalformed:       InvalidScope,
	ScopeNotAllowed:      InvalidScope,
	InvalidTarget:        InvalidRequest,
	ClientExpired:        InvalidClient,
	AddressNotAllowed:    InvalidClient,
	SecretsBusy:          Unavailable,
	AssertionMalformed:   InvalidClient,
	AssertionAlgorithm:   InvalidClient,
	AssertionKey:         InvalidClient,
	AssertionSignature:   InvalidClient,
	AssertionIssuer:      InvalidClient,
	AssertionAudience:    InvalidClient,
	AssertionExpired:     InvalidClient,
	AssertionLifetime:    InvalidClient,
	AssertionReplayed:    InvalidClient,
	AssertionClaims:      InvalidClient,
	CertificateMissing:   InvalidClient,
	CertificateUnknown:   InvalidClient,
	InvalidDPoPProof:     InvalidRequest,
	UseDPoPNonce:         InvalidRequest,
	DPoPProofReplayed:    InvalidDPoPProof,

	HeaderInvalid:    HeaderMissing,
	APIKeyMissing:    APIKeyInvalid,
	TenantDenied:     TenantMissing,
	TokenRepeated:    TokenInvalid,
	TokenMalformed:   TokenInvalid,
	TokenAlgorithm:   TokenInvalid,
	TokenKeyUnknown:  TokenInvalid,
	TokenSignature:   TokenInvalid,
	TokenIssuer:      TokenInvalid,
	TokenAudience:    TokenInvalid,
	TokenUse:         TokenInvalid,
	TokenExpired:     TokenInvalid,
	TokenNotYetValid: TokenInvalid,
	TokenReplaced:    TokenInvalid,
	TokenRevoked:     TokenInvalid,
	TokenCertificate: TokenInvalid,
	TokenProof:       TokenInvalid,
	TokenProofNonce:  TokenProof,
}

// Parent returns the broader reason that r is a case of, or "" if there is no
// broader one.
func (r Reason) Parent() Reason { return parents[r] }
