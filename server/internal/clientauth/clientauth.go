// Package clientauth authenticates the client of a request to one of a realm's
// endpoints: by a secret, by an assertion of the client's own or of an issuer
// that the realm federates with, by a certificate, or by an access token.
//
// Authenticate is the one way in. It finds the credentials in the one place
// where they may be, and returns what they prove; the only things that it
// changes are memory and the record of when a secret was last used. It promises
// that a client that is unknown costs as much as a wrong secret, that a slow
// hash is computed once and few at a time, whoever asks, and that no request is
// refused because of a client in memory that may be stale. What a refusal looks
// like on the wire is not decided here.
package clientauth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/accesstoken"
	"github.com/counterfoil/counterfoil/server/internal/form"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// Config configures New.
type Config struct {
	Realm, Issuer string
	Endpoint      *provider.TokenEndpoint
	// URLs are those of a path of the realm, the main one first.
	URLs func(path string) []string
	// Federation are the issuers that the realm federates with.
	Federation []FederatedIssuer
	// Authorities sign the certificates of tls_client_auth; nil for none.
	Authorities *x509.CertPool

	// Memory and KeySets are shared by all realms of a server.
	Memory  *Memory
	KeySets *outbound.KeySets
	// Tokens reads the access tokens that a caller may authenticate with.
	Tokens *accesstoken.Reader
	// Limits decides who guesses.
	Limits *limits.Limiter
	// Peers finds the certificate of a caller behind a proxy.
	Peers  *peer.Config
	Clock  counterfoil.Clock
	Logger *slog.Logger
	// OnUse is called when a secret or an API key was used.
	OnUse func(c *store.Client, h *store.SecretHash, at time.Time)
	// OnWrong, when set, is called with credentials that prove no client, whether or
	// not there is one of that ID. It must return at once.
	OnWrong func(*Request, Wrong)
}

// Authenticator authenticates the clients of one realm. It is safe for
// concurrent use.
type Authenticator struct {
	Config
	reader       reader
	assertions   assertions
	certificates *certificates
	keys         *keys
}

// New returns an authenticator, or an error about Config.Federation.
func New(c Config) (*Authenticator, error) {
	federation, err := federate(c.Federation, c.Logger)
	if err != nil {
		return nil, err
	}
	a := &Authenticator{Config: c, keys: &keys{
		sets: c.KeySets, clock: c.Clock, parsed: bounded.New[string, []jose.PublicKey](keptSets),
	}}
	a.certificates = &certificates{endpoint: c.Endpoint, authorities: c.Authorities, peers: c.Peers, keys: a.keys}
	a.assertions = assertions{realm: c.Realm, issuer: c.Issuer, endpoint: c.Endpoint, urls: c.URLs, keys: a.keys}
	a.reader = reader{endpoint: c.Endpoint, federation: federation, certificates: a.certificates}
	if h, ok := c.Endpoint.Header(provider.HeaderFromAPIKey); ok {
		a.reader.apiKey = h.Name
	}
	return a, nil
}

// Request is a request to authenticate.
type Request struct {
	*http.Request
	// Time is the time to judge by, Address the caller's address: those of the
	// record.
	Time    time.Time
	Address string
	// Origin is where it is from, for the limits; Over a refusal for a client that
	// is not known there.
	Origin peer.Origin
	Over   *Refusal
	// First is a refusal that takes precedence over that of the credentials, but
	// not over that of a missing header.
	First *Refusal
	// Fresh has the client read from the store, or found unchanged there: for a
	// decision that RecordIssued does not check.
	Fresh bool
	// Bearer accepts the access token of a resource server, too.
	Bearer bool
}

// Caller is an authenticated client.
type Caller struct {
	Claim
	Client *store.Client
	// Address is the one that it called from.
	Address string
	// Fresh is set when the client was read from the store for this request, or
	// found unchanged there, rather than taken from memory.
	Fresh bool
	// Secret is the one that it authenticated with; nil for other methods. APIKey is
	// the one that it sent; nil for none.
	Secret, APIKey *store.SecretHash
	// Once are the assertions that it authenticated with. They are single-use:
	// the caller of Authenticate records them.
	Once []store.ReplayKey
	// Certificate is the one that it authenticated with; nil for other methods.
	Certificate *x509.Certificate
	// Token is the access token that it authenticated with; nil for other
	// methods.
	Token *accesstoken.Token
}

// Authenticate returns the client that a request with that form is from. The
// form may be nil: then credentials are only in headers and the connection.
func (a *Authenticator) Authenticate(ctx context.Context, r Request, f form.Form) (Caller, *Refusal) {
	// 1. An access token, where one is accepted.
	if token, ok := bearerToken(r.Header); ok && r.Bearer {
		return a.bearer(ctx, token, &r)
	}
	// 2. Read the credentials, which prove nothing yet, and check the headers.
	c, refusal := a.reader.credentials(r.Request, f)
	claim := c.claim()
	refusal = cmp.Or(a.reader.checkHeaders(r.Header), r.First, refusal)
	if refusal != nil {
		refusal.Claim = claim
		return Caller{}, refusal
	}
	// 3. Refuse those who have to wait.
	t := a.begin(ctx, &r, c.id)
	if refusal = t.refusal(); refusal != nil {
		refusal.Claim = claim
		return Caller{}, refusal
	}
	// 4. Verify the credentials, and count the result.
	by, refusal := a.verify(ctx, &r, &c, &t)
	a.wrong(&r, &c, refusal)
	refusal = t.end(refusal)
	if by.Secret != nil {
		claim.Credential = by.Secret.ID
	}
	by.Claim, by.Address = claim, r.Address
	if refusal != nil {
		refusal.Claim = claim
	}
	return by, refusal
}

// verify verifies the credentials of a request.
func (a *Authenticator) verify(ctx context.Context, r *Request, c *credentials, t *try) (Caller, *Refusal) {
	// 1. By the client in memory, which may be stale: no request is refused
	// because of it before the store has said that it is not.
	if client, ok := a.Memory.recall(a.Realm, c.id); ok {
		var refusal *Refusal
		if !r.Fresh {
			var by Caller
			if by, refusal = a.prove(ctx, r, c, client, t, false); refusal == nil {
				return by, nil
			}
		}
		unchanged, err := a.Memory.unchanged(ctx, client)
		switch {
		case err != nil:
			return Caller{}, StoreFailed("read client", err)
		case unchanged && refusal != nil && !slowly(client):
			return Caller{}, refusal
		case unchanged: // nothing was verified yet, or no slow hash computed
			return a.prove(ctx, r, c, client, t, true)
		}
	}
	// 2. By the client in the store.
	client, err := a.Memory.Client(ctx, a.Realm, c.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		client = dummyClient
	case err != nil:
		return Caller{}, StoreFailed("read client", err)
	}
	return a.prove(ctx, r, c, client, t, true)
}

// prove verifies the credentials of a client and checks that the client may
// use the endpoint; fresh says that it was just read from the store.
func (a *Authenticator) prove(
	ctx context.Context, r *Request, c *credentials, client *store.Client, t *try, fresh bool,
) (Caller, *Refusal) {
	by, refusal := a.proveBy(ctx, r, c, client, t, fresh)
	if refusal != nil {
		return Caller{}, refusal
	}
	if by.Secret != nil {
		a.OnUse(client, by.Secret, r.Time)
	}
	switch {
	case client.Disabled:
		refusal = Refused(counterfoil.ReasonClientDisabled, "")
	case !client.Expires.IsZero() && !r.Time.Before(client.Expires):
		refusal = Refused(counterfoil.ReasonClientExpired, "")
	case !acceptsAddress(client, r.Address):
		refusal = Refused(counterfoil.ReasonAddressNotAllowed, "")
	default:
		by.APIKey, refusal = a.proveAPIKey(ctx, c, client, t, r.Time, fresh)
	}
	if refusal != nil {
		refusal.Proven = true
		return Caller{}, refusal
	}
	return by, nil
}

// proveBy verifies the credentials by their method.
func (a *Authenticator) proveBy(
	ctx context.Context, r *Request, c *credentials, client *store.Client, t *try, fresh bool,
) (Caller, *Refusal) {
	by := Caller{Client: client, Fresh: fresh}
	var refusal *Refusal
	switch c.method {
	case provider.MethodPrivateKeyJWT:
		by.Once, refusal = a.assertions.proveAssertion(ctx, r.Time, c.assertion, client)
		refusal = a.keys.veil(refusal, r.Time)
	case "":
		if refusal = a.keys.veil(a.certificates.proveCertificate(ctx, r.Time, c.certificate, client), r.Time); refusal == nil {
			by.Certificate = c.certificate.leaf
		}
	default:
		by.Secret, refusal = a.Memory.Secrets.Verify(ctx, t.origin(), client, client.Secrets, c.secret, r.Time, fresh)
		switch {
		case refusal != nil:
		case client == dummyClient:
			refusal = Refused(counterfoil.ReasonUnknownClient, "")
		case by.Secret == nil:
			refusal = Refused(counterfoil.ReasonWrongSecret, "")
		}
	}
	return by, refusal
}

// proveAPIKey verifies the API key of the request, if there is one.
func (a *Authenticator) proveAPIKey(
	ctx context.Context, c *credentials, client *store.Client, t *try, now time.Time, fresh bool,
) (*store.SecretHash, *Refusal) {
	if c.apiKey == "" {
		return nil, nil
	}
	key, busy := a.Memory.Secrets.Verify(ctx, t.origin(), client, client.APIKeys, c.apiKey, now, fresh)
	switch {
	case busy != nil:
		return nil, busy
	case key == nil:
		return nil, Refused(counterfoil.ReasonAPIKeyInvalid, "")
	}
	a.OnUse(client, key, now)
	return key, nil
}

// acceptsAddress reports whether the client may send requests from an address.
func acceptsAddress(c *store.Client, address string) bool {
	ip, _ := netip.ParseAddr(address) // an invalid one is in no network
	return c.AcceptsAddress(ip)
}

// bearer returns the resource server that an access token was issued to.
func (a *Authenticator) bearer(ctx context.Context, text string, r *Request) (Caller, *Refusal) {
	t, err := a.Tokens.Read(ctx, text)
	if err != nil {
		return Caller{}, StoreFailed("read signing keys", err)
	}
	if t == nil || !t.ValidAt(r.Time) {
		return Caller{}, Refused(counterfoil.ReasonTokenInvalid, "")
	}
	by := Caller{Claim: Claim{ClientID: t.ClientID, TokenID: t.TokenID, Method: "bearer"}, Token: t, Fresh: true, Address: r.Address}
	var refusal *Refusal
	if t.Confirmation != nil {
		// A sender-constrained token proves nothing when it is sent as a bearer
		// token.
		refusal = Refused(counterfoil.ReasonTokenProof, "a bound token as a bearer token")
	} else if by.Client, refusal = a.clientOf(ctx, t); refusal == nil && !acceptsAddress(by.Client, r.Address) {
		refusal = Refused(counterfoil.ReasonTokenAddress, "")
	} else if refusal == nil && !by.Client.ResourceServer {
		refusal = Refused(counterfoil.ReasonScopeInsufficient, "the client is not a resource server")
		refusal.Proven = true
	}
	if refusal != nil {
		refusal.Claim = by.Claim
		return Caller{}, refusal
	}
	return by, nil
}

// clientOf returns the current client of a token.
func (a *Authenticator) clientOf(ctx context.Context, t *accesstoken.Token) (*store.Client, *Refusal) {
	ended, err := a.Tokens.Ended(ctx, t.Principal())
	if err != nil {
		return nil, StoreFailed("read token status", err)
	}
	if ended != "" {
		return nil, Refused(counterfoil.ReasonTokenRevoked, "")
	}
	c, err := a.Memory.Client(ctx, a.Realm, t.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, Refused(counterfoil.ReasonTokenRevoked, "")
	}
	if err != nil {
		return nil, StoreFailed("read client", err)
	}
	return c, nil
}

// bearerToken returns the token of an Authorization header of the scheme Bearer
// (RFC 6750 section 2.1).
func bearerToken(h http.Header) (string, bool) {
	given := h["Authorization"]
	if len(given) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	return strings.TrimLeft(token, " "), strings.EqualFold(scheme, "Bearer")
}

// Recheck returns the present record of a caller, for a connection that stays
// open, and whether the caller would still be authenticated at that time.
func (a *Authenticator) Recheck(ctx context.Context, by *Caller, now time.Time) (*store.Client, bool) {
	if by.Token != nil {
		c, refusal := a.clientOf(ctx, by.Token)
		return c, refusal == nil && by.Token.ValidAt(now) && enabled(c, now) && acceptsAddress(c, by.Address)
	}
	c, err := a.Memory.Client(ctx, a.Realm, by.Client.ID)
	// The ID may belong to another client by now, or the secret may have
	// expired.
	return c, err == nil && enabled(c, now) && acceptsAddress(c, by.Address) && c.Created.Equal(by.Client.Created) &&
		(by.Secret == nil || slices.ContainsFunc(c.Secrets, func(h store.SecretHash) bool {
			return h.ID == by.Secret.ID && h.Value == by.Secret.Value && h.AcceptedAt(now)
		}))
}

// enabled reports whether the client is enabled and has not expired.
func enabled(c *store.Client, now time.Time) bool {
	return !c.Disabled && (c.Expires.IsZero() || now.Before(c.Expires))
}
