// Package client calls an API that wants OAuth 2.0 client-credentials tokens
// (RFC 6749 section 4.4). Use it instead of a token manager of your own: make
// one [Source] per client from a provider description, then call the API
// through [Source.Client] or a [Transport], or take [Source.Token] where
// another library wants a token.
//
// It promises:
//
//   - A token is asked for once, however many callers wait for it, in whichever
//     process that shares the [Cache]. A caller that leaves disturbs nobody.
//   - A token is renewed ahead of its end while the old one still serves: 300 s
//     before, or a fifth of its lifetime where that is less. When renewal fails
//     the old token serves to its end, and no token ever after it.
//   - A 401 drops the rejected token and no other; the call is repeated once,
//     body included, with a new one.
//   - The token endpoint is never hammered: failures that may pass are repeated
//     with backoff and Retry-After, refusals are remembered for 1 s to 60 s, and
//     no more than about 5 tokens a minute are dropped by all who share a cache.
//   - Token, API key and tenant go to the API's own origin and nowhere else, by
//     https only; a redirect of the token endpoint is not followed.
//   - No error, event or printed value holds a secret, a token or the body of a
//     response. Nothing is passed through arguments or the environment, and the
//     client secret is not kept beyond its request. The token must be kept, and
//     with it a key that is not in hardware: a program that fears its core files
//     switches them off (RLIMIT_CORE).
//
// Behaviour comes from the description alone; there are no providers in the
// code. Errors are of type [*counterfoil.Error].
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// SecretFunc gives a credential. It is asked at each token request, so that a
// rotated secret is picked up; for an API key that calls must carry, at each
// call too: keep a value that is slow to get. It must be safe for concurrent
// use. An error that wraps a net.Error, or a [*counterfoil.Error] of the class
// Transient, says that it is out of reach for a while; any other needs somebody.
type SecretFunc func(context.Context) (counterfoil.Secret, error)

// Static returns a SecretFunc that always gives secret.
func Static(secret counterfoil.Secret) SecretFunc {
	return func(context.Context) (counterfoil.Secret, error) { return secret, nil }
}

// Config says who asks for tokens, where and for what. Provider, ClientID and
// something that the client proves itself with are always needed; the description
// decides about the rest.
type Config struct {
	// Provider is the description that decides how tokens are asked for and
	// what calls carry.
	Provider *provider.Provider
	// API is the name of the API to call; empty for the only one.
	API string
	// TokenURL is the token endpoint; default the description's.
	TokenURL string
	// APIURL is the API's base URL, for a GraphQL API the URL itself; default
	// the description's. Without either, the Source gives tokens but makes no
	// calls.
	APIURL string
	// ClientID names the client (RFC 6749 section 2.2). It proves itself with
	// exactly one of ClientSecret, Key and Assertion, or with Certificate alone.
	ClientID string
	// ClientSecret is for client_secret_basic and client_secret_post (RFC 6749
	// section 2.3.1): the first of the two that the provider accepts.
	ClientSecret SecretFunc
	// Key signs an assertion for each token request: private_key_jwt (RFC 7523
	// section 2.2). It is asked at each, so that a rotated key is picked up.
	Key KeyFunc
	// AssertionAudience is whom assertions of Key are for, their aud. Default: what
	// the description says, which is the issuer
	// (draft-ietf-oauth-rfc7523bis) or the token endpoint's URL. An issuer that
	// the description does not name is looked for in the metadata at the token
	// endpoint's origin (RFC 8414); where there is none, the token endpoint's URL
	// takes its place.
	AssertionAudience string
	// Assertion gives a JWT that another authority has made for this client, such
	// as the token that a platform puts into a file and rotates (RFC 7523 section
	// 2.2): a federated client.
	Assertion SecretFunc
	// Certificate is shown in token requests and calls, and tokens are bound to
	// it where the server binds them (RFC 8705). It is asked at each token request; a token is used with the
	// certificate that got it, and not after that has ended. HTTP must be nil or an
	// *http.Transport; what that shows by itself is not shown. See
	// [CertificateFiles].
	Certificate CertificateFunc
	// DPoP binds tokens to a key: token requests and calls carry a proof that is
	// signed with it (RFC 9449), and a token that is not bound is refused. Sources
	// share a token only when they share the key. See [NewKey].
	DPoP Key
	// APIKey is needed where the description has a header from api_key.
	APIKey SecretFunc
	// Scopes are those to ask for (RFC 6749 section 3.3).
	Scopes counterfoil.Scopes
	// Resources are those that the token is for (RFC 8707): absolute URIs without
	// a fragment.
	Resources []string
	// Parameters are further ones of the token request, such as audience. The
	// package's own cannot be among them.
	Parameters url.Values
	// Tenant is needed where the API has a header from tenant.
	Tenant string
	// HTTP carries token requests and calls; default one that all Sources share, as
	// NewHTTP returns it.
	HTTP http.RoundTripper
	// Pins are the public keys that servers may have, as PublicKeyPin returns them:
	// some certificate of each verified chain, of the server or of an authority,
	// must have one of them. They hold for every TLS connection of the Source: to
	// the token endpoint, to the API, to where the API redirects, and to an HTTPS
	// proxy. Give the next key's pin beside today's, so that a key can change. HTTP
	// must be nil or an *http.Transport, and [Transport].Base must be nil. None: any
	// chain that verifies.
	Pins []string
	// Cache holds the token; default a Memory of this Source alone. Give all
	// Sources of one client the same: where a new token ends the old one, they
	// would end each other's.
	Cache Cache
	// FetchWithoutCache says that a token is asked for even while the cache is lost and
	// a new token ends the old one (see [ErrCacheLost]): every process then ends
	// the others' tokens. Without it each keeps the token that it has, and calls
	// fail when that has ended.
	FetchWithoutCache bool
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
	// FieldName is what errors call a field of Config, such as TokenURL; default
	// Config.TokenURL. A program that makes its Config of a file names the file's
	// key and line.
	FieldName func(field string) string
	// OnEvent, if set, is told of each token requested, obtained, renewed,
	// refused, failed, not cached or dropped, and of each call retried. It is
	// called in turn with the work: it must be quick and safe for concurrent use.
	// Its context has the values of the caller that began the work, such as a
	// trace.
	OnEvent func(context.Context, counterfoil.Event)
	// Timeout bounds getting a token, repeats included, and a call through
	// Source.Client; default 30 s.
	Timeout time.Duration
	// Retries are the waits before a call is repeated that has failed for a
	// while; default 2, 4 and 8 s. Empty but not nil: none. See [Transport].
	Retries []time.Duration
	// Permanent, if set, reports whether an error of HTTP is one that no waiting
	// cures: neither a token request nor a call is repeated after it. Whatever it
	// says, none is repeated after an error of a certificate, of a pin, of a proxy
	// that refuses, or of a server that speaks no TLS.
	Permanent func(error) bool
	// RequestsPerMinute is how many calls leave in any minute; default what the
	// API's description says. Negative: no limit.
	RequestsPerMinute int
}

// field is what errors call a field.
func (c *Config) field(name string) string {
	if c.FieldName != nil {
		return c.FieldName(name)
	}
	return "Config." + name
}

// FieldError is what [New] finds wrong with a field of Config.
type FieldError struct {
	// Field is the field's name, such as TokenURL; the message calls it what
	// Config.FieldName does.
	Field string
	err   error
}

func (e *FieldError) Error() string { return e.err.Error() }

// Unwrap returns the cause, where there is one.
func (e *FieldError) Unwrap() error { return errors.Unwrap(e.err) }

// wrong is an error of a field.
func (c *Config) wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, err: fmt.Errorf("%s "+format, append([]any{c.field(field)}, args...)...)}
}

// New returns a Source, or an error with one line for everything that c lacks:
// errors.Join of one [*FieldError] for each.
func New(c Config) (*Source, error) {
	if c.Provider == nil {
		return nil, prefixed([]error{c.wrong("Provider", "is missing: take one from provider.Open")})
	}
	s := &Source{cfg: c}
	problems := s.addresses()
	for _, step := range []func() error{s.credentialsGiven, s.scopesGiven, s.targetsGiven, s.callHeaders, s.foundations} {
		if err := step(); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, prefixed(problems)
	}
	return s, nil
}

// prefixed joins errors of fields, each with the name of the package.
func prefixed(problems []error) error {
	for i, err := range problems {
		problems[i] = fmt.Errorf("client: %w", err)
	}
	return errors.Join(problems...)
}

// addresses settles the API and both URLs.
func (s *Source) addresses() (problems []error) {
	p := s.cfg.Provider
	api, ok := p.API(s.cfg.API)
	switch {
	case ok:
		s.api = api
	case s.cfg.API != "" || len(p.APIs) > 0:
		names := make([]string, len(p.APIs))
		for i := range p.APIs {
			names[i] = p.APIs[i].Name
		}
		problems = append(problems, s.cfg.wrong("API", "is %q: choose from %s", s.cfg.API, strings.Join(names, ", ")))
	}
	var err error
	if s.tokenURL, err = s.secureURL("TokenURL", cmp.Or(s.cfg.TokenURL, p.TokenEndpoint.URL)); err != nil {
		problems = append(problems, err)
	}
	apiURL := s.cfg.APIURL
	if s.api != nil {
		apiURL = cmp.Or(apiURL, s.api.URL)
	}
	if apiURL == "" {
		return problems
	}
	u, err := s.secureURL("APIURL", apiURL)
	if err != nil {
		return append(problems, err)
	}
	if s.api != nil {
		s.apiURL = u
	}
	return problems
}

func (s *Source) secureURL(field, value string) (*url.URL, error) {
	wrong := func(format string, args ...any) error { return s.cfg.wrong(field, format, args...) }
	if value == "" {
		return nil, wrong("is missing, and the description has none")
	}
	u, err := readURL(value)
	switch {
	case err != nil:
		return nil, wrong("%w", err)
	case u.Hostname() == "", u.Fragment != "":
		return nil, wrong("is not an absolute URL")
	case u.User != nil:
		return nil, wrong("holds credentials: give them as %s and %s", s.cfg.field("ClientID"), s.cfg.field("ClientSecret"))
	case u.Scheme != "https":
		return nil, wrong("must start with https://: credentials and tokens never go over plain http")
	}
	return u, nil
}

// readURL reads a URL of Config as far as all have the same form. The error
// follows the name of the field.
func readURL(value string) (*url.URL, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return nil, errors.New("has a blank, or a character that cannot be seen: take it out")
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, errors.New("is not an absolute URL")
	}
	if !isPort(u.Port()) {
		return nil, fmt.Errorf("has the port %s, and there is none above 65535 or below 1", u.Port())
	}
	return u, nil
}

// isPort reports whether the port of a URL can be one; it may be missing.
func isPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && port > 0
}

func (s *Source) scopesGiven() error {
	c, want := &s.cfg, s.cfg.Provider.TokenEndpoint.Scope
	if parsed, err := counterfoil.ParseScopes(c.Scopes.String()); err != nil || len(parsed) != len(c.Scopes) {
		return c.wrong("Scopes", "must be different scope tokens, one an element (RFC 6749 section 3.3)")
	}
	if !c.Scopes.ContainsAll(want.MustInclude) {
		return c.wrong("Scopes", "must include %s", want.MustInclude)
	}
	if len(c.Scopes) == 0 && want.Parameter == provider.Required {
		return c.wrong("Scopes", "is missing: %s demands a scope (it has: %s)", c.Provider.Name, c.Provider.ScopeNames())
	}
	return nil
}

// callHeader is one header of every call.
type callHeader struct {
	name   string
	from   provider.HeaderSource
	scheme string
	value  string
}

// callHeaders settles what calls carry.
func (s *Source) callHeaders() error {
	if s.api == nil {
		return nil
	}
	for _, h := range s.api.Headers {
		ch := callHeader{name: textproto.CanonicalMIMEHeaderKey(h.Name), from: h.From, scheme: h.Scheme, value: h.Value}
		switch {
		case h.From == provider.HeaderFromTenant && s.cfg.Tenant == "":
			return s.cfg.wrong("Tenant", "is missing: a call of %s names its tenant in %s", s.api.Name, h.Name)
		case h.From == provider.HeaderFromTenant:
			ch.value = s.cfg.Tenant
		}
		if strings.ContainsFunc(ch.value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			return s.cfg.wrong("Tenant", "must be printable ASCII, to travel in %s", h.Name)
		}
		s.headers = append(s.headers, ch)
	}
	// What is posted to a GraphQL API is JSON, whether or not the description
	// demands that it says so.
	const mediaType = "Content-Type"
	if s.api.Kind == provider.GraphQL && !slices.ContainsFunc(s.headers, func(h callHeader) bool { return h.name == mediaType }) {
		s.headers = append(s.headers, callHeader{name: mediaType, value: "application/json"})
	}
	s.calls = newLimiter(max(cmp.Or(s.cfg.RequestsPerMinute, s.api.RequestsPerMinute), 0))
	return nil
}

// foundations gives the rest its defaults.
func (s *Source) foundations() error {
	c := &s.cfg
	if c.Timeout < 0 {
		return c.wrong("Timeout", "is negative")
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Cache == nil {
		c.Cache = Memory()
	}
	if c.HTTP == nil {
		c.HTTP = defaultHTTP()
	}
	if len(c.Pins) > 0 {
		if err := s.pin(); err != nil {
			return err
		}
	}
	if s.retries = c.Retries; s.retries == nil {
		s.retries = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}
	}
	s.drops, s.changed = newLimiter(dropsPerMinute), newLimiter(changesPerMinute)
	t, ok := c.HTTP.(*http.Transport)
	if !ok || t.TLSClientConfig == nil {
		return nil
	}
	if v := t.TLSClientConfig.MinVersion; v != 0 && v < tls.VersionTLS12 {
		return c.wrong("HTTP", "allows TLS older than 1.2: raise MinVersion")
	}
	if t.TLSClientConfig.InsecureSkipVerify && t.TLSClientConfig.VerifyConnection == nil {
		return c.wrong("HTTP", "does not verify certificates: set RootCAs or VerifyConnection instead of InsecureSkipVerify")
	}
	return nil
}
