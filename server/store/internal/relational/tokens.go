package relational

import (
	"context"
	"database/sql"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// RecordIssued implements store.Store.
func (s *Store) RecordIssued(_ context.Context, i store.Issuance) (int64, error) {
	var asOf int64
	err := s.submitAt(i.Event.Time, func(t *transaction) error {
		err := t.recordIssued(&i)
		asOf = t.changes
		return err
	})
	return asOf, err
}

func (t *transaction) recordIssued(i *store.Issuance) error {
	// 1. Check that nothing has changed since the token was granted; quick when
	// no client was changed since.
	if i.Revision != t.changes {
		if err := t.unchanged(i); err != nil {
			return err
		}
	}
	var tokens tokens
	var back setBack
	if i.Replace || i.SetBack || i.Beside {
		var err error
		if tokens, err = t.tokensOf(i.Event.Realm, i.Event.ClientID); err != nil {
			return err
		}
	}
	switch {
	case i.SetBack:
		var err error
		if back, err = t.lookBack(i, &tokens); err != nil {
			return err
		}
	case i.Replace && micros(i.Issued) < max(tokens.issued, tokens.notBefore):
		return store.ErrConflict
	}
	// 2. Store the replay keys. This is the last step that can refuse.
	if err := t.useOnce(i.ReplayKeys); err != nil {
		return err
	}
	// 3. Revoke the previous token, and record.
	if back.needed {
		if err := t.goBack(i, &tokens, back); err != nil {
			return err
		}
		var err error
		if tokens, err = t.tokensOf(i.Event.Realm, i.Event.ClientID); err != nil {
			return err
		}
	}
	if i.Replace {
		if err := t.replace(i, tokens); err != nil {
			return err
		}
	} else if i.Beside && tokens.live != "" && tokens.unnamed >= 0 {
		tokens.besideLive()
		if err := t.keep(i.Event.Realm, i.Event.ClientID, tokens); err != nil {
			return err
		}
	}
	if i.StatusIndex >= 0 {
		if _, err := t.Exec("INSERT INTO status (realm, idx, client_id, token_id, issued, expires, replaces) VALUES (?, ?, ?, ?, ?, ?, ?)",
			i.Event.Realm, i.StatusIndex, i.Event.ClientID, i.Event.TokenID, micros(i.Issued), micros(i.Expires), i.Replace); err != nil {
			return err
		}
		t.sweeps[ofStatus].due++
	}
	t.record(&i.Event)
	return nil
}

// unchanged checks the client, and a token that is returned again.
func (t *transaction) unchanged(i *store.Issuance) error {
	var version, created int64
	var disabled bool
	found, err := t.Row("SELECT version, created, disabled FROM clients WHERE key = ? AND realm = ? AND id = ?",
		[]any{clientKey(i.Event.Realm, i.Event.ClientID), i.Event.Realm, i.Event.ClientID}, &version, &created, &disabled)
	switch {
	case err != nil:
		return err
	case !found || disabled:
		return store.ErrNotFound
	case version != i.Version || created != micros(i.Created):
		return store.ErrConflict
	case !i.Reused:
		return nil
	}
	revoked, err := t.Row("SELECT 1 FROM revoked_tokens WHERE realm = ? AND client_id = ? AND token_id = ?",
		[]any{i.Event.Realm, i.Event.ClientID, i.Event.TokenID}, new(int64))
	if err == nil && revoked {
		return store.ErrConflict
	}
	return err
}

// useOnce stores all of the keys or, when one already exists, none.
func (t *transaction) useOnce(keys []store.ReplayKey) error {
	for i, o := range keys {
		n, err := t.Exec("INSERT INTO once (key, until) VALUES (?, ?) ON CONFLICT DO NOTHING", o.Hash[:], micros(o.Until))
		if err != nil {
			return err
		}
		if n == 0 {
			for _, o := range keys[:i] {
				if _, err := t.Exec("DELETE FROM once WHERE key = ?", o.Hash[:]); err != nil {
					return err
				}
			}
			return store.ErrReplayed
		}
	}
	t.sweeps[ofOnce].due += len(keys)
	return nil
}

// replace makes the token the client's live one, and the revocation of all
// others of it: tokens before its second by their date, and the token before it
// by its ID where that is of the same second.
func (t *transaction) replace(i *store.Issuance, k tokens) error {
	realm, id, issued := i.Event.Realm, i.Event.ClientID, micros(i.Issued)
	last, ends := k, k.expires+leeway
	if last.live == "" || last.unnamed < 0 {
		// Tokens from before the policy, whose IDs are unknown.
		ends, k.unnamed = longest(i.Event), t.last()
	}
	if last.live != i.Event.TokenID {
		if err := t.replaced(realm, id, &last); err != nil {
			return err
		}
	}
	k.live, k.issued, k.expires = i.Event.TokenID, issued, micros(i.Expires)
	switch {
	case last.live == k.live:
	case last.live == "" || last.issued < issued:
		k.notBefore = max(k.notBefore, issued)
		return t.revoke(realm, id, k, ends)
	default:
		if err := t.revokeOne(realm, id, &k, last.live, last.issued, ends); err != nil {
			return err
		}
	}
	return t.keep(realm, id, k)
}

// TokenStatus implements store.Store.
func (s *Store) TokenStatus(_ context.Context, realm, clientID, tokenID string) (store.TokenStatus, error) {
	var st store.TokenStatus
	var notBefore int64
	var policy string
	found, err := s.backend.Row(s.standing, []any{realm, clientID, tokenID, clientKey(realm, clientID)}, &st.Disabled,
		&notBefore, &policy, &st.LiveToken, &st.Revoked)
	if err == nil && !found {
		return store.TokenStatus{}, store.ErrNotFound
	}
	st.NotBefore, st.Policy = moment(notBefore), provider.Policy(policy)
	return st, err
}

const selectStanding = `SELECT c.disabled, greatest(c.not_before, coalesce(t.not_before, 0)), CASE c.rest WHEN '' THEN '' ELSE 
	coalesce({policy}, '') END, coalesce(t.live, ''),
	coalesce(t.revoked, 0) > 0 AND EXISTS (SELECT 1 FROM revoked_tokens AS r WHERE r.realm = ?1 AND r.client_id = ?2 AND r.token_id = ?3)
	FROM clients AS c LEFT JOIN client_tokens AS t ON t.realm = c.realm AND t.client_id = c.id 
	WHERE c.key = ?4 AND c.realm = ?1 AND c.id = ?2`

// StatusIndexes implements store.Store.
func (s *Store) StatusIndexes(_ context.Context, realm string, n int64) (int64, error) {
	var first int64
	err := s.submit(func(t *transaction) error {
		_, err := t.Row("INSERT INTO status_indexes VALUES (?1, ?2) ON CONFLICT (realm) "+
			"DO UPDATE SET next = status_indexes.next + ?2 RETURNING status_indexes.next - ?2", []any{realm, n}, &first)
		return err
	})
	return first, err
}

// RevokedIndexes implements store.Store.
func (s *Store) RevokedIndexes(ctx context.Context, realm string, first, last int64) ([]int64, error) {
	var indexes []int64
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		indexes = append(indexes, n)
		return err
	}, `SELECT s.idx FROM status AS s
		LEFT JOIN clients AS c ON c.realm = s.realm AND c.id = s.client_id
		LEFT JOIN client_tokens AS t ON t.realm = s.realm AND t.client_id = s.client_id
		WHERE s.realm = ?1 AND s.idx >= ?2 AND s.idx < ?3 AND s.expires > (SELECT horizon FROM totals) AND (
			c.id IS NULL OR c.disabled <> 0 OR s.issued < c.not_before OR s.issued < coalesce(t.not_before, 0)
			OR s.replaces <> 0 AND s.token_id <> coalesce(t.live, '')
			OR EXISTS (SELECT 1 FROM revoked_tokens AS r WHERE r.realm = ?1 AND r.client_id = s.client_id AND r.token_id = s.token_id))
		ORDER BY s.idx`, realm, first, last)
	return indexes, err
}
