// Package server implements the issuing side of the OAuth 2.0 client
// credentials grant: a token endpoint that speaks each provider's dialect, its
// signing keys, and the clients that may use it.
//
// Use it to run realms inside your own program: open a Store (package sqlite
// has one), give New a provider description for each realm, mount
// Server.Handler where the realm is reached, and create clients with Clients.
// Serve over TLS with read timeouts: this package bounds the size of a
// request, and the http.Server bounds the time that it takes to arrive.
//
// The package promises that a token is returned only after its audit record is
// durable, that every request to the token endpoint leaves such a record
// unless the store itself fails, and that under the policy "replace" a client
// has at most one live token, also under concurrency. Secrets and tokens reach
// no log, error or record. Answers follow the description byte for byte.
// Exported names stay compatible within a major version.
package server

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
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
	// OnEvent, when set, is called with each decision of a token endpoint, after
	// the attempt to record it and before the answer. It must return soon.
	OnEvent func(context.Context, counterfoil.Event)

	// MasterKey seals private keys at rest: 32 random bytes in base64. Empty
	// stores them in the clear, which is for tests only. New seals again the
	// keys that are sealed under one of PreviousMasterKeys or not at all.
	MasterKey          counterfoil.Secret
	PreviousMasterKeys []counterfoil.Secret
	// Signer selects the RSA implementation: "auto" is the system's OpenSSL
	// where it can be used, "go" is crypto/rsa; default "auto". The signatures
	// are the same; OpenSSL takes less than half the time.
	Signer string

	// TrustedProxies are the networks of the proxies that are trusted to set the
	// headers with a caller's address and certificate.
	TrustedProxies []netip.Prefix
	// AddressHeader is the header with the address: X-Forwarded-For (default) or
	// Forwarded (RFC 7239).
	AddressHeader string
	// CertificateHeader is the header with the caller's certificate; empty for
	// none. CertificateForm is its form: "client-cert" (RFC 9440, the default),
	// "pem-escaped" (nginx; a chain, as AWS load balancers forward it, is read
	// as its leaf) or "der-base64" (HAProxy).
	CertificateHeader, CertificateForm string

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

// Server issues tokens for its realms. It is safe for concurrent use.
type Server struct {
	shared
	realms atomic.Pointer[map[string]*realm]
	reload sync.Mutex
}

// shared is the state that all realms of a server share and that outlives a
// reload.
type shared struct {
	Config
	clients *bounded.Cache[clientKey, *store.Client]
	reuse   *bounded.Cache[string, *reusable]
	feeds   *feeds
	secrets *secrets
	uses    *uses
	sealer  *signing.Sealer
	rsa     *signing.RSABackend
	watch   *clockWatch
	// storeTrouble limits the log of a store that fails every request.
	storeTrouble lograte.Limiter

	// peers finds the caller behind a proxy; keySets are those of clients and of
	// federated issuers; nonceKey is the key of DPoP nonces.
	peers    *peer.Config
	keySets  *outbound.KeySets
	nonceKey []byte

	// tasks run in the background until Close ends ctx.
	tasks sync.WaitGroup
	ctx   context.Context
	end   context.CancelFunc
}

// every calls do in the background at each interval until the server is
// closed.
func (s *shared) every(interval time.Duration, do func(context.Context)) {
	s.tasks.Go(func() {
		for s.Clock.Sleep(s.ctx, interval) == nil {
			do(s.ctx)
		}
	})
}

// realm is a Realm with everything that can be computed before the first
// request.
type realm struct {
	*shared
	Realm
	endpoint *provider.TokenEndpoint
	keys     *signing.Ring
	claims   template
	answer   template
	headers  []header
	apiKey   string // the name of the header with the API key, or ""
	status   statusList
	// federation holds the issuers that the realm federates with, by name.
	federation map[string]*federatedIssuer
	nonces     *dpop.Nonces // nil where none is required
	away       away         // key sets of its clients and issuers
	// documents are the realm's public JSON files, by path.
	documents map[string][]byte
}

// header is a header in the form of http.Header; its value is shared and never
// changed.
type header struct {
	name  string
	value []string
}

// Bounds of what a server keeps in memory.
const (
	rememberedClients = 10_000
	rememberedTokens  = 10_000
)

// New checks the configuration, makes the signing keys that are missing, and
// returns a server that is ready. The caller must close it.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Store == nil {
		return nil, fmt.Errorf("server: Config.Store is missing: open one, for example with sqlite.Open")
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.OnEvent == nil {
		c.OnEvent = func(context.Context, counterfoil.Event) {}
	}
	all := &feeds{of: map[string]*feed{}}
	c.Store = notifyingStore{c.Store, all}
	sealer, err := signing.NewSealer(c.MasterKey, c.PreviousMasterKeys)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	rsa, err := signing.NewRSABackend(c.Signer)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{shared: shared{
		Config:  c,
		feeds:   all,
		clients: bounded.New[clientKey, *store.Client](rememberedClients),
		reuse:   bounded.New[string, *reusable](rememberedTokens),
		secrets: newSecrets(c.Clock),
		uses:    startUses(c.Store, c.Clock, c.Logger),
		sealer:  sealer,
		rsa:     rsa,
		watch:   &clockWatch{start: c.Clock.Now()},
	}}
	s.ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	err = s.setUpNetwork()
	if err == nil {
		err = s.Reload(ctx, c.Realms)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.Logger.InfoContext(ctx, s.Signing())
	s.every(signing.ReadEvery, s.maintainKeys)
	return s, nil
}

// Signing describes the implementation that signs with RSA, as in "RS256 and
// PS256 signatures by OpenSSL 3.0.17 1 Jul 2025", with the reason where it is
// crypto/rsa.
func (s *Server) Signing() string { return s.rsa.String() }

// Keys returns the service of this server's signing keys, whose changes the
// server sees at once.
func (s *Server) Keys() *signing.Keys {
	return signing.NewKeysOf(s.Store, s.Clock, s.sealer, func(ctx context.Context, realm string) {
		if rl := s.realm(realm); rl != nil {
			rl.keys.Refresh(ctx)
		}
	})
}

// maintainKeys checks the clock and the keys of all realms.
func (s *Server) maintainKeys(ctx context.Context) {
	s.watch.look(ctx, s.Clock.Now(), s.Logger)
	for _, rl := range *s.realms.Load() {
		rl.keys.Maintain(ctx)
	}
}

// Reload replaces the realms: all of them or, with an error, none. A request
// in flight finishes in the realm that it began in. An unchanged realm keeps
// its state in memory.
func (s *Server) Reload(ctx context.Context, realms []Realm) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	all := make(map[string]*realm, len(realms))
	for _, r := range realms {
		if _, twice := all[r.Name]; twice {
			return fmt.Errorf("server: two realms are named %q", r.Name)
		}
		if old := s.realm(r.Name); old != nil && old.same(&r) {
			all[r.Name] = old
			continue
		}
		rl, err := newRealm(&s.shared, r, s.realm(r.Name))
		if err != nil {
			return fmt.Errorf("server: realm %q: %w", r.Name, err)
		}
		all[r.Name] = rl
	}
	// Nothing is written before the whole configuration is valid.
	rings := make([]*signing.Ring, 0, len(all))
	for _, rl := range all {
		rings = append(rings, rl.keys)
	}
	if err := signing.Open(ctx, rings); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.realms.Store(&all)
	s.clients.Clear() // under another policy, their MinIssuedAt must be the present one
	s.feeds.keep(all)
	return nil
}

// Drain closes all connections of the revocation feed and refuses new ones. A
// program calls it when it stops listening and waits for requests in flight.
func (s *Server) Drain() { s.feeds.keep(nil) }

// Close stops the server's background tasks and writes what is still pending.
// Requests may still arrive and are served as before, but keys are no longer
// rotated.
func (s *Server) Close() error {
	s.end()
	s.tasks.Wait()
	s.feeds.keep(nil)
	return s.uses.close()
}

// realm returns the realm of that name, or nil.
func (s *Server) realm(name string) *realm {
	all := s.realms.Load()
	if all == nil {
		return nil
	}
	return (*all)[name]
}

// same reports whether r is the configuration of the realm.
func (rl *realm) same(r *Realm) bool {
	was, is := rl.Realm, *r
	is.Issuer = cmp.Or(is.Issuer, is.BaseURL)
	if !was.CertificateAuthorities.Equal(is.CertificateAuthorities) {
		return false
	}
	was.CertificateAuthorities, is.CertificateAuthorities = nil, nil // they hold functions
	return reflect.DeepEqual(was, is)
}

// newRealm prepares a realm; before is the one that it replaces, or nil.
func newRealm(c *shared, r Realm, before *realm) (*realm, error) {
	if r.Name == "" || r.Provider == nil {
		return nil, fmt.Errorf("a realm needs a Name and a Provider")
	}
	for _, u := range append([]string{r.BaseURL}, r.OtherURLs...) {
		if err := checkBaseURL(u); err != nil {
			return nil, err
		}
	}
	if r.Issuer == "" {
		r.Issuer = r.BaseURL
	}
	rl := &realm{shared: c, Realm: r, endpoint: &r.Provider.TokenEndpoint}
	if h, ok := rl.endpoint.Header(provider.HeaderFromAPIKey); ok {
		rl.apiKey = h.Name
	}
	for name, value := range rl.endpoint.Response.Headers {
		rl.headers = append(rl.headers, header{http.CanonicalHeaderKey(name), []string{value}})
	}
	var err error
	if rl.federation, err = federate(r.Federation, c.Logger); err != nil {
		return nil, err
	}
	if r.DPoPNonce {
		if rl.nonces, err = dpop.NewNonces(c.nonceKey, c.Clock, 0); err != nil {
			return nil, err
		}
	}
	rl.claims, rl.answer = claimsOf(&r), answerOf(rl.endpoint)
	keys := r.Signing()
	if err := keys.Validate(); err != nil {
		return nil, err
	}
	var ring *signing.Ring
	if before != nil {
		ring = before.keys
	}
	rl.keys = signing.New(signing.Config{
		Realm: keys, Store: c.Store, Clock: c.Clock, Logger: c.Logger, Sealer: c.sealer, RSA: c.rsa, Protected: rl.protected,
	}, ring)
	return rl, rl.publish()
}

func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		strings.HasSuffix(s, "/") {
		return fmt.Errorf("the base URL %q must be an https URL without a query, a fragment or a trailing slash", s)
	}
	return nil
}

// Handler serves the realm: the token endpoint, /introspect (RFC 7662),
// /revoke (RFC 7009), the revocation feed at /revocations and the status lists
// below /status-lists, and the public documents at /.well-known/jwks.json (RFC
// 7517), /.well-known/oauth-authorization-server (RFC 8414) and
// /.well-known/openid-configuration. A path that differs from one of these in
// slashes only is not found, and the answer names the right URL. Followers of
// the feed stay connected until Drain or Close: call Drain before
// http.Server.Shutdown, which waits for them. Paths are those below the
// realm's base URL: mount it behind http.StripPrefix where that has a path.
// Every other path is not found, and neither is any path of a realm that the
// server does not have at the time of the request.
func (s *Server) Handler(realm string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rl := s.realm(realm)
		if rl == nil {
			http.NotFound(w, r)
			return
		}
		if serve := rl.route(r.URL.Path); serve != nil {
			serve(w, r)
			return
		}
		if meant := rl.intended(r.URL.Path); meant != "" {
			rl.elsewhere(w, meant)
			return
		}
		http.NotFound(w, r)
	})
}

// Serves reports whether a path below the base URL of a realm belongs to the
// realm itself: to one of its endpoints, as Handler serves them, or to
// /.well-known, where anyone may look for published documents.
func (s *Server) Serves(realm, path string) bool {
	rl := s.realm(realm)
	return rl != nil && (strings.HasPrefix(path, "/.well-known/") || rl.route(path) != nil || rl.intended(path) != "")
}
