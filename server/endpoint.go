package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// Paths below a realm's base URL that are the same for every dialect. Package
// provider refuses descriptions that use them.
const (
	introspectPath  = "/introspect"
	revokePath      = "/revoke"
	revocationsPath = "/revocations"
	statusPath      = "/status-lists/"
)

// maxOwnBody bounds the body of a request with a token and possibly an
// assertion: each is at most jose.MaxToken.
const maxOwnBody = 32 << 10

// route returns the handler of one of the realm's paths, or nil.
func (rl *realm) route(path string) http.HandlerFunc {
	switch path {
	case rl.endpoint.Path:
		return rl.serveToken
	case keySetPath:
		return func(w http.ResponseWriter, r *http.Request) { serveDocument(w, r, rl.keys.Document(r.Context())) }
	case introspectPath:
		return rl.serveIntrospect
	case revokePath:
		if rl.revocable() {
			return rl.serveRevoke
		}
	case revocationsPath:
		return rl.serveFeed
	}
	if strings.HasPrefix(path, statusPath) && rl.listed() {
		return rl.serveStatusList
	}
	if doc, ok := rl.documents[path]; ok {
		return func(w http.ResponseWriter, r *http.Request) { serveDocument(w, r, doc) }
	}
	return nil
}

// intended returns the path of the endpoint that differs from wrong in slashes
// only, or "".
func (rl *realm) intended(wrong string) string {
	clean := path.Clean("/" + wrong)
	for _, p := range []string{clean, clean + "/"} {
		if rl.route(p) != nil && !strings.HasPrefix(p, statusPath) {
			return p
		}
	}
	return ""
}

// elsewhere answers a request that was meant for another path. It does not
// redirect: a client must not send its credentials to a URL that it was not
// configured with.
func (rl *realm) elsewhere(w http.ResponseWriter, meant string) {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{"invalid_request", "there is nothing at this URL: " + rl.BaseURL + meant + " is meant"})
	if err != nil {
		panic(err) // two strings
	}
	w.Header().Set("Cache-Control", "no-store")
	provider.Refusal{Status: http.StatusNotFound, Body: string(body)}.Write(w)
}

// revocable reports whether a token can be revoked individually, which needs a
// token ID.
func (rl *realm) revocable() bool { return rl.Provider.AccessToken.Claim(provider.FromTokenID) != "" }

// listed reports whether the realm's tokens are in status lists.
func (rl *realm) listed() bool { return rl.Provider.AccessToken.Claim(provider.FromStatus) != "" }

// aboutToken reads a request about a token strictly: it must be a POST of a
// form, with no parameter in the query that belongs into the body.
func (rl *realm) aboutToken(r *http.Request) (form, *requestRefusal) {
	if r.Method != http.MethodPost {
		return nil, refused(counterfoil.MethodNotAllowed, "")
	}
	if noType(r.Header) || !rl.acceptable(r.Header) {
		return nil, refused(counterfoil.UnsupportedMediaType, "")
	}
	body, refusal := rl.readForm(r, maxOwnBody)
	if refusal != nil {
		return nil, refusal
	}
	query, refusal := parseForm(r.URL.RawQuery)
	if refusal != nil {
		return nil, refusal
	}
	for _, p := range query {
		if p.name == "token" || rl.misplaced(p.name) {
			return nil, refused(counterfoil.MisplacedParameter, "a parameter in the query")
		}
	}
	return body, nil
}

// requester is the authenticated client of a request to one of the realm's own
// endpoints.
type requester struct {
	client *store.Client
	// secret is the one that it authenticated with; nil for other methods.
	secret *store.SecretHash
	// token is the access token that it authenticated with; nil when it used the
	// credentials of a client.
	token *issuedToken
}

// requester authenticates the caller: by the credentials that the token
// endpoint accepts or, where that is allowed, by an access token of a resource
// server.
func (rl *realm) requester(ctx context.Context, a *attempt, r *http.Request, body form, bearer bool) (*requester, *requestRefusal) {
	if token, ok := bearerToken(r.Header); ok && bearer {
		return rl.bearer(ctx, a, token)
	}
	creds, bad := rl.credentials(r, body)
	a.event.ClientID = event.Clean(creds.id, event.MaxClientID)
	if refusal := rl.checkHeaders(r.Header); refusal != nil {
		return nil, refusal
	}
	if bad != nil {
		return nil, bad
	}
	by, refusal := rl.authenticateOnce(ctx, a, &creds)
	for try := 1; refusal != nil && refusal.again && try < maxTries; try++ {
		by, refusal = rl.authenticateOnce(ctx, a, &creds)
	}
	if refusal != nil {
		return nil, refusal
	}
	return &requester{client: by.client, secret: by.secret}, nil
}

// authenticateOnce returns the client that the credentials prove, and records
// those that are single-use.
func (rl *realm) authenticateOnce(ctx context.Context, a *attempt, creds *credentials) (*caller, *requestRefusal) {
	// A token that is granted on a client from memory is checked when it is
	// recorded. Here nothing is recorded, so the client must come from the
	// store.
	by, refusal := rl.authenticate(ctx, a, creds, true)
	if refusal != nil || len(by.once) == 0 {
		return by, refusal
	}
	e := a.event
	e.Type, e.Success = counterfoil.EventClientAuthenticated, true
	_, err := rl.Store.RecordIssued(ctx, store.Issuance{
		Event: e, Version: by.client.Version, Created: by.client.Created, Revision: by.client.Revision, Reused: true,
		ReplayKeys: by.once, StatusIndex: -1,
	})
	return by, rl.recorded(ctx, e, err)
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

// bearer returns the resource server that an access token was issued to.
func (rl *realm) bearer(ctx context.Context, a *attempt, text string) (*requester, *requestRefusal) {
	t, err := rl.read(ctx, text)
	if err != nil {
		return nil, storeFailed("read signing keys", err)
	}
	if t == nil || !t.serves(a.event.Time) {
		return nil, refused(counterfoil.TokenInvalid, "")
	}
	a.event.ClientID, a.event.TokenID = t.clientID, t.tokenID
	if t.confirmation != nil {
		// A sender-constrained token proves nothing when it is sent as a bearer
		// token.
		return nil, refused(counterfoil.TokenProof, "a bound token as a bearer token")
	}
	c, refusal := rl.resourceServer(ctx, t)
	if refusal != nil {
		return nil, refusal
	}
	a.proven = true
	if !c.ResourceServer {
		return nil, refused(counterfoil.ScopeInsufficient, "the client is not a resource server")
	}
	return &requester{client: c, token: t}, nil
}

// resourceServer returns the current client of a token.
func (rl *realm) resourceServer(ctx context.Context, t *issuedToken) (*store.Client, *requestRefusal) {
	ended, err := rl.ended(ctx, t.principal())
	if err != nil {
		return nil, storeFailed("read token status", err)
	}
	if ended != "" {
		return nil, refused(counterfoil.TokenRevoked, "")
	}
	c, err := rl.fresh(ctx, rl.Name, t.clientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refused(counterfoil.TokenRevoked, "")
	}
	if err != nil {
		return nil, storeFailed("read client", err)
	}
	return c, nil
}

// mayFollow reports whether a follower of the feed may stay connected.
func (rl *realm) mayFollow(ctx context.Context, by *requester, now time.Time) bool {
	if by.token != nil {
		c, refusal := rl.resourceServer(ctx, by.token)
		return refusal == nil && by.token.serves(now) && mayFollow(c, now)
	}
	c, err := rl.fresh(ctx, rl.Name, by.client.ID)
	// The ID may belong to another client by now, or the secret may have
	// expired.
	return err == nil && mayFollow(c, now) && c.Created.Equal(by.client.Created) &&
		(by.secret == nil || slices.ContainsFunc(c.Secrets, func(h store.SecretHash) bool {
			return h.ID == by.secret.ID && h.Value == by.secret.Value && h.AcceptedAt(now)
		}))
}

// mayFollow reports whether the client is a resource server that is enabled
// and has not expired.
func mayFollow(c *store.Client, now time.Time) bool {
	return c.ResourceServer && !c.Disabled && (c.Expires.IsZero() || now.Before(c.Expires))
}

// refuseAt refuses a request to one of the realm's own endpoints. It is
// recorded like one of the token endpoint, with its path, and answered in the
// realm's shape. Refused bearer tokens have the shape of RFC 6750 section 3.
func (rl *realm) refuseAt(ctx context.Context, w http.ResponseWriter, a *attempt, path string, refusal *requestRefusal) {
	with := *refusal
	with.detail = path
	if refusal.detail != "" {
		with.detail += ": " + refusal.detail
	}
	refusal = rl.recordRefusal(ctx, a, &with)
	rl.setHeaders(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	shape := rl.endpoint.Refusal(cmp.Or(refusal.answer, refusal.reason))
	switch {
	case refusal.reason == counterfoil.ScopeInsufficient:
		shape = bearerRefusal(http.StatusForbidden, "insufficient_scope")
	case refusal.reason == counterfoil.TokenInvalid, refusal.reason.Parent() == counterfoil.TokenInvalid:
		shape = bearerRefusal(http.StatusUnauthorized, "invalid_token")
	}
	shape.Fill(provider.Details{Header: refusal.header}).Write(w)
}

func bearerRefusal(status int, code string) provider.Refusal {
	return provider.Refusal{
		Status: status, Body: `{"error":"` + code + `"}`,
		Headers: map[string]string{"WWW-Authenticate": `Bearer error="` + code + `"`, "Content-Type": "application/json"},
	}
}
