package store

import (
	"net/netip"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Environment says what a client is for.
type Environment string

// The environments.
const (
	EnvironmentSandbox    Environment = "sandbox"
	EnvironmentProduction Environment = "production"
)

// Client is a program that may request tokens of one realm. It holds no
// secret, only hashes.
type Client struct {
	Realm string
	// ID is the client_id, unique in its realm.
	ID string
	Settings
	// Disabled refuses the client and all its tokens until it is enabled again.
	Disabled bool
	// Maker is the ID of the client of this realm that made it through the Admin
	// API of the realm; empty when an operator did. Makes says that it has made
	// others.
	Maker   string
	Makes   bool
	Created time.Time
	Changed time.Time
	// NotBefore revokes the tokens of the client that were issued before it.
	// Whole seconds; zero for none.
	NotBefore time.Time
	// Secrets are the accepted client secrets, newest first: two at most.
	Secrets []SecretHash
	// APIKeys are the accepted API keys, newest first: two at most.
	APIKeys []SecretHash
	// Ended are credentials that a change ends, for UpdateClient to remember. It is
	// empty when the client is read: see EndedCredentials.
	Ended []EndedCredential
	// Version grows with every change.
	Version int64
	// Revision is the store's opaque number of the snapshot in which the client was
	// read, for RecordIssued. It is not stored.
	Revision int64
	// MinIssuedAt is the earliest date that a new token of the client may have:
	// the store has revoked others by that date, and treats a token dated
	// earlier as one of those. Zero for none. The store sets it when the client
	// is read.
	MinIssuedAt time.Time
	// Newest is the time of the newest event in the store. The store sets it when
	// the client is read.
	Newest time.Time
}

// Settings are the settings of a client. Their JSON form is that of the Admin
// API, where an empty list or map is never null; a database has a form of its
// own.
type Settings struct {
	// Name is for people; Contact is how to reach those who run the client.
	Name    string `json:"name"`
	Contact string `json:"contact"`
	// Environment is empty, Sandbox or Production.
	Environment Environment `json:"environment"`
	// Scopes are the scopes that it may request.
	Scopes counterfoil.Scopes `json:"scopes"`
	// Tenants are the tenants that it is granted.
	Tenants []string `json:"tenants"`
	// Addresses are the networks that it may request tokens from, and use them at
	// guarded APIs; none for all.
	Addresses []netip.Prefix `json:"addresses"`
	// Labels are for people and for search.
	Labels map[string]string `json:"labels"`
	// Expires is when it is no longer accepted and its last token expires; zero
	// for never.
	Expires time.Time `json:"expires,omitzero"`
	// ResourceServer lets it introspect every token of the realm and follow the
	// revocation feed (RFC 7662 section 2.1).
	ResourceServer bool `json:"resource_server"`
	// Tokens say how its tokens differ from the realm's.
	Tokens TokenSettings `json:"tokens"`
	// Keys, certificates and federation are how it authenticates without a
	// shared secret.
	Authentication Authentication `json:"authentication"`
}

// TokenSettings say how a client's tokens differ from its realm's. The zero
// value changes nothing.
type TokenSettings struct {
	// Lifetime is whole seconds; 0 for the realm's. It never exceeds the
	// realm's. In JSON it is a string as 15m0s, empty for 0.
	Lifetime time.Duration `json:"lifetime"`
	// Algorithm is one of the realm's signing algorithms; "" for the realm's
	// first.
	Algorithm provider.Algorithm `json:"algorithm"`
	// Policy is "" for the realm's.
	Policy provider.Policy `json:"policy"`
	// Claims are added to those of the realm: strings by name. A name that the
	// realm's tokens have is refused.
	Claims map[string]string `json:"claims"`
	// CertificateBound tokens are valid only with the certificate of the token
	// request (RFC 8705 section 3); DPoPBound ones only with the key of its
	// proof (RFC 9449 section 5.2), and a request without a proof is refused.
	CertificateBound bool `json:"certificate_bound"`
	DPoPBound        bool `json:"dpop_bound"`
}

// Authentication is how a client authenticates without a shared secret. The
// zero value leaves secrets as the only way.
type Authentication struct {
	// KeySet is a JWK Set (RFC 7517) with the public keys that sign its
	// assertions (private_key_jwt), or whose x5c are its self-signed
	// certificates; KeySetURL is where it publishes one instead (jwks_uri). In
	// JSON it is an object, absent for none.
	KeySet    string `json:"jwks"`
	KeySetURL string `json:"jwks_uri"`
	// Certificate is the rule for a certificate of a trusted authority
	// (tls_client_auth, RFC 8705 section 2.1.2): exactly one field is set.
	Certificate CertificateRule `json:"certificate"`
	// Thumbprints are the SHA-256 thumbprints of self-signed certificates, in
	// base64url (self_signed_tls_client_auth): two at most, for rotation.
	Thumbprints []string `json:"thumbprints"`
	// Federation are rules on the tokens of other issuers, one of which must
	// hold.
	Federation []FederationRule `json:"federation"`
}

// CertificateRule names the one subject that a certificate must have, by the
// metadata names of RFC 8705 section 2.1.2. SubjectDN is RFC 4514: the same
// attributes in the same order, values exactly. DNS and the domain of Email
// have no case, IP is compared as an address, the others exactly; a wildcard
// in a certificate matches only itself.
type CertificateRule struct {
	SubjectDN string `json:"tls_client_auth_subject_dn,omitempty"`
	DNS       string `json:"tls_client_auth_san_dns,omitempty"`
	URI       string `json:"tls_client_auth_san_uri,omitempty"`
	IP        string `json:"tls_client_auth_san_ip,omitempty"`
	Email     string `json:"tls_client_auth_san_email,omitempty"`
}

// FederationRule accepts tokens of an issuer that the realm federates with.
type FederationRule struct {
	// Issuer is exactly that of the realm's FederatedIssuer.
	Issuer string `json:"issuer"`
	// Claims must all be present with these values; sub is one of them. A "*" at
	// the end of a value matches any ending. A name that starts with a slash is
	// a JSON pointer through objects (RFC 6901), as in
	// /kubernetes.io/serviceaccount/name. Numbers and booleans are compared by
	// their JSON text, and of an array one element is enough.
	Claims map[string]string `json:"claims"`
}

// SecretHash is the stored hash of a client secret or an API key.
type SecretHash struct {
	// ID names the secret in lists and records: 8 hexadecimal digits.
	ID string
	// Value is the text form of package sechash: a tag that names the form, and
	// the hash.
	Value   string
	Created time.Time
	// Expires is when the value is no longer accepted; zero for never.
	Expires time.Time
}

// AcceptedAt reports whether the value is accepted at that time.
func (h *SecretHash) AcceptedAt(at time.Time) bool { return h.Expires.IsZero() || at.Before(h.Expires) }

// MaxEnded is how many ended credentials of a client are remembered, the last ones.
const MaxEnded = 8

// EndedCredential is one that was a client's.
type EndedCredential struct {
	// Kind is one of the constants. ID is that of the SecretHash, or the kid of the key
	// or, without one, its thumbprint (RFC 7638).
	Kind, ID string
	// Value is that of the SecretHash, or a JWK.
	Value string
	Ended time.Time
}

// The values of EndedCredential.Kind.
const (
	EndedSecret = "secret"
	EndedAPIKey = "API key"
	EndedKey    = "key"
)

// LastUse is when a secret or an API key was last used.
type LastUse struct {
	Realm, ClientID string
	// SecretID is the SecretHash's ID.
	SecretID string
	Time     time.Time
}

// AcceptsAddress reports whether the client may be used from an address: one in
// Addresses, or any if there are none. An invalid address is in no network.
func (s *Settings) AcceptsAddress(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return len(s.Addresses) == 0 || slices.ContainsFunc(s.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}
