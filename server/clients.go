package server

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
)

// NewClient is what Clients.Create is told.
type NewClient struct {
	Realm string
	// ID is generated when empty: 26 characters of lower-case base32. A given
	// one has at most 100 bytes of visible characters.
	ID string
	Settings
	// WithAPIKey asks for an API key beside the secret.
	WithAPIKey bool
}

// Credentials are shown once, when they are made.
type Credentials struct {
	ClientID     string
	ClientSecret counterfoil.Secret
	// APIKey is empty where none was made.
	APIKey counterfoil.Secret
	// OldEnds is when the secret or key that was replaced stops being accepted;
	// the zero time when none is accepted beside the new one.
	OldEnds time.Time
}

// Bounds of what an operator writes, in bytes, and of lists.
const (
	maxName    = 200
	maxID      = 100
	maxTenants = 1000
	// maxSecrets is how many secrets of a client are accepted at once: that of
	// yesterday and that of today.
	maxSecrets = 2
)

// Clients creates and changes clients. Each change is recorded with its actor
// in the same transaction. It may be used on the database of a running server,
// which sees every change at its next request.
type Clients struct {
	store Store
	clock counterfoil.Clock
}

// NewClients returns the service on a store; a nil clock is the system's.
func NewClients(store Store, c counterfoil.Clock) *Clients {
	if c == nil {
		c = clock.System
	}
	return &Clients{store: store, clock: c}
}

// Create adds a client and returns it with its credentials, which nobody can
// read again. The error wraps ErrExists when the realm has a client of that ID.
func (s *Clients) Create(ctx context.Context, actor string, n NewClient) (Client, Credentials, error) {
	if n.ID == "" {
		n.ID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random(16)))
	}
	if err := n.check(); err != nil {
		return Client{}, Credentials{}, fmt.Errorf("create client: %w", err)
	}
	now := s.clock.Now()
	creds := Credentials{ClientID: n.ID, ClientSecret: newSecret()}
	c := Client{
		Realm: n.Realm, ID: n.ID, Settings: n.Settings,
		Created: now, Changed: now, Version: 1,
		Secrets: []Hash{newHash(creds.ClientSecret, now)},
	}
	if n.WithAPIKey {
		creds.APIKey = newSecret()
		c.APIKeys = []Hash{newHash(creds.APIKey, now)}
	}
	if err := s.store.CreateClient(ctx, c, s.event(counterfoil.EventClientCreated, actor, c.Realm, c.ID, "")); err != nil {
		return Client{}, Credentials{}, fmt.Errorf("create client %q of realm %q: %w", c.ID, c.Realm, err)
	}
	return c, creds, nil
}

// Get returns a client; the error wraps ErrNotFound when there is none.
func (s *Clients) Get(ctx context.Context, realm, id string) (Client, error) {
	c, err := s.store.Client(ctx, realm, id)
	if err != nil {
		return Client{}, fmt.Errorf("client %q of realm %q: %w", event.Clean(id, maxID), realm, err)
	}
	return c, nil
}

// List returns up to limit clients of a realm in the order of their IDs,
// starting behind after.
func (s *Clients) List(ctx context.Context, realm, after string, limit int) ([]Client, error) {
	clients, err := s.store.Clients(ctx, ClientQuery{Realm: realm, After: after, Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("list clients of realm %q: %w", realm, err)
	}
	return clients, nil
}

// Rotate gives the client a new secret. The one it had is accepted for the
// overlap, or no longer when that is 0, and not beyond the end that it had; one
// older still ends at once. The error wraps ErrConflict when the client was
// changed at the same time: nothing was rotated then.
func (s *Clients) Rotate(ctx context.Context, actor, realm, id string, overlap time.Duration) (Credentials, error) {
	secret := newSecret()
	ends, err := s.rotate(ctx, actor, realm, id, "client secret", overlap, func(c *Client) *[]Hash { return &c.Secrets }, secret)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{ClientID: id, ClientSecret: secret, OldEnds: ends}, nil
}

// RotateAPIKey does for the API key what Rotate does for the secret; a client
// that had none gets its first.
func (s *Clients) RotateAPIKey(ctx context.Context, actor, realm, id string, overlap time.Duration) (Credentials, error) {
	key := newSecret()
	ends, err := s.rotate(ctx, actor, realm, id, "API key", overlap, func(c *Client) *[]Hash { return &c.APIKeys }, key)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{ClientID: id, APIKey: key, OldEnds: ends}, nil
}

// rotate puts value before the hashes and returns when the one after it ends.
func (s *Clients) rotate(ctx context.Context, actor, realm, id, what string, overlap time.Duration, of func(*Client) *[]Hash, value counterfoil.Secret) (time.Time, error) {
	var none time.Time
	if overlap < 0 {
		return none, fmt.Errorf("rotate %s: the overlap must not be negative", what)
	}
	c, err := s.Get(ctx, realm, id)
	if err != nil {
		return none, fmt.Errorf("rotate %s: %w", what, err)
	}
	now, hashes := s.clock.Now(), of(&c)
	ends := now.Add(overlap)
	accepted := []Hash{newHash(value, now)}
	for _, old := range *hashes {
		if old.Ends.IsZero() || old.Ends.After(ends) {
			old.Ends = ends
		}
		if old.Ends.After(now) && len(accepted) < maxSecrets {
			accepted = append(accepted, old)
		}
	}
	detail, oldEnds := what, none
	switch {
	case len(accepted) > 1:
		oldEnds = accepted[1].Ends
		detail += "; the old one ends at " + oldEnds.UTC().Format(time.RFC3339)
	case len(*hashes) > 0:
		detail += "; the old one ended"
	}
	*hashes, c.Changed = accepted, now
	if err := s.store.UpdateClient(ctx, c, s.event(counterfoil.EventClientRotated, actor, realm, id, detail)); err != nil {
		return none, fmt.Errorf("rotate %s of client %q of realm %q: %w", what, id, realm, err)
	}
	return oldEnds, nil
}

// SetDisabled disables a client, whose tokens are refused from then on by every
// guard that asks an Authority, or enables it again: where tokens are
// independent, those that have not expired serve again. A client that is so
// already is left alone.
func (s *Clients) SetDisabled(ctx context.Context, actor, realm, id string, disabled bool) error {
	kind := counterfoil.EventClientEnabled
	if disabled {
		kind = counterfoil.EventClientDisabled
	}
	for {
		c, err := s.Get(ctx, realm, id)
		if err != nil || c.Disabled == disabled {
			return err
		}
		c.Disabled, c.Changed = disabled, s.clock.Now()
		err = s.store.UpdateClient(ctx, c, s.event(kind, actor, realm, id, ""))
		if errors.Is(err, ErrConflict) {
			continue // the wish stands whatever else was changed
		}
		if err != nil {
			return fmt.Errorf("change client %q of realm %q: %w", id, realm, err)
		}
		return nil
	}
}

// Delete removes a client; its tokens are refused from then on by every guard
// that asks an Authority. The error wraps ErrNotFound when there is none.
func (s *Clients) Delete(ctx context.Context, actor, realm, id string) error {
	if err := s.store.DeleteClient(ctx, realm, id, s.event(counterfoil.EventClientDeleted, actor, realm, id, "")); err != nil {
		return fmt.Errorf("delete client %q of realm %q: %w", event.Clean(id, maxID), realm, err)
	}
	return nil
}

// VerifySecret reports whether the realm's token endpoint would accept the
// secret now; false for a client that is unknown or disabled.
func (s *Clients) VerifySecret(ctx context.Context, realm, id string, secret counterfoil.Secret) (bool, error) {
	c, err := s.store.Client(ctx, realm, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("client %q of realm %q: %w", event.Clean(id, maxID), realm, err)
	}
	return verify(c.Secrets, secret, s.clock.Now()) != nil && !c.Disabled, nil
}

func (s *Clients) event(kind, actor, realm, id, detail string) counterfoil.Event {
	return counterfoil.Event{
		Type: kind, Time: s.clock.Now(), Realm: realm, ClientID: id, Success: true,
		Actor: event.Clean(actor, event.MaxClientID), Detail: detail,
	}
}

func (n *NewClient) check() error {
	switch {
	case n.Realm == "":
		return errors.New("the realm is missing")
	case !visible(n.ID, maxID):
		return fmt.Errorf("the client id must have from 1 to %d bytes of visible characters", maxID)
	case n.Name != "" && !visible(n.Name, maxName):
		return fmt.Errorf("the name must have at most %d bytes of visible characters", maxName)
	case len(n.Tenants) > maxTenants:
		return fmt.Errorf("a client can have at most %d tenants", maxTenants)
	}
	parsed, err := counterfoil.ParseScopes(n.Scopes.String())
	if err != nil || !slices.Equal(parsed, n.Scopes) {
		return fmt.Errorf("the scopes %q are not distinct scope tokens (RFC 6749 section 3.3)", n.Scopes)
	}
	for i, t := range n.Tenants {
		if !visible(t, maxName) || slices.Contains(n.Tenants[:i], t) {
			return fmt.Errorf("the tenant %q must have from 1 to %d bytes of visible characters and be named once", t, maxName)
		}
	}
	return nil
}

// visible reports whether s has from 1 to most bytes, all of characters that
// can be seen, or spaces.
func visible(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, hidden)
}

// hidden reports whether r has no shape: a control, a format or a separator
// other than the spaces.
func hidden(r rune) bool { return !unicode.IsGraphic(r) }

// newSecret returns 256 random bits in base64url.
func newSecret() counterfoil.Secret {
	return counterfoil.Secret(base64.RawURLEncoding.EncodeToString(random(32)))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
