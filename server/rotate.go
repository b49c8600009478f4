package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// maintainKeys reads the keys of all realms and does what their time has come
// for. It tells the log of trouble once, and of its end.
func (s *Server) maintainKeys(ctx context.Context) {
	s.watch.look(ctx, s.Clock.Now(), s.Logger)
	for name, rl := range *s.realms.Load() {
		err := rl.maintainKeys(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && rl.keys.trouble != "":
			s.Logger.InfoContext(ctx, "signing keys are well again", "realm", name)
			rl.keys.trouble = ""
		case err != nil && err.Error() != rl.keys.trouble:
			s.Logger.ErrorContext(ctx, "signing keys are not maintained", "realm", name, "error", err)
			rl.keys.trouble = err.Error()
		}
	}
}

// maintainKeys reads the keys of a realm, ends those whose last token has
// expired, erases the private parts of those that sign no longer, and makes the
// next ones of those that are old enough. Each step is one write, and what is to
// be done is seen from the keys alone: it does not matter where the process
// before this one died, nor who else does the same.
func (rl *realm) maintainKeys(ctx context.Context) error {
	keys, err := rl.readKeys(ctx)
	if err != nil {
		return err
	}
	now, sights := rl.Clock.Now(), rl.keys.sightsNow()
	removed, err1 := rl.removeEnded(ctx, keys, sights, now)
	erased, err2 := rl.eraseRetired(ctx, keys, sights, now)
	made, err3 := rl.makeNext(ctx, keys, sights, now)
	if removed || erased || made {
		_, err = rl.readKeys(ctx)
	}
	return errors.Join(err, err1, err2, err3, rl.keys.ring.Load().broken)
}

// removeEnded deletes the keys that have ended. One that came later waits for
// those before it, because its activation is what they end by.
func (rl *realm) removeEnded(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (removed bool, err error) {
	waits := map[string]bool{}
	for i := range keys {
		k := &keys[i]
		if _, certain := sights.ended(keys, i, now); !certain || waits[k.Algorithm] {
			waits[k.Algorithm] = true
			continue
		}
		err := rl.Store.DeleteSigningKey(ctx, rl.Name, k.ID, rl.keyEvent(counterfoil.EventKeyRemoved, k.Algorithm+" "+k.ID+"; its last token has expired"))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return removed, fmt.Errorf("delete signing key %q: %w", k.ID, err)
		}
		removed = true
	}
	return removed, nil
}

// eraseRetired erases the private parts of keys that sign no longer anywhere.
func (rl *realm) eraseRetired(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (erased bool, err error) {
	for i := range keys {
		k := keys[i]
		if k.Private == "" || !sights.signsNoLonger(keys, i, now) || now.Sub(sights.byID[k.ID].retired) <= handover {
			continue
		}
		if _, certain := sights.ended(keys, i, now); certain {
			continue // it is deleted
		}
		k.Private = ""
		err := rl.Store.UpdateSigningKeys(ctx, []store.SigningKey{k}, rl.keyEvent(counterfoil.EventKeyRetired, k.Algorithm+" "+k.ID+"; published until "+ends(keys, i).UTC().Format(time.RFC3339)))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return erased, fmt.Errorf("erase signing key %q: %w", k.ID, err)
		}
		erased = true
	}
	return erased, nil
}

// makeNext makes the next key of each algorithm whose active one is old enough,
// in time to publish it ahead.
func (rl *realm) makeNext(ctx context.Context, keys []store.SigningKey, sights keySights, now time.Time) (made bool, err error) {
	if rl.KeyRotationInterval == 0 || len(keys) >= maxKeys {
		return false, nil
	}
	own := rl.keyService()
	for _, algorithm := range rl.algorithms() {
		last := newestKey(keys, string(algorithm))
		if last == nil || !sights.older(last, rl.KeyRotationInterval-rl.keyAhead(), now) {
			continue
		}
		_, err := own.add(ctx, ownActor, &rl.Realm, algorithm, keys, func(now time.Time) time.Time {
			// Never without having been published, however late this is.
			at, earliest := last.Activates.Add(rl.KeyRotationInterval), now.Add(rl.keyAhead())
			if at.Before(earliest) {
				return earliest.Add(time.Second - 1) // it is cut to whole seconds
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
