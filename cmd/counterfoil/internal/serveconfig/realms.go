package serveconfig

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
)

// written refuses explicit values that would count as left out: empty or 0,
// where the default is something else.
func (pl *planner) written(way []any, c *realmSettings) {
	for _, zero := range []struct {
		name string
		keys []any
		is   bool
	}{
		{"lifetime", to("lifetime"), c.Lifetime == 0}, {"reuse_percent", to("reuse_percent"), c.ReusePercent == 0},
		{"keys.age", to("keys", "age"), c.Keys.Age == 0}, {"keys.ahead", to("keys", "ahead"), c.Keys.Ahead == 0},
	} {
		if at := under(way, zero.keys...); zero.is && pl.Has(at) {
			pl.fail(at, "%s cannot be 0: leave it out for the default", zero.name)
		}
	}
	for i := range c.Federation {
		if at := under(way, "federation", i, "max_lifetime"); c.Federation[i].MaxLifetime == 0 && pl.Has(at) {
			pl.fail(at, "max_lifetime cannot be 0: leave it out for the default")
		}
	}
	for _, list := range []struct {
		key, otherwise string
		is             bool
	}{
		{"tenants", "any tenant", len(c.Tenants) == 0}, {"hosts", "that of base_url", len(c.Hosts) == 0 && c.BaseURL != ""},
		{"scopes", "those of the description", len(c.Scopes) == 0},
		{"signing_algorithms", "those of the description", len(c.SigningAlgorithms) == 0},
		{"client_authentication", "those of the description", len(c.ClientAuthentication) == 0},
		{"resources", "those of the description", len(c.Resources) == 0}, {"audience", "that of the description", len(c.Audience) == 0},
		{"claims", "those of the description", len(c.Claims) == 0},
	} {
		if at := under(way, list.key); list.is && pl.Has(at) {
			pl.fail(at, "the list is empty: name at least one, or leave it out for %s", list.otherwise)
		}
	}
}

var realmName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// realm plans one realm.
func (pl *planner) realm(i int) {
	c := &pl.Realms[i]
	way := to("realms", i)
	for _, other := range pl.Realms[:i] {
		if other.Name == c.Name {
			pl.fail(under(way, "name"), "a second realm is called %q", c.Name)
		}
	}
	if !realmName.MatchString(c.Name) {
		pl.fail(under(way, "name"), "the name %q must be lower-case letters, digits and hyphens, starting with a letter", c.Name)
	}
	pl.written(way, c)
	r := Realm{Realm: server.Realm{
		Name: c.Name, Provider: pl.provider(way, c), Issuer: c.Issuer, Tenants: c.Tenants,
		KeyRotationInterval: c.Keys.Age, KeyPrepublish: c.Keys.Ahead, DPoPNonce: c.DPoPNonce,
	}}
	pl.place(way, c, &r)
	if c.Issuer != "" {
		if u, err := url.Parse(c.Issuer); err != nil || !u.IsAbs() || u.Host == "" || u.User != nil {
			pl.fail(under(way, "issuer"), "%q is not an absolute URL", c.Issuer)
		}
	}
	for j, t := range c.Tenants {
		if t == "" || !utf8.ValidString(t) || strings.ContainsFunc(t, endsLine) || slices.Contains(c.Tenants[:j], t) {
			pl.fail(under(way, "tenants", j), "a tenant must be one line of text that is named once")
		}
	}
	for j := range c.Federation {
		r.Federation = append(r.Federation, pl.federation(under(way, "federation", j), &c.Federation[j]))
	}
	if c.CertificateAuthorities != "" {
		pem, err := readFile(within(pl.dir, c.CertificateAuthorities))
		r.CertificateAuthorities = x509.NewCertPool()
		if err == nil && !r.CertificateAuthorities.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no certificate in PEM", c.CertificateAuthorities)
		}
		if err != nil {
			pl.fail(under(way, "certificate_authorities"), "%v", err)
		}
	}
	if r.Provider != nil {
		if err := r.Signing().Validate(); err != nil {
			pl.fail(under(way, "keys"), "%v", err)
		}
		pl.certificates(way, c, r.Provider)
	}
	pl.out.Realms = append(pl.out.Realms, r)
}

// provider returns the realm's derived description, or nil.
func (pl *planner) provider(way []any, c *realmSettings) *provider.Provider {
	named := c.Provider
	if strings.ContainsAny(named, `./\`) {
		named = within(pl.dir, named)
	}
	described, err := provider.Open(named)
	if err == nil {
		if len(c.ClientAuthentication) == 0 {
			c.ClientAuthentication = pl.usable(c, described.TokenEndpoint.ClientAuthentication)
		}
		described, err = described.Override(c.Overrides)
	}
	var problems provider.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			if p.File != "" {
				pl.Fail(under(way, "provider"), nil, "%v", p)
			} else {
				pl.Fail(under(way, p.Way...), p.Allowed, "%s", p.Message)
			}
		}
	case err != nil:
		pl.fail(under(way, "provider"), "%v", err)
	}
	if err != nil {
		return nil
	}
	return described
}

// usable removes the methods of a description for which this server has no
// certificates, so that its metadata is correct.
func (pl *planner) usable(c *realmSettings, methods []provider.Method) []provider.Method {
	shown := pl.TLS.ClientCertificates || pl.CertificateHeader.Name != ""
	return slices.DeleteFunc(slices.Clone(methods), func(m provider.Method) bool {
		return m == provider.MethodSelfSignedTLSClientAuth && !shown ||
			m == provider.MethodTLSClientAuth && (!shown || c.CertificateAuthorities == "")
	})
}

// certificates refuses methods that can never be used: no certificate is
// requested, or none is trusted.
func (pl *planner) certificates(way []any, c *realmSettings, p *provider.Provider) {
	methods := p.TokenEndpoint.ClientAuthentication
	signed := slices.Contains(methods, provider.MethodTLSClientAuth)
	if !signed && !slices.Contains(methods, provider.MethodSelfSignedTLSClientAuth) {
		return
	}
	way = under(way, "client_authentication")
	if !pl.TLS.ClientCertificates && pl.CertificateHeader.Name == "" {
		pl.fail(way, "clients cannot present a certificate: set tls.client_certificates, or certificate_header behind a proxy")
	}
	if signed && c.CertificateAuthorities == "" {
		pl.fail(way, "tls_client_auth needs certificate_authorities: the PEM file of those that sign the clients' certificates")
	}
}

func (pl *planner) federation(way []any, c *federationSettings) server.FederatedIssuer {
	f := server.FederatedIssuer{Issuer: c.Issuer, KeySetURL: c.KeySetURL, Audience: c.Audience, MaxLifetime: c.MaxLifetime}
	if (c.KeySetURL == "") == (c.KeySetFile == "") {
		pl.fail(way, "give either jwks_uri or jwks_file")
		return f
	}
	if c.KeySetFile != "" {
		text, err := readFile(within(pl.dir, c.KeySetFile))
		if err == nil {
			var keys []jose.PublicKey
			if keys, _, err = jose.ParseSet(text); err == nil && len(keys) == 0 {
				err = fmt.Errorf("%s has no usable key", c.KeySetFile)
			}
		}
		if err != nil {
			pl.fail(under(way, "jwks_file"), "%v", err)
		}
		f.KeySet = string(text)
		return f
	}
	u, ok := httpsurl.Parse(c.KeySetURL)
	switch {
	case !ok:
		pl.fail(under(way, "jwks_uri"), "%q is not an https URL", c.KeySetURL)
	case !slices.Contains(pl.Outbound.Hosts, strings.TrimSuffix(u.Host, ":443")):
		pl.fail(under(way, "jwks_uri"), "the host %s is not among outbound.hosts", u.Host)
	}
	return f
}

// checkAdmin checks that the realm of the Admin API has one.
func (pl *planner) checkAdmin() {
	if pl.Admin.Realm == "" {
		return
	}
	i := slices.IndexFunc(pl.out.Realms, func(r Realm) bool { return r.Name == pl.Admin.Realm })
	if i < 0 {
		names := make([]string, len(pl.out.Realms))
		for i, r := range pl.out.Realms {
			names[i] = r.Name
		}
		if pl.Told(to("realms")) || slices.Contains(names, "") {
			return // it may be one whose mistake is already reported
		}
		pl.Fail(to("admin", "realm"), names, "there is no realm %q", pl.Admin.Realm)
		return
	}
	p := pl.out.Realms[i].Provider
	if p == nil {
		return
	}
	if api, ok := p.API(AdminAPI); !ok || api.Kind != provider.KindREST {
		pl.fail(
			to("admin", "realm"),
			"the provider %s of the realm %s describes no REST API called %s: take the provider counterfoil, or extend it",
			p.Name, pl.Admin.Realm, AdminAPI,
		)
	}
}

// endsLine reports whether a tenant with r in its name would take more than a
// line.
func endsLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
