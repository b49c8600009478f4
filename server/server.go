// Package server is the issuing end of OAuth 2.0 client credentials: a token
// endpoint that speaks each provider's dialect, the keys behind it, and the
// clients that may use it.
//
// Use it to run realms inside a program of your own: open a Store (package
// sqlite has one), give New a provider description for each realm, mount
// Server.Handler where the realm is reached, and create clients with Clients.
// Serve over TLS with read timeouts: this package bounds what a request may
// hold, the http.Server how long it may take to arrive.
//
// The package promises that a token leaves only after its audit record is
// durable, that every request of the token endpoint leaves such a record unless
// the store itself fails, and that under the policy "replace" a client has at
// most one live token whatever happens at once. Secrets and tokens reach no log, error or record. Answers
// follow the description to the byte. Exported names stay compatible within a
// major version.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// Config is what New needs.
type Config struct {
	// Store keeps clients, keys and the audit record. The caller closes it,
	// after the last request.
	Store Store
	// Realms are served side by side; their clients and keys are apart.
	Realms []Realm
	// Clock tells the time; nil for the system's.
	Clock counterfoil.Clock
	// Logger gets what an operator must see and no caller may: unknown errors,
	// whole. Nil for slog.Default.
	Logger *slog.Logger
	// OnEvent, when set, is called with each decision of a token endpoint, after
	// it is recorded, or could not be, and before it is answered. It must return
	// soon.
	OnEvent func(context.Context, counterfoil.Event)
}

// Realm is one provider at one address.
type Realm struct {
	// Name is the realm's word in the store, on command lines and in records.
	Name string
	// Provider describes the dialect.
	Provider *provider.Provider
	// BaseURL is where the realm is reached: an https URL without a slash at
	// its end.
	BaseURL string
	// Issuer is the iss claim; default BaseURL. It may be any URL, so that a
	// provider can move here and keep the issuer that its APIs know.
	Issuer string
}

// Server issues tokens for its realms. It is safe for concurrent use.
type Server struct {
	realms map[string]*realm
}

// realm is a Realm with all that can be worked out before the first request.
type realm struct {
	Config
	Realm
	endpoint *provider.TokenEndpoint
	key      signingKey
	keys     map[string]publicKey
	claims   template
	answer   template
	headers  []header
	apiKey   string // the name of the header with the API key, or ""
	// documents are the realm's public JSON files, by path.
	documents map[string][]byte
}

// header is a header as http.Header keeps it; its value is shared and never
// changed.
type header struct {
	name  string
	value []string
}

// New checks the configuration, makes the signing keys that are missing, and
// returns a server that is ready.
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
	s := &Server{realms: make(map[string]*realm, len(c.Realms))}
	for _, r := range c.Realms {
		if _, twice := s.realms[r.Name]; twice {
			return nil, fmt.Errorf("server: a second realm is called %q", r.Name)
		}
		rl, err := newRealm(ctx, c, r)
		if err != nil {
			return nil, fmt.Errorf("server: realm %q: %w", r.Name, err)
		}
		s.realms[r.Name] = rl
	}
	return s, nil
}

func newRealm(ctx context.Context, c Config, r Realm) (*realm, error) {
	if r.Name == "" || r.Provider == nil {
		return nil, fmt.Errorf("a realm needs a Name and a Provider")
	}
	if err := checkBaseURL(r.BaseURL); err != nil {
		return nil, err
	}
	if r.Issuer == "" {
		r.Issuer = r.BaseURL
	}
	rl := &realm{Config: c, Realm: r, endpoint: &r.Provider.TokenEndpoint}
	if h, ok := rl.endpoint.Header(provider.HeaderFromAPIKey); ok {
		rl.apiKey = h.Name
	}
	for name, value := range rl.endpoint.Response.Headers {
		rl.headers = append(rl.headers, header{http.CanonicalHeaderKey(name), []string{value}})
	}
	rl.claims, rl.answer = claimsOf(&r), answerOf(rl.endpoint)
	if err := rl.loadKeys(ctx); err != nil {
		return nil, err
	}
	return rl, rl.publish()
}

func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(s, "/") {
		return fmt.Errorf("the base URL %q must be an https URL without query, fragment and slash at its end", s)
	}
	return nil
}

// Handler serves the realm: the token endpoint, and the public documents at
// /.well-known/jwks.json (RFC 7517), /.well-known/oauth-authorization-server
// (RFC 8414) and /.well-known/openid-configuration. Paths are those below the
// realm's base URL: mount it behind http.StripPrefix where that has a path.
// Every other path is not found, and so is all of a realm that the server does
// not have.
func (s *Server) Handler(realm string) http.Handler {
	rl, ok := s.realms[realm]
	if !ok {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == rl.endpoint.Path {
			rl.serveToken(w, r)
			return
		}
		if doc, ok := rl.documents[r.URL.Path]; ok {
			serveDocument(w, r, doc)
			return
		}
		http.NotFound(w, r)
	})
}
