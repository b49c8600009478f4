package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// CreateClient implements store.Store.
func (s *Store) CreateClient(_ context.Context, c store.Client, e counterfoil.Event) error {
	row, err := clientRow(&c)
	if err != nil {
		return err
	}
	return s.submitAt(e.Time, func(t *transaction) error {
		tokens, err := t.tokensOf(c.Realm, c.ID)
		if err != nil {
			return err
		}
		row := row // it may run again after another write's failure
		row.notBefore = max(row.notBefore, tokens.notBefore)
		n, err := t.exec(`INSERT INTO clients (key, realm, id, version, disabled, created, changed, not_before,
			scopes, tenants, secrets, api_keys, rest, name)
			VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			append([]any{clientKey(c.Realm, c.ID)}, row.values()...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrExists
		}
		if tokens.sequence > 0 {
			tokens.disabled, tokens.notBefore = c.Disabled, row.notBefore
			if err := t.revoke(c.Realm, c.ID, tokens, 0); err != nil {
				return err
			}
		}
		return t.changed(e)
	})
}

// UpdateClient implements store.Store.
func (s *Store) UpdateClient(_ context.Context, c store.Client, e counterfoil.Event) error {
	row, err := clientRow(&c)
	if err != nil {
		return err
	}
	return s.submitAt(e.Time, func(t *transaction) error {
		var version, created, notBefore int64
		var disabled bool
		found, err := t.row("SELECT version, created, disabled, not_before FROM clients WHERE realm = ? AND id = ?",
			[]any{c.Realm, c.ID}, &version, &created, &disabled, &notBefore)
		switch {
		case err != nil:
			return err
		case !found:
			return store.ErrNotFound
		case version != c.Version || created != row.created:
			return store.ErrConflict
		}
		row := row // it may run again after another write's failure
		if disabled != c.Disabled || notBefore != row.notBefore {
			if row.notBefore, err = t.endTokens(&c, &e, notBefore, row.notBefore); err != nil {
				return err
			}
		}
		if _, err := t.exec(`UPDATE clients SET version = version + 1, disabled = ?3, created = ?4, changed = ?5, not_before = ?6,
			scopes = ?7, tenants = ?8, secrets = ?9, api_keys = ?10, rest = ?11, name = ?12 
			WHERE realm = ?1 AND id = ?2`, row.values()...); err != nil {
			return err
		}
		if err := t.forgetUses(&c); err != nil {
			return err
		}
		return t.changed(e)
	})
}

// endTokens revokes the tokens that a change of a client invalidates, and
// returns the client's NotBefore.
func (t *transaction) endTokens(c *store.Client, e *counterfoil.Event, was, notBefore int64) (int64, error) {
	k, err := t.tokensOf(c.Realm, c.ID)
	if err != nil {
		return 0, err
	}
	k.disabled = c.Disabled
	if was != notBefore {
		if err := t.endAll(e, &k, was, notBefore); err != nil {
			return 0, err
		}
		notBefore = k.notBefore
	}
	if c.Disabled {
		if err := t.endLive(c.Realm, c.ID, &k); err != nil {
			return 0, err
		}
	}
	k.notBefore = max(k.notBefore, notBefore)
	return notBefore, t.revoke(c.Realm, c.ID, k, longest(*e))
}

// forgetUses drops the uses of secrets that a client no longer has.
func (t *transaction) forgetUses(c *store.Client) error {
	ids := [4]string{}
	for i, h := range c.Secrets[:min(2, len(c.Secrets))] {
		ids[i] = h.ID
	}
	for i, h := range c.APIKeys[:min(2, len(c.APIKeys))] {
		ids[2+i] = h.ID
	}
	_, err := t.exec("DELETE FROM uses WHERE realm = ? AND client_id = ? AND secret_id NOT IN (?, ?, ?, ?)", c.Realm, c.ID,
		ids[0], ids[1], ids[2], ids[3])
	return err
}

// DeleteClient implements store.Store.
func (s *Store) DeleteClient(_ context.Context, realm, id string, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		var notBefore int64
		found, err := t.row("SELECT not_before FROM clients WHERE realm = ? AND id = ?", []any{realm, id}, &notBefore)
		if err != nil {
			return err
		}
		if !found {
			return store.ErrNotFound
		}
		if _, err := t.exec("DELETE FROM clients WHERE realm = ? AND id = ?", realm, id); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM uses WHERE realm = ? AND client_id = ?", realm, id); err != nil {
			return err
		}
		tokens, err := t.tokensOf(realm, id)
		if err != nil {
			return err
		}
		// A token is dated ahead of the clock where NotBefore is ahead or another
		// token was revoked, and where the clock was set back slightly.
		at := max(micros(e.Time), t.latest, notBefore, tokens.notBefore)
		if err := t.endLive(realm, id, &tokens); err != nil {
			return err
		}
		tokens.disabled = true
		if err := t.endAll(&e, &tokens, 0, max(tokens.notBefore, at-at%second+second)); err != nil {
			return err
		}
		if err := t.revoke(realm, id, tokens, longest(e)); err != nil {
			return err
		}
		return t.changed(e)
	})
}

// changed records the event of a change to a client.
func (t *transaction) changed(e counterfoil.Event) error {
	t.changes++
	t.record(&e)
	return nil
}

// Client implements store.Store.
func (s *Store) Client(_ context.Context, realm, id string) (store.Client, error) {
	var packed string
	found, err := s.row(selectClient, []any{clientKey(realm, id), realm, id}, &packed)
	switch {
	case err != nil:
		return store.Client{}, err
	case !found:
		return store.Client{}, store.ErrNotFound
	}
	return unpackClient(realm, id, packed)
}

// clientKey is the key of a client's row. Two clients with the same key could
// not coexist; among ten million, that happens with a probability of one in
// 200,000.
func clientKey(realm, id string) int64 {
	var buf [256]byte
	sum := sha256.Sum256(append(append(append(buf[:0], realm...), 0), id...))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

const selectClient = "SELECT " + packedClient + " FROM clients AS c WHERE key = ? AND realm = ? AND id = ?"

// matches are the conditions on a client that a query may have: text in one of
// its strings, and settings.
const matches = `(?4 = '' OR instr(lower(id), lower(?4)) OR instr(lower(name), lower(?4)) OR rest <> '' AND (
		instr(lower(coalesce(rest ->> '$.contact', '')), lower(?4)) OR
		EXISTS (SELECT 1 FROM json_each(rest, '$.labels') WHERE instr(lower(key || '=' || value), lower(?4)))))
	AND (?5 = '' OR rest <> '' AND rest ->> '$.environment' = ?5)
	AND (?6 IS NULL OR disabled = ?6)`

// Clients implements store.Store.
func (s *Store) Clients(ctx context.Context, q store.ClientQuery) ([]store.Client, error) {
	var disabled any
	if q.Disabled != nil {
		disabled = *q.Disabled
	}
	var clients []store.Client
	err := s.query(ctx, func(rows *sql.Rows) error {
		var id, packed string
		if err := rows.Scan(&id, &packed); err != nil {
			return err
		}
		c, err := unpackClient(q.Realm, id, packed)
		clients = append(clients, c)
		return err
	}, "SELECT id, "+packedClient+" FROM clients AS c WHERE realm = ?1 AND id > ?2 AND "+matches+" ORDER BY id LIMIT ?3",
		q.Realm, q.After, max(q.Limit, 0), q.Search, string(q.Environment), disabled)
	if err != nil {
		return nil, err
	}
	return clients, nil
}

// RecordLastUses implements store.Store.
func (s *Store) RecordLastUses(_ context.Context, uses []store.LastUse) error {
	if len(uses) == 0 {
		return nil
	}
	return s.submit(func(t *transaction) error {
		for _, u := range uses {
			if _, err := t.exec(`INSERT INTO uses SELECT ?1, ?2, ?3, ?4 FROM clients WHERE key = ?5 AND realm = ?1 AND id = ?2
				ON CONFLICT DO UPDATE SET last = max(last, excluded.last)`,
				u.Realm, u.ClientID, u.SecretID, micros(u.Time), clientKey(u.Realm, u.ClientID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastUses implements store.Store.
func (s *Store) LastUses(ctx context.Context, realm, clientID string) ([]store.LastUse, error) {
	var uses []store.LastUse
	err := s.query(ctx, func(rows *sql.Rows) error {
		u := store.LastUse{Realm: realm, ClientID: clientID}
		var last int64
		err := rows.Scan(&u.SecretID, &last)
		u.Time = moment(last)
		uses = append(uses, u)
		return err
	}, "SELECT secret_id, last FROM uses WHERE realm = ? AND client_id = ? ORDER BY secret_id", realm, clientID)
	return uses, err
}
