package relational

import (
	"context"
	"database/sql"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// leeway is for clocks that differ: that long after its expiry, a token has
	// expired by every clock.
	leeway = int64(10 * time.Minute / time.Microsecond)
	// wrong is how far the clock that dates a revocation may be behind.
	wrong = int64(48 * time.Hour / time.Microsecond)
)

// longest returns when every token that exists at an event's time has expired.
func longest(e counterfoil.Event) int64 {
	return micros(e.Time) + int64(store.MaxLifetime/time.Microsecond) + wrong
}

// tokens is a row of client_tokens: the state of a client's tokens.
type tokens struct {
	// live is the live token under the policy "replace", and its dates.
	live            string
	issued, expires int64
	// The revocation of all older tokens; none when sequence is 0.
	sequence, notBefore int64
	disabled            bool
	ends                int64
	// revoked is how many are revoked individually; unnamed is the last event
	// before a revocation of tokens whose IDs only the record has. It is -1 less
	// that once the client has such a token again, beside the live one.
	revoked, unnamed int64
}

// besideLive notes that a token does not replace the live one.
func (k *tokens) besideLive() { k.unnamed = -1 - k.unnamed }

// lastUnnamed is the last event before tokens were revoked that only the record
// names.
func (k *tokens) lastUnnamed() int64 { return max(k.unnamed, -1-k.unnamed) }

// tokensOf reads the row of a client; the zero value when it has none.
func (t *transaction) tokensOf(realm, id string) (k tokens, err error) {
	_, err = t.Row("SELECT live, issued, expires, sequence, not_before, disabled, ends, revoked, unnamed FROM "+
		"client_tokens WHERE realm = ? AND client_id = ?",
		[]any{realm, id}, &k.live, &k.issued, &k.expires, &k.sequence, &k.notBefore, &k.disabled, &k.ends, &k.revoked, &k.unnamed)
	return k, err
}

// keep stores the row of a client.
func (t *transaction) keep(realm, id string, k tokens) error {
	_, err := t.Exec("INSERT INTO client_tokens (realm, client_id, live, issued, expires, sequence, "+
		"not_before, disabled, ends, revoked, unnamed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "+
		"ON CONFLICT (realm, client_id) DO UPDATE SET live = excluded.live, issued = excluded.issued, expires = excluded.expires, "+
		"sequence = excluded.sequence, not_before = excluded.not_before, disabled = excluded.disabled, ends = excluded.ends, "+
		"revoked = excluded.revoked, unnamed = excluded.unnamed",
		realm, id, k.live, k.issued, k.expires, k.sequence, k.notBefore, k.disabled, k.ends, k.revoked, k.unnamed)
	return err
}

// endLive revokes the live token permanently.
func (t *transaction) endLive(realm, id string, k *tokens) error {
	if k.live != "" {
		k.notBefore = max(k.notBefore, k.issued+second)
	}
	err := t.replaced(realm, id, k)
	k.live, k.issued, k.expires = "", 0, 0
	return err
}

// replaced stores the ID of the live token, which is revoked by its date.
func (t *transaction) replaced(realm, id string, k *tokens) error {
	if k.live == "" {
		return nil
	}
	// Sweeping two rows for each that is written keeps the table to twice the
	// unexpired rows.
	if t.kept++; t.kept%(sweepEach/2) == 0 {
		t.sweeps[ofReplaced].due++
	}
	if _, err := t.Exec("INSERT INTO replaced_tokens (realm, client_id, issued, token_id, ends) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		realm, id, k.issued, k.live, k.expires+leeway); err != nil {
		return err
	}
	// More IDs than can be revoked individually are useless. The client that
	// replaces most tokens is most likely to be checked.
	if t.kept%thinEvery != 0 {
		return nil
	}
	_, err := t.Exec(`DELETE FROM replaced_tokens WHERE realm = ?1 AND client_id = ?2 AND issued <
		(SELECT issued FROM replaced_tokens WHERE realm = ?1 AND client_id = ?2 
		ORDER BY issued DESC LIMIT 1 OFFSET ?3)`, realm, id, store.MaxRevoked)
	return err
}

// thinEvery is the number of stored IDs after which a client's are bounded.
const thinEvery = 1024

// revoke writes the row of a client as a new revocation that is kept until
// ends at least, and drops the individual revocations that it covers.
func (t *transaction) revoke(realm, id string, k tokens, ends int64) error {
	t.revocations++
	k.sequence, k.ends = t.revocations, max(k.ends, ends)
	if k.revoked > 0 {
		n, err := t.Exec("DELETE FROM revoked_tokens WHERE realm = ? AND client_id = ? AND issued > 0 AND issued < ?",
			realm, id, k.notBefore)
		if err != nil {
			return err
		}
		k.revoked -= n
	}
	t.sweeps[ofClients].due++
	return t.keep(realm, id, k)
}

// revokeOne revokes one token, unless it is already revoked, and counts it in
// k, which the caller stores.
func (t *transaction) revokeOne(realm, id string, k *tokens, token string, issued, ends int64) error {
	t.revocations++
	n, err := t.Exec("INSERT INTO revoked_tokens (realm, client_id, token_id, sequence, issued, ends) "+
		"VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		realm, id, token, t.revocations, issued, ends)
	k.revoked += n
	t.sweeps[ofTokens].due++
	return err
}

// RevokeToken implements store.Store.
func (s *Store) RevokeToken(_ context.Context, r store.Revocation, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		key := []any{r.Realm, r.ClientID, r.TokenID}
		there, err := t.Row("SELECT 1 FROM revoked_tokens WHERE realm = ? AND client_id = ? AND token_id = ?", key, new(int64))
		if err != nil || there {
			return err
		}
		k, err := t.tokensOf(r.Realm, r.ClientID)
		if err != nil {
			return err
		}
		if k.revoked >= store.MaxRevoked {
			if err := t.dropExpired(&r, &k, e); err != nil {
				return err
			}
			if k.revoked >= store.MaxRevoked {
				return store.ErrTooManyRevocations
			}
		}
		if err := t.revokeOne(r.Realm, r.ClientID, &k, r.TokenID, 0, micros(r.Expires)); err != nil {
			return err
		}
		if err := t.keep(r.Realm, r.ClientID, k); err != nil {
			return err
		}
		return t.changed(e)
	})
}

// dropExpired makes room among the revoked tokens of a client.
func (t *transaction) dropExpired(r *store.Revocation, k *tokens, e counterfoil.Event) error {
	n, err := t.Exec("DELETE FROM revoked_tokens WHERE realm = ? AND client_id = ? AND ends <= ?",
		r.Realm, r.ClientID, t.horizon+keepExpired)
	if err != nil || n == 0 {
		return err
	}
	k.revoked -= n
	return t.keep(r.Realm, r.ClientID, *k)
}

// Revocations implements store.Store.
func (s *Store) Revocations(ctx context.Context, realm string, after int64, limit int) (store.RevocationPage, error) {
	var page store.RevocationPage
	var last int64
	if err := s.queryRow(ctx, "SELECT feed, revocations FROM totals", &page.Feed, &last); err != nil || limit <= 0 {
		page.Last = after
		return page, err
	}
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		r := store.Revocation{Realm: realm}
		var notBefore, ends int64
		err := rows.Scan(&r.Sequence, &r.ClientID, &r.TokenID, &notBefore, &r.Disabled, &ends)
		r.NotBefore, r.Expires = moment(notBefore), moment(ends)
		page.Revocations = append(page.Revocations, r)
		page.Last = r.Sequence
		return err
	}, `SELECT sequence, client_id, '', not_before, disabled, ends FROM client_tokens WHERE realm = ?1 
		AND sequence > ?2 AND sequence > 0 AND ends > (SELECT horizon FROM totals) UNION ALL
		SELECT sequence, client_id, token_id, 0, 0, ends FROM revoked_tokens WHERE realm = ?1 
		AND sequence > ?2 AND ends > (SELECT horizon FROM totals) ORDER BY 1 LIMIT ?3`,
		realm, after, limit)
	if err != nil {
		return store.RevocationPage{}, err
	}
	if len(page.Revocations) < limit {
		page.Last = max(page.Last, last) // the rows were read after it
	}
	return page, nil
}
