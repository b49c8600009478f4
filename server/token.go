package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
)

// refusal says why a token request is refused.
type refusal struct {
	reason counterfoil.Reason
	// detail is for the record: words of this package, never of the request.
	detail string
	// header is the name of the header in question, for the answer.
	header string
	// err is the cause of a failure of the server's own, for the log.
	err error
	// unrecorded is set when it was the store that failed.
	unrecorded bool
}

func refused(reason counterfoil.Reason, detail string) *refusal {
	return &refusal{reason: reason, detail: detail}
}

// failed is the refusal when the server itself is at fault.
func failed(reason counterfoil.Reason, op string, err error) *refusal {
	return &refusal{reason: reason, detail: op, err: fmt.Errorf("%s: %w", op, err)}
}

// storeFailed is the refusal when the store has failed. It is not recorded: the
// store would most likely fail again, after making the caller wait as long.
func storeFailed(op string, err error) *refusal {
	no := failed(counterfoil.Unavailable, op, err)
	no.unrecorded = true
	return no
}

// attempt is one request of the token endpoint, for the record.
type attempt struct {
	event counterfoil.Event
	// proven is set when the client is the one that it claims to be.
	proven bool
}

// serveToken is the token endpoint (RFC 6749 section 3.2), from the first byte
// to the last.
func (rl *realm) serveToken(w http.ResponseWriter, r *http.Request) {
	// A record is made even when the caller hangs up before the answer.
	ctx := context.WithoutCancel(r.Context())
	a := &attempt{event: rl.newEvent(r)}

	// 1. Parse: one bounded read of a form.
	req, no := rl.parse(r)
	if no != nil {
		rl.refuse(ctx, w, a, no)
		return
	}
	creds, bad := rl.credentials(r, req.body)
	a.event.ClientID = event.Clean(creds.id, event.MaxClientID)
	// 2. Look for the headers that the description adds.
	if no := rl.checkHeaders(r.Header); no != nil {
		rl.refuse(ctx, w, a, no)
		return
	}
	// 3. Authenticate the client and look at the grant type, in the described
	// order.
	grantType := checkGrantType(req.grantType)
	if grantType != nil && rl.endpoint.CheckFirst == provider.CheckGrantType {
		rl.refuse(ctx, w, a, grantType)
		return
	}
	var client Client
	if bad == nil {
		client, bad = rl.authenticate(ctx, a, creds)
	}
	if bad != nil {
		rl.refuse(ctx, w, a, bad)
		return
	}
	if grantType != nil {
		rl.refuse(ctx, w, a, grantType)
		return
	}
	// 4. Decide the scopes.
	scopes, no := rl.decideScopes(req.body.get("scope"), &client)
	if no != nil {
		rl.refuse(ctx, w, a, no)
		return
	}
	// 5. Issue: make the token and sign it.
	issued := a.event.Time.Unix()
	g := &grant{
		clientID: client.ID, scopes: scopes, tenants: client.Tenants,
		issued: issued, expire: issued + int64(rl.endpoint.Lifetime.Seconds()),
	}
	if err := rl.issue(g); err != nil {
		rl.refuse(ctx, w, a, failed(counterfoil.ServerError, "sign token", err))
		return
	}
	// 6. Record, and end the token before where that is the policy. From here
	// on the token counts as issued.
	if no := rl.record(ctx, a, g); no != nil {
		rl.refuse(ctx, w, a, no)
		return
	}
	// 7. Answer in the provider's shape.
	rl.setHeaders(w.Header())
	_, _ = w.Write(rl.answer.append(make([]byte, 0, 1024), g))
}

// checkHeaders looks for the headers that the provider wants beyond those of
// OAuth. Whether an API key is the client's own is for authenticate.
func (rl *realm) checkHeaders(h http.Header) *refusal {
	for i := range rl.endpoint.Headers {
		want := &rl.endpoint.Headers[i]
		given := h.Values(want.Name)
		fromKey := want.From == provider.HeaderFromAPIKey
		no := &refusal{header: want.Name}
		switch {
		case len(given) == 0 || given[0] == "":
			if want.Presence == provider.Optional {
				continue
			}
			no.reason = counterfoil.HeaderMissing
			if fromKey {
				no.reason = counterfoil.APIKeyMissing
			}
		case fromKey && len(given) > 1:
			no.reason = counterfoil.APIKeyInvalid
		case !fromKey && (len(given) > 1 || given[0] != want.Value):
			no.reason = counterfoil.HeaderInvalid
		default:
			continue
		}
		return no
	}
	return nil
}

func checkGrantType(grantType string) *refusal {
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
func (rl *realm) decideScopes(asked string, c *Client) (counterfoil.Scopes, *refusal) {
	if len(asked) > rl.endpoint.Limits.Scope {
		return nil, refused(counterfoil.ScopeMalformed, "the scope is too long")
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
	if !c.Scopes.ContainAll(scopes) {
		return nil, refused(counterfoil.ScopeNotAllowed, "")
	}
	if must := rl.endpoint.Scope.MustInclude; !scopes.ContainAll(must) {
		return nil, refused(counterfoil.InvalidScope, "the scope must include "+must.String())
	}
	return scopes, nil
}

// record makes the token's record durable.
func (rl *realm) record(ctx context.Context, a *attempt, g *grant) *refusal {
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenIssued, true, g.tokenID
	err := rl.Store.RecordIssued(ctx, e, rl.endpoint.Policy == provider.Replace)
	if errors.Is(err, ErrNotFound) {
		return refused(counterfoil.ClientDisabled, "while the token was made")
	}
	if err != nil {
		return storeFailed("record token", err)
	}
	rl.OnEvent(ctx, e)
	return nil
}

// refuse is how every refusal leaves: recorded first, unless it is the store
// that has failed, then answered in the shape that the description has for its
// reason.
func (rl *realm) refuse(ctx context.Context, w http.ResponseWriter, a *attempt, no *refusal) {
	e := a.event
	e.Type, e.Reason, e.Detail = counterfoil.EventTokenRefused, no.reason, no.detail
	if no.err != nil {
		rl.Logger.ErrorContext(ctx, "token request failed", "realm", rl.Name, "client_id", e.ClientID, "error", no.err)
	}
	if !no.unrecorded {
		if err := rl.Store.RecordRefused(ctx, e, !a.proven); err != nil {
			rl.Logger.ErrorContext(ctx, "token request not recorded", "realm", rl.Name, "client_id", e.ClientID, "reason", no.reason, "error", err)
			no = refused(counterfoil.Unavailable, "")
			e.Reason, e.Detail = no.reason, "record refusal"
		}
	}
	rl.OnEvent(ctx, e)
	rl.setHeaders(w.Header())
	rl.endpoint.Refusal(no.reason).Fill(provider.Details{Header: no.header}).Write(w)
}

// setHeaders sets what every answer of the endpoint carries.
func (rl *realm) setHeaders(h http.Header) {
	for _, set := range rl.headers {
		h[set.name] = set.value
	}
}

// newEvent begins the record of a request. What the caller wrote is cut and
// cleaned; the address is that of the TCP peer.
func (rl *realm) newEvent(r *http.Request) counterfoil.Event {
	return counterfoil.Event{
		Time: rl.Clock.Now(), Realm: rl.Name, Address: event.Peer(r.RemoteAddr),
		UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent),
	}
}
