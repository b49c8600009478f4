package guard

import (
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
)

// denial is why a call is refused.
type denial struct {
	reason counterfoil.Reason
	// header is the name of the header concerned, as the description writes it.
	header string
	// detail is for the operator; err the failure behind Unavailable.
	detail string
	err    error
	// code is the error code of a refused proof of possession; dpop tells that
	// the token came with the scheme DPoP.
	code string
	dpop bool
}

// reasons are all that a call is refused for, by the header concerned.
var reasons = map[provider.HeaderSource][]counterfoil.Reason{
	provider.HeaderFromToken: {
		counterfoil.TokenMissing, counterfoil.TokenInvalid, counterfoil.TokenRepeated, counterfoil.TokenMalformed, counterfoil.TokenAlgorithm,
		counterfoil.TokenKeyUnknown, counterfoil.TokenSignature, counterfoil.TokenIssuer, counterfoil.TokenAudience,
		counterfoil.TokenUse, counterfoil.TokenExpired, counterfoil.TokenNotYetValid, counterfoil.TokenReplaced,
		counterfoil.TokenRevoked, counterfoil.TokenCertificate, counterfoil.TokenProof, counterfoil.TokenProofNonce,
		counterfoil.ScopeInsufficient, counterfoil.Unavailable,
	},
	provider.HeaderFromAPIKey: {counterfoil.APIKeyMissing, counterfoil.APIKeyInvalid, counterfoil.Unavailable},
	provider.HeaderFromTenant: {counterfoil.TenantMissing, counterfoil.TenantDenied, counterfoil.HeaderInvalid, counterfoil.Unavailable},
	"":                        {counterfoil.HeaderMissing, counterfoil.HeaderInvalid},
}

// shapes are the answers, ready to send, by reason and header.
type shapes map[shape]provider.Refusal

type shape struct {
	reason counterfoil.Reason
	header string
}

func shapesOf(api *provider.API) shapes {
	all := shapes{}
	for _, h := range api.Headers {
		for _, r := range reasons[h.From] {
			all[shape{r, h.Name}] = api.Refusal(r).Fill(provider.Details{Header: h.Name, Scopes: api.Scopes})
		}
	}
	return all
}

// refuse is where every refused call leaves: it tells who wants to know, then
// answers in the description's shape. p is nil while the caller is not proved.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, p *counterfoil.Principal, no *denial) {
	if no.err != nil && r.Context().Err() == nil { // a caller who left is no failure
		g.trouble.Error(r.Context(), g.clock, g.logger, "guard: call refused as unavailable", "provider", g.provider.Name, "api", g.api.Name, "error", no.err)
	}
	if g.onDecision != nil {
		g.onDecision(r.Context(), g.event(r, p, no))
	}
	w.Header().Set("Cache-Control", "no-store")
	answer := g.shapes[shape{no.reason, no.header}]
	if no.code != "" || no.dpop && no.header == g.tokenHeader {
		answer = g.challenged(answer, no)
	}
	answer.Write(w)
}

// event describes the decision on r; no is nil when the call is let through.
func (g *Guard) event(r *http.Request, p *counterfoil.Principal, no *denial) counterfoil.Event {
	e := counterfoil.Event{
		Type: counterfoil.EventCallAllowed, Time: g.clock.Now(), Realm: g.provider.Name, Success: true,
		Address: event.Peer(r.RemoteAddr), UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent),
	}
	if p != nil {
		e.ClientID, e.TokenID = p.ClientID, p.TokenID
	}
	if no != nil {
		e.Type, e.Success, e.Reason, e.Detail = counterfoil.EventCallRefused, false, no.reason, no.detail
		switch {
		case no.err != nil:
			e.Detail = no.err.Error()
		case e.Detail == "":
			e.Detail = no.header
		}
	}
	return e
}
