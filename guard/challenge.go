package guard

import (
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/provider"
)

// Refusal says why a call is refused, and holds the answer in the provider's
// dialect. It is the error of [Guard.Authenticate] and [Guard.Authorize]. Its text
// is for the operator; the caller gets only the answer.
type Refusal struct {
	// Reason is for programs. The Event of the call has the same one.
	Reason counterfoil.Reason

	// header is the name of the header concerned, as the description writes it.
	header string
	// detail is for the operator; err is the cause of ReasonUnavailable.
	detail string
	err    error
	// code is the error code of a refused proof of possession; dpop is true if
	// the token came with the scheme DPoP.
	code string
	dpop bool

	answer provider.Refusal
	extra  http.Header // of the answer, in addition to those of the description
}

// Error returns the reason, and the cause or the details.
func (f *Refusal) Error() string {
	text := "call refused: " + string(f.Reason)
	switch {
	case f.err != nil:
		text += ": " + f.err.Error()
	case f.detail != "":
		text += ": " + f.detail
	}
	return text
}

// Unwrap returns the error of Keys, Liveness or Directory for which the call is
// refused as unavailable; otherwise nil.
func (f *Refusal) Unwrap() error { return f.err }

// Status returns the HTTP status of the answer, 400 to 599.
func (f *Refusal) Status() int { return f.answer.Status }

// Write sends the answer.
func (f *Refusal) Write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range f.extra {
		h[name] = values
	}
	h.Set("Cache-Control", "no-store")
	f.answer.Write(w)
}

// reasons are all reasons of refused calls, by the header concerned.
var reasons = map[provider.HeaderSource][]counterfoil.Reason{
	provider.HeaderFromToken: {counterfoil.ReasonPathMalformed,
		counterfoil.ReasonTokenMissing, counterfoil.ReasonTokenInvalid, counterfoil.ReasonTokenRepeated, counterfoil.ReasonTokenMalformed,
		counterfoil.ReasonTokenAlgorithm, counterfoil.ReasonTokenKeyUnknown, counterfoil.ReasonTokenSignature,
		counterfoil.ReasonTokenIssuer, counterfoil.ReasonTokenAudience,
		counterfoil.ReasonTokenUse, counterfoil.ReasonTokenExpired, counterfoil.ReasonTokenNotYetValid, counterfoil.ReasonTokenReplaced,
		counterfoil.ReasonTokenRevoked, counterfoil.ReasonTokenCertificate, counterfoil.ReasonTokenProof, counterfoil.ReasonTokenProofNonce,
		counterfoil.ReasonTokenAddress, counterfoil.ReasonScopeInsufficient, counterfoil.ReasonUnavailable,
		counterfoil.ReasonRateLimited,
	},
	provider.HeaderFromAPIKey: {counterfoil.ReasonAPIKeyMissing, counterfoil.ReasonAPIKeyInvalid, counterfoil.ReasonUnavailable},
	provider.HeaderFromTenant: {counterfoil.ReasonTenantMissing, counterfoil.ReasonTenantDenied,
		counterfoil.ReasonHeaderInvalid, counterfoil.ReasonUnavailable},
	"": {counterfoil.ReasonHeaderMissing, counterfoil.ReasonHeaderInvalid},
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
			all[shape{r, h.Name}] = api.Refusal(r).Fill(provider.RefusalParams{Header: h.Name, Scopes: api.Scopes})
		}
	}
	return all
}

// refuse completes every refusal: it logs a failure of the guard's own sources,
// reports the event and finds the answer in the description. p is nil if the
// caller is not proven.
func (g *Guard) refuse(r *http.Request, p *counterfoil.Principal, refusal *Refusal) {
	if refusal.err != nil && r.Context().Err() == nil { // a caller that left is not a failure
		g.trouble.Error(r.Context(), g.clock, g.logger, "guard: call refused as unavailable",
			"provider", g.provider.Name, "api", g.api.Name, "error", refusal.err)
	}
	if g.onEvent != nil {
		g.onEvent(r.Context(), g.event(r, p, refusal))
	}
	if refusal.answer.Status == 0 {
		refusal.answer = g.shapes[shape{refusal.Reason, refusal.header}]
	}
	if refusal.code != "" || refusal.dpop && refusal.header == g.tokenHeader {
		refusal.answer = g.challenged(refusal.answer, refusal)
	}
}

// event describes the decision on r; refusal is nil if the call is let through.
func (g *Guard) event(r *http.Request, p *counterfoil.Principal, refusal *Refusal) counterfoil.Event {
	e := counterfoil.Event{
		Type: counterfoil.EventCallAllowed, Time: g.clock.Now(), Realm: g.realm, Success: true,
		Address: g.prover.peer.Caller(r), UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent),
		RequestID: requestid.From(r.Context()), Resource: event.Resource(r.Method, r.URL.EscapedPath()),
	}
	if p != nil {
		e.ClientID, e.TokenID = p.ClientID, p.TokenID
	}
	if refusal != nil {
		e.Type, e.Success, e.Reason, e.Detail = counterfoil.EventCallRefused, false, refusal.Reason, refusal.detail
		switch {
		case refusal.err != nil:
			e.Detail = refusal.err.Error()
		case e.Detail == "":
			e.Detail = refusal.header
		}
	}
	return e
}
