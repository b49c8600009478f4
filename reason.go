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
	ReasonInvalidRequest       Reason = "invalid_request"
	ReasonInvalidClient        Reason = "invalid_client"
	ReasonUnsupportedGrantType Reason = "unsupported_grant_type"
	ReasonInvalidScope         Reason = "invalid_scope"
	ReasonRateLimited          Reason = "rate_limited"
	ReasonServerError          Reason = "server_error"
	ReasonUnavailable          Reason = "unavailable"
	ReasonInvalidTarget        Reason = "invalid_target" // RFC 8707 section 2

	ReasonMethodNotAllowed     Reason = "method_not_allowed"
	ReasonUnsupportedMediaType Reason = "unsupported_media_type"
	ReasonRequestTooLarge      Reason = "request_too_large"
	ReasonMalformedRequest     Reason = "malformed_request"
	ReasonRepeatedParameter    Reason = "repeated_parameter"
	ReasonMisplacedParameter   Reason = "misplaced_parameter"
	ReasonGrantTypeMissing     Reason = "grant_type_missing"
	ReasonMultipleCredentials  Reason = "multiple_credentials"
	ReasonCredentialsMissing   Reason = "credentials_missing"
	ReasonCredentialsMalformed Reason = "credentials_malformed"
	ReasonUnknownClient        Reason = "unknown_client"
	ReasonWrongSecret          Reason = "wrong_secret"
	ReasonClientDisabled       Reason = "client_disabled"
	ReasonMethodNotAccepted    Reason = "authentication_method_not_accepted"
	ReasonScopeMissing         Reason = "scope_missing"
	ReasonScopeMalformed       Reason = "scope_malformed"
	ReasonScopeNotAllowed      Reason = "scope_not_allowed"
	ReasonClientExpired        Reason = "client_expired"
	ReasonAddressNotAllowed    Reason = "address_not_allowed"
	ReasonSecretsBusy          Reason = "secrets_busy" // too many slow secrets at once

	ReasonAssertionMalformed Reason = "assertion_malformed" // RFC 7521, RFC 7523
	ReasonAssertionAlgorithm Reason = "assertion_algorithm"
	ReasonAssertionKey       Reason = "assertion_key"
	ReasonAssertionSignature Reason = "assertion_signature"
	ReasonAssertionIssuer    Reason = "assertion_issuer"
	ReasonAssertionAudience  Reason = "assertion_audience"
	ReasonAssertionExpired   Reason = "assertion_expired"
	ReasonAssertionLifetime  Reason = "assertion_lifetime"
	ReasonAssertionReplayed  Reason = "assertion_replayed"
	ReasonAssertionClaims    Reason = "assertion_claims"
	ReasonCertificateMissing Reason = "certificate_missing" // RFC 8705
	ReasonCertificateUnknown Reason = "certificate_unknown"

	ReasonInvalidDPoPProof  Reason = "invalid_dpop_proof" // RFC 9449 section 5
	ReasonUseDPoPNonce      Reason = "use_dpop_nonce"     // RFC 9449 section 8
	ReasonDPoPProofReplayed Reason = "dpop_proof_replayed"
)

// Reasons of a guard. The token endpoint has ReasonHeaderMissing,
// ReasonHeaderInvalid and those of the API key too.
const (
	ReasonPathMalformed     Reason = "path_malformed"
	ReasonTokenMissing      Reason = "token_missing"
	ReasonTokenInvalid      Reason = "token_invalid"
	ReasonScopeInsufficient Reason = "scope_insufficient"
	ReasonTenantMissing     Reason = "tenant_missing"
	ReasonTenantDenied      Reason = "tenant_denied"
	ReasonHeaderMissing     Reason = "header_missing"
	ReasonHeaderInvalid     Reason = "header_invalid"
	ReasonAPIKeyMissing     Reason = "api_key_missing"
	ReasonAPIKeyInvalid     Reason = "api_key_invalid"

	ReasonTokenRepeated    Reason = "token_repeated"
	ReasonTokenMalformed   Reason = "token_malformed"
	ReasonTokenAlgorithm   Reason = "token_algorithm"
	ReasonTokenKeyUnknown  Reason = "token_key_unknown"
	ReasonTokenSignature   Reason = "token_signature"
	ReasonTokenIssuer      Reason = "token_issuer"
	ReasonTokenAudience    Reason = "token_audience"
	ReasonTokenUse         Reason = "token_use"
	ReasonTokenExpired     Reason = "token_expired"
	ReasonTokenNotYetValid Reason = "token_not_yet_valid"
	ReasonTokenReplaced    Reason = "token_replaced"
	ReasonTokenRevoked     Reason = "token_revoked"
	ReasonTokenCertificate Reason = "token_certificate" // RFC 8705 section 3
	ReasonTokenProof       Reason = "token_proof"       // RFC 9449 section 7
	ReasonTokenProofNonce  Reason = "token_proof_nonce" // RFC 9449 section 9
	ReasonTokenAddress     Reason = "token_address"     // the caller's, which its client may not use
)

// ReasonBadResponse is the client's reason for an answer of the token endpoint that is
// neither a token nor a refusal: a web page, a redirect, a token that has already
// expired.
const ReasonBadResponse Reason = "bad_response"

var parents = map[Reason]Reason{
	ReasonMethodNotAllowed:     ReasonInvalidRequest,
	ReasonUnsupportedMediaType: ReasonInvalidRequest,
	ReasonRequestTooLarge:      ReasonInvalidRequest,
	ReasonMalformedRequest:     ReasonInvalidRequest,
	ReasonRepeatedParameter:    ReasonInvalidRequest,
	ReasonMisplacedParameter:   ReasonInvalidRequest,
	ReasonGrantTypeMissing:     ReasonInvalidRequest,
	ReasonMultipleCredentials:  ReasonInvalidRequest,
	ReasonCredentialsMissing:   ReasonInvalidClient,
	ReasonCredentialsMalformed: ReasonInvalidClient,
	ReasonUnknownClient:        ReasonInvalidClient,
	ReasonWrongSecret:          ReasonInvalidClient,
	ReasonClientDisabled:       ReasonInvalidClient,
	ReasonMethodNotAccepted:    ReasonInvalidClient,
	ReasonScopeMissing:         ReasonInvalidRequest,
	ReasonScopeMalformed:       ReasonInvalidScope,
	ReasonScopeNotAllowed:      ReasonInvalidScope,
	ReasonInvalidTarget:        ReasonInvalidRequest,
	ReasonClientExpired:        ReasonInvalidClient,
	ReasonAddressNotAllowed:    ReasonInvalidClient,
	ReasonSecretsBusy:          ReasonUnavailable,
	ReasonAssertionMalformed:   ReasonInvalidClient,
	ReasonAssertionAlgorithm:   ReasonInvalidClient,
	ReasonAssertionKey:         ReasonInvalidClient,
	ReasonAssertionSignature:   ReasonInvalidClient,
	ReasonAssertionIssuer:      ReasonInvalidClient,
	ReasonAssertionAudience:    ReasonInvalidClient,
	ReasonAssertionExpired:     ReasonInvalidClient,
	ReasonAssertionLifetime:    ReasonInvalidClient,
	ReasonAssertionReplayed:    ReasonInvalidClient,
	ReasonAssertionClaims:      ReasonInvalidClient,
	ReasonCertificateMissing:   ReasonInvalidClient,
	ReasonCertificateUnknown:   ReasonInvalidClient,
	ReasonInvalidDPoPProof:     ReasonInvalidRequest,
	ReasonUseDPoPNonce:         ReasonInvalidRequest,
	ReasonDPoPProofReplayed:    ReasonInvalidDPoPProof,

	ReasonHeaderInvalid:    ReasonHeaderMissing,
	ReasonAPIKeyMissing:    ReasonAPIKeyInvalid,
	ReasonTenantDenied:     ReasonTenantMissing,
	ReasonTokenRepeated:    ReasonTokenInvalid,
	ReasonTokenMalformed:   ReasonTokenInvalid,
	ReasonTokenAlgorithm:   ReasonTokenInvalid,
	ReasonTokenKeyUnknown:  ReasonTokenInvalid,
	ReasonTokenSignature:   ReasonTokenInvalid,
	ReasonTokenIssuer:      ReasonTokenInvalid,
	ReasonTokenAudience:    ReasonTokenInvalid,
	ReasonTokenUse:         ReasonTokenInvalid,
	ReasonTokenExpired:     ReasonTokenInvalid,
	ReasonTokenNotYetValid: ReasonTokenInvalid,
	ReasonTokenReplaced:    ReasonTokenInvalid,
	ReasonTokenRevoked:     ReasonTokenInvalid,
	ReasonTokenCertificate: ReasonTokenInvalid,
	ReasonTokenAddress:     ReasonTokenInvalid,
	ReasonTokenProof:       ReasonTokenInvalid,
	ReasonTokenProofNonce:  ReasonTokenProof,
}

// Parent returns the broader reason that r is a case of, or "" if there is no
// broader one.
func (r Reason) Parent() Reason { return parents[r] }
