package relational

import (
	"context"
	"database/sql"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// keyValues are in the order of the columns.
func keyValues(k *store.SigningKey) []any {
	// A nil slice would be NULL.
	public, private := append([]byte{}, k.Public...), append([]byte{}, k.Private.Reveal()...)
	return []any{k.Realm, k.ID, k.Algorithm, micros(k.Created), micros(k.Activates), k.Lifetime.Microseconds(), public, private}
}

// AddSigningKey implements store.Store.
func (s *Store) AddSigningKey(_ context.Context, k store.SigningKey, after string, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		var newest string
		if _, err := t.Row("SELECT id FROM signing_keys WHERE realm = ? AND algorithm = ? "+
			"ORDER BY activates DESC, created DESC, id DESC LIMIT 1", []any{k.Realm, k.Algorithm}, &newest); err != nil {
			return err
		}
		if newest != after {
			return store.ErrConflict
		}
		n, err := t.Exec(`INSERT INTO signing_keys (realm, id, algorithm, created, activates, lifetime, public, private)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, keyValues(&k)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrExists
		}
		t.record(&e)
		return nil
	})
}

// SigningKeys implements store.Store.
func (s *Store) SigningKeys(ctx context.Context, realm string) ([]store.SigningKey, error) {
	var keys []store.SigningKey
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		k := store.SigningKey{Realm: realm}
		var created, activates, lifetime int64
		var private []byte
		err := rows.Scan(&k.ID, &k.Algorithm, &created, &activates, &lifetime, &k.Public, &private)
		k.Created, k.Activates, k.Lifetime = moment(created), moment(activates), time.Duration(lifetime)*time.Microsecond
		k.Private = counterfoil.Secret(private)
		keys = append(keys, k)
		return err
	}, "SELECT id, algorithm, created, activates, lifetime, public, private FROM signing_keys WHERE realm = ? "+
		"ORDER BY activates, created, id", realm)
	return keys, err
}

// UpdateSigningKeys implements store.Store.
func (s *Store) UpdateSigningKeys(_ context.Context, keys []store.SigningKey, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		for _, k := range keys {
			if found, err := t.Row("SELECT 1 FROM signing_keys WHERE realm = ? AND id = ?", []any{k.Realm, k.ID}, new(int64)); err != nil {
				return err
			} else if !found {
				return store.ErrNotFound
			}
		}
		for _, k := range keys {
			if _, err := t.Exec(`UPDATE signing_keys SET algorithm = ?3, created = ?4, activates = ?5, 
				lifetime = greatest(lifetime, ?6), public = ?7,
				private = CASE WHEN length(private) = 0 THEN private ELSE ?8 END
				WHERE realm = ?1 AND id = ?2`, keyValues(&k)...); err != nil {
				return err
			}
		}
		t.record(&e)
		return nil
	})
}

// DeleteSigningKey implements store.Store.
func (s *Store) DeleteSigningKey(_ context.Context, realm, id string, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		n, err := t.Exec("DELETE FROM signing_keys WHERE realm = ? AND id = ?", realm, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrNotFound
		}
		t.record(&e)
		return nil
	})
}
