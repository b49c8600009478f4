package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// requestRefusal says why a request is refused.
type requestRefusal struct {
	reason counterfoil.Reason
	// detail is for the record: text of this package, never of the request.
	detail string
	// answer is the reason that the answer is shaped for; "" for reason.
	answer counterfoil.Reason
	// header is the name of the offending header, for the answer.
	header string
	// err is the cause of a failure of the server's own, for the log.
	err error
	// unrecorded is set when the store failed.
	unrecorded bool
	// again says that the request should be decided again.
	again bool
}

func refused(reason counterfoil.Reason, detail string) *requestRefusal {
	return &requestRefusal{reason: reason, detail: detail}
}

// failed returns the refusal for a failure of the server itself.
func failed(reason counterfoil.Reason, op string, err error) *requestRefusal {
	return &requestRefusal{reason: reason, detail: op, err: fmt.Errorf("%s: %w", op, err)}
}

// storeFailed returns the refusal for a failure of the store. It is not
// recorded: the store would most likely fail again, and the caller would wait
// twice.
func storeFailed(op string, err error) *requestRefusal {
	refusal := failed(counterfoil.Unavailable, op, err)
	refusal.unrecorded = true
	return refusal
}

// attempt is one request to the token endpoint, for the record.
type attempt struct {
	event counterfoil.Event
	// proven is set when the client is authenticated.
	proven bool
	// fresh is set when the client was read from the store for this attempt
	// rather than taken from memory.
	fresh bool
}

// maxTries is how often a request is decided while its client is being
// changed, before the caller is told to retry.
const maxTries = 5

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (rl *realm) serveToken(w http.ResponseWriter, r *http.Request) {
	// The decision is recorded even when the caller disconnects before the
	// answer.
	ctx := context.WithoutCancel(r.Context())
	a := &attempt{event: rl.newEvent(r)}

	// 1. Parse: one bounded read of a form, which may arrive slowly.
	req, refusal := rl.parse(r)
	a.event.Time = rl.Clock.Now()
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	creds, bad := rl.credentials(r, req.body)
	a.event.ClientID = event.Clean(creds.id, event.MaxClientID)
	// 2. Check the headers that the description adds.
	if refusal := rl.checkHeaders(r.Header); refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 3. Check the grant type, where that comes first.
	grantType := checkGrantType(req.grantType)
	if grantType != nil && rl.endpoint.CheckFirst == provider.CheckGrantType {
		rl.refuse(ctx, w, a, grantType)
		return
	}
	if bad != nil {
		rl.refuse(ctx, w, a, bad)
		return
	}
	// 4. Decide, issue and record; again when the client was changed in between.
	g, refusal := rl.grant(ctx, a, r, &req, &creds)
	for try := 1; refusal != nil && refusal.again && try < maxTries; try++ {
		g, refusal = rl.grant(ctx, a, r, &req, &creds)
	}
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 5. Answer in the provider's shape.
	rl.setHeaders(w.Header())
	g.now = max(a.event.Time.Unix(), g.made)
	_, _ = w.Write(rl.answer.append(make([]byte, 0, 1024), g))
}

// grant decides a well-formed request and returns a token that is recorded and
// may be returned to the caller.
func (rl *realm) grant(ctx context.Context, a *attempt, r *http.Request, req *tokenRequest, creds *credentials) (*grant, *requestRefusal) {
	// 1. Authenticate the client.
	caller, refusal := rl.authenticate(ctx, a, creds, false)
	if refusal != nil {
		return nil, refusal
	}
	// 2. Check the grant type, where that comes second.
	if refusal := checkGrantType(req.grantType); refusal != nil {
		return nil, refusal
	}
	// 3. Decide the scopes, the audience and what binds the token.
	g, refusal := rl.decide(r, a, req, caller)
	if refusal != nil && !a.fresh {
		// The client in memory may be stale: no request is refused because of it.
		rl.clients.Drop(clientKey{rl.Name, caller.client.ID})
		return nil, &requestRefusal{reason: counterfoil.Unavailable, detail: "the client is being changed", again: true}
	}
	if refusal != nil {
		return nil, refusal
	}
	// 4. Issue: make the token, or reuse a valid one.
	if rl.policy(caller.client) == provider.Reuse {
		return rl.reuseOrMake(ctx, a, g)
	}
	return g, rl.issue(ctx, a, g)
}

// decide returns the contents of the token and what it is bound to.
func (rl *realm) decide(r *http.Request, a *attempt, req *tokenRequest, by *caller) (*grant, *requestRefusal) {
	g := &grant{client: by.client, asOf: by.client.Revision, once: by.once, now: a.event.Time.Unix()}
	var refusal *requestRefusal
	if g.scopes, refusal = rl.decideScopes(req.body.get("scope"), by.client); refusal != nil {
		return nil, refusal
	}
	if g.audience, refusal = rl.decideResources(req); refusal != nil {
		return nil, refusal
	}
	if refusal = rl.bind(r, a, by, g); refusal != nil {
		return nil, refusal
	}
	return g, nil
}

// issue makes the grant's token and records it, which revokes the previous
// token where that is the policy. When it returns nil the token counts as
// issued.
func (rl *realm) issue(ctx context.Context, a *attempt, g *grant) *requestRefusal {
	a.event.Time = rl.Clock.Now() // the time now: the steps before may have taken long
	rl.date(g, a.event.Time)
	if err := rl.sign(ctx, g, a.event.Time); errors.Is(err, signing.ErrUnread) {
		return storeFailed("sign token", err)
	} else if err != nil {
		return failed(counterfoil.ServerError, "sign token", err)
	}
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenIssued, true, g.tokenID
	if g.setBack {
		e.Detail = "the clock was set back: earlier tokens are dated ahead of it"
	}
	replace := rl.policy(g.client) == provider.Replace
	asOf, err := rl.Store.RecordIssued(ctx, store.Issuance{
		Event: e, Version: g.client.Version, Created: g.client.Created, Revision: g.asOf, ReplayKeys: g.once, StatusIndex: g.status,
		Replace: replace, Beside: !replace && !g.client.MinIssuedAt.IsZero(), SetBack: g.setBack,
		Issued: time.Unix(g.issued, 0), Expires: time.Unix(g.expire, 0),
	})
	if refusal := g.replayed(rl.recorded(ctx, e, err)); refusal != nil {
		if refusal.again {
			rl.clients.Drop(clientKey{rl.Name, g.client.ID})
		}
		return refusal
	}
	g.asOf, g.made = asOf, e.Time.Unix()
	if g.setBack {
		rl.Logger.WarnContext(ctx, "the clock was set back: tokens of the client that are dated ahead of it are revoked",
			"realm", rl.Name, "client_id", e.ClientID)
		rl.clients.Drop(clientKey{rl.Name, g.client.ID})
		return nil
	}
	rl.update(g.client, asOf)
	return nil
}

// recorded returns the refusal for an error of RecordIssued.
func (rl *realm) recorded(ctx context.Context, e counterfoil.Event, err error) *requestRefusal {
	switch {
	case err == nil:
		rl.OnEvent(ctx, e)
		return nil
	case errors.Is(err, store.ErrReplayed):
		return refused(counterfoil.AssertionReplayed, "")
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		// The client was changed or deleted: the next try finds out.
		return &requestRefusal{reason: counterfoil.Unavailable, detail: "the client is being changed", again: true}
	}
	return storeFailed("record token", err)
}

// date sets the times of the grant's token.
func (rl *realm) date(g *grant, now time.Time) {
	life := rl.endpoint.Lifetime
	if own := g.client.Tokens.Lifetime; own > 0 && own < life {
		life = own
	}
	g.issued = now.Unix()
	g.notBefore, g.expire = g.issued, g.issued+int64(life.Seconds())
	if !g.client.Expires.IsZero() {
		g.expire = min(g.expire, g.client.Expires.Unix())
	}
	// All tokens up to a moment were revoked: this one must be dated after it.
	earliest := g.client.NotBefore
	if g.client.MinIssuedAt.After(earliest) {
		earliest = g.client.MinIssuedAt
	}
	if !earliest.IsZero() {
		g.issued = max(g.issued, earliest.Unix())
	}
	// After the clock was set back, it would be dated so far ahead that no
	// verifier accepts it: then the order is left to the store.
	if g.setBack = earliest.Sub(now) > store.MaxAhead; g.setBack {
		g.issued = now.Unix() + 1
	}
	// Where nbf is the only date, revocation goes by that.
	if rl.Provider.AccessToken.Claim(provider.FromIssuedAt) == "" {
		g.notBefore = g.issued
	}
}

// policy returns what happens to earlier tokens of the client when a new one
// is issued.
func (rl *realm) policy(c *store.Client) provider.Policy {
	return cmp.Or(c.Tokens.Policy, rl.endpoint.Policy)
}

// checkHeaders checks the headers that the provider requires beyond those of
// OAuth. Whether an API key belongs to the client is left to authenticate.
func (rl *realm) checkHeaders(h http.Header) *requestRefusal {
	for i := range rl.endpoint.Headers {
		want := &rl.endpoint.Headers[i]
		given := h.Values(want.Name)
		fromKey := want.From == provider.HeaderFromAPIKey
		refusal := &requestRefusal{header: want.Name}
		switch {
		case len(given) == 0 || given[0] == "":
			if want.Presence == provider.Optional {
				continue
			}
			refusal.reason = counterfoil.HeaderMissing
			if fromKey {
				refusal.reason = counterfoil.APIKeyMissing
			}
		case fromKey && len(given) > 1:
			refusal.reason = counterfoil.APIKeyInvalid
		case !fromKey && (len(given) > 1 || given[0] != want.Value):
			refusal.reason = counterfoil.HeaderInvalid
		default:
			continue
		}
		return refusal
	}
	return nil
}

func checkGrantType(grantType string) *requestRefusal {
	switch grantType {
	case "client_credentials":
		return nil
	case "":
		return refused(counterfoil.GrantTypeMissing, "")
	}
	return refused(counterfoil.UnsupportedGrantType, "")
}

// decideScopes returns the scopes to grant: those requested or, when none are,
// all that the client is allowed (RFC 6749 section 3.3).
func (rl *realm) decideScopes(asked string, c *store.Client) (counterfoil.Scopes, *requestRefusal) {
	if len(asked) > rl.endpoint.Limits.Scope {
		return nil, refused(counterfoil.ScopeMalformed, "the scope is too long")
	}
	if rl.endpoint.Scope.Spaces == provider.AnySpaces {
		asked = strings.Join(strings.FieldsFunc(strings.TrimSpace(asked), func(c rune) bool { return c == ' ' }), " ")
	}
	scopes, err := counterfoil.ParseScopes(asked)
	switch {
	case err != nil:
		return nil, refused(counterfoil.ScopeMalformed, err.Error())
	case len(scopes) > 0:
	case rl.endpoint.Scope.Parameter == provider.Required:
		return nil, refused(counterfoil.ScopeMissing, "")
	default:
		scopes = c.Scopes
	}
	if !c.Scopes.ContainsAll(scopes) {
		return nil, refused(counterfoil.ScopeNotAllowed, "")
	}
	if must := rl.endpoint.Scope.MustInclude; !scopes.ContainsAll(must) {
		return nil, refused(counterfoil.InvalidScope, "the scope must include "+must.String())
	}
	return scopes, nil
}

// decideResources returns the audience that the request asks for (RFC 8707
// section 2); nil for the default one.
func (rl *realm) decideResources(req *tokenRequest) ([]string, *requestRefusal) {
	if len(rl.endpoint.Resources) == 0 {
		return nil, nil
	}
	for _, asked := range req.resources {
		if !slices.Contains(rl.endpoint.Resources, asked) {
			return nil, refused(counterfoil.InvalidTarget, "")
		}
	}
	return req.resources, nil
}

// refuse records a refusal and then answers it in the shape that the
// description has for its reason.
func (rl *realm) refuse(ctx context.Context, w http.ResponseWriter, a *attempt, refusal *requestRefusal) {
	refusal = rl.recordRefusal(ctx, a, refusal)
	rl.setHeaders(w.Header())
	rl.endpoint.Refusal(cmp.Or(refusal.answer, refusal.reason)).Fill(provider.Details{Header: refusal.header}).Write(w)
}

// recordRefusal records a refusal, unless the store has failed, and returns
// the refusal to answer with.
func (rl *realm) recordRefusal(ctx context.Context, a *attempt, refusal *requestRefusal) *requestRefusal {
	e := a.event
	e.Type, e.Reason, e.Detail = counterfoil.EventTokenRefused, refusal.reason, refusal.detail
	switch {
	case refusal.unrecorded:
		rl.storeTrouble.Error(ctx, rl.Clock, rl.Logger, "token request failed",
			"realm", rl.Name, "client_id", e.ClientID, "error", refusal.err)
	case refusal.err != nil:
		rl.Logger.ErrorContext(ctx, "token request failed", "realm", rl.Name, "client_id", e.ClientID, "error", refusal.err)
	}
	if !refusal.unrecorded {
		if err := rl.Store.RecordRefused(ctx, e, !a.proven); err != nil {
			rl.storeTrouble.Error(ctx, rl.Clock, rl.Logger, "token request not recorded",
				"realm", rl.Name, "client_id", e.ClientID, "reason", refusal.reason, "error", err)
			refusal = refused(counterfoil.Unavailable, "")
			e.Reason, e.Detail = refusal.reason, "record refusal"
		}
	}
	rl.OnEvent(ctx, e)
	return refusal
}

// setHeaders sets the headers of every answer of the endpoint.
func (rl *realm) setHeaders(h http.Header) {
	for _, set := range rl.headers {
		h[set.name] = set.value
	}
	if rl.nonces != nil {
		h[nonceHeader] = []string{rl.nonces.Issue()} // RFC 9449 section 8.2
	}
}

// newEvent begins the record of a request. Text from the caller is truncated
// and cleaned; the address is that of the TCP peer, or the one that trusted
// proxies report.
func (rl *realm) newEvent(r *http.Request) counterfoil.Event {
	address := event.Peer(r.RemoteAddr)
	if a := rl.peers.Address(r); a.IsValid() {
		address = a.String()
	}
	now := rl.Clock.Now()
	rl.watch.look(r.Context(), now, rl.Logger)
	return counterfoil.Event{
		Time: now, Realm: rl.Name, Address: address,
		UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent),
	}
}
