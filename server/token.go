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

// refusal says why a token request is refused.
type requestRefusal struct {
	reason counterfoil.Reason
	// detail is for the record: words of this package, never of the request.
	detail string
	// answer is the reason whose shape the answer has; "" for reason's.
	answer counterfoil.Reason
	// header is the name of the header in question, for the answer.
	header string
	// err is the cause of a failure of the server's own, for the log.
	err error
	// unrecorded is set when it was the store that failed.
	unrecorded bool
	// again says that the request should be decided once more.
	again bool
}

func refused(reason counterfoil.Reason, detail string) *requestRefusal {
	return &requestRefusal{reason: reason, detail: detail}
}

// failed is the refusal when the server itself is at fault.
func failed(reason counterfoil.Reason, op string, err error) *requestRefusal {
	return &requestRefusal{reason: reason, detail: op, err: fmt.Errorf("%s: %w", op, err)}
}

// storeFailed is the refusal when the store has failed. It is not recorded: the
// store would most likely fail again, after making the caller wait as long.
func storeFailed(op string, err error) *requestRefusal {
	refusal := failed(counterfoil.Unavailable, op, err)
	refusal.unrecorded = true
	return refusal
}

// attempt is one request of the token endpoint, for the record.
type attempt struct {
	event counterfoil.Event
	// proven is set when the client is the one that it claims to be.
	proven bool
	// fresh is set when the client was read for this attempt, and is not an
	// older one from memory.
	fresh bool
}

// maxTries is how often a request is decided on a client that is changed
// meanwhile, before the caller is told to come back.
const maxTries = 5

// serveToken is the token endpoint (RFC 6749 section 3.2), from the first byte
// to the last.
func (rl *realm) serveToken(w http.ResponseWriter, r *http.Request) {
	// A record is made even when the caller hangs up before the answer.
	ctx := context.WithoutCancel(r.Context())
	a := &attempt{event: rl.newEvent(r)}

	// 1. Parse: one bounded read of a form, which may take its time to arrive.
	req, refusal := rl.parse(r)
	a.event.Time = rl.Clock.Now()
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	creds, bad := rl.credentials(r, req.body)
	a.event.ClientID = event.Clean(creds.id, event.MaxClientID)
	// 2. Look for the headers that the description adds.
	if refusal := rl.checkHeaders(r.Header); refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 3. Look at the grant type, where that comes first.
	grantType := checkGrantType(req.grantType)
	if grantType != nil && rl.endpoint.CheckFirst == provider.CheckGrantType {
		rl.refuse(ctx, w, a, grantType)
		return
	}
	if bad != nil {
		rl.refuse(ctx, w, a, bad)
		return
	}
	// 4. Decide, issue and record: once more when the client was changed
	// between the first and the last of them.
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

// grant decides a request that is well formed, and returns the token that is
// recorded and may leave.
func (rl *realm) grant(ctx context.Context, a *attempt, r *http.Request, req *tokenRequest, creds *credentials) (*grant, *requestRefusal) {
	// 1. Authenticate the client.
	caller, refusal := rl.authenticate(ctx, a, creds, false)
	if refusal != nil {
		return nil, refusal
	}
	// 2. Look at the grant type, where that comes second.
	if refusal := checkGrantType(req.grantType); refusal != nil {
		return nil, refusal
	}
	// 3. Decide the scopes, the audience and what binds the token.
	g, refusal := rl.decide(r, a, req, caller)
	if refusal != nil && !a.fresh {
		// What is in memory may be old: nobody is refused on that.
		rl.clients.Drop(clientKey{rl.Name, caller.client.ID})
		return nil, &requestRefusal{reason: counterfoil.Unavailable, detail: "the client is being changed", again: true}
	}
	if refusal != nil {
		return nil, refusal
	}
	// 4. Issue: make the token, or take the one that serves already.
	if rl.policy(caller.client) == provider.Reuse {
		return rl.reuseOrMake(ctx, a, g)
	}
	return g, rl.issue(ctx, a, g)
}

// decide returns what the token is to say and what it is bound to.
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

// issue makes the grant's token and records it, ending the token before where
// that is the policy. When it returns nil the token counts as issued.
func (rl *realm) issue(ctx context.Context, a *attempt, g *grant) *requestRefusal {
	a.event.Time = rl.Clock.Now() // not of before something that took long
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
	asOf, err := rl.Store.RecordIssued(ctx, store.Issuance{
		Event: e, Version: g.client.Version, Created: g.client.Created, Revision: g.asOf, ReplayKeys: g.once, StatusIndex: g.status,
		Replace: rl.policy(g.client) == provider.Replace, SetBack: g.setBack,
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
		rl.Logger.WarnContext(ctx, "the clock was set back: tokens of the client that are dated ahead of it have ended", "realm", rl.Name, "client_id", e.ClientID)
		rl.clients.Drop(clientKey{rl.Name, g.client.ID})
		return nil
	}
	rl.update(g.client, asOf)
	return nil
}

// recorded tells what an error of RecordIssued means for the request.
func (rl *realm) recorded(ctx context.Context, e counterfoil.Event, err error) *requestRefusal {
	switch {
	case err == nil:
		rl.OnEvent(ctx, e)
		return nil
	case errors.Is(err, store.ErrReplayed):
		return refused(counterfoil.AssertionReplayed, "")
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		// Whatever became of the client, a second look tells.
		return &requestRefusal{reason: counterfoil.Unavailable, detail: "the client is being changed", again: true}
	}
	return storeFailed("record token", err)
}

// date says from when until when the grant's token serves.
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
	// All tokens up to a moment were revoked: this one is not among them.
	earliest := g.client.NotBefore
	if g.client.MinIssuedAt.After(earliest) {
		earliest = g.client.MinIssuedAt
	}
	if !earliest.IsZero() {
		g.issued = max(g.issued, earliest.Unix())
	}
	// A clock that was set back would date it so far ahead that no verifier takes
	// it: then the order is left to the store.
	if g.setBack = earliest.Sub(now) > store.MaxAhead; g.setBack {
		g.issued = now.Unix() + 1
	}
	// Where nbf is the only date, revocation goes by that.
	if rl.Provider.AccessToken.Claim(provider.FromIssuedAt) == "" {
		g.notBefore = g.issued
	}
}

// policy returns what a new token of the client does to its earlier ones.
func (rl *realm) policy(c *store.Client) provider.Policy {
	return cmp.Or(c.Tokens.Policy, rl.endpoint.Policy)
}

// checkHeaders looks for the headers that the provider wants beyond those of
// OAuth. Whether an API key is the client's own is for authenticate.
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

// decideScopes returns the scopes to grant: those asked for or, when none are,
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
// section 2); nil for the usual one.
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

// refuse is how every refusal leaves: recorded first, then answered in the shape
// that the description has for its reason.
func (rl *realm) refuse(ctx context.Context, w http.ResponseWriter, a *attempt, refusal *requestRefusal) {
	refusal = rl.recordRefusal(ctx, a, refusal)
	rl.setHeaders(w.Header())
	rl.endpoint.Refusal(cmp.Or(refusal.answer, refusal.reason)).Fill(provider.Details{Header: refusal.header}).Write(w)
}

// recordRefusal records a refusal, unless it is the store that has failed, and
// returns what to answer.
func (rl *realm) recordRefusal(ctx context.Context, a *attempt, refusal *requestRefusal) *requestRefusal {
	e := a.event
	e.Type, e.Reason, e.Detail = counterfoil.EventTokenRefused, refusal.reason, refusal.detail
	switch {
	case refusal.unrecorded:
		rl.storeTrouble.Error(ctx, rl.Clock, rl.Logger, "token request failed", "realm", rl.Name, "client_id", e.ClientID, "error", refusal.err)
	case refusal.err != nil:
		rl.Logger.ErrorContext(ctx, "token request failed", "realm", rl.Name, "client_id", e.ClientID, "error", refusal.err)
	}
	if !refusal.unrecorded {
		if err := rl.Store.RecordRefused(ctx, e, !a.proven); err != nil {
			rl.storeTrouble.Error(ctx, rl.Clock, rl.Logger, "token request not recorded", "realm", rl.Name, "client_id", e.ClientID, "reason", refusal.reason, "error", err)
			refusal = refused(counterfoil.Unavailable, "")
			e.Reason, e.Detail = refusal.reason, "record refusal"
		}
	}
	rl.OnEvent(ctx, e)
	return refusal
}

// setHeaders sets what every answer of the endpoint carries.
func (rl *realm) setHeaders(h http.Header) {
	for _, set := range rl.headers {
		h[set.name] = set.value
	}
	if rl.nonces != nil {
		h[nonceHeader] = []string{rl.nonces.Issue()} // RFC 9449 section 8.2
	}
}

// newEvent begins the record of a request. What the caller wrote is cut and
// cleaned; the address is that of the TCP peer, or what trusted proxies say of
// it.
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
