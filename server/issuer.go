package server

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

// Issuer gives a guard access to a realm in the same process. Its methods use
// only types of the standard library and of package counterfoil.
type Issuer struct {
	server *Server
	name   string
}

// Issuer returns the issuer of a realm, or nil when the server has no realm
// of that name.
func (s *Server) Issuer(name string) *Issuer {
	if s.realm(name) == nil {
		return nil
	}
	return &Issuer{s, name}
}

var errNoRealm = errors.New("the server no longer has this realm")

// PublicKey returns the realm's key of that kid, for a token of that
// algorithm. The error is a *counterfoil.Error with ReasonTokenKeyUnknown or
// ReasonTokenAlgorithm when no key matches. An unknown kid makes it read the
// store, at most once a second.
func (a *Issuer) PublicKey(ctx context.Context, id, algorithm string) (crypto.PublicKey, error) {
	rl := a.server.realm(a.name)
	if rl == nil {
		return nil, errNoRealm
	}
	k, ok, err := rl.keys.PublicKey(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &counterfoil.Error{Reason: counterfoil.ReasonTokenKeyUnknown, Message: "the realm has no such key"}
	}
	if k.Algorithm != algorithm {
		return nil, &counterfoil.Error{Reason: counterfoil.ReasonTokenAlgorithm, Message: "the key is for another algorithm"}
	}
	return k.Key, nil
}

// Live returns nil if the token of a principal, which has not expired, is
// still valid. Otherwise the error is a *counterfoil.Error with
// ReasonTokenRevoked, also when the client is unknown or disabled, or
// ReasonTokenReplaced, when the token is not the client's last under the policy
// "replace". Each call reads the store once.
func (a *Issuer) Live(ctx context.Context, p *counterfoil.Principal, _ counterfoil.Secret) error {
	rl := a.server.realm(a.name)
	if rl == nil {
		return errNoRealm
	}
	switch reason, err := rl.tokens.Ended(ctx, p); {
	case err != nil:
		return err
	case reason != "":
		return &counterfoil.Error{Reason: reason}
	}
	return nil
}

// LiveFrom is Live for a call from an address, which is invalid if the caller has
// none. The error is also a *counterfoil.Error with ReasonTokenAddress, if the
// client is limited to other addresses. Each call reads the store twice.
func (a *Issuer) LiveFrom(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error {
	if err := a.Live(ctx, p, token); err != nil {
		return err
	}
	c, err := a.client(ctx, p.ClientID)
	if err == nil && !c.AcceptsAddress(from) {
		err = &counterfoil.Error{Reason: counterfoil.ReasonTokenAddress, Message: "the client is limited to other addresses"}
	}
	return err
}

// Tenants returns the tenants that a client is granted; none when the client
// is unknown or disabled.
func (a *Issuer) Tenants(ctx context.Context, clientID string) ([]string, error) {
	c, err := a.client(ctx, clientID)
	return c.Tenants, err
}

// APIKey reports whether the key is one of the client's; false when the client
// is unknown or disabled.
func (a *Issuer) APIKey(ctx context.Context, clientID string, key counterfoil.Secret) (bool, error) {
	c, err := a.client(ctx, clientID)
	if err != nil {
		return false, err
	}
	now := a.server.Clock.Now()
	known := clientauth.Origin{Known: true} // by its token
	found, busy := a.server.memory.Secrets.Verify(ctx, known, &c, c.APIKeys, key, now, true)
	if busy != nil {
		return false, &counterfoil.Error{Reason: busy.Reason, Message: "too many slow API keys are being verified: retry"}
	}
	if found == nil {
		return false, nil
	}
	a.server.uses.note(&c, found, now)
	return true, nil
}

// client returns the client, or an empty one when it is unknown or disabled.
func (a *Issuer) client(ctx context.Context, id string) (store.Client, error) {
	c, err := a.server.Store.Client(ctx, a.name, id)
	if errors.Is(err, store.ErrNotFound) || c.Disabled {
		return store.Client{}, nil
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}
