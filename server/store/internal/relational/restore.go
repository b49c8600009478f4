package relational

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/counterfoil/counterfoil"
)

// leap is by how much the indexes of status lists go on after a restore, so that
// none is given twice: more than a server gives between two backups.
const leap = int64(1) << 32

// feedID is the length of the random name that a database begins with. A restored
// one adds another to it.
const feedID = 32

// Restored is for a copy that takes the place of its original. Followers of
// revocations begin anew, indexes of status lists do not come again, e is
// recorded, and unless before is the zero time, all tokens of all clients that
// are dated before it are revoked.
func (s *Store) Restored(_ context.Context, e counterfoil.Event, before time.Time) error {
	var more [8]byte
	_, _ = rand.Read(more[:]) // never fails
	return s.submitAt(e.Time, func(t *transaction) error {
		if _, err := t.Exec("UPDATE totals SET feed = substr(feed, 1, ?) || ?", feedID, "-"+hex.EncodeToString(more[:])); err != nil {
			return err
		}
		if _, err := t.Exec("UPDATE status_indexes SET next = next + ?", leap); err != nil {
			return err
		}
		if !before.IsZero() {
			if err := t.endEvery(&e, micros(before)); err != nil {
				return err
			}
		}
		return t.changed(e)
	})
}

// endEvery revokes the tokens of all clients by their dates.
func (t *transaction) endEvery(e *counterfoil.Event, before int64) error {
	if _, err := t.Exec("UPDATE clients SET not_before = ?1, changed = ?2, version = version + 1 WHERE not_before < ?1",
		before, micros(e.Time)); err != nil {
		return err
	}
	n, err := t.Exec(`INSERT INTO client_tokens (realm, client_id, live, issued, expires, sequence, not_before, disabled, ends,
			revoked, unnamed)
		SELECT realm, id, '', 0, 0, ?1 + row_number() OVER (), ?2, disabled, ?3, 0, ?4 FROM clients WHERE true
		ON CONFLICT (realm, client_id) DO UPDATE SET sequence = excluded.sequence,
			not_before = greatest(client_tokens.not_before, excluded.not_before), ends = greatest(client_tokens.ends, excluded.ends), unnamed = excluded.unnamed`,
		t.revocations, before, longest(*e), t.last())
	t.revocations += n
	return err
}
