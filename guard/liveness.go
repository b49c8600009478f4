package guard

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Liveness tells whether a verified token is still in force. The token itself
// cannot say that: it may have been revoked or replaced since it was issued. A
// [Feed], an [Introspector] and, in the issuer's process, the server's Issuer of a
// realm implement it.
type Liveness interface {
	// Live returns nil for a token that is in force. Otherwise the error is a
	// *counterfoil.Error with ReasonTokenRevoked, ReasonTokenReplaced or, if the
	// source cannot tell which, ReasonTokenInvalid: the guard then chooses one of
	// the two by the provider's token policy. Any other error means that the source
	// cannot answer; the call is refused as unavailable and the error is logged,
	// unless it is itself a *counterfoil.Error with ReasonUnavailable.
	//
	// Live is called for every call whose token is valid, by many goroutines at
	// once. TokenID and Issued of p are zero if the description's tokens have no
	// such claims.
	Live(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret) error
}

// A LivenessFrom is a Liveness that also knows from which addresses a client may
// call. The server's Issuer of a realm is one, and so is an [Introspector], for an
// issuer whose answers have the member client_addresses. A [Feed] alone does not know them.
type LivenessFrom interface {
	Liveness
	// LiveFrom is Live for a call from an address, which a guard finds with its
	// Config.Proxies; it is invalid if the caller has none, as on a Unix socket. The
	// error has ReasonTokenAddress for a client that is limited to others. It is
	// called in place of Live.
	LiveFrom(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error
}

// AllOf returns a Liveness that asks the sources in order: a token is in force if
// all of them say so. It returns the first error.
func AllOf(sources ...Liveness) Liveness { return allOf(sources) }

type allOf []Liveness

func (all allOf) Live(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret) error {
	for _, source := range all {
		if err := source.Live(ctx, p, token); err != nil {
			return err
		}
	}
	return nil
}

func (all allOf) LiveFrom(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error {
	for _, source := range all {
		if err := liveFrom(ctx, source, p, token, from); err != nil {
			return err
		}
	}
	return nil
}

// liveFrom asks a source, with the address if it knows what to do with one.
func liveFrom(ctx context.Context, source Liveness, p *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error {
	if s, ok := source.(LivenessFrom); ok {
		return s.LiveFrom(ctx, p, token, from)
	}
	return source.Live(ctx, p, token)
}

// errAddress says that a client may not call from where it does.
var errAddress error = &counterfoil.Error{Reason: counterfoil.ReasonTokenAddress, Message: "the client is limited to other addresses"}

// Unchecked is a Liveness for which every token is in force until it expires. Use
// it where a configuration requires a Liveness, or in [FeedConfig].OnStale to
// accept tokens while the feed is stale.
type Unchecked struct{}

// Live returns nil.
func (Unchecked) Live(context.Context, *counterfoil.Principal, counterfoil.Secret) error { return nil }

// Directory knows the clients of a provider. It is called by many goroutines at
// once. After an error, the call is refused as unavailable.
type Directory interface {
	// Tenants returns the tenants that the client is granted.
	Tenants(ctx context.Context, clientID string) ([]string, error)
	// APIKey reports whether key is an API key of the client. It compares in
	// constant time.
	APIKey(ctx context.Context, clientID string, key counterfoil.Secret) (bool, error)
}

// errNotActive says that a token is no longer in force, but not why.
var errNotActive error = &counterfoil.Error{Reason: counterfoil.ReasonTokenInvalid, Message: "the token is no longer in force"}

// live asks whether the token is still in force.
func (g *Guard) live(r *http.Request, p *counterfoil.Principal, token string) *Refusal {
	if g.liveness == nil {
		return nil
	}
	err := liveFrom(r.Context(), g.liveness, p, counterfoil.Secret(token), g.prover.peer.Address(r))
	if err == nil {
		return nil
	}
	refusal, ok := errors.AsType[*counterfoil.Error](err)
	switch {
	case !ok:
	case refusal.Reason == counterfoil.ReasonTokenInvalid:
		if g.provider.TokenEndpoint.Policy == provider.PolicyReplace {
			return g.deny(counterfoil.ReasonTokenReplaced, refusal.Message)
		}
		return g.deny(counterfoil.ReasonTokenRevoked, refusal.Message)
	case refusal.Reason.Parent() == counterfoil.ReasonTokenInvalid:
		return g.deny(refusal.Reason, refusal.Message)
	case err == error(refusal) && refusal.Reason == counterfoil.ReasonUnavailable:
		return g.deny(counterfoil.ReasonUnavailable, refusal.Message)
	}
	return g.unavailable(err)
}
