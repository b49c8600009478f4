// Package accesstoken reads the access tokens that a realm has issued, by the
// realm's keys and its description, and asks the store whether one was revoked.
// Introspection, revocation and authentication with a token all use it, so that
// they agree about what a token is. It checks less than a guard, which asks
// whether an API may accept the token: what an earlier description of the realm
// has issued can still be revoked.
package accesstoken

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// ahead is how much earlier than its nbf a token is accepted: another node of
// the realm, whose clock is slightly ahead, may have just issued it.
const ahead = 30 * time.Second

// Reader reads the tokens of one realm. It is safe for concurrent use.
type Reader struct {
	Realm, Issuer string
	Provider      *provider.Provider
	Keys          *signing.Ring
	Store         store.TokenStore
}

// Token is a token that the realm has signed.
type Token struct {
	ClientID, TokenID          string
	Scopes                     counterfoil.Scopes
	Issued, NotBefore, Expires time.Time
	// The others have the values of the token; nil when it has none.
	Audience, Tenants, Confirmation any
}

// ValidAt reports whether now is within the token's times.
func (t *Token) ValidAt(now time.Time) bool {
	return now.Before(t.Expires) && !now.Add(ahead).Before(t.NotBefore)
}

// Principal returns the token as Ended takes it.
func (t *Token) Principal() *counterfoil.Principal {
	p := &counterfoil.Principal{ClientID: t.ClientID, TokenID: t.TokenID, Issued: t.Issued}
	if p.Issued.IsZero() {
		p.Issued = t.NotBefore
	}
	return p
}

// Read returns an access token that the realm has signed, or nil; it does not
// check the token's times. The error comes from the store.
func (r *Reader) Read(ctx context.Context, text string) (*Token, error) {
	parsed, err := jose.Parse(text, jose.RS256, jose.PS256, jose.ES256, jose.EdDSA)
	if err != nil {
		return nil, nil
	}
	// The key determines the algorithm, never the token.
	key, ok, err := r.Keys.PublicKey(ctx, parsed.KeyID)
	if err != nil {
		return nil, err
	}
	// The same key signs status lists: their typ distinguishes them.
	if !ok || key.Algorithm != parsed.Algorithm() || parsed.Type != r.Provider.AccessToken.Type {
		return nil, nil
	}
	payload, err := parsed.Verify(key.Key)
	if err != nil {
		return nil, nil
	}
	claims, err := jose.Object(payload)
	if err != nil {
		return nil, nil
	}
	return r.parse(claims), nil
}

// parse reads the claims by the realm's description; nil when the realm does
// not issue such a token.
func (r *Reader) parse(claims map[string]any) *Token {
	t := &Token{}
	if bound, ok := claims["cnf"].(map[string]any); ok {
		t.Confirmation = bound
	}
	for _, c := range r.Provider.AccessToken.Claims {
		value, there := claims[c.Name]
		if !there {
			continue
		}
		switch c.From {
		case provider.FromIssuer:
			if value != any(r.Issuer) {
				return nil
			}
		case provider.FromClientID:
			t.ClientID, _ = value.(string)
		case provider.FromTokenID:
			t.TokenID, _ = value.(string)
		case provider.FromIssuedAt:
			t.Issued = instant(value)
		case provider.FromNotBefore:
			t.NotBefore = instant(value)
		case provider.FromExpiresAt:
			t.Expires = instant(value)
		case provider.FromScope, provider.FromScopeList:
			t.Scopes = scopesOf(value)
		case provider.FromAudience:
			t.Audience = value
		case provider.FromTenants:
			t.Tenants = value
		}
	}
	named := r.Provider.AccessToken.Claim(provider.FromTokenID) != ""
	if t.ClientID == "" || t.Expires.IsZero() || named && t.TokenID == "" {
		return nil
	}
	return t
}

// instant reads a NumericDate of whole seconds (RFC 7519 section 2); zero for
// anything else.
func instant(value any) time.Time {
	number, _ := value.(json.Number)
	s, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || s <= 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// scopesOf reads scopes that are one string or an array of them.
func scopesOf(value any) counterfoil.Scopes {
	if text, ok := value.(string); ok {
		scopes, _ := counterfoil.ParseScopes(text)
		return scopes
	}
	list, _ := value.([]any)
	var scopes counterfoil.Scopes
	for _, v := range list {
		if s, ok := v.(string); ok {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// Ended returns why an otherwise valid token is no longer accepted; "" when it
// is accepted.
func (r *Reader) Ended(ctx context.Context, p *counterfoil.Principal) (counterfoil.Reason, error) {
	s, err := r.Store.TokenStatus(ctx, r.Realm, p.ClientID, p.TokenID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return counterfoil.ReasonTokenRevoked, nil
	case err != nil:
		return "", fmt.Errorf("read token status: %w", err)
	case s.Disabled || s.Revoked || p.Issued.Before(s.NotBefore):
		return counterfoil.ReasonTokenRevoked, nil
	case cmp.Or(s.Policy, r.Provider.TokenEndpoint.Policy) == provider.PolicyReplace && s.LiveToken != p.TokenID:
		return counterfoil.ReasonTokenReplaced, nil
	}
	return "", nil
}
