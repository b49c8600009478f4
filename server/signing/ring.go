package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// How often keys are read.
const (
	// ReadEvery is the interval at which to call Maintain: the most that a
	// server may lag behind the keys that another one made.
	ReadEvery = 5 * time.Second
	// maxRingAge is how old a keyring may be that signs: a server that cannot
	// read the store must not sign with a key that was withdrawn elsewhere.
	maxRingAge = time.Minute
	// askKeysEvery bounds the cost of unknown key IDs.
	askKeysEvery = time.Second
	// readKeysTimeout bounds one read.
	readKeysTimeout = 10 * time.Second
)

// ErrUnread is the error of Active while the keys could not be read for a minute:
// they may have been withdrawn elsewhere.
var ErrUnread = errors.New("the signing keys could not be read for a minute")

var errNoKey = errors.New("the realm has no active key of the algorithm")

// Key is a key that a realm signs with.
type Key struct {
	// ID is the kid.
	ID        string
	Algorithm string
	// Signer is nil where the private key is erased or cannot be opened.
	Signer crypto.Signer
	// Protected is the protected header of the realm's tokens, from
	// Config.Protected.
	Protected []byte

	activates time.Time
	sight     keySight
	erased    bool
	public    []byte
}

type publicKey = jose.PublicKey

// snapshot is a realm's keys as they were read. It is never changed.
type snapshot struct {
	// read is when they were read.
	read time.Time
	// signing are the keys of all algorithms, newest first.
	signing []Key
	public  map[string]publicKey
	// document is the JWK Set (RFC 7517 section 5).
	document []byte
	// broken holds the errors of keys that are damaged or cannot be opened;
	// other keys keep working.
	broken error
}

// active returns the key that signs with the algorithm at the given time, or
// nil: the newest that is active. While none is, because the clock that made
// the first one is ahead of this one, it is the oldest. An erased key never
// signs again, whatever the clock says.
func (k *snapshot) active(algorithm string, at time.Time) *Key {
	var oldest *Key
	for i := range k.signing {
		s := &k.signing[i]
		if s.Algorithm != algorithm || s.erased {
			continue
		}
		if oldest = s; s.sight.begins(s.activates, at) {
			break
		}
	}
	return oldest
}

// Active returns the key that signs with the algorithm at the given time.
func (r *Ring) Active(ctx context.Context, algorithm provider.Algorithm, at time.Time) (*Key, error) {
	ring, err := r.current(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	key := ring.active(string(algorithm), at)
	if key == nil || key.Signer == nil {
		return nil, errNoKey
	}
	return key, nil
}

// current returns a keyring that is at most maxRingAge old, or with an error
// the last one.
func (r *Ring) current(ctx context.Context, at time.Time) (*snapshot, error) {
	ring := r.ring.Load()
	if at.Sub(ring.read) <= maxRingAge {
		return ring, nil
	}
	return r.lookAgain(ctx, func(ring *snapshot) bool { return at.Sub(ring.read) <= maxRingAge })
}

// PublicKey returns the key of that kid, and whether it exists. For an unknown
// kid it reads the store.
func (r *Ring) PublicKey(ctx context.Context, id string) (publicKey, bool, error) {
	if k, ok := r.ring.Load().public[id]; ok {
		return k, true, nil
	}
	ring, err := r.lookAgain(ctx, func(ring *snapshot) bool { _, ok := ring.public[id]; return ok })
	k, ok := ring.public[id]
	return k, ok, err
}

// Published reports whether the realm has a key of that kid.
func (r *Ring) Published(id string) bool {
	_, ok := r.ring.Load().public[id]
	return ok
}

// Document returns the realm's JWK Set (RFC 7517 section 5).
func (r *Ring) Document(ctx context.Context) []byte {
	// A keyring that is too old to sign is published nevertheless: the tokens
	// that its keys signed still need it.
	ring, _ := r.current(ctx, r.cfg.Clock.Now())
	return ring.document
}

// lookAgain reads the store unless another goroutine did so in the meantime or
// a moment ago. It returns the last keyring in any case.
func (r *Ring) lookAgain(ctx context.Context, enough func(*snapshot) bool) (*snapshot, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	ring := r.ring.Load()
	if enough(ring) {
		return ring, nil
	}
	if since := r.cfg.Clock.Now().Sub(r.asked); since >= 0 && since < askKeysEvery {
		return ring, r.failed
	}
	_, err := r.readRing(ctx)
	return r.ring.Load(), err
}

// readKeys reads the store and returns the keys that it has, oldest first.
func (r *Ring) readKeys(ctx context.Context) ([]store.SigningKey, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	return r.readRing(ctx)
}

// readRing makes a new keyring from the store. On an error the last one stays
// in place. The caller holds reading.
func (r *Ring) readRing(ctx context.Context) (keys []store.SigningKey, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readKeysTimeout)
	defer cancel()
	now := r.cfg.Clock.Now()
	defer func() { r.asked, r.failed = now, err }()
	for range 3 {
		if keys, err = r.cfg.Store.SigningKeys(ctx, r.cfg.Name); err != nil {
			return nil, fmt.Errorf("read signing keys: %w", err)
		}
		r.sights.look(keys, now)
		// A token is signed only by a key whose stored lifetime covers it.
		err = r.extendLifetimes(ctx, keys, now)
		if !errors.Is(err, store.ErrNotFound) { // one of them was deleted meanwhile
			break
		}
	}
	if err != nil {
		return nil, err
	}
	r.ring.Store(r.newSnapshot(keys, r.ring.Load(), now))
	return keys, nil
}

// extendLifetimes makes sure that the keys that may sign stay published for as
// long as the realm's tokens live.
func (r *Ring) extendLifetimes(ctx context.Context, keys []store.SigningKey, now time.Time) error {
	var raised []store.SigningKey
	for i := range keys {
		k := &keys[i]
		if k.Lifetime >= r.cfg.Provider.TokenEndpoint.Lifetime || r.sights.signsNoLonger(keys, i, now) {
			continue
		}
		k.Lifetime = r.cfg.Provider.TokenEndpoint.Lifetime
		raised = append(raised, *k)
	}
	if len(raised) == 0 {
		return nil
	}
	detail := fmt.Sprintf("tokens of %d keys live for up to %v", len(raised), r.cfg.Provider.TokenEndpoint.Lifetime)
	if err := r.cfg.Store.UpdateSigningKeys(ctx, raised, r.keyEvent(counterfoil.EventKeyChanged, detail)); err != nil {
		return fmt.Errorf("raise the lifetime of signing keys: %w", err)
	}
	return nil
}

func (r *Ring) keyEvent(kind, detail string) counterfoil.Event {
	return counterfoil.Event{Type: kind, Time: r.cfg.Clock.Now(), Realm: r.cfg.Name, Success: true, Actor: ownActor, Detail: detail}
}

// newSnapshot makes a keyring of the keys that have not expired. The caller
// holds reading.
func (r *Ring) newSnapshot(keys []store.SigningKey, before *snapshot, now time.Time) *snapshot {
	ring := &snapshot{read: now, public: make(map[string]publicKey, len(keys))}
	published := make([]publicKey, 0, len(keys))
	var errs []error
	for i := len(keys) - 1; i >= 0; i-- {
		k := &keys[i]
		if ended, _ := r.sights.ended(keys, i, now); ended {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil {
			errs = append(errs, errDamagedKey(k))
			continue
		}
		signing := Key{
			ID: k.ID, Algorithm: k.Algorithm, activates: k.Activates, sight: r.sights.byID[k.ID],
			public: k.Public, Protected: r.cfg.Protected(k.ID, k.Algorithm),
		}
		if signing.Signer = before.signer(k); signing.Signer == nil && k.Private != "" {
			if signing.Signer, err = r.openSigner(k); err != nil {
				errs = append(errs, err)
			}
		}
		signing.erased = signing.Signer == nil && k.Private == ""
		ring.signing = append(ring.signing, signing)
		ring.public[k.ID] = publicKey{ID: k.ID, Algorithm: k.Algorithm, Key: public}
		published = append(published, ring.public[k.ID])
	}
	slices.SortFunc(published, func(a, b publicKey) int { return strings.Compare(a.ID, b.ID) })
	var err error
	if ring.document, err = jose.MarshalSet(published); err != nil {
		errs = append(errs, fmt.Errorf("publish keys: %w", err))
		if before != nil {
			ring.document = before.document
		}
	}
	ring.broken = errors.Join(errs...)
	return ring
}

// signer returns the signer of key in an earlier keyring, or nil. It stays in
// use when the private key was sealed again or erased.
func (k *snapshot) signer(key *store.SigningKey) crypto.Signer {
	if k == nil {
		return nil
	}
	for i := range k.signing {
		if s := &k.signing[i]; s.ID == key.ID && s.Algorithm == key.Algorithm && bytes.Equal(s.public, key.Public) {
			return s.Signer
		}
	}
	return nil
}

// openSigner returns a signer for k.
func (r *Ring) openSigner(k *store.SigningKey) (crypto.Signer, error) {
	key, _, err := r.cfg.Sealer.open(k)
	if err != nil {
		return nil, err
	}
	signer, err := r.cfg.RSA.of(key)
	if err != nil {
		r.cfg.Logger.Warn("RSA backend failed, using another", "realm", r.cfg.Name, "key", k.ID, "error", err)
	}
	return signer, nil
}

// check returns an error when k cannot be used, and whether it must be sealed
// again: then k's private key is unsealed.
func (r *Ring) check(k *store.SigningKey) (anew bool, err error) {
	if _, err := x509.ParsePKIXPublicKey(k.Public); err != nil {
		return false, errDamagedKey(k)
	}
	if k.Private == "" {
		return false, nil
	}
	_, private, err := r.cfg.Sealer.open(k)
	if err != nil {
		return false, err
	}
	if anew = !r.cfg.Sealer.upToDate(k); anew {
		k.Private = counterfoil.Secret(private)
	}
	return anew, nil
}
