package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/origin"
)

// serveLeaked ends the client secret or the API key that it is sent, at once. The
// caller need not authenticate, nor say whose it is: whoever has a secret could do
// worse with it. The answer is the same whether or not there is such a secret; its
// time is not, which tells nothing to somebody who can try the secret anyway.
func (rl *realm) serveLeaked(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	a := rl.begin(r, leakedPath)
	// 1. Parse. What no server has made costs no look-up.
	body, refusal := parseAbout(rl.endpoint, r, "secret")
	a.event.Time = rl.clock.Now() // the body may arrive slowly
	secret := counterfoil.Secret(strings.TrimSpace(body.Get("secret")))
	if refusal == nil && !cfsecret.Is(secret) {
		refusal = clientauth.Refused(counterfoil.ReasonInvalidRequest, "no secret with a right checksum")
	}
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 2. End it. An invented one counts as a guess.
	refusal = rl.auth.Guess(ctx, &clientauth.Request{Request: r, Origin: rl.peers.Origin(r)}, func() (bool, *clientauth.Refusal) {
		return rl.endLeaked(ctx, a, secret)
	})
	if refusal != nil && refusal.Reason == counterfoil.ReasonWrongSecret {
		if refusal = rl.refused(ctx, a, refusal); refusal.Reason == counterfoil.ReasonWrongSecret {
			refusal = nil
		} else {
			refusal.Unrecorded = true // and is not tried again
		}
	}
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 3. Answer.
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// endLeaked ends a secret, and reports whether there was one to end.
func (rl *realm) endLeaked(ctx context.Context, a *attempt, secret counterfoil.Secret) (bool, *clientauth.Refusal) {
	service := clients.New(rl.store, rl.clock, nil)
	ended, err := service.EndLeaked(origin.With(ctx, &origin.Origin{Event: a.event}), rl.Name, secret)
	for _, s := range ended {
		e := a.event
		e.Type, e.Success, e.ClientID, e.Credential = counterfoil.EventSecretLeaked, true, s.ClientID, s.SecretID
		rl.tell(ctx, a, e)
	}
	if err != nil {
		return false, clientauth.StoreFailed("end leaked secret", err)
	}
	return len(ended) > 0, nil
}
