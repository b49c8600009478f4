// Package guard protects an API: it lets a request through to an http.Handler
// only when the request carries what the API's provider description demands,
// and answers every other request as that description says.
//
// Use it in the program that serves an API, one Guard for each API:
//
//	keys, err := guard.RemoteKeys(guard.RemoteKeysConfig{URL: "https://auth.example.com/.well-known/jwks.json"})
//	g, err := guard.New(guard.Config{Provider: p, Issuer: "https://auth.example.com", Keys: keys})
//	h := g.Handler(api)
//	http.Handle("/api", h) // without this line ServeMux redirects it to /api/
//	http.Handle("/api/", h)
//
// Behind it the API reads its caller with [counterfoil.PrincipalFrom].
//
// What a token cannot tell, that it was revoked since, a guard learns in one of
// three ways: from a Registry in the issuer's process, from the issuer's
// revocation feed ([FollowRevocations]), or by asking about each token
// ([Introspection]). With the feed, a revocation holds as soon as its event
// arrives, in milliseconds, and 15 seconds after the issuer was last heard the
// feed counts as cut: then the guard refuses as unavailable, introspects or
// accepts, as it was told. So nothing revoked is let through for longer than
// that, unless the policy is to accept. A connection that breaks is resumed
// where it was; what was revoked stays so, cut or not.
//
// A token that is bound to a certificate (RFC 8705) or a key (RFC 9449) is taken
// from its holder only, in every dialect and on each call.
//
// The package promises that a request reaches the API only with a token of the
// described form that one of the issuer's published keys signed and that is in
// force now; that this holds for every call, also when the token was verified
// before; that nothing of a request is repeated in a refusal; that a failure of
// the guard's own sources is answered as unavailable, never as a wrong token;
// and that what a stranger can make it keep is bounded.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/provider"
)

// Config says what a Guard protects and what it asks.
type Config struct {
	// Provider is the description that is enforced. Required.
	Provider *provider.Provider
	// API is the name of the API among the provider's; empty for the only one.
	API string
	// Issuer is what the tokens' issuer claim must be, to the letter. Required.
	Issuer string
	// Audience is what the tokens' audience claim must contain. Default: the
	// audience of the API in the description, else one of the description's
	// access tokens, else the issuer.
	Audience string
	// Keys answers for the issuer's public keys. Required.
	Keys Keys
	// Registry answers for the clients: with one, the token of a client that was
	// disabled or deleted is refused at its next call. It is what a guard in the
	// issuer's own process has. Required when the description has a header from
	// api_key, or a header from tenant while the tokens have no claim from
	// tenants.
	Registry Registry
	// Revocations is what a guard in another process has: the issuer's word of
	// each revocation, followed as it is given and looked up in memory. The
	// caller closes it.
	Revocations *Feed
	// Introspection asks the issuer about each token instead, on every call whose
	// answer is not remembered. With Revocations it belongs to them:
	// FeedConfig.Introspect.
	//
	// All three are asked that are there. With none of them, a token serves until
	// it expires, whatever happens to its client; the token policy "replace"
	// needs one.
	Introspection *Introspection
	// URL is where callers reach what the guard stands before, when requests do
	// not tell: scheme and host, and the part of the path that a proxy in front
	// takes away, such as https://api.example.com. A proof of possession (RFC
	// 9449) is made for a URL, and this is what it is compared with, followed by
	// the path of the request line.
	//
	// Default: https and the request's Host. That is right where the listener
	// answers to its own names only, or where a token is good for one host by its
	// audience. Otherwise the sender chooses the Host, and a proof that was made
	// for another host, and caught there with its token, is taken here within its
	// minute. Set it behind a proxy, which may send any Host, and wherever in
	// doubt. Scheme and host are never taken from a forwarding header.
	URL string
	// TrustedProxies are the networks whose word is taken for a caller's
	// certificate: they end TLS in front of the guard. CertificateHeader is where
	// they put it; they must remove the header from what callers send. Empty for
	// nowhere: then a token that is bound to a certificate (RFC 8705) needs it on
	// the guard's own connection. CertificateForm is its form: "client-cert" (RFC
	// 9440, the default), "pem-escaped" (nginx; a chain, as AWS load balancers
	// forward it, is read as its leaf) or "der-base64" (HAProxy).
	TrustedProxies                     []netip.Prefix
	CertificateHeader, CertificateForm string
	// DPoPNonce demands a nonce of the guard in each proof (RFC 9449 section 9):
	// then one that was made ahead of its time is worth nothing. DPoPNonceKey,
	// 32 random bytes in base64, is what all guards behind one URL share; empty
	// for a random one, which no other knows.
	DPoPNonce    bool
	DPoPNonceKey counterfoil.Secret
	// MaxProofs is how many proofs are remembered at most, each for a minute, so
	// that none is taken twice; default 100,000, in 20 MB. When room gets scarce,
	// proofs are refused, first those of the client that sends the most: give
	// half a minute's calls of the busiest client twice over.
	MaxProofs int
	// CacheSize is how many verified tokens are remembered at most; default
	// 10,000. One takes the memory of its claims, some kilobytes.
	CacheSize int
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// SameClock says that the issuer dates its tokens by Clock, as one in this
	// process does: a token then ends when its exp says, without the leeway of the
	// description. That of nbf and iat stays: an issuer dates a token ahead whose
	// client had all earlier ones revoked.
	SameClock bool
	// OnDecision is told of every call, before it is answered or let through. It
	// is called by many goroutines at once and holds the call up.
	OnDecision func(context.Context, counterfoil.Event)
	// Logger gets the failures of Keys and Registry; default slog.Default.
	Logger *slog.Logger
}

// Registry answers for the clients of a provider. It is asked on every call
// whose token is right, by many goroutines at once; an error refuses the call
// as unavailable.
type Registry interface {
	// Live reports whether the principal's token still serves: the client is
	// there and enabled, the token is not revoked and, under the token policy
	// "replace", no later one has replaced it. It is asked under every policy;
	// TokenID and Issued are zero where the description's tokens have none.
	Live(ctx context.Context, p *counterfoil.Principal) (bool, error)
	// Tenants returns the tenants that the client is granted.
	Tenants(ctx context.Context, clientID string) ([]string, error)
	// APIKey reports whether key is an API key of the client. It compares in
	// constant time.
	APIKey(ctx context.Context, clientID string, key counterfoil.Secret) (bool, error)
}

// Guard protects one API. It is safe for concurrent use.
type Guard struct {
	provider   *provider.Provider
	api        *provider.API
	keys       AlgorithmKeys
	algorithms []string
	registry   Registry
	feed       *Feed
	clock      counterfoil.Clock
	onDecision func(context.Context, counterfoil.Event)
	logger     *slog.Logger
	trouble    lograte.Limiter

	headers     []header
	tokenHeader string
	shapes      shapes
	claims      claims
	cache       *cache
	prover      *prover

	introspection *Introspection
}

// New returns a guard, or says in words what its configuration lacks.
func New(cfg Config) (*Guard, error) {
	api, err := cfg.api()
	if err != nil {
		return nil, fmt.Errorf("new guard: %w", err)
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 10_000
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	token, _ := api.Header(provider.HeaderFromToken)
	g := &Guard{
		provider: cfg.Provider, api: api, keys: withAlgorithms(cfg.Keys), algorithms: algorithmsOf(cfg.Provider),
		registry: cfg.Registry, feed: cfg.Revocations, introspection: cfg.Introspection,
		clock: cfg.Clock, onDecision: cfg.OnDecision, logger: cfg.Logger,
		headers: headersOf(api), tokenHeader: token.Name, shapes: shapesOf(api), cache: newCache(cfg.CacheSize),
	}
	if g.claims, err = claimsOf(cfg, api); err != nil {
		return nil, fmt.Errorf("new guard: %w", err)
	}
	if g.prover, err = newProver(&cfg); err != nil {
		return nil, fmt.Errorf("new guard: %w", err)
	}
	return g, nil
}

// algorithmsOf returns the algorithms that a token of p may have.
func algorithmsOf(p *provider.Provider) []string {
	all := []string{string(p.AccessToken.SigningAlgorithm)}
	for _, a := range p.AccessToken.SigningAlgorithms {
		if string(a) != all[0] {
			all = append(all, string(a))
		}
	}
	return all
}

// api checks the configuration and returns the API that it names.
func (cfg *Config) api() (*provider.API, error) {
	if cfg.Provider == nil {
		return nil, errors.New("Config.Provider is missing: open a description with package provider")
	}
	api, ok := cfg.Provider.API(cfg.API)
	if !ok {
		var names []string
		for _, a := range cfg.Provider.APIs {
			names = append(names, a.Name)
		}
		return nil, fmt.Errorf("the provider %s has no API %q: Config.API must be one of %q", cfg.Provider.Name, cfg.API, names)
	}
	if h, _ := api.Header(provider.HeaderFromToken); h.Presence != provider.Required {
		return nil, errors.New("Config.Provider is incomplete: take it as package provider returns it")
	}
	_, tenants := api.Header(provider.HeaderFromTenant)
	_, keys := api.Header(provider.HeaderFromAPIKey)
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("Config.Issuer is missing: give the issuer claim of the tokens, such as https://auth.example.com")
	case cfg.Keys == nil:
		return nil, errors.New("Config.Keys is missing: use RemoteKeys with the issuer's JWKS URL, or StaticKeys")
	case cfg.CacheSize < 0:
		return nil, errors.New("Config.CacheSize must not be negative")
	case cfg.Revocations != nil && cfg.Introspection != nil:
		return nil, errors.New("Config.Revocations and Config.Introspection are both there: give the latter as FeedConfig.Introspect, for when the feed is cut")
	case cfg.Introspection != nil && cfg.Introspection.prepare() != nil:
		return nil, cfg.Introspection.prepare()
	case cfg.Registry != nil:
	case cfg.Provider.TokenEndpoint.Policy == provider.Replace && cfg.Revocations == nil && cfg.Introspection == nil:
		return nil, fmt.Errorf("Config.Registry is missing: a token of %s ends when a new one is issued, which only a registry knows, Revocations or an Introspection", cfg.Provider.Name)
	case keys:
		return nil, fmt.Errorf("Config.Registry is missing: the API %s demands API keys, which only a registry knows", api.Name)
	case tenants && cfg.Provider.AccessToken.Claim(provider.FromTenants) == "":
		return nil, fmt.Errorf("Config.Registry is missing: the API %s has tenants and its tokens do not name them", api.Name)
	}
	return api, nil
}

// Handler returns a handler that answers refused requests and passes the others
// to next, with their [counterfoil.Principal] in the context. It treats every
// method alike, OPTIONS and HEAD too.
//
// The request's headers reach next as they came, the token and the API key
// among them: a copy without them would cost more than all checks of a known
// token. What forwards requests to another program must leave them out.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, no := g.decide(w.Header(), r)
		if no != nil {
			g.refuse(w, r, p, no)
			return
		}
		if g.onDecision != nil {
			g.onDecision(r.Context(), g.event(r, p, nil))
		}
		next.ServeHTTP(w, r.WithContext(counterfoil.WithPrincipal(r.Context(), p)))
	})
}

// decide takes the steps of a guarded call. It returns the principal as soon as
// the token has proved it, also beside a denial. It adds to the header of the
// answer what the caller needs for the next call.
func (g *Guard) decide(answer http.Header, r *http.Request) (*counterfoil.Principal, *denial) {
	// 1. What the description demands is there, in its order.
	sent, no := g.demand(r)
	if no != nil {
		return nil, no
	}
	// 2. There is a token, and it says how it is used.
	if no := sent.credential(); no != nil {
		return nil, no
	}
	p, no := g.admit(answer, r, &sent)
	if no != nil {
		no.dpop = sent.proved
	}
	return p, no
}

// admit takes the steps of a call that carries a token.
func (g *Guard) admit(answer http.Header, r *http.Request, sent *sent) (*counterfoil.Principal, *denial) {
	ctx := r.Context()
	// 3. The issuer signed it, for this API and for now.
	v, p, no := g.verify(ctx, sent.token)
	if no != nil {
		return p, no
	}
	// 4. Its sender is who it is bound to.
	if v.bound != nil || sent.proved {
		if no := g.holder(answer, r, v, sent); no != nil {
			return p, no
		}
	}
	// 5. It was neither replaced nor revoked.
	if no := g.live(ctx, p, sent.token); no != nil {
		return p, no
	}
	// 6. The API key is the client's.
	if no := g.ownKey(ctx, p, sent.apiKey); no != nil {
		return p, no
	}
	// 7. The tenant is one that the client is granted.
	if p, no = g.tenant(ctx, v, sent.tenant); no != nil {
		return p, no
	}
	// 8. The token's scopes suffice.
	if !p.Scopes.ContainAll(g.api.Scopes) {
		return p, g.deny(counterfoil.ScopeInsufficient, "")
	}
	return p, nil
}

// Stats counts what a Guard keeps of verified tokens and proofs.
type Stats struct {
	// Entries is how many tokens are remembered now.
	Entries int
	// Hits and Misses are the lookups that found a token and those that did
	// not.
	Hits, Misses uint64
	// Evictions are the tokens that gave way to others: many tell that CacheSize
	// is too small.
	Evictions uint64
	// ProofsLost are the proofs of possession that were refused because there was
	// no room to remember them: Config.MaxProofs is too small.
	ProofsLost uint64
}

// Stats returns the counts since New.
func (g *Guard) Stats() Stats {
	s := g.cache.stats()
	s.ProofsLost = g.prover.seen.Full()
	return s
}
