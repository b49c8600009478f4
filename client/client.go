// Package client calls an API that requires OAuth 2.0 client-credentials tokens
// (RFC 6749 section 4.4). Use it instead of a token manager of your own: make
// one [Source] per client from a provider description, then call the API
// through [Source.Client] or a [Transport], or use [Source.Token] where
// another library needs a token.
//
// It promises:
//
//   - A token is requested once, however many callers wait for it, in all
//     processes that share the [Cache]. A caller that stops waiting does not
//     affect the others.
//   - A token is renewed before it expires, while the old one is still in use:
//     300 s before, or a fifth of its lifetime if that is less. If renewal fails
//     the old token is used until it expires, and never after that.
//   - A 401 drops the rejected token and no other; the call is repeated once,
//     body included, with a new one.
//   - The token endpoint is never overloaded: transient failures are retried
//     with backoff and Retry-After, refusals are remembered for 1 s to 60 s, and
//     all Sources that share a cache drop at most about 5 tokens a minute.
//   - Token, API key and tenant are sent to the API's own origin only, and only
//     by https; a redirect of the token endpoint is not followed.
//   - No error, event or printed value holds a secret, a token or the body of a
//     response. Nothing is passed through arguments or the environment, and the
//     client secret is not kept beyond its request. The token stays in memory,
//     and so does a key that is not in hardware: disable core files
//     (RLIMIT_CORE) if they may be read by others.
//
// Behaviour comes from the description alone; the code names no providers. Errors are of type [*counterfoil.Error].
package client

import (
	"cmp"
	"context"
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
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
)

// SecretFunc returns a credential. It is called at each token request, so that a
// rotated secret is used; for an API key that calls must carry, also at each
// call: cache a value that is slow to obtain. It must be safe for concurrent
// use. An error that wraps a net.Error, or a [*counterfoil.Error] of the class
// Transient, is transient; any other error is permanent.
type SecretFunc func(context.Context) (counterfoil.Secret, error)

// Static returns a SecretFunc that always returns secret.
func Static(secret counterfoil.Secret) SecretFunc {
	return func(context.Context) (counterfoil.Secret, error) { return secret, nil }
}

// Config says which client requests tokens, where and for what. Provider,
// ClientID and a means of authentication are always required; the description
// determines the rest.
type Config struct {
	// Provider is the description that determines how tokens are requested and
	// what calls carry.
	Provider *provider.Provider
	// API is the name of the API to call; empty for the only one.
	API string
	// TokenURL is the token endpoint; default the description's.
	TokenURL string
	// APIURL is the API's base URL, for a GraphQL API the URL itself; default
	// the description's. Without either, the Source returns tokens but makes no
	// calls.
	APIURL string
	// ClientID names the client (RFC 6749 section 2.2). It authenticates with
	// exactly one of ClientSecret, Key and Assertion, or with Certificate alone.
	ClientID string
	// ClientSecret is for client_secret_basic and client_secret_post (RFC 6749
	// section 2.3.1): the first of the two that the provider accepts.
	ClientSecret SecretFunc
	// Key signs an assertion for each token request: private_key_jwt (RFC 7523
	// section 2.2). It is called at each, so that a rotated key is used.
	Key KeyFunc
	// AssertionAudience is the audience of assertions of Key, their aud.
	// Default: what the description says, which is the issuer
	// (draft-ietf-oauth-rfc7523bis) or the token endpoint's URL. If the
	// description does not name an issuer, it is read from the metadata at the
	// token endpoint's origin (RFC 8414); without metadata, the token endpoint's
	// URL takes its place.
	AssertionAudience string
	// Assertion returns a JWT that another authority has made for this client,
	// such as the token that a platform writes to a file and rotates (RFC 7523
	// section 2.2): a federated client.
	Assertion SecretFunc
	// Certificate is presented in token requests and calls, and tokens are bound
	// to it where the server binds them (RFC 8705). It is read at each token
	// request; a token is used with the certificate that obtained it, and not
	// after that certificate has expired. HTTP must be nil or an
	// *http.Transport, whose own certificates are not presented. See
	// [CertificateFiles].
	Certificate CertificateFunc
	// DPoP binds tokens to a key: token requests and calls carry a proof that is
	// signed with it (RFC 9449), and a token that is not bound is refused.
	// Sources share a token only if they share the key. See [NewKey].
	DPoP Key
	// APIKey is required if the description has a header whose source is
	// api_key.
	APIKey SecretFunc
	// Scopes are the scopes to request (RFC 6749 section 3.3).
	Scopes counterfoil.Scopes
	// Resources are the resources that the token is for (RFC 8707): absolute
	// URIs without a fragment.
	Resources []string
	// Parameters are additional parameters of the token request, such as
	// audience. The package's own cannot be among them.
	Parameters url.Values
	// Tenant is required if the API has a header whose source is tenant.
	Tenant string
	// HTTP carries token requests and calls; default one that all Sources share,
	// as NewHTTP returns it.
	HTTP http.RoundTripper
	// Pins are the public keys that servers may have, as PublicKeyPin returns
	// them: some certificate of each verified chain, of the server or of an
	// authority, must have one of them. They apply to every TLS connection of
	// the Source: to the token endpoint, to the API, to where the API redirects,
	// and to an HTTPS proxy. Add the next key's pin before the key changes. HTTP
	// must be nil or an *http.Transport, and [Transport].Base must be nil. If
	// empty, any chain that verifies is accepted.
	Pins []string
	// Cache holds the token; default a Memory of this Source alone. Give all
	// Sources of one client the same: where a new token replaces the old one,
	// they would replace each other's.
	Cache Cache
	// FetchWithoutCache says that a token is requested even while the cache is
	// lost and a new token replaces the old one (see [ErrCacheLost]): every
	// process then replaces the others' tokens. Without it each keeps the token
	// that it has, and calls fail after that has expired.
	FetchWithoutCache bool
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
	// FieldName returns the name of a field of Config, such as TokenURL, in
	// errors; default Config.TokenURL. A program that makes its Config from a
	// file returns the file's key and line.
	FieldName func(field string) string
	// OnEvent, if set, receives an event for each token requested, obtained,
	// renewed, refused, failed, not cached or dropped, and for each call
	// retried. It is called synchronously: it must be quick and safe for
	// concurrent use. Its context has the values of the caller that started the
	// work, such as a trace.
	OnEvent func(context.Context, counterfoil.Event)
	// Timeout bounds getting a token, retries included, and a call through
	// Source.Client; default 30 s.
	Timeout time.Duration
	// Retries are the waits before a call is retried after a transient failure;
	// default 2, 4 and 8 s. Empty but not nil: none. See [Transport].
	Retries []time.Duration
	// Permanent, if set, reports whether an error of HTTP is permanent: neither
	// a token request nor a call is retried after it. Errors of a certificate,
	// of a pin, of a proxy that refuses, and of a server that does not speak TLS
	// are always permanent.
	Permanent func(error) bool
	// RequestsPerMinute is how many calls are sent in any minute; default what
	// the API's description says. Negative: no limit.
	RequestsPerMinute int
}

// field returns the name of a field in errors.
func (c *Config) field(name string) string {
	if c.FieldName != nil {
		return c.FieldName(name)
	}
	return "Config." + name
}

// FieldError is an error about a field of Config, as [New] returns it.
type FieldError struct {
	// Field is the field's name, such as TokenURL; the message uses the name
	// that Config.FieldName returns.
	Field string
	err   error
}

func (e *FieldError) Error() string { return e.err.Error() }

// Unwrap returns the cause, if there is one.
func (e *FieldError) Unwrap() error { return errors.Unwrap(e.err) }

// wrong makes an error about a field.
func (c *Config) wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, err: fmt.Errorf("%s "+format, append([]any{c.field(field)}, args...)...)}
}

// New returns a Source, or an error with one line for each problem of c:
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

// addresses determines the API and both URLs.
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

// readURL reads a URL of Config as far as all have the same form. The error is
// preceded by the name of the field.
func readURL(value string) (*url.URL, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return nil, errors.New("has a blank, or an invisible character: remove it")
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, errors.New("is not an absolute URL")
	}
	if !isPort(u.Port()) {
		return nil, fmt.Errorf("has the port %s: a port is from 1 to 65535", u.Port())
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

// callHeaders determines what calls carry.
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
	// A request to a GraphQL API is JSON, even if the description does not
	// require a Content-Type.
	const mediaType = "Content-Type"
	if s.api.Kind == provider.GraphQL && !slices.ContainsFunc(s.headers, func(h callHeader) bool { return h.name == mediaType }) {
		s.headers = append(s.headers, callHeader{name: mediaType, value: "application/json"})
	}
	s.calls = newLimiter(max(cmp.Or(s.cfg.RequestsPerMinute, s.api.RequestsPerMinute), 0))
	return nil
}

// foundations sets the remaining defaults.
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
	if err := trust.Check(c.HTTP); err != nil {
		return c.wrong("HTTP", "%v", err)
	}
	return nil
}
