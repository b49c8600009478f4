package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

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
	// retried. A token that another process has put into the cache is an event
	// if it ends failures, and so is that the provider says, at most once a day, that
	// the credentials end soon. It is called synchronously: it must be quick and safe for
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

// Error returns the message, with the name of the field.
func (e *FieldError) Error() string { return e.err.Error() }

// Unwrap returns the cause, if there is one.
func (e *FieldError) Unwrap() error { return errors.Unwrap(e.err) }

// wrong makes an error about a field.
func (c *Config) wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, err: fmt.Errorf("%s "+format, append([]any{c.field(field)}, args...)...)}
}

// permanent reports whether the user of the Config says that err is permanent.
func (c *Config) permanent(err error) bool { return c.Permanent != nil && c.Permanent(err) }

// callerKey is the key of the context of the caller that started a flight. It is
// kept as a value: as the parent it would bring the caller's net/http/httptrace
// hooks into a request that may outlast the caller.
type callerKey struct{}

// event passes e, as something that a Source has done now, to OnEvent.
func (c *Config) event(ctx context.Context, e counterfoil.Event) {
	if c.OnEvent == nil {
		return
	}
	switch e.Type {
	case counterfoil.EventTokenObtained, counterfoil.EventTokenRenewed:
		e.Success = true
	case counterfoil.EventTokenRequested:
		e.Success = e.Reason == ""
	}
	e.Time, e.Realm, e.ClientID = c.Clock.Now(), c.Provider.Name, c.ClientID
	e.Detail = e.Detail[:min(len(e.Detail), 512)]
	if caller, ok := ctx.Value(callerKey{}).(context.Context); ok {
		ctx = caller
	}
	c.OnEvent(ctx, e)
}
