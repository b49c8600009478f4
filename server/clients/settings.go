package clients

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
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

// CheckSettings validates a client's settings for a realm of that provider and
// those tenants, none for any. Service validates only their form: a caller
// that takes settings from a person must call CheckSettings first.
func CheckSettings(p *provider.Provider, tenants []string, s *store.Settings) error {
	if err := checkForm(s); err != nil {
		return err
	}
	known := p.ScopeNames()
	for _, scope := range s.Scopes {
		if len(known) > 0 && !known.Contains(scope) {
			return fmt.Errorf("the realm has no scope %q: its scopes are %s", scope, known)
		}
	}
	for _, t := range s.Tenants {
		if len(tenants) > 0 && !slices.Contains(tenants, t) {
			return fmt.Errorf("the realm has no tenant %q: add it to the realm's configuration first", t)
		}
	}
	if a := s.Tokens.Algorithm; a != "" && !slices.Contains(p.AccessToken.SigningAlgorithms, a) {
		return fmt.Errorf("the realm does not sign with %s: its algorithms are %v", a, p.AccessToken.SigningAlgorithms)
	}
	if s.Tokens.Policy == provider.PolicyReplace && p.AccessToken.Claim(provider.FromTokenID) == "" {
		return errors.New("the policy replace needs tokens with an id: no claim of the realm's tokens comes from token_id")
	}
	if most := p.TokenEndpoint.Lifetime; s.Tokens.Lifetime > most {
		return fmt.Errorf("the token lifetime of %v is longer than the realm's, which is %v", s.Tokens.Lifetime, most)
	}
	for name := range s.Tokens.Claims {
		if slices.ContainsFunc(p.AccessToken.Claims, func(c provider.Claim) bool { return strings.EqualFold(c.Name, name) }) {
			return fmt.Errorf("the claim %q is one that the realm's tokens have: choose another name", name)
		}
	}
	return nil
}

// checkForm validates the form of the settings.
func checkForm(s *store.Settings) error {
	switch {
	case s.Name != "" && !event.Visible(s.Name, maxName):
		return fmt.Errorf("the name must have at most %d bytes of visible characters", maxName)
	case s.Contact != "" && !event.Visible(s.Contact, maxName):
		return fmt.Errorf("the contact must be one line of at most %d bytes of visible characters", maxName)
	case s.Environment != "" && s.Environment != store.EnvironmentSandbox && s.Environment != store.EnvironmentProduction:
		return fmt.Errorf("the environment must be %s or %s, or empty", store.EnvironmentSandbox, store.EnvironmentProduction)
	}
	for _, check := range []func(*store.Settings) error{checkGrants, checkAddresses, checkLabels, checkTokens, checkAuthentication} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

func checkGrants(s *store.Settings) error {
	switch {
	case len(s.Scopes) > maxScopes:
		return fmt.Errorf("a client can have at most %d scopes", maxScopes)
	case len(s.Tenants) > maxTenants:
		return fmt.Errorf("a client can have at most %d tenants", maxTenants)
	}
	parsed, err := counterfoil.ParseScopes(s.Scopes.String())
	if err != nil || !slices.Equal(parsed, s.Scopes) {
		return fmt.Errorf("the scopes %s are not distinct scope tokens (RFC 6749 section 3.3)", shown(s.Scopes.String()))
	}
	for i, t := range s.Tenants {
		if !event.Visible(t, maxName) || slices.Contains(s.Tenants[:i], t) {
			return fmt.Errorf("the tenant %s must have from 1 to %d bytes of visible characters and be named once", shown(t), maxName)
		}
	}
	for _, scope := range s.Scopes {
		if len(scope) > maxName {
			return fmt.Errorf("the scope %s is longer than %d bytes", shown(scope), maxName)
		}
	}
	return nil
}

func checkAddresses(s *store.Settings) error {
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

func checkLabels(s *store.Settings) error {
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

func checkTokens(s *store.Settings) error {
	t := &s.Tokens
	switch {
	case t.Lifetime != 0 && (t.Lifetime < time.Second || t.Lifetime > store.MaxLifetime || t.Lifetime%time.Second != 0):
		return fmt.Errorf("the token lifetime must be whole seconds, from 1s to %v, or 0 for the realm's", store.MaxLifetime)
	case t.Algorithm != "" && !slices.Contains(t.Algorithm.Words(), string(t.Algorithm)):
		return fmt.Errorf("the algorithm must be one of %s", strings.Join(t.Algorithm.Words(), ", "))
	case t.Policy != "" && !slices.Contains(t.Policy.Words(), string(t.Policy)):
		return fmt.Errorf("the token policy must be one of %s", strings.Join(t.Policy.Words(), ", "))
	}
	for name := range t.Claims {
		// Verifiers that ignore case in JSON, as Go's encoding/json does, would
		// read SCOPE as scope, and the last one wins.
		if slices.ContainsFunc(reservedClaims, func(own string) bool { return strings.EqualFold(own, name) }) {
			return fmt.Errorf("the claim %q has a meaning of its own: choose another name", name)
		}
	}
	return checkClaims(t.Claims)
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

func checkAuthentication(s *store.Settings) error {
	a := &s.Authentication
	if a.KeySet != "" && a.KeySetURL != "" {
		return errors.New("give jwks or jwks_uri, not both (RFC 7591 section 2)")
	}
	if err := checkKeySet(a.KeySet); err != nil {
		return err
	}
	if _, ok := httpsurl.Parse(a.KeySetURL); a.KeySetURL != "" && (!ok || len(a.KeySetURL) > maxURL) {
		return fmt.Errorf("jwks_uri must be an https URL without user and fragment, of at most %d bytes", maxURL)
	}
	if err := checkCertificateRule(&a.Certificate); err != nil {
		return err
	}
	if len(a.Thumbprints) > maxPins {
		return fmt.Errorf("a client can have at most %d certificate thumbprints: the old one and the new", maxPins)
	}
	for i, t := range a.Thumbprints {
		sum, err := base64.RawURLEncoding.Strict().DecodeString(t)
		if err != nil || len(sum) != 32 || len(t) != 43 || slices.Contains(a.Thumbprints[:i], t) {
			return errors.New("a certificate thumbprint must be the SHA-256 of the certificate in base64url " +
				"without padding, 43 characters, and be named once (RFC 8705 section 3.1)")
		}
	}
	if len(a.Federation) > maxRules {
		return fmt.Errorf("a client can have at most %d federation rules", maxRules)
	}
	for i := range a.Federation {
		if err := checkFederationRule(&a.Federation[i]); err != nil {
			return fmt.Errorf("federation rule %d: %w", i+1, err)
		}
	}
	return nil
}

func checkKeySet(text string) error {
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

func checkCertificateRule(c *store.CertificateRule) error {
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

// field is a setting with the name that operators use.
type field struct{ name, value, shown string }

// fieldsOf returns the settings as the record shows them.
func fieldsOf(s *store.Settings) []field {
	expires := "never"
	if !s.Expires.IsZero() {
		expires = s.Expires.UTC().Format(time.RFC3339)
	}
	addresses := make([]string, len(s.Addresses))
	for i, a := range s.Addresses {
		addresses[i] = a.String()
	}
	t, a := &s.Tokens, &s.Authentication
	keys := "none"
	if a.KeySet != "" {
		n, _, _ := jose.ParseSet([]byte(a.KeySet))
		keys = fmt.Sprintf("%d keys", len(n))
	}
	rules := make([]string, len(a.Federation))
	for i, r := range a.Federation {
		rules[i] = r.Issuer + " " + pairs(r.Claims)
	}
	c := &a.Certificate
	subject := pairs(map[string]string{"dn": c.SubjectDN, "dns": c.DNS, "uri": c.URI, "ip": c.IP, "email": c.Email})
	list := []field{
		{name: "name", value: s.Name}, {name: "contact", value: s.Contact}, {name: "environment", value: string(s.Environment)},
		{name: "scopes", value: s.Scopes.String()}, {name: "tenants", value: quoted(s.Tenants)},
		{name: "addresses", value: strings.Join(addresses, " ")}, {name: "labels", value: pairs(s.Labels)},
		{name: "expires", value: expires},
		{name: "resource_server", value: strconv.FormatBool(s.ResourceServer)},
		{name: "lifetime", value: t.Lifetime.String()}, {name: "algorithm", value: string(t.Algorithm)},
		{name: "policy", value: string(t.Policy)},
		{name: "claims", value: pairs(t.Claims)},
		{name: "certificate_bound", value: strconv.FormatBool(t.CertificateBound)},
		{name: "dpop_bound", value: strconv.FormatBool(t.DPoPBound)},
		{name: "jwks", value: a.KeySet, shown: keys}, {name: "jwks_uri", value: a.KeySetURL}, {name: "certificate", value: subject},
		{name: "thumbprints", value: strings.Join(a.Thumbprints, " ")}, {name: "federation", value: quoted(rules)},
	}
	return list
}

// quoted quotes each string, so that spaces in them are unambiguous.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, " ")
}

// pairs formats the non-empty entries of a map in sorted order.
func pairs(m map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] != "" {
			out = append(out, strconv.Quote(name)+"="+strconv.Quote(m[name]))
		}
	}
	return strings.Join(out, " ")
}

// Bounds of the description of a change in a record, in bytes.
const (
	maxShown  = 160
	maxDetail = 1000
)

// Changes describes in one line which settings differ, with their values in
// to; "" when none differs. It returns at most about 1,000 bytes.
func Changes(from, to *store.Settings) string { return changes(fieldsOf(from), fieldsOf(to)) }

// changes describes which settings changed, with their new values.
func changes(before, after []field) string {
	var b strings.Builder
	for i, f := range after {
		if f.value == before[i].value {
			continue
		}
		if b.Len() > maxDetail-maxShown-50 {
			return b.String() + "; …"
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		if f.shown == "" {
			f.shown = f.value
		}
		b.WriteString(f.name + ": " + brief(f.shown))
	}
	return b.String()
}

// brief returns s, truncated if it is long.
func brief(s string) string {
	if s == "" {
		return "none"
	}
	if len(s) <= maxShown {
		return s
	}
	return event.Clean(s, maxShown) + "…"
}

// shown quotes a value, truncated to a length that fits a line.
func shown(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return strconv.Quote(s)
}
