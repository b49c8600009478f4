package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/ending"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (rl *realm) serveToken(w http.ResponseWriter, r *http.Request) {
	// The decision is recorded even when the caller disconnects before the
	// answer.
	ctx := context.WithoutCancel(r.Context())
	a := rl.begin(r, "")
	a.over = rl.arrived(ctx, r)

	// 1. Parse: one bounded read of a form, which may arrive slowly.
	req, refusal := parseTokenRequest(rl.endpoint, r)
	a.event.Time = rl.clock.Now()
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 2. Decide, issue and record; again when the client was changed in between.
	g, refusal := retried(func() (*grant, *clientauth.Refusal) { return rl.grant(ctx, a, r, &req) })
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 3. Answer in the provider's shape.
	rl.setHeaders(w.Header())
	a.rate.set(w.Header())
	a.setEnd(w.Header())
	g.now = max(a.event.Time.Unix(), g.made)
	_, _ = w.Write(rl.answer.append(make([]byte, 0, 1024), g))
}

// grant decides a well-formed request and returns a token that is recorded and
// may be returned to the caller.
func (rl *realm) grant(ctx context.Context, a *attempt, r *http.Request, req *tokenRequest) (*grant, *clientauth.Refusal) {
	// 1. Check the grant type, which is refused before wrong credentials or
	// after them, as described.
	grantType := checkGrantType(req.grantType)
	request := clientauth.Request{Request: r, Over: a.over}
	if rl.endpoint.CheckFirst == provider.CheckGrantType {
		request.First = grantType
	}
	// 2. Authenticate the client, and count the request against its limits.
	by, refusal := rl.authenticate(ctx, a, request, req.body)
	if refusal == nil {
		refusal = grantType
	}
	if refusal == nil {
		refusal = rl.spend(ctx, a, by.Client)
	}
	if refusal != nil {
		return nil, refusal
	}
	a.by = by
	// 3. Decide the scopes, the audience and what binds the token.
	g, refusal := rl.decide(r, a, req, &by)
	if refusal != nil && !by.Fresh {
		// The client in memory may be stale: no request is refused because of it.
		rl.memory.Forget(rl.Name, by.Client.ID)
		return nil, changing()
	}
	if refusal != nil {
		return nil, refusal
	}
	// 4. Issue: make the token, or reuse a valid one.
	if rl.mint.policy(by.Client) == provider.PolicyReuse {
		return rl.mint.reuseOrMake(ctx, a, g)
	}
	return g, rl.mint.issue(ctx, a, g)
}

// tellAhead is how long before its credentials end a client is told so.
const tellAhead = 30 * 24 * time.Hour

// setEnd sets the header that tells a client when it ends, or the first of the
// credentials that it has used, if that is soon.
func (a *attempt) setEnd(h http.Header) {
	var end time.Time
	var kind ending.Kind
	first := func(at time.Time, k ending.Kind) {
		if !at.IsZero() && (end.IsZero() || at.Before(end)) {
			end, kind = at, k
		}
	}
	if a.by.Secret != nil {
		first(a.by.Secret.Expires, ending.Secret)
	}
	if a.by.APIKey != nil {
		first(a.by.APIKey.Expires, ending.APIKey)
	}
	if a.by.Client != nil {
		first(a.by.Client.Expires, ending.Client)
	}
	if !end.IsZero() && end.Sub(a.event.Time) <= tellAhead {
		h[ending.Header] = []string{ending.Format(end, kind)}
	}
}

// decide returns the contents of the token and what it is bound to.
func (rl *realm) decide(r *http.Request, a *attempt, req *tokenRequest, by *clientauth.Caller) (*grant, *clientauth.Refusal) {
	g := &grant{client: by.Client, revision: by.Client.Revision, once: by.Once, now: a.event.Time.Unix()}
	var refusal *clientauth.Refusal
	if g.scopes, refusal = decideScopes(rl.endpoint, req.body.Get("scope"), by.Client); refusal != nil {
		return nil, refusal
	}
	if g.audience, refusal = decideResources(rl.endpoint, req); refusal != nil {
		return nil, refusal
	}
	if refusal = rl.binder.bind(r, by, a.event.Time, g); refusal != nil {
		return nil, refusal
	}
	return g, nil
}

func checkGrantType(grantType string) *clientauth.Refusal {
	switch grantType {
	case "client_credentials":
		return nil
	case "":
		return clientauth.Refused(counterfoil.ReasonGrantTypeMissing, "")
	}
	return clientauth.Refused(counterfoil.ReasonUnsupportedGrantType, "")
}

// decideScopes returns the scopes to grant: those requested or, when none are,
// all that the client is allowed (RFC 6749 section 3.3).
func decideScopes(e *provider.TokenEndpoint, asked string, c *store.Client) (counterfoil.Scopes, *clientauth.Refusal) {
	if len(asked) > e.Limits.Scope {
		return nil, clientauth.Refused(counterfoil.ReasonScopeMalformed, "the scope is too long")
	}
	if e.Scope.Spaces == provider.SpacesAny {
		asked = strings.Join(strings.FieldsFunc(strings.TrimSpace(asked), func(c rune) bool { return c == ' ' }), " ")
	}
	scopes, err := counterfoil.ParseScopes(asked)
	switch {
	case err != nil:
		return nil, clientauth.Refused(counterfoil.ReasonScopeMalformed, err.Error())
	case len(scopes) > 0:
	case e.Scope.Parameter == provider.PresenceRequired:
		return nil, clientauth.Refused(counterfoil.ReasonScopeMissing, "")
	default:
		scopes = c.Scopes
	}
	if !c.Scopes.ContainsAll(scopes) {
		return nil, clientauth.Refused(counterfoil.ReasonScopeNotAllowed, "")
	}
	if must := e.Scope.MustInclude; !scopes.ContainsAll(must) {
		return nil, clientauth.Refused(counterfoil.ReasonInvalidScope, "the scope must include "+must.String())
	}
	return scopes, nil
}

// decideResources returns the audience that the request asks for (RFC 8707
// section 2); nil for the default one.
func decideResources(e *provider.TokenEndpoint, req *tokenRequest) ([]string, *clientauth.Refusal) {
	if len(e.Resources) == 0 {
		return nil, nil
	}
	for _, asked := range req.resources {
		if !slices.Contains(e.Resources, asked) {
			return nil, clientauth.Refused(counterfoil.ReasonInvalidTarget, "")
		}
	}
	return req.resources, nil
}
