package server

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Authority answers what a guard asks of a realm in the same process. Its
// methods use types of the standard library and of package counterfoil only.
type Authority struct {
	server *Server
	name   string
}

// Realm returns the authority of a realm, or nil when the server has no realm
// of that name.
func (s *Server) Realm(name string) *Authority {
	if s.realm(name) == nil {
		return nil
	}
	return &Authority{s, name}
}

var errNoRealm = errors.New("the server has this realm no longer")

// PublicKey returns the realm's key of that kid, or a *counterfoil.Error whose
// Reason is TokenKeyUnknown. For one that it does not know it reads the store,
// once a second at most.
func (a *Authority) PublicKey(ctx context.Context, id string) (crypto.PublicKey, error) {
	return a.PublicKeyFor(ctx, id, "")
}

// PublicKeyFor is PublicKey for a token of that algorithm: of another one than
// the key's, the Reason is TokenAlgorithm.
func (a *Authority) PublicKeyFor(ctx context.Context, id, algorithm string) (crypto.PublicKey, error) {
	rl := a.server.realm(a.name)
	if rl == nil {
		return nil, errNoRealm
	}
	k, ok, err := rl.publicKey(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &counterfoil.Error{Reason: counterfoil.TokenKeyUnknown, Message: "the realm has no such key"}
	}
	if algorithm != "" && k.Algorithm != algorithm {
		return nil, &counterfoil.Error{Reason: counterfoil.TokenAlgorithm, Message: "the key is for another algorithm"}
	}
	return k.Key, nil
}

// Live reports whether the token of a principal, which has not expired, still
// serves: false when its client is unknown or disabled, when it is revoked and,
// under the policy "replace", when it is not the client's last. That is one read
// of the store each time.
func (a *Authority) Live(ctx context.Context, p *counterfoil.Principal) (bool, error) {
	rl := a.server.realm(a.name)
	if rl == nil {
		return false, errNoRealm
	}
	return rl.live(ctx, p)
}

// live tells whether a token that is right by itself still serves.
func (rl *realm) live(ctx context.Context, p *counterfoil.Principal) (bool, error) {
	s, err := rl.Store.Standing(ctx, rl.Name, p.ClientID, p.TokenID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read standing: %w", err)
	}
	replaced := cmp.Or(s.Policy, rl.endpoint.Policy) == provider.Replace && s.LiveToken != p.TokenID
	return !s.Disabled && !s.Revoked && !p.Issued.Before(s.NotBefore) && !replaced, nil
}

// Tenants returns the tenants that a client is granted: none when it is unknown
// or disabled.
func (a *Authority) Tenants(ctx context.Context, clientID string) ([]string, error) {
	c, err := a.client(ctx, clientID)
	return c.Tenants, err
}

// APIKey reports whether the key is one of the client's; false when the client
// is unknown or disabled.
func (a *Authority) APIKey(ctx context.Context, clientID string, key counterfoil.Secret) (bool, error) {
	c, err := a.client(ctx, clientID)
	if err != nil {
		return false, err
	}
	now := a.server.Clock.Now()
	found, busy := a.server.secrets.verify(ctx, &c, c.APIKeys, key, now, true)
	if busy != nil {
		return false, &counterfoil.Error{Reason: busy.reason, Message: "too many slow API keys are being verified: repeat the call"}
	}
	if found == nil {
		return false, nil
	}
	a.server.uses.note(&c, found, now)
	return true, nil
}

// client returns the client, or an empty one when it is unknown or disabled.
func (a *Authority) client(ctx context.Context, id string) (Client, error) {
	c, err := a.server.Store.Client(ctx, a.name, id)
	if errors.Is(err, ErrNotFound) || c.Disabled {
		return Client{}, nil
	}
	if err != nil {
		return Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}
