package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/resolver"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// maxKeySet bounds a file with keys or certificates, in bytes.
const maxKeySet = 1 << 20

// plan is a configuration with everything that can be derived from it without
// changing anything.
type plan struct {
	*serveConfig
	file string
	doc  *strict.Document // for problems found later

	certificate *certificateFiles
	database    string
	// databaseState describes the database for people.
	databaseState string
	masterKey     counterfoil.Secret
	previous      []counterfoil.Secret
	proxies       []netip.Prefix
	rootCAs       *x509.CertPool
	realms        []plannedRealm
	// warnings are about settings that are allowed but may not be intended.
	warnings []string
}

// plannedRealm is a realm and where it is reached.
type plannedRealm struct {
	server.Realm
	hosts []string // in lower case, without port and dot at the end
	path  string   // "" or "/…"
}

func (r *plannedRealm) tokenURL() string { return r.BaseURL + r.Provider.TokenEndpoint.Path }

// planner derives a plan and records problems, each with its place in the file.
type planner struct {
	*strict.Document
	*plan
	dir     string
	secrets func(string) (client.SecretFunc, error)
	now     time.Time
	// malformed says that the form of the file is also wrong.
	malformed bool
}

// inspector inspects a database that is not open: sqlite.Inspect.
type inspector func(context.Context, string) (sqlite.Inspection, error)

// plan reads a configuration and everything that it names, and changes nothing.
// The inspector inspects the database; it is nil for one that this process has
// open. The error holds every problem.
func (p *program) plan(ctx context.Context, file string, look inspector) (*plan, error) {
	config, doc, err := readServeConfig(file)
	if err != nil {
		if others := openToAll(file); len(others) > 0 {
			return nil, withHint(errors.Join(append([]error{err}, others...)...), fixHint)
		}
		return nil, withFix(err)
	}
	dir, err := configDir(file)
	if err != nil {
		return nil, err
	}
	pl := &planner{
		Document: doc, plan: &plan{serveConfig: config, file: file, doc: doc}, dir: dir, now: clock.System.Now(),
		secrets: resolver.New(
			resolver.Config{Dir: dir, Loose: true, Getenv: p.getenv, AgeIdentity: config.AgeIdentity},
		), malformed: doc.Err() != nil,
	}
	pl.address(ctx)
	pl.proxy()
	pl.outbound()
	for i := range config.Realms {
		pl.realm(i)
	}
	pl.admin()
	pl.places()
	pl.tls()
	pl.keys(ctx, look)
	pl.warnings = append(pl.warnings, files.DoubtsOf(pl.uses()...)...)
	if err := doc.Err(); err != nil {
		return nil, withFix(err)
	}
	return pl.plan, nil
}

// uses are the configuration and the files that it names.
func (pl *planner) uses() []files.Use {
	uses := []files.Use{{Path: pl.file}, {Path: within(pl.dir, pl.TLS.Certificate)}, {Path: within(pl.dir, pl.TLS.Key), Secret: true}}
	uses = append(uses, files.Referred(pl.dir, append(slices.Clip(pl.PreviousMasterKeys), pl.MasterKey, pl.AgeIdentity)...)...)
	name := func(file string) {
		if file != "" {
			uses = append(uses, files.Use{Path: within(pl.dir, file)})
		}
	}
	name(pl.Outbound.CAFile)
	for i := range pl.Realms {
		r := &pl.Realms[i]
		if strings.ContainsAny(r.Provider, `./\`) {
			name(r.Provider)
		}
		name(r.CertificateAuthorities)
		for _, f := range r.Federation {
			name(f.KeySetFile)
		}
	}
	return uses
}

// openToAll returns the problems with the modes of the files that a
// configuration names which anybody can write. Nothing else of the configuration
// is evaluated: its author would choose what is read.
func openToAll(file string) (problems []error) {
	info, err := os.Stat(file)
	if err != nil || files.Writable(info) == nil {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	dir, errDir := configDir(file)
	if err != nil || errDir != nil {
		return nil
	}
	doc, _ := strict.Parse[serveConfig](file, text)
	config := new(serveConfig)
	if doc == nil || doc.Into(config) != nil {
		return nil
	}
	pl := &planner{plan: &plan{serveConfig: config, file: file}, dir: dir}
	seen := map[string]bool{file: true}
	for _, use := range pl.uses() {
		if info, err := os.Stat(use.Path); err == nil && !seen[use.Path] {
			seen[use.Path] = true
			if err := files.Writable(info); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", use.Path, err))
			}
		}
	}
	return problems
}

const fixHint = "fix the configuration; the lines above name each mistake"

// withFix adds the next action to the problems of a configuration.
func withFix(err error) error {
	var problems strict.Problems
	if errors.As(err, &problems) {
		return withHint(err, fixHint)
	}
	return err
}

func to(keys ...any) []any { return keys }

// fail records a problem, and names the key if the message does not.
func (pl *planner) fail(way []any, format string, args ...any) {
	says, key := fmt.Sprintf(format, args...), ""
	for _, step := range way {
		if name, ok := step.(string); ok {
			key = name
		}
	}
	if !strings.Contains(says, key) {
		says = key + ": " + says
	}
	pl.Fail(way, nil, "%s", says)
}

// Fail records a mistake. If the form is wrong, a missing value may already have
// been reported.
func (pl *planner) Fail(way []any, allowed []string, format string, args ...any) {
	if !pl.malformed || pl.Has(way) {
		pl.Document.Fail(way, allowed, format, args...)
	}
}

func (pl *planner) address(ctx context.Context) {
	host, name, err := net.SplitHostPort(pl.Listen)
	port, unknown := net.DefaultResolver.LookupPort(ctx, "tcp", name)
	switch {
	case err != nil || name == "":
		pl.fail(to("listen"), "%q is not HOST:PORT: for example 0.0.0.0:443, or :443 for every address", pl.Listen)
	case strings.ContainsFunc(pl.Listen, unicode.IsSpace):
		pl.fail(to("listen"), "%q has a space in it: write HOST:PORT", pl.Listen)
		host = "" // not reported twice
	case unknown != nil:
		pl.fail(to("listen"), "%q is not a port: use a number from 0 to 65535", name)
	case port > 0 && !mayListen(port):
		pl.fail(
			to("listen"),
			"this user may not listen on port %d: give the process CAP_NET_BIND_SERVICE "+
				"(AmbientCapabilities of systemd), or use a port from 1024 on",
			port,
		)
	}
	if err == nil && host != "" && net.ParseIP(host) == nil {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if found, err := net.DefaultResolver.LookupHost(limited, host); err != nil {
			pl.fail(to("listen"), "%q is neither an address nor a name that can be looked up here", host)
		} else if !slices.ContainsFunc(found, isOwnAddress) {
			pl.warn("listen: %s is not an address of this machine, but of %s: nothing can listen there unless it becomes one",
				host, strings.Join(found, " and "))
		}
	} else if err == nil && host != "" && !isOwnAddress(host) {
		pl.warn("listen: %s is not an address of this machine: nothing can listen there unless it becomes one",
			host)
	}
	pl.Log.Level, pl.Log.Format = cmp.Or(pl.Log.Level, "info"), cmp.Or(pl.Log.Format, "text")
}

// isOwnAddress reports whether this machine has an address, or may have it.
func isOwnAddress(text string) bool {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	own, err := net.InterfaceAddrs()
	return err != nil || ip.IsLoopback() || ip.IsUnspecified() || slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		has, ok := netip.AddrFromSlice(n.IP)
		return ok && has.Unmap() == ip
	})
}

func (pl *planner) proxy() {
	for i, s := range pl.TrustedProxies {
		network, err := netip.ParsePrefix(s)
		if ip, bad := netip.ParseAddr(s); err != nil && bad == nil {
			network, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			pl.fail(to("trusted_proxies", i), "%q is neither a network nor an address: write for example 10.0.0.0/8", s)
			continue
		}
		if err := (&peer.Config{TrustedProxies: []netip.Prefix{network}}).Validate(); err != nil {
			pl.fail(to("trusted_proxies", i), "%v", err)
			continue
		}
		pl.proxies = append(pl.proxies, network.Masked())
	}
	proxies := pl.proxies
	if len(proxies) == 0 && (pl.Told(to("trusted_proxies")) || len(pl.TrustedProxies) > 0) {
		proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} // some are set, and their mistakes are already reported
	}
	if len(pl.TrustedProxies) > 0 {
		pl.AddressHeader = cmp.Or(pl.AddressHeader, "X-Forwarded-For")
	}
	h, before := pl.CertificateHeader, ""
	for _, c := range []struct {
		way    []any
		config peer.Config
	}{
		{to("address_header"), peer.Config{TrustedProxies: proxies, AddressHeader: string(pl.AddressHeader)}},
		{to("certificate_header"), peer.Config{TrustedProxies: proxies, CertificateHeader: h.Name, CertificateForm: peer.Form(h.Form)}},
		{to("certificate_header"), peer.Config{TrustedProxies: proxies, AddressHeader: string(pl.AddressHeader),
			CertificateHeader: h.Name}},
	} {
		if err := c.config.Validate(); err != nil && pl.Has(c.way) {
			if says := fmt.Sprint(c.way, err); says != before {
				pl.fail(c.way, "%v", err)
				before = says
			}
		}
	}
}

func (pl *planner) outbound() {
	for i, h := range pl.Outbound.Hosts {
		if err := (server.Outbound{Hosts: []string{h}}).Validate(); err != nil {
			pl.fail(to("outbound", "hosts", i), "%v", err)
		}
	}
	if file := pl.Outbound.CAFile; file != "" {
		var err error
		if pl.rootCAs, err = trust.File(within(pl.dir, file)); err != nil {
			pl.fail(to("outbound", "ca_file"), "%v", err)
		}
	}
}

// adminAPI is the name of the Admin API in descriptions.
const adminAPI = "admin"

var realmName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// tls loads the certificate, and warns if it is not suitable.
func (pl *planner) tls() {
	readable := true
	for key, file := range map[string]string{"certificate": pl.TLS.Certificate, "key": pl.TLS.Key} {
		if _, err := readBounded(within(pl.dir, file)); err != nil {
			pl.fail(to("tls", key), "%v", err)
			readable = false
		}
	}
	if !readable {
		return
	}
	c, err := openCertificate(within(pl.dir, pl.TLS.Certificate), within(pl.dir, pl.TLS.Key), clock.System)
	if err != nil {
		pl.fail(to("tls", "certificate"), "%v", err)
		return
	}
	pl.certificate = c
	leaf := c.current.Load().Leaf
	if left := leaf.NotAfter.Sub(pl.now); left < 7*24*time.Hour {
		pl.warn("the certificate %s expires at %s", pl.TLS.Certificate, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	for _, r := range pl.realms {
		for _, host := range r.hosts {
			switch {
			case leaf.VerifyHostname(host) == nil:
			case len(pl.TrustedProxies) > 0: // clients see the proxy's certificate
				pl.warn("the certificate %s is not for %s, a host of the realm %s", pl.TLS.Certificate, host, r.Name)
			default:
				pl.fail(
					to("tls", "certificate"),
					"the certificate %s is not for %s, a host of the realm %s: no client would accept it",
					pl.TLS.Certificate, host, r.Name,
				)
			}
		}
	}
}

func (pl *planner) warn(format string, args ...any) {
	pl.warnings = append(pl.warnings, fmt.Sprintf(format, args...))
}

// keys reads the master keys and checks whether they decrypt the keys in the
// database.
func (pl *planner) keys(ctx context.Context, look inspector) {
	known := map[string]bool{}
	key := func(way []any, ref string) counterfoil.Secret {
		var value counterfoil.Secret
		get, err := pl.secrets(ref)
		if err == nil {
			value, err = get(ctx)
		}
		if err != nil {
			pl.fail(way, "%v", err)
			return ""
		}
		k, err := seal.ParseKey(value)
		if err != nil {
			pl.fail(way, "%v", err)
			return ""
		}
		known[k.ID()] = true
		return value
	}
	pl.masterKey = key(to("master_key"), pl.MasterKey)
	for i, ref := range pl.PreviousMasterKeys {
		pl.previous = append(pl.previous, key(to("previous_master_keys", i), ref))
	}
	complete := pl.masterKey != "" && !slices.Contains(pl.previous, "")
	pl.database = within(pl.dir, pl.Database)
	if look == nil {
		return
	}
	stored, err := look(ctx, pl.database)
	if err != nil {
		pl.fail(to("database"), "%v", err)
		return
	}
	pl.databaseState = describe(pl.database, &stored)
	if doubt := sqlite.Doubt(pl.database); doubt != "" {
		pl.warn("%s", doubt)
	}
	for _, k := range stored.Keys {
		id, sealed := seal.Sealed([]byte(k.Private.Reveal()))
		if sealed && !known[id] && complete {
			pl.fail(
				to("master_key"),
				"the keys in the database are sealed under master key %s, and this is another: "+
					"give that one, or name it in previous_master_keys",
				id,
			)
			return
		}
	}
}

func describe(path string, db *sqlite.Inspection) string {
	switch {
	case !db.Exists:
		return "a new database " + path
	case db.Migrations > 0:
		return fmt.Sprintf("the database %s, whose schema would be brought up to date", path)
	}
	return "the database " + path
}

// written refuses explicit values that would count as left out: empty or 0,
// where the default is something else.
func (pl *planner) written(way []any, c *realmConfig) {
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
	r := plannedRealm{Realm: server.Realm{
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
		if t == "" || oneLine(t) != t || slices.Contains(c.Tenants[:j], t) {
			pl.fail(under(way, "tenants", j), "a tenant must be one line of text that is named once")
		}
	}
	for j := range c.Federation {
		r.Federation = append(r.Federation, pl.federation(under(way, "federation", j), &c.Federation[j]))
	}
	if c.CertificateAuthorities != "" {
		pem, err := readBounded(within(pl.dir, c.CertificateAuthorities))
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
	pl.realms = append(pl.realms, r)
}

// provider returns the realm's derived description, or nil.
func (pl *planner) provider(way []any, c *realmConfig) *provider.Provider {
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
func (pl *planner) usable(c *realmConfig, methods []provider.Method) []provider.Method {
	shown := pl.TLS.ClientCertificates || pl.CertificateHeader.Name != ""
	return slices.DeleteFunc(slices.Clone(methods), func(m provider.Method) bool {
		return m == provider.SelfSignedTLSClientAuth && !shown || m == provider.TLSClientAuth && (!shown || c.CertificateAuthorities == "")
	})
}

// certificates refuses methods that can never be used: no certificate is
// requested, or none is trusted.
func (pl *planner) certificates(way []any, c *realmConfig, p *provider.Provider) {
	methods := p.TokenEndpoint.ClientAuthentication
	signed := slices.Contains(methods, provider.TLSClientAuth)
	if !signed && !slices.Contains(methods, provider.SelfSignedTLSClientAuth) {
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

func (pl *planner) federation(way []any, c *federationConfig) server.FederatedIssuer {
	f := server.FederatedIssuer{Issuer: c.Issuer, KeySetURL: c.KeySetURL, Audience: c.Audience, MaxLifetime: c.MaxLifetime}
	if (c.KeySetURL == "") == (c.KeySetFile == "") {
		pl.fail(way, "give either jwks_uri or jwks_file")
		return f
	}
	if c.KeySetFile != "" {
		text, err := readBounded(within(pl.dir, c.KeySetFile))
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
	u, err := url.Parse(c.KeySetURL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "":
		pl.fail(under(way, "jwks_uri"), "%q is not an https URL", c.KeySetURL)
	case !slices.Contains(pl.Outbound.Hosts, strings.TrimSuffix(u.Host, ":443")):
		pl.fail(under(way, "jwks_uri"), "the host %s is not among outbound.hosts", u.Host)
	}
	return f
}

// admin checks that the realm of the Admin API has one.
func (pl *planner) admin() {
	if pl.Admin.Realm == "" {
		return
	}
	i := slices.IndexFunc(pl.realms, func(r plannedRealm) bool { return r.Name == pl.Admin.Realm })
	if i < 0 {
		names := make([]string, len(pl.realms))
		for i, r := range pl.realms {
			names[i] = r.Name
		}
		if pl.Told(to("realms")) || slices.Contains(names, "") {
			return // it may be one whose mistake is already reported
		}
		pl.Fail(to("admin", "realm"), names, "there is no realm %q", pl.Admin.Realm)
		return
	}
	p := pl.realms[i].Provider
	if p == nil {
		return
	}
	if api, ok := p.API(adminAPI); !ok || api.Kind != provider.REST {
		pl.fail(
			to("admin", "realm"),
			"the provider %s of the realm %s describes no REST API called %s: take the provider counterfoil, or extend it",
			p.Name, pl.Admin.Realm, adminAPI,
		)
	}
}

// under returns the path to what is below a value.
func under(way []any, keys ...any) []any { return append(slices.Clip(slices.Clone(way)), keys...) }

// readBounded reads a file of keys or certificates.
func readBounded(file string) ([]byte, error) { return files.Read(file, maxKeySet) }
