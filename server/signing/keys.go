package signing

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/origin"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Keys rotates and lists signing keys. Each change is recorded with its actor
// in the same transaction. It may be used on the database of a running server,
// which picks up every change within five seconds.
type Keys struct {
	store store.Store
	clock counterfoil.Clock
	seals *Sealer
	// changed, when set, is called with each realm whose keys were changed.
	changed func(ctx context.Context, realm string)
}

// Rotation says how the next key is introduced. The zero value is a rotation
// that no verifier notices.
type Rotation struct {
	// Prepublish is how long the key is published before it signs; 0 for the
	// realm's.
	Prepublish time.Duration
	// Immediately makes the key sign at once: verifiers that do not fetch
	// unknown keys refuse its tokens until they fetch the key set again.
	Immediately bool
	// Compromised makes the key sign at once and withdraws every other key of
	// the algorithm: verifiers that fetch the key set after that refuse all
	// tokens that those keys signed.
	Compromised bool
}

// View is a signing key as an operator sees it.
type View struct {
	ID        string `json:"id"`
	Algorithm string `json:"algorithm"`
	// State is "next", "active" or "retiring".
	State     string    `json:"state"`
	Created   time.Time `json:"created"`
	Activates time.Time `json:"activates"`
	// Expires is when it is no longer published; zero while it has no successor.
	Expires time.Time `json:"ends,omitzero"`
}

// Times and bounds of keys.
const (
	// defaultKeyAhead and minKeyAhead are the default and the minimum of
	// Realm.Prepublish: verifiers may keep a key set for as long as
	// serveDocument allows.
	defaultKeyAhead = time.Hour
	minKeyAhead     = 6 * time.Minute
	// keyLeeway is how long a key stays published after its last token has
	// expired, for verifiers whose clocks are behind or that allow leeway.
	keyLeeway = 10 * time.Minute
	// handover is how long after the activation of its successor a key may still
	// sign somewhere: where the keyring is up to maxRingAge old or the clock is
	// slow.
	handover = 2 * time.Minute
	// maxKeys bounds the keys of a realm: verifiers skip those beyond
	// jose.MaxKeys.
	maxKeys = 64
	// maxRetiring bounds the keys of one algorithm that retire at once.
	maxRetiring = 16
	// ownActor is the actor of changes that the server makes by itself.
	ownActor = "counterfoil"
)

// NewKeys returns the service on a store; a nil clock is the system's. The
// master key is that of the server on the same store.
func NewKeys(s store.Store, c counterfoil.Clock, masterKey counterfoil.Secret) (*Keys, error) {
	seals, err := NewSealer(masterKey, nil)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if c == nil {
		c = clock.System
	}
	return &Keys{store: origin.Store(s), clock: c, seals: seals}, nil
}

// NewKeysOf returns the service of a server on its store. changed is told of each
// realm whose keys it has changed.
func NewKeysOf(s store.Store, c counterfoil.Clock, sealer *Sealer, changed func(ctx context.Context, realm string)) *Keys {
	return &Keys{origin.Store(s), c, sealer, changed}
}

// List returns the keys of a realm, oldest first.
func (s *Keys) List(ctx context.Context, realm string) ([]View, error) {
	keys, err := s.store.SigningKeys(ctx, realm)
	if err != nil {
		return nil, fmt.Errorf("list the keys of realm %q: %w", realm, err)
	}
	now := s.clock.Now()
	views := make([]View, len(keys))
	for i := range keys {
		views[i] = viewOf(keys, i, now)
	}
	return views, nil
}

// Rotate adds the next key of an algorithm; "" for the realm's first. It uses
// the realm's Name, Provider and Prepublish. The error wraps ErrConflict when
// a key is already waiting to be activated, as for all but one of several
// concurrent rotations.
func (s *Keys) Rotate(ctx context.Context, actor string, realm Realm, algorithm provider.Algorithm, o Rotation) (View, error) {
	k, err := s.rotate(ctx, actor, &realm, algorithm, o)
	if s.changed != nil {
		s.changed(ctx, realm.Name)
	}
	if err != nil {
		return View{}, fmt.Errorf("rotate the key of realm %q: %w", realm.Name, err)
	}
	state := "next"
	if !k.Activates.After(s.clock.Now()) {
		state = "active"
	}
	return View{ID: k.ID, Algorithm: k.Algorithm, State: state, Created: k.Created, Activates: k.Activates}, nil
}

func (s *Keys) rotate(ctx context.Context, actor string, r *Realm, algorithm provider.Algorithm, o Rotation) (*store.SigningKey, error) {
	if err := r.checkRotation(&algorithm, o); err != nil {
		return nil, err
	}
	keys, err := s.store.SigningKeys(ctx, r.Name)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	if err := s.ready(keys, algorithm, o); err != nil {
		return nil, err
	}
	ahead := cmp.Or(o.Prepublish, r.prepublish())
	if o.Immediately || o.Compromised {
		ahead = 0
	}
	k, err := s.add(ctx, actor, r, algorithm, keys, func(now time.Time) time.Time { return now.Add(ahead) })
	if errors.Is(err, store.ErrConflict) {
		if keys, again := s.store.SigningKeys(ctx, r.Name); again == nil {
			err = cmp.Or(s.waiting(keys, algorithm), err)
		}
	}
	if err != nil || !o.Compromised {
		return k, err
	}
	for _, old := range keys {
		if old.Algorithm != string(algorithm) {
			continue
		}
		err := s.store.DeleteSigningKey(ctx, r.Name, old.ID, s.event(counterfoil.EventKeyRemoved, actor, r.Name,
			old.Algorithm+" "+old.ID+"; compromised"))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("key %q signs now, but key %q is still published: rotate again: %w", k.ID, old.ID, err)
		}
	}
	return k, nil
}

// checkRotation fills in the default algorithm and validates the options.
func (r *Realm) checkRotation(algorithm *provider.Algorithm, o Rotation) error {
	if r.Name == "" || r.Provider == nil {
		return errors.New("the realm needs a Name and a Provider")
	}
	*algorithm = cmp.Or(*algorithm, r.Provider.AccessToken.SigningAlgorithm)
	switch {
	case !slices.Contains(r.algorithms(), *algorithm):
		return fmt.Errorf("the realm signs with %v and not with %q", r.algorithms(), event.Clean(string(*algorithm), 20))
	case o.Prepublish != 0 && (o.Immediately || o.Compromised):
		return errors.New("a key that signs at once is not published ahead: leave one of the two out")
	case o.Prepublish != 0 && o.Prepublish < minKeyAhead:
		return fmt.Errorf("a key must be published for at least %v before it signs, because verifiers keep a key "+
			"set for 5 minutes", minKeyAhead)
	case o.Prepublish > store.MaxLifetime:
		return fmt.Errorf("a key can be published for at most %v before it signs", store.MaxLifetime)
	}
	return r.Validate()
}

// ready returns an error when no key can be added to the realm.
func (s *Keys) ready(keys []store.SigningKey, algorithm provider.Algorithm, o Rotation) error {
	for i := range keys {
		if err := s.seals.checkMasterKey(&keys[i]); err != nil {
			return err
		}
		if !s.seals.upToDate(&keys[i]) {
			return fmt.Errorf("signing key %q is not sealed under the master key that is given: start the server with it once", keys[i].ID)
		}
	}
	if o.Compromised {
		return nil
	}
	if len(keys) >= maxKeys {
		return fmt.Errorf("the realm has %d keys already: wait until the oldest expires at %s", len(keys),
			ends(keys, 0).UTC().Format(time.RFC3339))
	}
	return s.waiting(keys, algorithm)
}

// waiting returns an error when a key of the algorithm does not sign yet.
func (s *Keys) waiting(keys []store.SigningKey, algorithm provider.Algorithm) error {
	if k := newestKey(keys, string(algorithm)); k != nil && k.Activates.After(s.clock.Now()) {
		return fmt.Errorf("a key is waiting to be activated at %s: %w", k.Activates.UTC().Format(time.RFC3339), conflict{})
	}
	return nil
}

// conflict is ErrConflict with another message.
type conflict struct{}

func (conflict) Error() string        { return "rotate again after that" }
func (conflict) Is(target error) bool { return target == store.ErrConflict }

// add makes a key and adds it after the newest of its algorithm. It may take a
// second.
func (s *Keys) add(
	ctx context.Context, actor string, r *Realm, algorithm provider.Algorithm, keys []store.SigningKey,
	activates func(now time.Time) time.Time,
) (*store.SigningKey, error) {
	k, err := s.make(r, string(algorithm))
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	now, after := s.clock.Now(), ""
	// Tokens are dated in whole seconds: a key that signs at once signs in this
	// one.
	k.Created, k.Activates = now, activates(now).Truncate(time.Second)
	if last := newestKey(keys, k.Algorithm); last != nil {
		after = last.ID
		if !now.After(last.Created) { // the clock that made it is ahead of this one
			k.Created = last.Created.Add(time.Microsecond)
		}
	}
	detail := k.Algorithm + " " + k.ID + "; signs from " + k.Activates.UTC().Format(time.RFC3339)
	if err := s.store.AddSigningKey(ctx, *k, after, s.event(counterfoil.EventKeyCreated, actor, r.Name, detail)); err != nil {
		return nil, fmt.Errorf("add signing key: %w", err)
	}
	return k, nil
}

// make returns a new key of a realm.
func (s *Keys) make(r *Realm, algorithm string) (*store.SigningKey, error) {
	signer, err := jose.Generate(algorithm)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, err
	}
	k := &store.SigningKey{Realm: r.Name, Algorithm: algorithm, Lifetime: r.Provider.TokenEndpoint.Lifetime}
	if k.Public, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
		return nil, err
	}
	if k.ID, err = keyID(r.Provider.AccessToken.KeyID, signer.Public()); err != nil {
		return nil, err
	}
	k.Private = s.seals.seal(k, private)
	return k, nil
}

func keyID(form provider.KeyIDForm, key crypto.PublicKey) (string, error) {
	switch form {
	case provider.KeyIDBase64:
		return base64.StdEncoding.EncodeToString(sechash.Random(32)), nil
	case provider.KeyIDHex:
		return strings.ToUpper(hex.EncodeToString(sechash.Random(16))), nil
	}
	return jose.Thumbprint(key)
}

func (s *Keys) event(kind, actor, realm, detail string) counterfoil.Event {
	return counterfoil.Event{
		Type: kind, Time: s.clock.Now(), Realm: realm, Success: true,
		Actor: event.Clean(actor, event.MaxClientID), Detail: detail,
	}
}

// Validate checks RotationInterval and Prepublish. Its errors are written for
// people who set them in a configuration file.
func (r Realm) Validate() error {
	life := r.Provider.TokenEndpoint.Lifetime
	switch {
	case r.RotationInterval < 0 || r.Prepublish < 0:
		return errors.New("the age of signing keys, and the time that they are published ahead, must not be negative")
	case r.Prepublish != 0 && r.Prepublish < minKeyAhead:
		return fmt.Errorf("signing keys must be published ahead for at least %v, because verifiers keep a key "+
			"set for 5 minutes", minKeyAhead)
	case r.RotationInterval != 0 && r.RotationInterval <= r.prepublish():
		return fmt.Errorf("the age of signing keys must be longer than the time that they are published ahead, which is %v", r.prepublish())
	case r.RotationInterval != 0 && r.RotationInterval < life/maxRetiring:
		return fmt.Errorf("the age of signing keys must be at least %v: tokens that live for %v would keep more "+
			"than %d old keys published", life/maxRetiring, life, maxRetiring)
	}
	return nil
}

func (r Realm) prepublish() time.Duration { return cmp.Or(r.Prepublish, defaultKeyAhead) }

// algorithms returns the algorithms that the realm has keys for.
func (r Realm) algorithms() []provider.Algorithm { return r.Provider.AccessToken.Algorithms() }

// newestKey returns the newest key of the algorithm, or nil.
func newestKey(keys []store.SigningKey, algorithm string) *store.SigningKey {
	for i := len(keys) - 1; i >= 0; i-- {
		if keys[i].Algorithm == algorithm {
			return &keys[i]
		}
	}
	return nil
}

// retires returns when the key at i stops signing: when the first of its
// successors activates; the zero time while it has none.
func retires(keys []store.SigningKey, i int) time.Time {
	var first time.Time
	for _, k := range keys[i+1:] {
		if k.Algorithm == keys[i].Algorithm && (first.IsZero() || k.Activates.Before(first)) {
			first = k.Activates
		}
	}
	return first
}

// ends returns when the key at i stops being published: when the last token
// that it may have signed has expired; the zero time while that is unknown.
func ends(keys []store.SigningKey, i int) time.Time {
	at := retires(keys, i)
	if at.IsZero() {
		return at
	}
	return at.Add(keys[i].Lifetime + keyLeeway)
}

func viewOf(keys []store.SigningKey, i int, now time.Time) View {
	k := &keys[i]
	v := View{ID: k.ID, Algorithm: k.Algorithm, State: "active", Created: k.Created, Activates: k.Activates, Expires: ends(keys, i)}
	switch at := retires(keys, i); {
	case !at.IsZero() && !at.After(now):
		v.State = "retiring"
	case k.Activates.After(now):
		v.State = "next"
	}
	return v
}
