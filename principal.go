package counterfoil

import (
	"context"
	"time"
)

// Principal is the program behind a request that a guard let through.
type Principal struct {
	// Provider is the name of the provider description that the guard enforced.
	Provider string
	// Issuer is the token's iss claim.
	Issuer string
	// ClientID names the client that the token was issued to.
	ClientID string
	// TokenID is the token's jti claim; empty if the provider's tokens have none.
	TokenID string
	// Scopes are the scopes of the token.
	Scopes Scopes
	// Tenant is the tenant that the request named and the client is granted;
	// empty if the API has no tenants.
	Tenant string
	// Issued is when the token was issued; zero if the token does not say.
	Issued time.Time
	// Expires is when the token expires.
	Expires time.Time
	// Claims are all the token's claims, decoded from JSON, with numbers as
	// json.Number. Requests share them: they must not be changed.
	Claims map[string]any
}

type principalKey struct{}

// WithPrincipal returns a context that carries p. The guard calls it; tests of
// an API may call it too. Behind a guard's RequireScope or Authorize, such a p
// needs the Provider and the Issuer of that guard, which are the Name of its
// Config.Provider and its Config.Issuer, and the Scopes of the route.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns the principal of a request's context. It reports false
// for a request that no guard has checked: treat such a request as refused.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(*Principal)
	return p, ok && p != nil
}
