// Package signing keeps the signing keys of realms: it makes, seals,
// publishes, rotates and erases them. Package server signs tokens with a
// [Ring]; operators change keys with [Keys], also while a server runs.
//
// It promises that no key signs before it was published for as long as
// verifiers keep a key set, and that none is withdrawn before its last token
// has expired, even when the clock is temporarily wrong; that private keys are
// sealed at rest where there is a master key, and erased once they no longer
// sign; and that several servers on one store do each step once.
package signing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// Realm describes a realm that has signing keys.
type Realm struct {
	Name     string
	Provider *provider.Provider
	// RotationInterval is the age at which a key gets a successor; 0 for never.
	RotationInterval time.Duration
	// Prepublish is how long a key is published before it signs; default an hour.
	Prepublish time.Duration
}

// Config configures a Ring.
type Config struct {
	Realm
	Store  store.Store
	Clock  counterfoil.Clock
	Logger *slog.Logger
	Sealer *Sealer
	RSA    *RSABackend
	// Protected returns the protected header of a key's tokens (RFC 7515 section
	// 4), as it appears in them.
	Protected func(kid, algorithm string) []byte
}

// Ring holds the keys of a realm, as they are in the store. It is safe for
// concurrent use once it is open: see [Open].
type Ring struct {
	cfg  Config
	ring atomic.Pointer[snapshot]

	// reading is held while the store is read, and never while a key is made.
	reading sync.Mutex
	// asked is when the store was last read, and failed is the error of that, if
	// any.
	asked  time.Time
	failed error
	// sights are the observations of the keys that were read.
	sights keySights

	// trouble is the error that was last logged; only Maintain uses it.
	trouble string
}

// New returns a Ring that is not open yet. It takes over the observations of
// before, the realm's previous Ring; nil for none.
func New(c Config, before *Ring) *Ring {
	r := &Ring{cfg: c}
	if before != nil {
		r.ring.Store(before.ring.Load())
		r.sights = before.sightsNow()
	}
	return r
}

// Open reads the keys of all rings. It first checks that every key can be
// unsealed, then seals again, in one write, those that are not sealed under
// the master key, and makes those that are missing.
func Open(ctx context.Context, rings []*Ring) error {
	slices.SortFunc(rings, func(a, b *Ring) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
	var stale []store.SigningKey
	for _, r := range rings {
		keys, err := r.cfg.Store.SigningKeys(ctx, r.cfg.Name)
		if err != nil {
			return fmt.Errorf("realm %q: read signing keys: %w", r.cfg.Name, err)
		}
		for i := range keys {
			anew, err := r.check(&keys[i])
			if err != nil {
				return err
			}
			if anew {
				stale = append(stale, keys[i])
			}
		}
	}
	if len(stale) > 0 {
		if err := rings[0].reseal(ctx, stale); err != nil {
			return err
		}
	}
	for _, r := range rings {
		if err := r.open(ctx); err != nil {
			return fmt.Errorf("realm %q: %w", r.cfg.Name, err)
		}
	}
	return nil
}

// open makes the keys that are missing and reads all.
func (r *Ring) open(ctx context.Context) error {
	keys, err := r.cfg.Store.SigningKeys(ctx, r.cfg.Name)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	own := r.keyService()
	for _, algorithm := range r.cfg.algorithms() {
		if newestKey(keys, string(algorithm)) != nil {
			continue
		}
		_, err := own.add(ctx, ownActor, &r.cfg.Realm, algorithm, keys, func(now time.Time) time.Time { return now })
		if err != nil && !errors.Is(err, store.ErrConflict) { // then another server was faster
			return err
		}
	}
	if _, err = r.readKeys(ctx); err != nil {
		return err
	}
	return r.ring.Load().broken
}

// reseal seals unsealed keys, of any realms, under the master key.
func (r *Ring) reseal(ctx context.Context, open []store.SigningKey) error {
	realm := open[0].Realm
	for i := range open {
		k := &open[i]
		if k.Realm != realm {
			realm = "" // of several
		}
		k.Private = r.cfg.Sealer.seal(k, []byte(k.Private.Reveal()))
	}
	e := counterfoil.Event{
		Type: counterfoil.EventKeysResealed, Time: r.cfg.Clock.Now(), Realm: realm, Success: true, Actor: ownActor,
		Detail: fmt.Sprintf("%d keys under %v", len(open), r.cfg.Sealer.current),
	}
	if err := r.cfg.Store.UpdateSigningKeys(ctx, open, e); err != nil {
		return fmt.Errorf("seal signing keys: %w", err)
	}
	return nil
}

// Refresh reads the keys from the store at once. If that fails, Maintain reads
// them soon.
func (r *Ring) Refresh(ctx context.Context) { _, _ = r.readKeys(ctx) }

func (r *Ring) keyService() *Keys {
	return &Keys{store: r.cfg.Store, clock: r.cfg.Clock, seals: r.cfg.Sealer}
}
