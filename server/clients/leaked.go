package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Ended is a secret or an API key that a change has ended.
type Ended struct{ ClientID, SecretID string }

// maxSharing bounds how many clients with the same secret are found at once.
const maxSharing = 100

// EndLeaked ends a secret or an API key that somebody has who should not, of each
// client of the realm that has it, and records that as [counterfoil.EventSecretLeaked].
// It returns what it ended, also with an error. Only secrets whose form says that a
// server made them are looked for, since these are stored under a hash that finds
// them.
//
// Tokens that were issued for the secret stay valid: see [Service.RevokeTokens].
func (s *Service) EndLeaked(ctx context.Context, realm string, value counterfoil.Secret) (all []Ended, err error) {
	if !cfsecret.Is(value) {
		return nil, nil
	}
	having, err := s.store.ClientsWithHash(ctx, realm, sechash.Own(value).String(), maxSharing)
	if err != nil {
		return nil, fmt.Errorf("find a leaked secret: %w", err)
	}
	for i := range having {
		ended := Ended{ClientID: having[i].ID}
		_, err := s.alter(ctx, "", realm, ended.ClientID, 0, takes, func(c *store.Client, e *counterfoil.Event) error {
			what, of := "client secret", &c.Secrets
			found := sechash.FindFast(c.Secrets, value, e.Time)
			if found == nil {
				what, of = "API key", &c.APIKeys
				found = sechash.FindFast(c.APIKeys, value, e.Time)
			}
			if ended.SecretID = ""; found == nil {
				return nil // ended meanwhile
			}
			e.Type, e.Credential, ended.SecretID = counterfoil.EventSecretLeaked, found.ID, found.ID
			e.Detail, _ = end(of, what, found.ID, e.Time, e.Time)
			return nil
		})
		switch {
		case errors.Is(err, store.ErrNotFound): // deleted meanwhile
		case err != nil:
			return all, err
		case ended.SecretID != "":
			all = append(all, ended)
		}
	}
	return all, nil
}

// Owner is a client that has a secret or an API key.
type Owner struct {
	Realm    string `json:"realm"`
	ClientID string `json:"client_id"`
	// Kind is "client secret" or "API key", SecretID says which.
	Kind     string `json:"kind"`
	SecretID string `json:"secret_id"`
	// Works says that the server accepts it now.
	Works bool `json:"works"`
}

// OwnersOf returns the clients of a realm that have a secret or an API key of the
// server's form, which may have expired. One that was ended is nobody's any more.
func (s *Service) OwnersOf(ctx context.Context, realm string, value counterfoil.Secret) ([]Owner, error) {
	hash, now := sechash.Own(value).String(), s.clock.Now()
	having, err := s.store.ClientsWithHash(ctx, realm, hash, maxSharing)
	if err != nil {
		return nil, fmt.Errorf("find a secret: %w", err)
	}
	var all []Owner
	for i := range having {
		c := &having[i]
		enabled := !c.Disabled && (c.Expires.IsZero() || now.Before(c.Expires))
		for j, h := range slices.Concat(c.Secrets, c.APIKeys) {
			if h.Value != hash {
				continue
			}
			owner := Owner{Realm: realm, ClientID: c.ID, Kind: "client secret", SecretID: h.ID, Works: enabled && h.AcceptedAt(now)}
			if j >= len(c.Secrets) {
				owner.Kind = "API key"
			}
			all = append(all, owner)
		}
	}
	return all, nil
}
