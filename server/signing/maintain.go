package signing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// Maintain reads the keys and performs the steps that are due. It logs an
// error once, and its recovery. It is called every few seconds, by one
// goroutine.
func (r *Ring) Maintain(ctx context.Context) {
	err := r.maintain(ctx)
	switch {
	case ctx.Err() != nil:
	case err == nil && r.trouble != "":
		r.cfg.Logger.InfoContext(ctx, "signing key maintenance recovered", "realm", r.cfg.Name)
		r.trouble = ""
	case err != nil && err.Error() != r.trouble:
		r.cfg.Logger.ErrorContext(ctx, "signing keys are not maintained", alerts.Trouble(alerts.KindKeys), "realm", r.cfg.Name, "error", err)
		r.trouble = err.Error()
	}
}

// maintain reads the keys of a realm, removes those whose last token has
// expired, erases the private parts of those that no longer sign, and makes
// successors of those that are old enough. Each step is one write and depends
// on the stored keys alone: it does not matter where an earlier process died,
// or whether other servers do the same.
func (r *Ring) maintain(ctx context.Context) error {
	keys, err := r.readKeys(ctx)
	if err != nil {
		return err
	}
	now, sights := r.cfg.Clock.Now(), r.sightsNow()
	removed, err1 := r.removeEnded(ctx, keys, sights, now)
	erased, err2 := r.eraseRetired(ctx, keys, sights, now)
	made, err3 := r.makeNext(ctx, keys, sights, now)
	if removed || erased || made {
		_, err = r.readKeys(ctx)
	}
	return errors.Join(err, err1, err2, err3, r.ring.Load().broken)
}

// removeEnded deletes the keys that have expired. A later key waits for those
// before it, because their expiry is computed from its activation.
func (r *Ring) removeEnded(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (removed bool, err error) {
	waits := map[string]bool{}
	for i := range keys {
		k := &keys[i]
		if _, certain := sights.ended(keys, i, now); !certain || waits[k.Algorithm] {
			waits[k.Algorithm] = true
			continue
		}
		err := r.cfg.Store.DeleteSigningKey(ctx, r.cfg.Name, k.ID, r.keyEvent(counterfoil.EventKeyRemoved,
			k.Algorithm+" "+k.ID+"; its last token has expired"))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return removed, fmt.Errorf("delete signing key %q: %w", k.ID, err)
		}
		removed = true
	}
	return removed, nil
}

// eraseRetired erases the private parts of keys that no longer sign on any
// server.
func (r *Ring) eraseRetired(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (erased bool, err error) {
	for i := range keys {
		k := keys[i]
		if k.Private == "" || !sights.signsNoLonger(keys, i, now) || now.Sub(sights.byID[k.ID].retired) <= handover {
			continue
		}
		if _, certain := sights.ended(keys, i, now); certain {
			continue // removeEnded deletes it
		}
		k.Private = ""
		err := r.cfg.Store.UpdateSigningKeys(ctx, []store.SigningKey{k}, r.keyEvent(counterfoil.EventKeyRetired,
			k.Algorithm+" "+k.ID+"; published until "+ends(keys, i).UTC().Format(time.RFC3339)))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return erased, fmt.Errorf("erase signing key %q: %w", k.ID, err)
		}
		erased = true
	}
	return erased, nil
}

// makeNext makes the next key of each algorithm whose active one is old enough,
// in time to publish it ahead.
func (r *Ring) makeNext(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (made bool, err error) {
	if r.cfg.RotationInterval == 0 || len(keys) >= maxKeys {
		return false, nil
	}
	own := r.keyService()
	for _, algorithm := range r.cfg.algorithms() {
		last := newestKey(keys, string(algorithm))
		if last == nil || !sights.older(last, r.cfg.RotationInterval-r.cfg.prepublish(), now) {
			continue
		}
		_, err := own.add(ctx, ownActor, &r.cfg.Realm, algorithm, keys, func(now time.Time) time.Time {
			// The key is always published before it signs, however late this is.
			at, earliest := last.Activates.Add(r.cfg.RotationInterval), now.Add(r.cfg.prepublish())
			if at.Before(earliest) {
				return earliest.Add(time.Second - 1) // it is truncated to whole seconds
			}
			return at
		})
		if err != nil && !errors.Is(err, store.ErrConflict) { // then another server was faster
			return made, fmt.Errorf("next %s key: %w", algorithm, err)
		}
		made = true
	}
	return made, nil
}
