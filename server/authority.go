package server

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Authority answers what a guard asks of a realm in the same process. Its
// methods use types of the standard library and counterfoil.Secret only.
type Authority struct{ realm *realm }

// Realm returns the authority of a realm, or nil when the server has no realm
// of that name.
func (s *Server) Realm(name string) *Authority {
	rl, ok := s.realms[name]
	if !ok {
		return nil
	}
	return &Authority{rl}
}

// PublicKey returns the realm's key of that kid, or a *counterfoil.Error whose
// Reason is TokenKeyUnknown.
func (a *Authority) PublicKey(_ context.Context, id string) (crypto.PublicKey, error) {
	k, ok := a.realm.keys[id]
	if !ok {
		return nil, &counterfoil.Error{Reason: counterfoil.TokenKeyUnknown, Message: "the realm has no such key"}
	}
	return k.Key, nil
}

// Live reports whether a token that has not expired still serves: false when
// its client is unknown or disabled and, under the policy "replace", when it is
// not the client's last. That is one read of the store each time.
func (a *Authority) Live(ctx context.Context, clientID, tokenID string) (bool, error) {
	if a.realm.endpoint.Policy != provider.Replace {
		c, err := a.client(ctx, clientID)
		return c.ID != "", err
	}
	// A client that is gone or disabled has no live token.
	live, err := a.realm.Store.LiveToken(ctx, a.realm.Name, clientID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read live token: %w", err)
	}
	return live == tokenID, nil
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
	return verify(c.APIKeys, key, a.realm.Clock.Now()), err
}

// client returns the client, or an empty one when it is unknown or disabled.
func (a *Authority) client(ctx context.Context, id string) (Client, error) {
	c, err := a.realm.Store.Client(ctx, a.realm.Name, id)
	if errors.Is(err, ErrNotFound) || c.Disabled {
		return Client{}, nil
	}
	if err != nil {
		return Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}
