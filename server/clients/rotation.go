package clients

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Rotation says how long the secret or API key that is replaced stays
// accepted. The zero value ends it at once.
type Rotation struct {
	// Overlap is how long it is still accepted; At gives the time instead.
	// Neither extends its previous expiry.
	Overlap time.Duration
	At      time.Time
	// Keep leaves its expiry unchanged instead: the caller ends it once the new
	// one has been delivered.
	Keep bool
	// Version is the version of the client; 0 for any.
	Version int64
}

// RotateSecret gives the client a new secret in addition to its current one,
// which r limits; an older one ends at once. The error wraps ErrConflict when
// the client was changed concurrently, even without a version: then nothing
// was rotated.
func (s *Service) RotateSecret(ctx context.Context, actor, realm, id string, r Rotation) (Credentials, error) {
	secret := cfsecret.New()
	return s.rotate(ctx, actor, realm, id, "client secret", r,
		func(c *store.Client) *[]store.SecretHash { return &c.Secrets }, Credentials{ClientID: id, ClientSecret: secret}, secret)
}

// RotateAPIKey is RotateSecret for the API key; a client without one gets its
// first.
func (s *Service) RotateAPIKey(ctx context.Context, actor, realm, id string, r Rotation) (Credentials, error) {
	key := cfsecret.New()
	return s.rotate(ctx, actor, realm, id, "API key", r, func(c *store.Client) *[]store.SecretHash { return &c.APIKeys },
		Credentials{ClientID: id, APIKey: key}, key)
}

// ends returns until when the old value is accepted: now for at once, and zero
// to keep its expiry.
func (r *Rotation) ends(now time.Time) (time.Time, error) {
	switch {
	case r.Overlap < 0:
		return now, errors.New("the overlap must not be negative")
	case r.Keep && (r.Overlap != 0 || !r.At.IsZero()):
		return now, errors.New("the old value cannot both keep its end and get another")
	case r.Keep:
		return time.Time{}, nil
	case r.At.IsZero():
		return now.Add(r.Overlap), nil
	case r.Overlap != 0:
		return now, errors.New("give an overlap or an end, not both")
	case r.At.Before(now):
		return now, fmt.Errorf("the end at %s has passed: leave it out to end the old value at once", r.At.UTC().Format(time.RFC3339))
	}
	return r.At, nil
}

// rotate adds value, which is that of given, in front of the hashes.
func (s *Service) rotate(
	ctx context.Context, actor, realm, id, what string, r Rotation, of func(*store.Client) *[]store.SecretHash,
	given Credentials, value counterfoil.Secret,
) (Credentials, error) {
	now := s.clock.Now()
	ends, err := r.ends(now)
	if err == nil && r.Version == 0 {
		// Two concurrent rotations would otherwise return a secret that is never
		// accepted.
		var c store.Client
		c, err = s.Get(ctx, realm, id)
		r.Version = c.Version
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("rotate %s: %w", what, err)
	}
	_, err = s.update(ctx, actor, realm, id, r.Version, gives, func(c *store.Client) (kind, detail string, err error) {
		hashes := of(c)
		accepted, early := []store.SecretHash{sechash.New(value, now)}, ""
		for _, old := range *hashes {
			if !r.Keep && (old.Expires.IsZero() || old.Expires.After(ends)) {
				old.Expires = ends
			}
			switch {
			case !old.AcceptedAt(now):
			case len(accepted) < maxSecrets:
				accepted = append(accepted, old)
			default:
				early = "; " + old.ID + ", which was older still, ended"
			}
		}
		detail = what
		switch {
		case len(accepted) > 1:
			given.PreviousID, given.PreviousExpires = accepted[1].ID, accepted[1].Expires
			detail += "; the old one stays valid"
			if !given.PreviousExpires.IsZero() {
				detail = what + "; the old one ends at " + given.PreviousExpires.UTC().Format(time.RFC3339)
			}
		case len(*hashes) > 0:
			detail += "; the old one ended"
		}
		detail += early
		*hashes, given.ID = accepted, accepted[0].ID
		return counterfoil.EventClientRotated, detail, nil
	})
	if err != nil {
		return Credentials{}, fmt.Errorf("rotate %s: %w", what, err)
	}
	return given, nil
}

// ExpireSecret makes one secret or API key, by its ID, expire at the given
// time, or at once when that has passed or is zero. It may also move an expiry
// that has not passed yet. A client may be left without any.
//
// Tokens that were issued for the secret stay valid: when it is compromised,
// call RevokeTokens after it.
func (s *Service) ExpireSecret(ctx context.Context, actor, realm, id, secretID string, at time.Time) error {
	later := effect(at.After(s.clock.Now())) // than now, and maybe than before
	_, err := s.update(ctx, actor, realm, id, 0, later, func(c *store.Client) (kind, detail string, err error) {
		now := s.clock.Now()
		detail, ok := end(&c.Secrets, "client secret", secretID, now, at)
		if !ok {
			detail, ok = end(&c.APIKeys, "API key", secretID, now, at)
		}
		if !ok {
			return "", "", fmt.Errorf("secret %q: %w", event.Clean(secretID, 16), store.ErrNotFound)
		}
		return counterfoil.EventSecretEnded, detail, nil
	})
	return err
}

// end sets the expiry of the hash of that ID, or removes it, and describes
// what it did.
func end(hashes *[]store.SecretHash, what, id string, now, at time.Time) (detail string, ok bool) {
	var kept []store.SecretHash
	for _, h := range *hashes {
		if h.ID != id || !h.AcceptedAt(now) {
			kept = append(kept, h)
			continue
		}
		ok, detail = true, what+" "+id+" ended"
		if at.After(now) {
			h.Expires, detail = at, what+" "+id+" ends at "+at.UTC().Format(time.RFC3339)
			kept = append(kept, h)
		}
	}
	*hashes = kept
	return detail, ok
}
