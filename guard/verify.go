package guard

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// verified is a token whose signature and claims are valid. Many requests share
// it: nothing but tenanted changes.
type verified struct {
	principal *counterfoil.Principal
	// The token is in force from notBefore until just before notAfter; both
	// include the leeway.
	notBefore, notAfter time.Time
	// tenants are the tenants that the token itself grants.
	tenants []string
	// bound is what the token is bound to; nil for a bearer token.
	bound *binding
	// keyID, algorithm and key are what verified it.
	keyID, algorithm string
	key              crypto.PublicKey
	// tenanted is the principal of the last call, for a token that is used with
	// one tenant repeatedly.
	tenanted atomic.Pointer[counterfoil.Principal]
}

// digest identifies a token in the caches, which never hold the token itself. A
// token of usual length is hashed without an allocation.
func digest(token string) [sha256.Size]byte {
	var buf [2 << 10]byte
	return sha256.Sum256(append(buf[:0], token...))
}

// verify returns the token's principal, from memory if the token was verified
// before and nothing has changed. With a refusal it returns a principal if the
// token has proved its client.
func (g *Guard) verify(ctx context.Context, raw string) (*verified, *counterfoil.Principal, *Refusal) {
	id := digest(raw)
	v, ok := g.cache.Get(id)
	if !ok {
		return g.verifyAnew(ctx, raw, id)
	}
	key, refusal := g.key(ctx, v.keyID, v.algorithm)
	switch {
	case refusal != nil:
	case !same(v.key, key):
		g.cache.Drop(id)
		return g.verifyAnew(ctx, raw, id)
	default:
		refusal = g.inForce(v)
	}
	if refusal != nil && refusal.Reason != counterfoil.ReasonUnavailable {
		g.cache.Drop(id)
	}
	return v, v.principal, refusal
}

func (g *Guard) verifyAnew(ctx context.Context, raw string, id [sha256.Size]byte) (*verified, *counterfoil.Principal, *Refusal) {
	token, err := jose.Parse(raw, g.algorithms...)
	if err != nil {
		return nil, nil, g.deny(reasonOf(err), err.Error())
	}
	key, refusal := g.key(ctx, token.KeyID, token.Algorithm())
	if refusal != nil {
		return nil, nil, refusal
	}
	payload, err := token.Verify(key)
	if err != nil {
		return nil, nil, g.deny(reasonOf(err), err.Error())
	}
	members, err := jose.Object(payload)
	if err != nil {
		return nil, nil, g.deny(counterfoil.ReasonTokenMalformed, "claims: "+err.Error())
	}
	v, reason, detail := g.claims.read(token.Type, members)
	if reason != "" {
		return nil, v.principal, g.deny(reason, detail)
	}
	if refusal := g.inForce(v); refusal != nil {
		return nil, v.principal, refusal
	}
	v.keyID, v.algorithm, v.key = token.KeyID, token.Algorithm(), key
	g.cache.Put(id, v)
	return v, v.principal, nil
}

// reasonOf returns the reason for an error of package jose.
func reasonOf(err error) counterfoil.Reason {
	switch {
	case errors.Is(err, jose.ErrAlgorithm):
		return counterfoil.ReasonTokenAlgorithm
	case errors.Is(err, jose.ErrSignature):
		return counterfoil.ReasonTokenSignature
	}
	return counterfoil.ReasonTokenMalformed
}

// key asks Keys for the key that a token of that algorithm names, or, if it names
// no key, the only one that fits.
func (g *Guard) key(ctx context.Context, id, algorithm string) (crypto.PublicKey, *Refusal) {
	key, err := g.keys.PublicKey(ctx, id, algorithm)
	if err == nil {
		return key, nil
	}
	switch reason := keyReason(err); {
	case reason == "":
	case reason == counterfoil.ReasonTokenKeyUnknown && id == "":
		return nil, g.deny(reason, "the token names no key, and not exactly one key fits")
	case reason == counterfoil.ReasonTokenAlgorithm:
		return nil, g.deny(reason, "the key is published for another algorithm")
	default:
		return nil, g.deny(reason, "")
	}
	return nil, g.unavailable(err)
}

// inForce checks the times of a token.
func (g *Guard) inForce(v *verified) *Refusal {
	switch now := g.clock.Now(); {
	case now.Before(v.notBefore):
		return g.deny(counterfoil.ReasonTokenNotYetValid, "from "+v.notBefore.UTC().Format(time.RFC3339))
	case !now.Before(v.notAfter):
		return g.deny(counterfoil.ReasonTokenExpired, "at "+v.notAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// ownKey checks that the API key is one of the client.
func (g *Guard) ownKey(ctx context.Context, p *counterfoil.Principal, key counterfoil.Secret) *Refusal {
	if key == "" {
		return nil
	}
	own, err := g.directory.APIKey(ctx, p.ClientID, key)
	switch {
	case err != nil:
		return g.unavailable(err)
	case !own:
		h, _ := g.api.Header(provider.HeaderFromAPIKey)
		return &Refusal{Reason: counterfoil.ReasonAPIKeyInvalid, header: h.Name}
	}
	return nil
}

// tenant returns the principal with the tenant if the client is granted it.
func (g *Guard) tenant(ctx context.Context, v *verified, tenant string) (*counterfoil.Principal, *Refusal) {
	if tenant == "" {
		return v.principal, nil
	}
	granted := v.tenants
	if !g.claims.tenants {
		var err error
		if granted, err = g.directory.Tenants(ctx, v.principal.ClientID); err != nil {
			return v.principal, g.unavailable(err)
		}
	}
	if !slices.Contains(granted, tenant) {
		h, _ := g.api.Header(provider.HeaderFromTenant)
		return v.principal, &Refusal{Reason: counterfoil.ReasonTenantDenied, header: h.Name}
	}
	if p := v.tenanted.Load(); p != nil && p.Tenant == tenant {
		return p, nil
	}
	p := *v.principal
	p.Tenant = tenant
	v.tenanted.Store(&p)
	return &p, nil
}

// deny refuses a call for what is wrong with its token.
func (g *Guard) deny(reason counterfoil.Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, header: g.tokenHeader, detail: detail}
}

// unavailable refuses a call for a failure of the guard's own sources.
func (g *Guard) unavailable(err error) *Refusal {
	return &Refusal{Reason: counterfoil.ReasonUnavailable, header: g.tokenHeader, err: err}
}
