package relational

import (
	"database/sql/driver"
	"io"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// A clock can be set forward briefly and back again. So it decides neither
// which of two tokens is newer nor when a revocation can be forgotten.

const (
	// aheadOf is how far the date of a token may be ahead of the clock; a clock that
	// goes back by less was not set.
	aheadOf = int64(store.MaxAhead / time.Microsecond)
	// trusted is how long the wall clock must have kept pace with the monotonic
	// one to be considered right, whatever was stored before.
	trusted = 24 * time.Hour
	// keepExpired is how long expired rows are kept: after the clock is set back
	// by as much, replays and revoked tokens are still known.
	keepExpired = int64(2 * time.Hour / time.Microsecond)
	// maxSteps bounds the remembered steps back of the clock.
	maxSteps = 100
	// maxScanned bounds the events that are read for the names of one client's
	// tokens.
	maxScanned = 500_000
)

// pace tracks the passage of time in this process.
type pace struct {
	// last is the time of the latest write; since is when the clock began to run
	// regularly. Both have a monotonic reading where the caller's clock has one.
	last, since time.Time
}

// arrive records the time of a write, before any of it is written.
func (t *transaction) arrive(at time.Time) error {
	us := micros(at)
	if us < t.latest-aheadOf && !t.late(at) {
		// What was recorded until now is dated in the future.
		if err := t.flush(); err != nil {
			return err
		}
		if _, err := t.Exec("INSERT INTO clock_steps (sequence, latest) VALUES (?, ?) "+
			"ON CONFLICT (sequence) DO UPDATE SET latest = excluded.latest", t.sequence, t.latest); err != nil {
			return err
		}
		if _, err := t.Exec("DELETE FROM clock_steps WHERE sequence <= (SELECT sequence FROM clock_steps "+
			"ORDER BY sequence DESC LIMIT 1 OFFSET ?)", maxSteps); err != nil {
			return err
		}
		t.latest = us
	}
	t.latest = max(t.latest, us)
	t.goOn(at)
	return nil
}

// late reports whether a write with an earlier time is only late, and the
// clock was not set: by the monotonic clock it is as much earlier than the
// previous write, which made the latest event.
func (t *transaction) late(at time.Time) bool {
	last := t.pace.last
	if last.IsZero() || at == at.Round(0) || last == last.Round(0) || micros(last) < t.latest-aheadOf {
		return false // unknown
	}
	return (at.Round(0).Sub(last.Round(0)) - at.Sub(last)).Abs() <= store.MaxAhead
}

// goOn moves the horizon by the time that has passed, up to keepExpired before
// the clock. How long a program was not running is unknown: what expired in
// the meantime is kept for as long again, until the clock has run regularly
// for a day.
func (t *transaction) goOn(at time.Time) {
	p := &t.pace
	mine := t.moved == micros(p.last)
	passed := at.Sub(p.last) // by the monotonic clock, where there is one
	wall := at.Round(0).Sub(p.last.Round(0))
	switch {
	case p.last.IsZero():
		p.last, p.since, passed = at, at, 0
	case (wall - passed).Abs() > store.MaxAhead:
		p.last, p.since = at, at
	case passed <= 0:
		return
	}
	p.last = at
	us := micros(at)
	now := us - keepExpired
	if t.horizon != 0 && at.Sub(p.since) < trusted {
		// Several processes see the same time pass: it counts once.
		more := passed.Microseconds()
		if !mine {
			more = min(more, us-t.moved)
		}
		now = min(now, t.horizon+max(0, more))
	}
	t.horizon, t.moved = max(t.horizon, now), us
}

// ever is after every date.
const ever = int64(1 << 62)

// named is a token to be revoked individually.
type named struct {
	id   string
	ends int64
}

// names returns the tokens of a client whose dates are from one time on, of
// those that were known by their names before another and of all in the record
// up to a sequence number; ErrTooManyRevocations when there are too many to
// revoke each. lowered says that tokens will count from an earlier date on
// than before.
func (t *transaction) names(e *counterfoil.Event, k *tokens, from, before, upTo int64, lowered bool) ([]named, error) {
	var found []named
	if k.live != "" && k.issued >= from && k.issued < before {
		found = append(found, named{k.live, k.expires + leeway})
	}
	err := t.Rows("SELECT token_id, ends FROM replaced_tokens WHERE realm = ? AND client_id = ? AND issued >= ? AND issued < ? LIMIT ?",
		[]any{e.Realm, e.ClientID, from, before, store.MaxRevoked + 1}, 2, func(values []driver.Value) error {
			found = append(found, named{values[0].(string), values[1].(int64)})
			return nil
		})
	if err != nil {
		return nil, err
	}
	recorded, err := t.recordedNames(e, from, upTo, lowered)
	if err != nil {
		return nil, err
	}
	if found = append(found, recorded...); k.revoked+int64(len(found)) > store.MaxRevoked {
		return nil, store.ErrTooManyRevocations
	}
	return found, nil
}

// recordedNames searches the record, up to a sequence number, for tokens of a
// client that were issued while the clock showed a time that it has not
// reached again. It searches backwards from each step of the clock and, where
// the dates are lowered, from that number: a clock that was set back slightly
// left no step, and can make a date that was slightly ahead too far ahead.
func (t *transaction) recordedNames(e *counterfoil.Event, from, upTo int64, lowered bool) (found []named, err error) {
	if upTo == 0 {
		return nil, nil
	}
	if err := t.flush(); err != nil { // pending events are searched too
		return nil, err
	}
	steps, err := t.numbers("SELECT sequence FROM clock_steps WHERE latest >= ? ORDER BY sequence DESC", from-aheadOf)
	if err != nil {
		return nil, err
	}
	last := ever // of the run that has the number: nothing after it is searched
	if lowered {
		found, err := t.numbers("SELECT coalesce((SELECT min(last) FROM records WHERE last >= ?), ?)", upTo, t.sequence)
		if err != nil {
			return nil, err
		}
		last = found[0]
		steps = append(steps, last)
		slices.Sort(steps)
		slices.Reverse(steps)
	}
	dropped, err := t.numbers("SELECT dropped FROM log")
	if err != nil {
		return nil, err
	}
	scanned, lowest := 0, ever
	for _, step := range steps {
		if step > last || step >= lowest {
			continue // already searched, or out of range
		}
		all := true // that there are
		err := t.Rows("SELECT first, form, data FROM records WHERE last <= ? ORDER BY last DESC", []any{step}, 3,
			func(values []driver.Value) error {
				r := run{first: values[0].(int64), form: values[1].(int64), data: values[2].([]byte)}
				lowest = r.first
				future := false
				if err := r.each(func(one *store.RecordedEvent) (bool, error) {
					scanned++
					at := micros(one.Time)
					// Between two steps the time goes back by at most that.
					future = future || at >= from-2*aheadOf
					// No token is dated further ahead.
					if at >= from-aheadOf && one.Sequence <= upTo && one.Realm == e.Realm && one.ClientID == e.ClientID &&
						one.Type == counterfoil.EventTokenIssued {
						found = append(found, named{one.TokenID, longest(one.Event)})
					}
					return true, nil
				}); err != nil {
					return err
				}
				switch {
				case !future:
					all = false
					return io.EOF
				case scanned > maxScanned || len(found) > store.MaxRevoked:
					return store.ErrTooManyRevocations
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
		if all && dropped[0] > 0 {
			return nil, store.ErrTooManyRevocations // the others are not known any more
		}
	}
	return found, nil
}

// revokeNamed revokes tokens individually, whatever their dates.
func (t *transaction) revokeNamed(e *counterfoil.Event, k *tokens, all []named) error {
	for _, n := range all {
		if err := t.revokeOne(e.Realm, e.ClientID, k, n.id, 0, n.ends); err != nil {
			return err
		}
	}
	return nil
}

// endAll revokes all tokens of a client that were recorded so far: by their
// dates those before a time and, where the clock was set back, individually
// those that are dated later. was is the previous time. Where there are too
// many, the time becomes one after all of them.
func (t *transaction) endAll(e *counterfoil.Event, k *tokens, was, notBefore int64) error {
	was = max(was, k.notBefore)
	from := notBefore
	if notBefore >= was {
		from = max(notBefore, micros(e.Time)+aheadOf)
	}
	all, err := t.names(e, k, from, ever, ever, notBefore < was)
	if err == store.ErrTooManyRevocations {
		latest, err := t.numbers("SELECT coalesce(max(latest), 0) FROM clock_steps")
		if err != nil {
			return err
		}
		after := max(latest[0], k.issued) + aheadOf
		k.notBefore = max(was, notBefore, after-after%second+second)
		k.unnamed = t.last()
		return nil
	}
	if err != nil {
		return err
	}
	k.notBefore, k.unnamed = notBefore, t.last()
	return t.revokeNamed(e, k, all)
}

// setBack holds the changes that make a token valid that is dated before
// others of its client, because the clock was set back.
type setBack struct {
	needed bool
	names  []named
}

// lookBack computes setBack for a token. It writes nothing.
func (t *transaction) lookBack(i *store.Issuance, k *tokens) (b setBack, err error) {
	var notBefore int64
	if _, err := t.Row("SELECT not_before FROM clients WHERE key = ? AND realm = ? AND id = ?",
		[]any{clientKey(i.Event.Realm, i.Event.ClientID), i.Event.Realm, i.Event.ClientID}, &notBefore); err != nil {
		return b, err
	}
	issued := micros(i.Issued)
	before := max(notBefore, k.notBefore)
	if i.Replace {
		before = max(before, k.issued)
	}
	if b.needed = issued < before; !b.needed {
		return b, nil
	}
	if i.Replace {
		before = ever // it replaces all others
	}
	b.names, err = t.names(&i.Event, k, issued, before, k.lastUnnamed(), true)
	return b, err
}

// goBack revokes individually the tokens that were revoked by their dates, and
// accepts tokens from the date of the new one on.
func (t *transaction) goBack(i *store.Issuance, k *tokens, b setBack) error {
	if err := t.revokeNamed(&i.Event, k, b.names); err != nil {
		return err
	}
	issued := micros(i.Issued)
	k.notBefore = min(k.notBefore, issued)
	if k.issued >= issued {
		k.live, k.issued, k.expires = "", 0, 0
	}
	t.changes++ // every reader of the client reads it again
	if _, err := t.Exec("UPDATE clients SET not_before = ?, version = version + 1 WHERE realm = ? AND id = ? AND not_before > ?",
		issued, i.Event.Realm, i.Event.ClientID, issued); err != nil {
		return err
	}
	return t.revoke(i.Event.Realm, i.Event.ClientID, *k, longest(i.Event))
}

// numbers returns a column of numbers.
func (t *transaction) numbers(query string, args ...any) (all []int64, err error) {
	err = t.Rows(query, args, 1, func(values []driver.Value) error {
		all = append(all, values[0].(int64))
		return nil
	})
	return all, err
}
