package guard

import (
	"context"
	"errors"

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
func (g *Guard) live(ctx context.Context, p *counterfoil.Principal, token string) *Refusal {
	if g.liveness == nil {
		return nil
	}
	err := g.liveness.Live(ctx, p, counterfoil.Secret(token))
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
