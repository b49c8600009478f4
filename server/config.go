package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// Paths below a realm's base URL that are the same for every dialect. Package
// provider refuses descriptions that use them.
const (
	keySetPath      = "/.well-known/jwks.json"
	introspectPath  = "/introspect"
	revokePath      = "/revoke"
	revocationsPath = "/revocations"
	statusPath      = "/status-lists/"
	leakedPath      = "/leaked"
)

// Config configures New.
type Config struct {
	// Store keeps clients, keys and the audit record. The caller closes it,
	// after the server.
	Store store.Store
	// Realms are served by one server; each has its own clients and keys. Reload
	// replaces them.
	Realms []Realm
	// Clock tells the time; nil for the system's.
	Clock counterfoil.Clock
	// Logger receives what an operator must see and no caller may, such as the
	// full text of unexpected errors. Nil means slog.Default.
	Logger *slog.Logger
	// OnEvent, when set, is called with each decision of a token endpoint and of the
	// endpoints beside it, after the attempt to record it and before the answer, with
	// its Duration until then. It must return soon.
	OnEvent func(context.Context, counterfoil.Event)

	// EachRefusal records each refused request by itself. By default, the first of a
	// kind is recorded at once and those that follow once a minute, with their
	// number, so that nobody fills the record.
	EachRefusal bool

	// MasterKey seals private keys at rest: 32 random bytes in base64. Empty
	// stores them in the clear, which is for tests only. New seals again the
	// keys that are sealed under one of PreviousMasterKeys or not at all.
	MasterKey          counterfoil.Secret
	PreviousMasterKeys []counterfoil.Secret
	// Signer selects the RSA implementation: signing.SignerAuto, the default, or
	// signing.SignerGo.
	Signer string

	// Proxies are those that are trusted to set the headers with a caller's
	// address and certificate.
	Proxies counterfoil.Proxies

	// Limits are those of guesses and of token requests; its zero value protects.
	Limits limits.Config

	// Outbound bounds where key sets of clients and of federated issuers may be
	// fetched from.
	Outbound Outbound
}

// Outbound bounds what the server fetches: addresses in clients' records must
// not make it a proxy into the operator's network.
type Outbound struct {
	// Hosts may be fetched from, as HOST or HOST:PORT; no others.
	Hosts []string
	// Private lets names resolve to addresses that are not public.
	Private bool
	// RootCAs are trusted; nil for the system's.
	RootCAs *x509.CertPool
}

// Validate returns an error that names the first of Hosts that is invalid.
func (o Outbound) Validate() error {
	_, err := outbound.New(outbound.Config{AllowedHosts: o.Hosts})
	return err
}

// Fetchable returns why nothing can ever be fetched from a URL, or nil: it is
// no https URL, its host is not among Hosts, or is an address that is not public
// while Private is false. The error says what to change.
func (o Outbound) Fetchable(address string) error {
	f, err := outbound.New(outbound.Config{AllowedHosts: o.Hosts, AllowPrivate: o.Private})
	if err != nil {
		return err
	}
	switch err = f.May(address); {
	case errors.Is(err, outbound.ErrNotAllowed):
		return fmt.Errorf("%w: add the host to outbound.hosts of the server's configuration, or give jwks", err)
	case errors.Is(err, outbound.ErrPrivate):
		return fmt.Errorf("%w: set outbound.private in the server's configuration, or give jwks", err)
	}
	return err
}

// Realm is one provider at one address.
type Realm struct {
	// Name identifies the realm in the store, on command lines and in records.
	Name string
	// Provider describes the dialect.
	Provider *provider.Provider
	// BaseURL is where the realm is reached: an https URL without a trailing
	// slash.
	BaseURL string
	// OtherURLs are further base URLs at which requests for the realm arrive, of
	// the same form: proofs and assertions may name any of them.
	OtherURLs []string
	// Issuer is the iss claim; default BaseURL. It may be any URL, so that a
	// provider that migrates can keep the issuer that its APIs expect.
	Issuer string
	// Tenants are the tenants that a client may be granted; empty for any.
	Tenants []string
	// KeyRotationInterval is how long a signing key is active before the next
	// one replaces it; 0 for no rotation by age. KeyPrepublish is how long a key
	// is published before it signs: longer than verifiers keep a key set;
	// default 1 hour.
	KeyRotationInterval, KeyPrepublish time.Duration
	// Federation are the issuers whose tokens clients may authenticate with,
	// where a rule of the client says so.
	Federation []FederatedIssuer
	// CertificateAuthorities sign the certificates of tls_client_auth.
	CertificateAuthorities *x509.CertPool
	// DPoPNonce requires a nonce of the server in each DPoP proof (RFC 9449
	// section 8).
	DPoPNonce bool
}

// Signing returns the realm as package signing describes it.
func (r *Realm) Signing() signing.Realm {
	return signing.Realm{Name: r.Name, Provider: r.Provider, RotationInterval: r.KeyRotationInterval, Prepublish: r.KeyPrepublish}
}

// urls are those of a path of the realm, BaseURL's first.
func (r *Realm) urls(path string) []string {
	all := []string{r.BaseURL + path}
	for _, base := range r.OtherURLs {
		all = append(all, base+path)
	}
	return all
}

// revocable reports whether a token can be revoked individually, which needs a
// token ID.
func (r *Realm) revocable() bool { return r.Provider.AccessToken.Claim(provider.FromTokenID) != "" }

// same reports whether two configurations of a realm are equal.
func (r *Realm) same(other *Realm) bool {
	was, is := *other, *r
	if !was.CertificateAuthorities.Equal(is.CertificateAuthorities) {
		return false
	}
	was.CertificateAuthorities, is.CertificateAuthorities = nil, nil // they hold functions
	return reflect.DeepEqual(was, is)
}

// check returns an error for a realm that cannot be served.
func (r *Realm) check() error {
	if r.Name == "" || r.Provider == nil {
		return errors.New("a realm needs a Name and a Provider")
	}
	for _, u := range append([]string{r.BaseURL}, r.OtherURLs...) {
		if err := checkBaseURL(u); err != nil {
			return err
		}
	}
	signing := r.Signing()
	return signing.Validate()
}

func checkBaseURL(s string) error {
	if _, ok := httpsurl.Base(s); !ok || strings.HasSuffix(s, "/") {
		return fmt.Errorf("the base URL %q must be an https URL without a query, a fragment or a trailing slash", s)
	}
	return nil
}

// Rules returns what the realm demands of the settings of its clients.
func (r *Realm) Rules() clients.Rules {
	rules := clients.Rules{Provider: r.Provider, Tenants: r.Tenants}
	for _, f := range r.Federation {
		rules.Issuers = append(rules.Issuers, f.Issuer)
	}
	return rules
}

// FederatedIssuer is an issuer of tokens that workloads have, such as a
// Kubernetes cluster, GitHub Actions or a SPIFFE trust domain. Such a token
// may be presented repeatedly until it expires: a workload has no other until
// its platform renews it. A request with one must name its client_id.
type FederatedIssuer struct {
	// Issuer is the exact iss claim, or spiffe:// and a trust domain, whose
	// JWT-SVIDs need no iss and are identified by their sub.
	Issuer string
	// KeySetURL is its JWK Set; its host must be among Outbound.Hosts. KeySet is
	// the set itself; give one of the two.
	KeySetURL, KeySet string
	// Audience is what its tokens must name in aud; default, the realm's issuer
	// or one of its addresses.
	Audience string
	// MaxLifetime bounds exp minus iat; default 1 hour.
	MaxLifetime time.Duration
}
