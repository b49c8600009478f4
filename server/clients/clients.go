// Package clients creates, changes and rotates the clients of a server. Use it
// in a program that manages them, on the store of a running or a stopped
// server: a server applies every change from its next request on.
//
// It promises that each change is recorded with its actor in the same
// transaction, that stored settings are valid, and that only hashes of secrets
// are stored.
package clients

import (
	"cmp"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/internal/origin"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// NewClient holds the parameters of Service.Create.
type NewClient struct {
	Realm string
	// ID is generated when empty: 26 characters of lower-case base32. A given
	// one has at most 100 bytes of visible characters.
	ID string
	store.Settings
	// Disabled creates a client that is refused until it is enabled.
	Disabled bool
	// WithAPIKey also creates an API key.
	WithAPIKey bool
	// WithoutSecret creates no secret: the client authenticates in another way,
	// or is given its secret later by RotateSecret.
	WithoutSecret bool
	// Secrets and APIKeys are accepted as they are, in place of new ones:
	// hashes in the text forms of package sechash, newest first, two at most.
	// ID and Created are filled in where they are empty.
	Secrets, APIKeys []store.SecretHash
	// ImportedFrom says for the record where the client comes from; empty for a
	// new one.
	ImportedFrom string
}

// Credentials are shown once, when they are made.
type Credentials struct {
	ClientID string
	// ClientSecret and APIKey are empty where none was made.
	ClientSecret counterfoil.Secret
	APIKey       counterfoil.Secret
	// PreviousExpires is when the secret or key that was replaced stops being
	// accepted; the zero time when only the new one is accepted.
	PreviousExpires time.Time
	// ID identifies the new secret or key of a rotation, and PreviousID the old
	// one that is still accepted, if any: see [Service.ExpireSecret].
	ID, PreviousID string
}

// maxSecrets is how many secrets of a client are accepted at once: the old one
// and the new one.
const maxSecrets = 2

// Service creates and changes clients. Each change is recorded with its actor
// in the same transaction. It may be used on the database of a running server,
// which applies every change from its next request on.
//
// Where a method takes a version, it is the version of the client that the
// caller has read: the error wraps ErrConflict when the client has changed
// since. 0 accepts any version. The error of every method wraps ErrNotFound
// when the client does not exist.
type Service struct {
	store store.Store
	clock counterfoil.Clock
	rules func(realm string) (Rules, bool)
	// within, when set, limits what it does.
	within *Authority
}

// New returns the service on a store; a nil clock is the system's. rules has
// the current Rules of each realm: Create, Replace and Change refuse settings
// that do not follow them, and a realm that it does not know. It may be nil
// where none of these is called.
func New(store store.Store, c counterfoil.Clock, rules func(realm string) (Rules, bool)) *Service {
	if c == nil {
		c = clock.System
	}
	return &Service{store: origin.Store(store), clock: c, rules: rules}
}

// Rules returns the rules of a realm.
func (s *Service) Rules(realm string) (Rules, error) {
	if s.rules != nil {
		if r, ok := s.rules(realm); ok {
			return r, nil
		}
	}
	return Rules{}, fmt.Errorf("there is no realm %q", event.Clean(realm, maxID))
}

// check returns why settings cannot be stored in a realm: Faults if that is
// because of the settings. stored is the jwks_uri that the client has already.
func (s *Service) check(realm string, settings *store.Settings, stored string) error {
	r, err := s.Rules(realm)
	if err != nil {
		return err
	}
	r.Stored = stored
	return r.Check(settings)
}

// Create adds a client and returns it with its credentials, which cannot be
// read again. The error wraps ErrExists when the realm has a client of that
// ID, and Faults when the settings do not follow the realm's Rules.
func (s *Service) Create(ctx context.Context, actor string, n NewClient) (store.Client, Credentials, error) {
	if n.ID == "" {
		n.ID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sechash.Random(16)))
	}
	if err := cmp.Or(n.Check(), s.check(n.Realm, &n.Settings, "")); err != nil {
		return store.Client{}, Credentials{}, fmt.Errorf("create client: %w", err)
	}
	now := s.clock.Now()
	creds := Credentials{ClientID: n.ID}
	c := store.Client{
		Realm: n.Realm, ID: n.ID, Settings: n.Settings, Disabled: n.Disabled,
		Created: now, Changed: now, Version: 1,
		Secrets: adopted(n.Secrets, now), APIKeys: adopted(n.APIKeys, now),
	}
	if len(c.Secrets) == 0 && !n.WithoutSecret {
		creds.ClientSecret = cfsecret.New()
		c.Secrets = []store.SecretHash{sechash.New(creds.ClientSecret, now)}
	}
	if len(c.APIKeys) == 0 && n.WithAPIKey {
		creds.APIKey = cfsecret.New()
		c.APIKeys = []store.SecretHash{sechash.New(creds.APIKey, now)}
	}
	kind, detail := counterfoil.EventClientCreated, ""
	if n.ImportedFrom != "" {
		kind, detail = counterfoil.EventClientImported, "from "+n.ImportedFrom
	}
	w, err := s.callerOf(ctx, c.Realm, nil)
	if e := s.event(kind, actor, c.Realm, c.ID, detail); err == nil && w != nil {
		c, err = s.make(ctx, w, c, e)
	} else if err == nil {
		e.Changes = difference(&store.Client{}, &c)
		err = s.store.CreateClient(ctx, c, e)
	}
	if err != nil {
		return store.Client{}, Credentials{}, fmt.Errorf("create client %q of realm %q: %w", c.ID, c.Realm, err)
	}
	return c, creds, nil
}

// Get returns a client.
func (s *Service) Get(ctx context.Context, realm, id string) (store.Client, error) {
	c, err := s.store.Client(ctx, realm, id)
	if err != nil {
		return store.Client{}, fmt.Errorf("client %q of realm %q: %w", event.Clean(id, maxID), event.Clean(realm, maxID), err)
	}
	return c, nil
}

// List returns up to q.Limit clients of a realm in the order of their IDs.
func (s *Service) List(ctx context.Context, q store.ClientQuery) ([]store.Client, error) {
	clients, err := s.store.Clients(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list clients of realm %q: %w", event.Clean(q.Realm, maxID), err)
	}
	return clients, nil
}

// LastUses returns the current secrets and API keys of a client, newest first,
// with the time of each one's last use; the zero time for never. A use is
// recorded within ten seconds.
func (s *Service) LastUses(ctx context.Context, realm, id string) ([]store.LastUse, error) {
	c, err := s.Get(ctx, realm, id)
	if err != nil {
		return nil, err
	}
	known, err := s.store.LastUses(ctx, realm, id)
	if err != nil {
		return nil, fmt.Errorf("uses of client %q of realm %q: %w", id, realm, err)
	}
	var uses []store.LastUse
	for _, h := range slices.Concat(c.Secrets, c.APIKeys) {
		use := store.LastUse{Realm: realm, ClientID: id, SecretID: h.ID}
		for _, k := range known {
			if k.SecretID == h.ID {
				use.Time = k.Time
			}
		}
		uses = append(uses, use)
	}
	return uses, nil
}

// Change calls change to alter the settings of a client, and records the
// differences. The error wraps Faults when they do not follow the realm's Rules.
// Nothing is recorded when nothing changed. change may be called again, with
// newer settings, when the version is 0.
func (s *Service) Change(
	ctx context.Context, actor, realm, id string, version int64, change func(*store.Settings) error,
) (store.Client, error) {
	return s.update(ctx, actor, realm, id, version, gives, func(c *store.Client) (kind, detail string, err error) {
		before, stored := fieldsOf(&c.Settings), c.Authentication.KeySetURL
		if err := change(&c.Settings); err != nil {
			return "", "", err
		}
		if err := s.check(realm, &c.Settings, stored); err != nil {
			return "", "", err
		}
		if detail = changes(before, fieldsOf(&c.Settings)); detail == "" {
			return "", "", nil
		}
		return counterfoil.EventClientChanged, detail, nil
	})
}

// Replace gives a client the settings, the state, the secrets and the API keys
// of n, for an import; where n has no secrets or API keys, the client keeps
// its own.
func (s *Service) Replace(ctx context.Context, actor string, n NewClient, version int64) (store.Client, error) {
	if err := cmp.Or(n.Check(), s.check(n.Realm, &n.Settings, "")); err != nil {
		return store.Client{}, fmt.Errorf("replace client: %w", err)
	}
	return s.update(ctx, actor, n.Realm, n.ID, version, gives, func(c *store.Client) (kind, detail string, err error) {
		detail = "from " + n.ImportedFrom + ", in place of what was there"
		if changed := changes(fieldsOf(&c.Settings), fieldsOf(&n.Settings)); changed != "" {
			detail += "; " + changed
		}
		c.Settings, c.Disabled = n.Settings, n.Disabled
		if len(n.Secrets) > 0 {
			c.Secrets, detail = adopted(n.Secrets, s.clock.Now()), detail+"; secrets"
		}
		if len(n.APIKeys) > 0 {
			c.APIKeys, detail = adopted(n.APIKeys, s.clock.Now()), detail+"; API keys"
		}
		return counterfoil.EventClientImported, detail, nil
	})
}

// SetDisabled disables a client, whose tokens every guard that asks an Issuer
// refuses from then on, or enables it again: where tokens are independent,
// those that have not expired are accepted again. A client that is already in
// that state is not changed.
//
// What the client has made, and what these have made, is disabled with it; to be
// enabled, each needs a call of its own.
func (s *Service) SetDisabled(ctx context.Context, actor, realm, id string, disabled bool) error {
	_, err := s.update(ctx, actor, realm, id, 0, effect(!disabled), func(c *store.Client) (kind, detail string, err error) {
		switch {
		case c.Disabled == disabled:
			return "", "", nil
		case disabled:
			kind = counterfoil.EventClientDisabled
		default:
			kind = counterfoil.EventClientEnabled
		}
		c.Disabled = disabled
		return kind, "", nil
	})
	return err
}

// RevokeTokens revokes all tokens that the client has been issued so far;
// later ones are not affected. Call it in addition to ExpireSecret when a
// secret is compromised.
func (s *Service) RevokeTokens(ctx context.Context, actor, realm, id string) error {
	_, err := s.update(ctx, actor, realm, id, 0, takes, func(c *store.Client) (kind, detail string, err error) {
		from, err := EndOfTokens(c, s.clock.Now())
		if err != nil {
			return "", "", err
		}
		c.NotBefore = from
		return counterfoil.EventTokensRevoked, "issued before " + c.NotBefore.Format(time.RFC3339), nil
	})
	return err
}

// EndOfTokens returns the NotBefore that revokes all tokens that the client
// was issued until now. The iat of a token is in whole seconds: tokens issued
// in the rest of this second are dated in the next, so a second revocation
// within it has to go beyond that. Tokens that are dated further ahead than
// the server ever does were dated by a clock that was set back since: the
// store revokes those individually.
func EndOfTokens(c *store.Client, now time.Time) (time.Time, error) {
	from := now.Truncate(time.Second).Add(time.Second)
	for _, dated := range [...]time.Time{c.NotBefore, c.MinIssuedAt, c.Newest} {
		if !dated.Before(from) && dated.Sub(now) <= store.MaxAhead {
			from = dated.Truncate(time.Second).Add(time.Second)
		}
	}
	if from.Sub(now) > store.MaxAhead {
		return from, ErrAhead
	}
	return from.UTC(), nil
}

// ErrAhead means that a revocation would date new tokens too far ahead.
var ErrAhead = errors.New("the client's tokens are dated ahead of the clock, because they were revoked many " +
	"times within seconds or because the clock was set: retry in a moment")

// Delete removes a client; every guard that asks an Issuer refuses its tokens
// from then on. What the client has made, and what these have made, is disabled.
func (s *Service) Delete(ctx context.Context, actor, realm, id string) error {
	for {
		c, err := s.Get(ctx, realm, id)
		if err != nil {
			return err
		}
		w, err := s.warrant(ctx, &c)
		if err == nil {
			err = w.mayManage(&c)
		}
		if err == nil {
			err = s.write(ctx, w, &c, store.ClientChange{
				Action: store.DeleteClient, Client: c, Event: s.event(counterfoil.EventClientDeleted, actor, realm, id, ""),
			})
		}
		if errors.Is(err, store.ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("delete client %q of realm %q: %w", c.ID, c.Realm, err)
		}
		return nil
	}
}

// VerifySecret reports whether the realm's token endpoint would accept the
// secret now; false for a client that is unknown or disabled.
func (s *Service) VerifySecret(ctx context.Context, realm, id string, secret counterfoil.Secret) (bool, error) {
	c, err := s.Get(ctx, realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now := s.clock.Now()
	right := sechash.FindFast(c.Secrets, secret, now) != nil || slices.ContainsFunc(c.Secrets, func(h store.SecretHash) bool {
		parsed, err := sechash.Parse(h.Value)
		return err == nil && parsed.Slow() && h.AcceptedAt(now) && parsed.Verify(secret)
	})
	expired := !c.Expires.IsZero() && !now.Before(c.Expires)
	return right && !c.Disabled && !expired, nil
}

// effect says whether a change may give a client something.
type effect bool

const (
	gives effect = true
	takes effect = false
)

// update changes a client with f and records the event that f returns; nothing
// when the kind is empty. With a version of 0, f is called again when the
// client was changed in the meantime.
func (s *Service) update(
	ctx context.Context, actor, realm, id string, version int64, does effect, f func(*store.Client) (kind, detail string, err error),
) (store.Client, error) {
	return s.alter(ctx, actor, realm, id, version, does, func(c *store.Client, e *counterfoil.Event) (err error) {
		e.Type, e.Detail, err = f(c)
		return err
	})
}

// alter is update for an f that completes the event itself.
func (s *Service) alter(
	ctx context.Context, actor, realm, id string, version int64, does effect, f func(*store.Client, *counterfoil.Event) error,
) (store.Client, error) {
	for {
		c, err := s.Get(ctx, realm, id)
		if err != nil {
			return store.Client{}, err
		}
		failed := func(err error) (store.Client, error) {
			return store.Client{}, fmt.Errorf("change client %q of realm %q: %w", c.ID, c.Realm, err)
		}
		before := c
		w, err := s.warrant(ctx, &c)
		if err == nil {
			err = w.mayManage(&c)
		}
		if err == nil && version != 0 && c.Version != version {
			err = store.ErrConflict
		}
		if err != nil {
			return failed(err)
		}
		e := s.event("", actor, realm, id, "")
		err = f(&c, &e)
		if err == nil && e.Type != "" && does == gives {
			err = w.mayGive(&before, &c)
		}
		if err != nil {
			return failed(err)
		}
		if e.Type == "" {
			return c, nil
		}
		c.Changed = e.Time
		c.Ended = endedBy(&before, &c, c.Changed)
		e.Changes = difference(&before, &c)
		err = s.write(ctx, w, &before, store.ClientChange{Action: store.UpdateClient, Client: c, Event: e})
		if errors.Is(err, store.ErrConflict) && version == 0 && ctx.Err() == nil {
			continue // the change applies whatever else was changed
		}
		if err != nil {
			return failed(err)
		}
		c.Version++
		c.Ended = nil
		return c, nil
	}
}

// write makes a change of a client, with what it brings for those that it made,
// unless what w rests on has changed.
func (s *Service) write(ctx context.Context, w *warrant, before *store.Client, change store.ClientChange) error {
	others, err := s.followers(ctx, before, &change)
	if err != nil {
		return err
	}
	others = append(w.requires(before), others...)
	if len(others) == 0 && change.Action == store.UpdateClient {
		return s.store.UpdateClient(ctx, change.Client, change.Event)
	}
	err = s.store.ChangeClients(ctx, append(others, change)...)
	if errors.Is(err, store.ErrNotFound) && len(others) > 0 {
		err = store.ErrConflict // one of several is gone: the next try finds out which
	}
	return err
}

func (s *Service) event(kind, actor, realm, id, detail string) counterfoil.Event {
	return counterfoil.Event{
		Type: kind, Time: s.clock.Now(), Realm: realm, ClientID: event.Clean(id, event.MaxClientID), Success: true,
		Actor: event.Clean(actor, event.MaxClientID), Detail: detail,
	}
}
