package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// How often keys are read.
const (
	// readKeysEvery is how late a server may see a key that another one made.
	readKeysEvery = 5 * time.Second
	// maxRingAge is how old a keyring may be that signs: a server that could not
	// read the store must not sign with a key that was ended elsewhere.
	maxRingAge = time.Minute
	// askKeysEvery bounds what unknown key IDs cost.
	askKeysEvery = time.Second
	// readKeysTimeout bounds the wait for one reading.
	readKeysTimeout = 10 * time.Second
)

var (
	errKeysUnread = errors.New("the signing keys could not be read for a minute")
	errNoKey      = errors.New("the realm has no active key of the algorithm")
)

// signingKey is a key that a realm signs with, beside the protected header of
// its tokens.
type signingKey struct {
	id        string
	algorithm string
	activates time.Time
	sight     keySight
	// signer is nil where the private key is gone, which is erased, or cannot be
	// opened.
	signer    crypto.Signer
	erased    bool
	public    []byte
	protected []byte
}

type publicKey = jose.PublicKey

// keyring is a realm's keys as they were read. It is never changed.
type keyring struct {
	// read is when that was.
	read time.Time
	// signing are the keys of all algorithms, newest first.
	signing []signingKey
	public  map[string]publicKey
	// document is the JWK Set (RFC 7517 section 5).
	document []byte
	// broken names keys that are damaged or cannot be opened: they fail
	// themselves and no other.
	broken error
}

// active returns the key that signs with the algorithm at the given time, or
// nil: the newest whose time has come. While none's has, because the clock that
// made the first one is ahead of this one, it is the oldest. A key that was
// erased signs nowhere any more, whatever the clock says.
func (k *keyring) active(algorithm string, at time.Time) *signingKey {
	var oldest *signingKey
	for i := range k.signing {
		s := &k.signing[i]
		if s.algorithm != algorithm || s.erased {
			continue
		}
		if oldest = s; s.sight.begins(s.activates, at) {
			break
		}
	}
	return oldest
}

// keyholder has the keyring of a realm, which follows the store.
type keyholder struct {
	ring atomic.Pointer[keyring]

	// reading is held while the store is read, and never while a key is made.
	reading sync.Mutex
	// asked is when the store was last read, or could not be, and why not.
	asked  time.Time
	failed error
	// sights are what was seen of the keys that were read.
	sights keySights

	// trouble is the error that was last logged; of the background alone.
	trouble string
}

// activeKey returns the key that signs with the algorithm at the given time.
func (rl *realm) activeKey(ctx context.Context, algorithm provider.Algorithm, at time.Time) (*signingKey, error) {
	ring, err := rl.current(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeysUnread, err)
	}
	key := ring.active(string(algorithm), at)
	if key == nil || key.signer == nil {
		return nil, errNoKey
	}
	return key, nil
}

// current returns a keyring that is at most maxRingAge old, or with an error
// the last one.
func (rl *realm) current(ctx context.Context, at time.Time) (*keyring, error) {
	ring := rl.keys.ring.Load()
	if at.Sub(ring.read) <= maxRingAge {
		return ring, nil
	}
	return rl.lookAgain(ctx, func(ring *keyring) bool { return at.Sub(ring.read) <= maxRingAge })
}

// publicKey returns the key of that kid, and whether there is one. It reads the
// store for one that is unknown.
func (rl *realm) publicKey(ctx context.Context, id string) (publicKey, bool, error) {
	if k, ok := rl.keys.ring.Load().public[id]; ok {
		return k, true, nil
	}
	ring, err := rl.lookAgain(ctx, func(ring *keyring) bool { _, ok := ring.public[id]; return ok })
	k, ok := ring.public[id]
	return k, ok, err
}

// published reports whether the realm has a key of that kid.
func (rl *realm) published(id string) bool {
	_, ok := rl.keys.ring.Load().public[id]
	return ok
}

// keySet is the realm's JWK Set.
func (rl *realm) keySet(ctx context.Context) []byte {
	// A keyring that is too old to sign is published all the same: the tokens
	// that its keys signed are there.
	ring, _ := rl.current(ctx, rl.Clock.Now())
	return ring.document
}

// lookAgain reads the store unless another one has done so in the meantime, or
// it was done a moment ago. It returns the last keyring in any case.
func (rl *realm) lookAgain(ctx context.Context, enough func(*keyring) bool) (*keyring, error) {
	rl.keys.reading.Lock()
	defer rl.keys.reading.Unlock()
	ring := rl.keys.ring.Load()
	if enough(ring) {
		return ring, nil
	}
	if since := rl.Clock.Now().Sub(rl.keys.asked); since >= 0 && since < askKeysEvery {
		return ring, rl.keys.failed
	}
	_, err := rl.readRing(ctx)
	return rl.keys.ring.Load(), err
}

// readKeys reads the store and returns the keys that it has, oldest first.
func (rl *realm) readKeys(ctx context.Context) ([]store.SigningKey, error) {
	rl.keys.reading.Lock()
	defer rl.keys.reading.Unlock()
	return rl.readRing(ctx)
}

// readRing makes a new keyring of what the store has. With an error the last one
// stays in its place. The caller holds reading.
func (rl *realm) readRing(ctx context.Context) (keys []store.SigningKey, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readKeysTimeout)
	defer cancel()
	now := rl.Clock.Now()
	defer func() { rl.keys.asked, rl.keys.failed = now, err }()
	for range 3 {
		if keys, err = rl.Store.SigningKeys(ctx, rl.Name); err != nil {
			return nil, fmt.Errorf("read signing keys: %w", err)
		}
		rl.keys.sights.look(keys, now)
		// A token is signed only by a key that is known to have to outlive it.
		err = rl.raise(ctx, keys, now)
		if !errors.Is(err, store.ErrNotFound) { // one of them was deleted meanwhile
			break
		}
	}
	if err != nil {
		return nil, err
	}
	rl.keys.ring.Store(rl.newKeyring(keys, rl.keys.ring.Load(), now))
	return keys, nil
}

// raise sees to it that the keys that may sign stay published for as long as
// the realm's tokens live.
func (rl *realm) raise(ctx context.Context, keys []store.SigningKey, now time.Time) error {
	var raised []store.SigningKey
	for i := range keys {
		k := &keys[i]
		if k.Lifetime >= rl.endpoint.Lifetime || rl.keys.sights.signsNoLonger(keys, i, now) {
			continue
		}
		k.Lifetime = rl.endpoint.Lifetime
		raised = append(raised, *k)
	}
	if len(raised) == 0 {
		return nil
	}
	detail := fmt.Sprintf("tokens of %d keys live for up to %v", len(raised), rl.endpoint.Lifetime)
	if err := rl.Store.UpdateSigningKeys(ctx, raised, rl.keyEvent(counterfoil.EventKeyChanged, detail)); err != nil {
		return fmt.Errorf("raise the lifetime of signing keys: %w", err)
	}
	return nil
}

func (rl *realm) keyEvent(kind, detail string) counterfoil.Event {
	return counterfoil.Event{Type: kind, Time: rl.Clock.Now(), Realm: rl.Name, Success: true, Actor: ownActor, Detail: detail}
}

// newKeyring makes a keyring of the keys that have not ended. The caller holds
// reading.
func (rl *realm) newKeyring(keys []store.SigningKey, before *keyring, now time.Time) *keyring {
	ring := &keyring{read: now, public: make(map[string]publicKey, len(keys))}
	published := make([]publicKey, 0, len(keys))
	var errs []error
	for i := len(keys) - 1; i >= 0; i-- {
		k := &keys[i]
		if ended, _ := rl.keys.sights.ended(keys, i, now); ended {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil {
			errs = append(errs, errDamagedKey(k))
			continue
		}
		signing := signingKey{
			id: k.ID, algorithm: k.Algorithm, activates: k.Activates, sight: rl.keys.sights.byID[k.ID],
			public: k.Public, protected: rl.protected(k.ID, k.Algorithm),
		}
		if signing.signer = before.signer(k); signing.signer == nil && k.Private != "" {
			if signing.signer, err = rl.openSigner(k); err != nil {
				errs = append(errs, err)
			}
		}
		signing.erased = signing.signer == nil && k.Private == ""
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

// signer returns what signed with k in an earlier keyring, or nil. It goes on
// where the private key has been sealed anew or erased.
func (k *keyring) signer(key *store.SigningKey) crypto.Signer {
	if k == nil {
		return nil
	}
	for i := range k.signing {
		if s := &k.signing[i]; s.id == key.ID && s.algorithm == key.Algorithm && bytes.Equal(s.public, key.Public) {
			return s.signer
		}
	}
	return nil
}

// openSigner returns what signs with k.
func (rl *realm) openSigner(k *store.SigningKey) (crypto.Signer, error) {
	key, _, err := rl.seals.open(k)
	if err != nil {
		return nil, err
	}
	signer, err := rl.rsa.of(key)
	if err != nil {
		rl.Logger.Warn("sign in another way", "realm", rl.Name, "key", k.ID, "error", err)
	}
	return signer, nil
}

// protected returns the protected header of the realm's tokens (RFC 7515
// section 4), its members in the described order.
func (rl *realm) protected(kid, algorithm string) []byte {
	values := map[provider.HeaderMember]string{
		provider.HeaderAlg: algorithm,
		provider.HeaderKid: kid,
		provider.HeaderTyp: rl.Provider.AccessToken.Type,
	}
	var t template
	for _, m := range rl.Provider.AccessToken.Header {
		t = t.fixed(string(m), appendString(nil, values[m]))
	}
	return t.append(nil, nil)
}

// keysChanged has the keys of a realm read at once. When that fails, the next
// reading is not far.
func (s *Server) keysChanged(ctx context.Context, name string) {
	if rl := s.realm(name); rl != nil {
		_, _ = rl.readKeys(ctx)
	}
}

// loadKeys gives every one of the realms its keyring: it looks whether all keys
// can be opened, and then only seals anew those that are not under the master
// key, and makes those that are missing.
func (s *Server) loadKeys(ctx context.Context, realms map[string]*realm) error {
	var old map[string]*realm
	if p := s.realms.Load(); p != nil {
		old = *p
	}
	var stale []store.SigningKey
	for _, name := range sortedNames(realms) {
		rl := realms[name]
		keys, err := s.Store.SigningKeys(ctx, name)
		if err != nil {
			return fmt.Errorf("realm %q: read signing keys: %w", name, err)
		}
		for i := range keys {
			anew, err := rl.check(&keys[i])
			if err != nil {
				return err
			}
			if anew {
				stale = append(stale, keys[i])
			}
		}
		if before := old[name]; before != nil {
			rl.keys.ring.Store(before.keys.ring.Load())
			rl.keys.sights = before.keys.sightsNow()
		}
	}
	if err := s.reseal(ctx, stale); err != nil {
		return err
	}
	for _, name := range sortedNames(realms) {
		if err := realms[name].loadKeys(ctx); err != nil {
			return fmt.Errorf("realm %q: %w", name, err)
		}
	}
	return nil
}

// check tells in an error why k cannot be used, and whether it is to be sealed
// anew: then k's private key is open.
func (rl *realm) check(k *store.SigningKey) (anew bool, err error) {
	if _, err := x509.ParsePKIXPublicKey(k.Public); err != nil {
		return false, errDamagedKey(k)
	}
	if k.Private == "" {
		return false, nil
	}
	_, private, err := rl.seals.open(k)
	if err != nil {
		return false, err
	}
	if anew = !rl.seals.upToDate(k); anew {
		k.Private = counterfoil.Secret(private)
	}
	return anew, nil
}

// reseal seals open keys under the master key, all of them at once.
func (s *Server) reseal(ctx context.Context, open []store.SigningKey) error {
	if len(open) == 0 {
		return nil
	}
	realm := open[0].Realm
	for i := range open {
		k := &open[i]
		if k.Realm != realm {
			realm = "" // of several
		}
		k.Private = s.seals.seal(k, []byte(k.Private.Reveal()))
	}
	e := counterfoil.Event{
		Type: counterfoil.EventKeysResealed, Time: s.Clock.Now(), Realm: realm, Success: true, Actor: ownActor,
		Detail: fmt.Sprintf("%d keys under %v", len(open), s.seals.current),
	}
	if err := s.Store.UpdateSigningKeys(ctx, open, e); err != nil {
		return fmt.Errorf("seal signing keys: %w", err)
	}
	return nil
}

// loadKeys makes the keys that are missing and reads all.
func (rl *realm) loadKeys(ctx context.Context) error {
	keys, err := rl.Store.SigningKeys(ctx, rl.Name)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	own := rl.keyService()
	for _, algorithm := range rl.algorithms() {
		if newestKey(keys, string(algorithm)) != nil {
			continue
		}
		_, err := own.add(ctx, ownActor, &rl.Realm, algorithm, keys, func(now time.Time) time.Time { return now })
		if err != nil && !errors.Is(err, store.ErrConflict) { // then another server was faster
			return err
		}
	}
	if _, err = rl.readKeys(ctx); err != nil {
		return err
	}
	return rl.keys.ring.Load().broken
}

func (rl *realm) keyService() *Keys { return &Keys{store: rl.Store, clock: rl.Clock, seals: rl.seals} }

func sortedNames(realms map[string]*realm) []string {
	names := make([]string, 0, len(realms))
	for name := range realms {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}
