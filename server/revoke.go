package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/accesstoken"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

// lenience is the most that a guard's clock may be behind: a guard may accept
// a token for that long after it has expired here, so its revocation still
// matters.
const lenience = 10 * time.Minute

// serveRevoke is the revocation endpoint (RFC 7009 section 2). It answers once
// the revocation is durable. The token_type_hint is ignored: there is one
// type.
func (rl *realm) serveRevoke(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	a := rl.begin(r, revokePath)
	// 1. Parse, and authenticate the caller.
	by, token, refusal := rl.aboutToken(ctx, a, r, false)
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 2. Revoke. An invalid or expired token is answered with success (section
	// 2.2). A token of another client is refused (section 2.1) and stays valid.
	t, err := rl.tokens.Read(ctx, token)
	if err != nil {
		rl.refuse(ctx, w, a, clientauth.StoreFailed("read signing keys", err))
		return
	}
	if t != nil && a.event.Time.Before(t.Expires.Add(lenience)) {
		if t.ClientID != by.Client.ID {
			rl.refuse(ctx, w, a, clientauth.Refused(counterfoil.ReasonInvalidRequest, "the token of another client"))
			return
		}
		if refusal := rl.revoke(ctx, a, t); refusal != nil {
			rl.refuse(ctx, w, a, refusal)
			return
		}
	}
	// 3. Answer.
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// revoke revokes a token. When the store cannot revoke more tokens of the
// client individually, it revokes all of them: refusing too much is the lesser
// harm.
func (rl *realm) revoke(ctx context.Context, a *attempt, t *accesstoken.Token) *clientauth.Refusal {
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenRevoked, true, t.TokenID
	err := rl.store.RevokeToken(ctx, store.Revocation{
		Realm: rl.Name, ClientID: t.ClientID, TokenID: t.TokenID, Expires: t.Expires.Add(lenience),
	}, e)
	if errors.Is(err, store.ErrTooManyRevocations) {
		e.Type = counterfoil.EventTokensRevoked
		e.Detail = fmt.Sprintf("all tokens so far: %d are revoked one by one already", store.MaxRevoked)
		err = rl.revokeAll(ctx, t, e)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // deleted meanwhile, and its tokens with it
	case errors.Is(err, clients.ErrAhead):
		return clientauth.Refused(counterfoil.ReasonUnavailable, err.Error())
	case err != nil:
		return clientauth.StoreFailed("revoke token", err)
	}
	rl.tell(ctx, a, e)
	return nil
}

// revokeAll revokes all tokens that the client of t was issued so far.
func (rl *realm) revokeAll(ctx context.Context, t *accesstoken.Token, e counterfoil.Event) error {
	for {
		c, err := rl.store.Client(ctx, rl.Name, t.ClientID)
		issued := t.Principal().Issued
		if err != nil || issued.Before(c.NotBefore) && c.NotBefore.Sub(e.Time) <= store.MaxAhead {
			return err
		}
		if c.NotBefore, err = clients.EndOfTokens(&c, e.Time); err != nil {
			return err
		}
		c.Changed = e.Time
		if err = rl.store.UpdateClient(ctx, c, e); !errors.Is(err, store.ErrConflict) {
			rl.memory.Forget(rl.Name, t.ClientID)
			return err
		}
	}
}
