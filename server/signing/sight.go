package signing

import (
	"maps"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store"
)

// keySight is what a process has observed of a signing key. A key activates,
// retires and expires at the times in the store, by the wall clock, and never
// before as much time has passed by the monotonic clock since the process
// first saw it: a clock that is briefly set forward must not let a key sign
// that verifiers do not know, nor erase one that is needed when the clock is
// right again. A key that has activated stays active when the clock is set
// back.
type keySight struct {
	// first is when the key was first read, and wait is how long it must be
	// published from then on before it signs.
	first time.Time
	wait  time.Duration
	// began is when it could first sign; zero before that.
	began time.Time
	// retired is when the first of its successors began; zero before that. It is
	// first where that was so when the key was first seen.
	retired time.Time
}

// keySights are the observations of a realm's keys.
type keySights struct {
	byID map[string]keySight
	// steady detects a clock that was set forward before a key was first seen.
	steady clock.Steady
}

// look records the state of the keys, oldest first, at a time. It forgets
// removed keys.
func (s *keySights) look(keys []store.SigningKey, now time.Time) {
	steady := s.steady.At(now)
	seen := make(map[string]keySight, len(keys))
	for i := range keys {
		k := &keys[i]
		sight, known := s.byID[k.ID]
		if !known {
			sight = keySight{first: now, wait: min(k.Activates.Sub(k.Created), k.Activates.Sub(steady))}
		}
		if sight.began.IsZero() && sight.begins(k.Activates, now) {
			// Since then it is active by both clocks.
			since := min(now.Sub(k.Activates), now.Sub(sight.first)-max(sight.wait, 0))
			sight.began = now.Add(-since)
		}
		seen[k.ID] = sight
	}
	for i := range keys {
		sight := seen[keys[i].ID]
		sight.retired = time.Time{}
		for _, later := range keys[i+1:] {
			began := seen[later.ID].began
			if later.Algorithm == keys[i].Algorithm && !began.IsZero() && (sight.retired.IsZero() || began.Before(sight.retired)) {
				sight.retired = began
			}
		}
		seen[keys[i].ID] = sight
	}
	s.byID = seen
}

// begins reports whether a key that activates at a time may sign at another
// one: when both clocks say so, and always after that.
func (s keySight) begins(activates, now time.Time) bool {
	return !s.began.IsZero() || !now.Before(activates) && now.Sub(s.first) >= s.wait
}

// signsNoLonger reports whether the key at i no longer signs on any server.
func (s keySights) signsNoLonger(keys []store.SigningKey, i int, now time.Time) bool {
	at, sight := retires(keys, i), s.byID[keys[i].ID]
	if at.IsZero() || sight.retired.IsZero() {
		return false
	}
	return now.Sub(at) > handover && (sight.early() || now.Sub(sight.retired) > handover)
}

// early reports whether the key was retired when it was first seen.
func (s keySight) early() bool { return !s.retired.IsZero() && !s.retired.After(s.first) }

// ended reports whether the last token that the key at i may have signed has
// expired, and whether that is certain enough to delete the key: not in the
// first minutes of a process, whose clock may still be set.
func (s keySights) ended(keys []store.SigningKey, i int, now time.Time) (ended, certain bool) {
	at, sight := ends(keys, i), s.byID[keys[i].ID]
	if at.IsZero() || now.Before(at) || sight.retired.IsZero() {
		return false, false
	}
	left := keys[i].Lifetime + keyLeeway
	if sight.early() {
		left = min(left, at.Sub(sight.first))
	}
	since := now.Sub(sight.retired)
	return since >= left, since >= max(left, handover)
}

// older reports whether a key is older than that by its activation, and not
// only because the clock was set forward since it was first seen.
func (s keySights) older(k *store.SigningKey, than time.Duration, now time.Time) bool {
	at, first := k.Activates.Add(than), s.byID[k.ID].first
	return !now.Before(at) && now.Sub(first) >= min(at.Sub(first), than)
}

// sightsNow returns the observations so far, for the ring that replaces this
// one.
func (r *Ring) sightsNow() keySights {
	r.reading.Lock()
	defer r.reading.Unlock()
	return keySights{maps.Clone(r.sights.byID), r.sights.steady}
}
