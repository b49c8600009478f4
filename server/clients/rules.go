package clients

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/subject"
	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of settings, in bytes, and of lists.
const (
	maxName       = 200
	maxID         = 100
	maxScopes     = 1000
	maxTenants    = 1000
	maxAddresses  = 100
	maxLabels     = 32
	maxLabel      = 63
	maxClaims     = 20
	maxClaimName  = 100
	maxClaimValue = 500
	maxURL        = 1000
	maxKeySet     = 64 << 10
	maxOwnKeys    = 10
	maxPins       = 2
	maxRules      = 10
)

// reservedClaims have a meaning that no client may change (RFC 7519 section
// 4.1, RFC 9068 section 2.2, and those of dialects).
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "scp",
	"cnf", "act", "status", "token_use", "tenants",
}

// Rules are what a realm demands of the settings of its clients.
type Rules struct {
	Provider *provider.Provider
	// Tenants are those that a client may be granted; none for any.
	Tenants []string
	// Issuers are those that federation rules may name. With a rule for another
	// one a client could never authenticate, and only the record would say why.
	Issuers []string
	// Fetchable returns why a key set can never be fetched from a URL, in a line
	// that says what to change, or nil. With nil, only the form of a jwks_uri is
	// checked.
	Fetchable func(address string) error
	// Stored is the jwks_uri that the client has already: it stays valid if the
	// configuration has changed since.
	Stored string
}

// Fault is a mistake in one member of settings.
type Fault struct {
	// Member is the path of the member in the JSON form of store.Settings, such
	// as "tokens/lifetime".
	Member string
	Err    error
}

// Faults are the mistakes in settings, in the order of their members: one at
// least.
type Faults []Fault

// Error returns the text of the first.
func (f Faults) Error() string { return f[0].Err.Error() }

// Check returns the mistakes in settings as Faults; nil when there are none.
func (r *Rules) Check(s *store.Settings) error {
	var faults Faults
	for _, c := range checks {
		if err := c.check(r, s); err != nil {
			faults = append(faults, Fault{c.member, err})
		}
	}
	if faults == nil {
		return nil
	}
	return faults
}

// checks has all demands on settings by member.
var checks = []struct {
	member string
	check  func(*Rules, *store.Settings) error
}{
	{"name", (*Rules).name},
	{"contact", (*Rules).contact},
	{"environment", (*Rules).environment},
	{"scopes", (*Rules).scopes},
	{"tenants", (*Rules).tenants},
	{"addresses", (*Rules).addresses},
	{"labels", (*Rules).labels},
	{"tokens/lifetime", (*Rules).lifetime},
	{"tokens/algorithm", (*Rules).algorithm},
	{"tokens/policy", (*Rules).policy},
	{"tokens/claims", (*Rules).claims},
	{"authentication", (*Rules).keySource},
	{"authentication/jwks", (*Rules).keySet},
	{"authentication/jwks_uri", (*Rules).keySetURL},
	{"authentication/certificate", (*Rules).certificate},
	{"authentication/thumbprints", (*Rules).thumbprints},
	{"authentication", (*Rules).federation},
}

func (*Rules) name(s *store.Settings) error {
	if s.Name != "" && !event.Visible(s.Name, maxName) {
		return fmt.Errorf("the name must have at most %d bytes of visible characters", maxName)
	}
	return nil
}

func (*Rules) contact(s *store.Settings) error {
	if s.Contact != "" && !event.Visible(s.Contact, maxName) {
		return fmt.Errorf("the contact must be one line of at most %d bytes of visible characters", maxName)
	}
	return nil
}

func (*Rules) environment(s *store.Settings) error {
	if s.Environment != "" && s.Environment != store.EnvironmentSandbox && s.Environment != store.EnvironmentProduction {
		return fmt.Errorf("the environment must be %s or %s, or empty", store.EnvironmentSandbox, store.EnvironmentProduction)
	}
	return nil
}

func (r *Rules) scopes(s *store.Settings) error {
	if len(s.Scopes) > maxScopes {
		return fmt.Errorf("a client can have at most %d scopes", maxScopes)
	}
	parsed, err := counterfoil.ParseScopes(s.Scopes.String())
	if err != nil || !slices.Equal(parsed, s.Scopes) {
		return fmt.Errorf("the scopes %s are not distinct scope tokens (RFC 6749 section 3.3)", shown(s.Scopes.String()))
	}
	known := r.Provider.ScopeNames()
	for _, scope := range s.Scopes {
		switch {
		case len(scope) > maxName:
			return fmt.Errorf("the scope %s is longer than %d bytes", shown(scope), maxName)
		case len(known) > 0 && !known.Contains(scope):
			return fmt.Errorf("the realm has no scope %q: its scopes are %s", scope, known)
		}
	}
	return nil
}

func (r *Rules) tenants(s *store.Settings) error {
	if len(s.Tenants) > maxTenants {
		return fmt.Errorf("a client can have at most %d tenants", maxTenants)
	}
	for i, t := range s.Tenants {
		switch {
		case !event.Visible(t, maxName) || slices.Contains(s.Tenants[:i], t):
			return fmt.Errorf("the tenant %s must have from 1 to %d bytes of visible characters and be named once", shown(t), maxName)
		case len(r.Tenants) > 0 && !slices.Contains(r.Tenants, t):
			return fmt.Errorf("the realm has no tenant %q: add it to the realm's configuration first", t)
		}
	}
	return nil
}

func (*Rules) addresses(s *store.Settings) error {
	if len(s.Addresses) > maxAddresses {
		return fmt.Errorf("a client can have at most %d addresses", maxAddresses)
	}
	for i, p := range s.Addresses {
		switch {
		case !p.IsValid():
			return errors.New("an address is not a network such as 192.0.2.0/24 or 2001:db8::/32")
		case p.Addr().Is4In6():
			return fmt.Errorf("the address %v is IPv4 written as IPv6: write it as IPv4", p)
		case p != p.Masked():
			return fmt.Errorf("the address %v has bits beyond its length: write %v", p, p.Masked())
		case slices.Contains(s.Addresses[:i], p):
			return fmt.Errorf("the address %v is named twice", p)
		}
	}
	return nil
}

func (*Rules) labels(s *store.Settings) error {
	if len(s.Labels) > maxLabels {
		return fmt.Errorf("a client can have at most %d labels", maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if !event.Visible(name, maxLabel) {
			return fmt.Errorf("the label %s must have a name of 1 to %d bytes of visible characters", shown(name), maxLabel)
		}
		if v := s.Labels[name]; v != "" && !event.Visible(v, maxName) {
			return fmt.Errorf("the label %s must have a value of at most %d bytes of visible characters", shown(name), maxName)
		}
	}
	return nil
}

func (r *Rules) lifetime(s *store.Settings) error {
	life, most := s.Tokens.Lifetime, r.Provider.TokenEndpoint.Lifetime
	switch {
	case life != 0 && (life < time.Second || life > store.MaxLifetime || life%time.Second != 0):
		return fmt.Errorf("the token lifetime must be whole seconds, from 1s to %v, or 0 for the realm's", store.MaxLifetime)
	case life > most:
		return fmt.Errorf("the token lifetime of %v is longer than the realm's, which is %v", life, most)
	}
	return nil
}

func (r *Rules) algorithm(s *store.Settings) error {
	a, known := s.Tokens.Algorithm, r.Provider.AccessToken.SigningAlgorithms
	switch {
	case a != "" && !slices.Contains(a.Words(), string(a)):
		return fmt.Errorf("the algorithm must be one of %s", strings.Join(a.Words(), ", "))
	case a != "" && !slices.Contains(known, a):
		return fmt.Errorf("the realm does not sign with %s: its algorithms are %v", a, known)
	}
	return nil
}

func (r *Rules) policy(s *store.Settings) error {
	p := s.Tokens.Policy
	switch {
	case p != "" && !slices.Contains(p.Words(), string(p)):
		return fmt.Errorf("the token policy must be one of %s", strings.Join(p.Words(), ", "))
	case p == provider.PolicyReplace && r.Provider.AccessToken.Claim(provider.FromTokenID) == "":
		return errors.New("the policy replace needs tokens with an id: no claim of the realm's tokens comes from token_id")
	}
	return nil
}

func (r *Rules) claims(s *store.Settings) error {
	for _, name := range slices.Sorted(maps.Keys(s.Tokens.Claims)) {
		// Verifiers that ignore case in JSON, as Go's encoding/json does, would
		// read SCOPE as scope, and the last one wins.
		same := func(own string) bool { return strings.EqualFold(own, name) }
		switch {
		case slices.ContainsFunc(reservedClaims, same):
			return fmt.Errorf("the claim %q has a meaning of its own: choose another name", name)
		case slices.ContainsFunc(r.Provider.AccessToken.Claims, func(c provider.Claim) bool { return same(c.Name) }):
			return fmt.Errorf("the claim %q is one that the realm's tokens have: choose another name", name)
		}
	}
	return checkClaims(s.Tokens.Claims)
}

func checkClaims(claims map[string]string) error {
	if len(claims) > maxClaims {
		return fmt.Errorf("there can be at most %d claims", maxClaims)
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if !event.Visible(name, maxClaimName) {
			return fmt.Errorf("the claim %s must have a name of 1 to %d bytes of visible characters", shown(name), maxClaimName)
		}
		if !event.Visible(claims[name], maxClaimValue) {
			return fmt.Errorf("the claim %s must have a value of 1 to %d bytes of visible characters", shown(name), maxClaimValue)
		}
	}
	return nil
}

func (*Rules) keySource(s *store.Settings) error {
	if a := &s.Authentication; a.KeySet != "" && a.KeySetURL != "" {
		return errors.New("give jwks or jwks_uri, not both (RFC 7591 section 2)")
	}
	return nil
}

func (*Rules) keySet(s *store.Settings) error {
	text := s.Authentication.KeySet
	if text == "" {
		return nil
	}
	if len(text) > maxKeySet {
		return fmt.Errorf("jwks must have at most %d bytes", maxKeySet)
	}
	keys, left, err := jose.ParseSet([]byte(text))
	switch {
	case err != nil:
		return fmt.Errorf("jwks: %w", err)
	case len(left) > 0:
		return fmt.Errorf("jwks: %d of its keys cannot be used: each must be a public key for signatures, of a "+
			"known kind and size, with a kid of its own if any; key %d: %s",
			len(left), left[0].Index+1, left[0].Why)
	case len(keys) == 0 || len(keys) > maxOwnKeys:
		return fmt.Errorf("jwks must have from 1 to %d keys", maxOwnKeys)
	}
	return nil
}

func (r *Rules) keySetURL(s *store.Settings) error {
	text := s.Authentication.KeySetURL
	if _, ok := httpsurl.Parse(text); text != "" && (!ok || len(text) > maxURL) {
		return fmt.Errorf("jwks_uri must be an https URL without user and fragment, of at most %d bytes", maxURL)
	}
	if text == "" || text == r.Stored || r.Fetchable == nil {
		return nil
	}
	if err := r.Fetchable(text); err != nil {
		return fmt.Errorf("jwks_uri can never be fetched: %w", err)
	}
	return nil
}

func (*Rules) certificate(s *store.Settings) error {
	c := &s.Authentication.Certificate
	set := 0
	for _, value := range []string{c.SubjectDN, c.DNS, c.URI, c.IP, c.Email} {
		if value == "" {
			continue
		}
		if set++; !event.Visible(value, maxClaimValue) {
			return fmt.Errorf("the subject of a certificate must have at most %d bytes of visible characters", maxClaimValue)
		}
	}
	if set > 1 {
		return errors.New("exactly one subject of a certificate can be named (RFC 8705 section 2.1.2)")
	}
	if _, err := netip.ParseAddr(c.IP); c.IP != "" && err != nil {
		return errors.New("tls_client_auth_san_ip must be an IP address")
	}
	if c.SubjectDN != "" {
		if _, err := subject.Parse(c.SubjectDN); err != nil {
			return fmt.Errorf("tls_client_auth_subject_dn: %w", err)
		}
	}
	return nil
}

func (*Rules) thumbprints(s *store.Settings) error {
	all := s.Authentication.Thumbprints
	if len(all) > maxPins {
		return fmt.Errorf("a client can have at most %d certificate thumbprints: the old one and the new", maxPins)
	}
	for i, t := range all {
		sum, err := base64.RawURLEncoding.Strict().DecodeString(t)
		if err != nil || len(sum) != 32 || len(t) != 43 || slices.Contains(all[:i], t) {
			return errors.New("a certificate thumbprint must be the SHA-256 of the certificate in base64url " +
				"without padding, 43 characters, and be named once (RFC 8705 section 3.1)")
		}
	}
	return nil
}

func (r *Rules) federation(s *store.Settings) error {
	rules := s.Authentication.Federation
	if len(rules) > maxRules {
		return fmt.Errorf("a client can have at most %d federation rules", maxRules)
	}
	for i := range rules {
		if err := checkFederationRule(&rules[i]); err != nil {
			return fmt.Errorf("federation rule %d: %w", i+1, err)
		}
		if !slices.Contains(r.Issuers, rules[i].Issuer) {
			return fmt.Errorf("federation rule %d: the realm does not trust the issuer %q: add it to the realm's "+
				"configuration first", i+1, rules[i].Issuer)
		}
	}
	return nil
}

func checkFederationRule(f *store.FederationRule) error {
	if !event.Visible(f.Issuer, maxClaimValue) {
		return fmt.Errorf("the issuer must have from 1 to %d bytes of visible characters", maxClaimValue)
	}
	if err := checkClaims(f.Claims); err != nil {
		return err
	}
	names := false
	for name, value := range f.Claims {
		if i := strings.IndexByte(value, '*'); i >= 0 && i < len(value)-1 {
			return fmt.Errorf(`the claim %q: "*" stands at the end of a value only`, name)
		}
		if name == "sub" && value == "*" {
			return errors.New(`sub must not be "*" alone: that is everyone that the issuer knows`)
		}
		names = names || value != "*"
	}
	if !names {
		return errors.New(`name sub or another claim with a value that is more than "*": without that it is everyone that the issuer knows`)
	}
	return nil
}
