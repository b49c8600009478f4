// Package guard protects an API: it lets a request through to an http.Handler
// only when the request carries what the API's provider description demands,
// and answers every other request as that description says.
//
// Use it in the program that serves an API, one Guard for each API:
//
//	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: "https://auth.example.com/.well-known/jwks.json"})
//	g, err := guard.New(guard.Config{Provider: p, Issuer: "https://auth.example.com", Keys: keys})
//	h := g.Handler(api)
//	http.Handle("/api", h) // without this line ServeMux redirects it to /api/
//	http.Handle("/api/", h)
//
// Behind it the API reads its caller with [counterfoil.PrincipalFrom].
//
// A token does not say whether it was revoked after it was issued; a [Liveness]
// does. In the issuer's process that is the server's Issuer; elsewhere it is the
// issuer's revocation feed ([FollowRevocations]) or its introspection endpoint
// ([NewIntrospector]). With the feed, a revocation takes effect as soon as its
// event arrives, in milliseconds. If the issuer is silent for 15 seconds the feed
// is stale: the guard then refuses calls as unavailable, introspects or accepts,
// as configured, so that a revoked token is never accepted for longer than that
// unless the policy is to accept. A broken connection is resumed where it ended.
//
// A token that is bound to a certificate (RFC 8705) or a key (RFC 9449) is
// accepted only from its holder, in every dialect and on each call.
//
// The package promises that a request reaches the API only with a token that has
// the described form, is signed with one of the issuer's published keys and is in
// force now; that this holds for every call, even if the token was verified
// before; that a refusal repeats nothing of the request; that a failure of the
// guard's own sources is answered as unavailable, never as an invalid token; and
// that the memory that requests can occupy is bounded.
package guard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/plainpath"
	"github.com/counterfoil/counterfoil/provider"
)

// Config says what a Guard protects and which sources it uses.
type Config struct {
	// Provider is the description that is enforced. Required.
	Provider *provider.Provider
	// API is the name of one of the provider's APIs; it may be empty if there is
	// only one.
	API string
	// Issuer is exactly what the tokens' issuer claim must be. Required.
	Issuer string
	// Audience is what the tokens' audience claim must contain. Default: the
	// audience of the API in the description, else one of the description's
	// access tokens, else the issuer.
	Audience string
	// Keys looks up the issuer's public keys. Required.
	Keys Keys
	// Liveness tells whether a token is still in force. Without one, a token is
	// accepted until it expires, whatever happens to its client. With the token
	// policy "replace", Liveness is required; Unchecked is the one that accepts.
	Liveness Liveness
	// Directory knows the clients' tenants and API keys. Required when the
	// description has a header whose source is api_key, or one whose source is
	// tenant while the tokens have no claim from tenants.
	Directory Directory
	// URL is the externally visible base URL of the API: scheme and host, and the
	// part of the path that a proxy in front removes, such as
	// https://api.example.com. A proof of possession (RFC 9449) is made for a URL;
	// it must be this one, followed by the path of the request line.
	//
	// Default: https and the request's Host. That is safe if the listener answers
	// to its own names only, or if the audience of a token names one host.
	// Otherwise the sender chooses the Host, and a proof that was made for another
	// host, and captured there with its token, is accepted here for up to a
	// minute. Set it behind a proxy, which may forward any Host, and whenever in
	// doubt. Scheme and host are never taken from a forwarding header.
	URL string
	// Proxies are those in front of the guard. The Address of an Event is the
	// caller's only if they are named, otherwise that of the TCP peer; so is the
	// certificate of a token that is bound to one. Scheme and host are not taken
	// from them: set URL.
	Proxies counterfoil.Proxies
	// DPoPNonce requires a nonce of the guard in each proof (RFC 9449 section 9),
	// so that pre-generated proofs are rejected. DPoPNonceKey, 32 random bytes in
	// base64, is shared by all guards behind one URL; if it is empty, the guard
	// makes a random key of its own.
	DPoPNonce    bool
	DPoPNonceKey counterfoil.Secret
	// MaxProofs is how many proofs are remembered at most, each for a minute, so
	// that none is accepted twice; default 100,000, in 20 MB. When room runs out,
	// proofs are refused, first those of the client that sends the most. Set it
	// to twice the number of calls that the busiest client makes in a minute.
	MaxProofs int
	// Limits are how many calls are let through; by default as many as the
	// description says of one client.
	Limits Limits
	// CacheSize is how many verified tokens are remembered at most; default
	// 10,000. One takes the memory of its claims, some kilobytes.
	CacheSize int
	// EncodedSlash accepts a path with %2F or %5C, for an API whose identifiers may
	// have any character. It must route by URL.EscapedPath, as http.ServeMux does:
	// by URL.Path, an identifier could name another resource. Other second
	// spellings of a path are refused in any case; see [Guard.Handler].
	EncodedSlash bool
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// SameClock says that the issuer dates its tokens by Clock, as one in this
	// process does. A token then expires exactly at its exp, without the leeway of
	// the description. The leeway of nbf and iat stays: after all tokens of a
	// client were revoked, the issuer dates its next one ahead.
	SameClock bool
	// OnEvent is called for every call, before it is answered or let through, with
	// one EventCallAllowed or EventCallRefused. RequireScope and Authorize come
	// after that: where they refuse a call they make a second event, an
	// EventCallRefused with ReasonScopeInsufficient whose Detail begins with "the
	// route needs" (or with ReasonTokenMissing, if the call has not passed this
	// guard); where they let it through they make none. OnEvent is called by many goroutines at once, and the call waits
	// for it.
	OnEvent func(context.Context, counterfoil.Event)
	// Realm is the Realm of events: the issuer's realm that the guard belongs to;
	// default the name of the provider.
	Realm string
	// Logger gets failures of Keys, Liveness and Directory; default slog.Default.
	Logger *slog.Logger
}

// Guard protects one API. It is safe for concurrent use.
type Guard struct {
	provider   *provider.Provider
	api        *provider.API
	keys       Keys
	algorithms []string
	liveness   Liveness
	directory  Directory
	clock      counterfoil.Clock
	onEvent    func(context.Context, counterfoil.Event)
	logger     *slog.Logger
	trouble    lograte.Limiter

	scopes      counterfoil.Scopes // of the description
	headers     []header
	tokenHeader string
	shapes      shapes
	claims      claims
	cache       *bounded.Cache[[sha256.Size]byte, *verified]
	prover      *prover
	limiter     *limiter
	realm       string // of events
	paths       plainpath.Options
}

// New returns a guard, or an error that says what its configuration lacks.
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
		provider: cfg.Provider, api: api, keys: cfg.Keys,
		liveness: cfg.Liveness, directory: cfg.Directory,
		clock: cfg.Clock, onEvent: cfg.OnEvent, logger: cfg.Logger,
		scopes: cfg.Provider.ScopeNames(), headers: headersOf(api),
		tokenHeader: token.Name, shapes: shapesOf(api), cache: bounded.New[[sha256.Size]byte, *verified](cfg.CacheSize),
		limiter: newLimiter(cfg.Limits, api.RequestsPerMinute, cfg.Clock),
		realm:   cmp.Or(cfg.Realm, cfg.Provider.Name), paths: plainpath.Options{EncodedSlash: cfg.EncodedSlash},
	}
	for _, a := range cfg.Provider.AccessToken.Algorithms() {
		g.algorithms = append(g.algorithms, string(a))
	}
	if g.claims, err = claimsOf(cfg, api); err != nil {
		return nil, fmt.Errorf("new guard: %w", err)
	}
	if g.prover, err = newProver(&cfg); err != nil {
		return nil, fmt.Errorf("new guard: %w", err)
	}
	return g, nil
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
	if h, _ := api.Header(provider.HeaderFromToken); h.Presence != provider.PresenceRequired {
		return nil, errors.New("Config.Provider is incomplete: take it as package provider returns it")
	}
	_, tenants := api.Header(provider.HeaderFromTenant)
	_, keys := api.Header(provider.HeaderFromAPIKey)
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("Config.Issuer is missing: give the issuer claim of the tokens, such as https://auth.example.com")
	case cfg.Keys == nil:
		return nil, errors.New("Config.Keys is missing: use NewRemoteKeySet with the issuer's JWKS URL, or StaticKeys")
	case cfg.CacheSize < 0:
		return nil, errors.New("Config.CacheSize must not be negative")
	case cfg.Liveness == nil && cfg.Provider.TokenEndpoint.Policy == provider.PolicyReplace:
		return nil, fmt.Errorf("Config.Liveness is missing: a new token of %s replaces the last one, "+
			"which only the issuer, its feed or an Introspector knows", cfg.Provider.Name)
	case cfg.Directory != nil:
	case keys:
		return nil, fmt.Errorf("Config.Directory is missing: the API %s demands API keys", api.Name)
	case tenants && cfg.Provider.AccessToken.Claim(provider.FromTenants) == "":
		return nil, fmt.Errorf("Config.Directory is missing: the API %s has tenants and its tokens do not name them", api.Name)
	}
	return api, nil
}

// Handler returns a handler that answers refused requests and passes the others
// to next, with their [counterfoil.Principal] in the context. It treats all
// methods alike, including OPTIONS and HEAD.
//
// A path that is spelled in a second way is refused before anything else of the
// request is read, with ReasonPathMalformed: one with an empty segment, "." or
// "..", a semicolon or a backslash, or with an escape of a slash or of a character
// that needs none. What decides is the path of the request line. So no handler
// behind the guard can take a path for another than a proxy or a middleware in
// front did.
//
// The request's headers reach next unchanged, with the token and the API key: a
// copy without them would cost more than all checks of a known token. A handler
// that forwards requests to another program must remove them.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, refusal := g.authenticate(w.Header(), r)
		if refusal != nil {
			refusal.Write(w)
			return
		}
		next.ServeHTTP(w, r.WithContext(counterfoil.WithPrincipal(r.Context(), p)))
	})
}

// Authenticate checks a call as Handler does, for frameworks that have no
// http.Handler. The error is a [*Refusal]: the caller must then answer with it
// and stop. Call Authenticate once for each request, because a proof of
// possession is single-use. It reads the headers, the request line, RemoteAddr
// and TLS of r, and replaces the Body if it has to read from it.
func (g *Guard) Authenticate(r *http.Request) (*counterfoil.Principal, error) {
	extra := http.Header{}
	p, refusal := g.authenticate(extra, r)
	if refusal != nil {
		refusal.extra = extra
		return nil, refusal
	}
	return p, nil
}

// authenticate decides about a call and reports the event. It adds headers to
// the answer.
func (g *Guard) authenticate(answer http.Header, r *http.Request) (*counterfoil.Principal, *Refusal) {
	p, refusal := g.decide(answer, r)
	if refusal != nil {
		g.refuse(r, p, refusal)
		return nil, refusal
	}
	if g.onEvent != nil {
		g.onEvent(r.Context(), g.event(r, p, nil))
	}
	return p, nil
}

// RequireScope returns a middleware for a route behind [Guard.Handler] that needs
// scopes beyond those of the API: it refuses a call whose token lacks one, as the
// description says. A call that has not passed this guard is refused like a call
// without a token.
//
// It panics, as http.ServeMux.Handle does for a pattern, if there is no scope, if a
// string is not exactly one, or if the description lists scopes and not this one:
// every call would be let through, or refused.
func (g *Guard) RequireScope(scopes ...string) func(http.Handler) http.Handler {
	g.mustBeScopes(scopes)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refusal := g.authorize(r, scopes); refusal != nil {
				refusal.Write(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Authorize is RequireScope for frameworks that have no http.Handler: it returns a
// [*Refusal] if the Principal in the context of r lacks one of the scopes. It panics
// for the same scopes.
func (g *Guard) Authorize(r *http.Request, scopes ...string) error {
	g.mustBeScopes(scopes)
	if refusal := g.authorize(r, scopes); refusal != nil {
		return refusal
	}
	return nil
}

// mustBeScopes panics if a route cannot need these scopes.
func (g *Guard) mustBeScopes(scopes []string) {
	if len(scopes) == 0 {
		panic("guard: a route requires no scope: name at least one")
	}
	for _, scope := range scopes {
		switch one, err := counterfoil.ParseScopes(scope); {
		case err != nil || len(one) != 1 || one[0] != scope:
			panic(fmt.Sprintf("guard: a route requires %q, which is not one scope: give each as an argument of its own", scope))
		case len(g.scopes) > 0 && !g.scopes.Contains(scope):
			panic(fmt.Sprintf("guard: a route requires the scope %q, which the provider %s does not have: choose from %s",
				scope, g.provider.Name, g.scopes))
		}
	}
}

func (g *Guard) authorize(r *http.Request, scopes counterfoil.Scopes) *Refusal {
	p, ok := counterfoil.PrincipalFrom(r.Context())
	var refusal *Refusal
	switch {
	case !ok || p.Provider != g.claims.provider || p.Issuer != g.claims.issuer:
		p, refusal = nil, g.deny(counterfoil.ReasonTokenMissing, "the call has not passed this guard")
	case p.Scopes.ContainsAll(scopes):
		return nil
	default:
		refusal = g.deny(counterfoil.ReasonScopeInsufficient, lacking("the route", scopes, p))
		refusal.answer = g.api.Refusal(refusal.Reason).Fill(provider.RefusalParams{Header: g.tokenHeader, Scopes: scopes})
	}
	g.refuse(r, p, refusal)
	return refusal
}

// decide takes the steps of a guarded call. Once the token has proved the
// principal it is returned, even with a refusal. decide adds to the header of the
// answer what the caller needs for the next call.
func (g *Guard) decide(answer http.Header, r *http.Request) (*counterfoil.Principal, *Refusal) {
	if !g.paths.OK(r) {
		return nil, g.deny(counterfoil.ReasonPathMalformed, "the path has a second spelling")
	}
	// 1. The request has the headers that the description demands, checked in the
	// order of the description.
	sent, refusal := g.demand(r)
	if refusal != nil {
		return nil, refusal
	}
	// 2. It has a token, in a scheme that the guard accepts.
	if refusal := sent.credential(); refusal != nil {
		return nil, refusal
	}
	p, refusal := g.admit(answer, r, &sent)
	if refusal != nil {
		refusal.dpop = sent.proved
	}
	return p, refusal
}

// admit takes the steps of a call that carries a token.
func (g *Guard) admit(answer http.Header, r *http.Request, sent *sent) (*counterfoil.Principal, *Refusal) {
	ctx := r.Context()
	// 3. The issuer signed it, for this API and for now.
	v, p, refusal := g.verify(ctx, sent.token)
	if refusal != nil {
		return p, refusal
	}
	// 4. The sender holds the key or certificate that the token is bound to.
	if v.bound != nil || sent.proved {
		if refusal := g.holder(answer, r, v, sent); refusal != nil {
			return p, refusal
		}
	}
	// 5. It was neither replaced nor revoked.
	if refusal := g.live(r, p, sent.token); refusal != nil {
		return p, refusal
	}
	// 6. The API key is the client's.
	if refusal := g.ownKey(ctx, p, sent.apiKey); refusal != nil {
		return p, refusal
	}
	// 7. The tenant is one that the client is granted.
	if p, refusal = g.tenant(ctx, v, sent.tenant); refusal != nil {
		return p, refusal
	}
	// 8. The client and the tenant keep to their limits.
	if refusal := g.limit(answer, r, p); refusal != nil {
		return p, refusal
	}
	// 9. The token's scopes suffice.
	if !p.Scopes.ContainsAll(g.api.Scopes) {
		return p, g.deny(counterfoil.ReasonScopeInsufficient, lacking("the API "+g.api.Name, g.api.Scopes, p))
	}
	return p, nil
}

// lacking says which scopes are needed and which a token has.
func lacking(what string, scopes counterfoil.Scopes, p *counterfoil.Principal) string {
	has := "none"
	if len(p.Scopes) > 0 {
		has = event.Clean(p.Scopes.String(), event.MaxClaim)
	}
	return fmt.Sprintf("%s needs the scopes %s: the token has %s", what, scopes, has)
}

// Stats counts what a Guard keeps of verified tokens and proofs.
type Stats struct {
	// Entries is how many tokens are remembered now.
	Entries int
	// Hits and Misses count the lookups that found a token and those that did not.
	Hits, Misses uint64
	// Evictions counts the tokens that were dropped for others; if it grows fast,
	// CacheSize is too small.
	Evictions uint64
	// ProofsLost counts the proofs of possession that were refused because there
	// was no room to remember them; if it grows, Config.MaxProofs is too small.
	ProofsLost uint64
}

// Stats returns the counts since New.
func (g *Guard) Stats() Stats {
	s := g.cache.Stats()
	return Stats{Entries: s.Entries, Hits: s.Hits, Misses: s.Misses, Evictions: s.Evictions, ProofsLost: g.prover.seen.Full()}
}
