package relational

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// CreateClient implements store.Store.
func (s *Store) CreateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	return s.ChangeClients(ctx, store.ClientChange{Action: store.CreateClient, Client: c, Event: e})
}

// UpdateClient implements store.Store.
func (s *Store) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	return s.ChangeClients(ctx, store.ClientChange{Action: store.UpdateClient, Client: c, Event: e})
}

// DeleteClient implements store.Store.
func (s *Store) DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error {
	return s.ChangeClients(ctx, store.ClientChange{Action: store.DeleteClient, Client: store.Client{Realm: realm, ID: id}, Event: e})
}

// ChangeClients implements store.Store.
func (s *Store) ChangeClients(_ context.Context, changes ...store.ClientChange) error {
	rows := make([]row, len(changes))
	for i := range changes {
		var err error
		if rows[i], err = clientRow(&changes[i].Client); err != nil {
			return err
		}
	}
	return s.submitAt(changes[len(changes)-1].Event.Time, func(t *transaction) error {
		// A write that returns an expected error has written nothing.
		there := make([]present, len(changes))
		for i := range changes {
			var err error
			if there[i], err = t.present(&changes[i], &rows[i]); err != nil {
				return err
			}
		}
		for i := range changes {
			c, row := &changes[i], rows[i] // a copy: it may run again after another write's failure
			var err error
			switch c.Action {
			case store.RequireClient:
				continue
			case store.CreateClient:
				err = t.create(c, &row)
			case store.UpdateClient:
				err = t.update(c, &row, &there[i])
			case store.DeleteClient:
				err = t.remove(c, &there[i])
			}
			if err == nil {
				err = t.changed(c.Event)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// present is what a change finds of its client.
type present struct {
	disabled  bool
	notBefore int64
}

// present returns what there is of the client of a change, or why the change
// cannot be made.
func (t *transaction) present(c *store.ClientChange, row *row) (present, error) {
	var p present
	var version, created int64
	found, err := t.Row("SELECT version, created, disabled, not_before FROM clients WHERE key = ? AND realm = ? AND id = ?",
		[]any{clientKey(row.realm, row.id), row.realm, row.id}, &version, &created, &p.disabled, &p.notBefore)
	switch {
	case err != nil:
		return p, err
	case c.Action == store.CreateClient && found:
		return p, store.ErrExists
	case c.Action == store.CreateClient:
	case !found:
		return p, store.ErrNotFound
	case c.Action == store.DeleteClient && c.Client.Version == 0:
	case version != c.Client.Version || created != row.created:
		return p, store.ErrConflict
	}
	return p, nil
}

func (t *transaction) create(c *store.ClientChange, row *row) error {
	tokens, err := t.tokensOf(row.realm, row.id)
	if err != nil {
		return err
	}
	row.notBefore = max(row.notBefore, tokens.notBefore)
	if _, err := t.Exec(`INSERT INTO clients (key, realm, id, version, disabled, created, changed, not_before,
		scopes, tenants, secrets, api_keys, rest, name)
		VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append([]any{clientKey(row.realm, row.id)}, row.values()...)...); err != nil {
		return err
	}
	if tokens.sequence == 0 {
		return nil
	}
	tokens.disabled, tokens.notBefore = c.Client.Disabled, row.notBefore
	return t.revoke(row.realm, row.id, tokens, 0)
}

func (t *transaction) update(c *store.ClientChange, row *row, was *present) error {
	if was.disabled != c.Client.Disabled || was.notBefore != row.notBefore {
		var err error
		if row.notBefore, err = t.endTokens(&c.Client, &c.Event, was.notBefore, row.notBefore); err != nil {
			return err
		}
	}
	if _, err := t.Exec(`UPDATE clients SET version = version + 1, disabled = ?3, created = ?4, changed = ?5, not_before = ?6,
		scopes = ?7, tenants = ?8, secrets = ?9, api_keys = ?10, rest = ?11, name = ?12 
		WHERE realm = ?1 AND id = ?2`, row.values()...); err != nil {
		return err
	}
	if err := t.keepEnded(&c.Client); err != nil {
		return err
	}
	return t.forgetUses(&c.Client)
}

// keepEnded remembers the credentials that a change has ended.
func (t *transaction) keepEnded(c *store.Client) error {
	for _, e := range c.Ended {
		if _, err := t.Exec("INSERT INTO ended_credentials (realm, client_id, kind, id, value, ended) VALUES (?, ?, ?, ?, ?, ?) "+
			"ON CONFLICT (realm, client_id, kind, id) DO UPDATE SET value = excluded.value, ended = excluded.ended",
			c.Realm, c.ID, e.Kind, e.ID, e.Value, micros(e.Ended)); err != nil {
			return err
		}
	}
	if len(c.Ended) == 0 {
		return nil
	}
	_, err := t.Exec(`DELETE FROM ended_credentials WHERE realm = ?1 AND client_id = ?2 AND (kind, id) NOT IN
		(SELECT kind, id FROM ended_credentials WHERE realm = ?1 AND client_id = ?2 ORDER BY ended DESC, kind, id LIMIT ?3)`,
		c.Realm, c.ID, store.MaxEnded)
	return err
}

func (t *transaction) remove(c *store.ClientChange, was *present) error {
	realm, id, e := c.Client.Realm, c.Client.ID, &c.Event
	if _, err := t.Exec("DELETE FROM clients WHERE realm = ? AND id = ?", realm, id); err != nil {
		return err
	}
	for _, forget := range []string{
		"DELETE FROM uses WHERE realm = ? AND client_id = ?", "DELETE FROM alert_memory WHERE realm = ? AND client_id = ?",
		"DELETE FROM ended_credentials WHERE realm = ? AND client_id = ?",
	} {
		if _, err := t.Exec(forget, realm, id); err != nil {
			return err
		}
	}
	tokens, err := t.tokensOf(realm, id)
	if err != nil {
		return err
	}
	// A token is dated ahead of the clock where NotBefore is ahead or another
	// token was revoked, and where the clock was set back slightly.
	at := max(micros(e.Time), t.latest, was.notBefore, tokens.notBefore)
	if err := t.endLive(realm, id, &tokens); err != nil {
		return err
	}
	tokens.disabled = true
	if err := t.endAll(e, &tokens, 0, max(tokens.notBefore, at-at%second+second)); err != nil {
		return err
	}
	return t.revoke(realm, id, tokens, longest(*e))
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
	_, err := t.Exec("DELETE FROM uses WHERE realm = ? AND client_id = ? AND secret_id NOT IN (?, ?, ?, ?)", c.Realm, c.ID,
		ids[0], ids[1], ids[2], ids[3])
	return err
}

// changed records the event of a change to a client, if it has one.
func (t *transaction) changed(e counterfoil.Event) error {
	t.changes++
	if e.Type != "" {
		t.record(&e)
	}
	return nil
}

// Client implements store.Store.
func (s *Store) Client(_ context.Context, realm, id string) (store.Client, error) {
	var packed string
	found, err := s.backend.Row(selectClient, []any{clientKey(realm, id), realm, id}, &packed)
	switch {
	case err != nil:
		return store.Client{}, err
	case !found:
		return store.Client{}, store.ErrNotFound
	}
	return unpackClient(realm, id, packed)
}

// ClientVersion implements store.Store.
func (s *Store) ClientVersion(_ context.Context, realm, id string) (version int64, at time.Time, err error) {
	var created int64
	found, err := s.backend.Row("SELECT version, created FROM clients WHERE key = ? AND realm = ? AND id = ?",
		[]any{clientKey(realm, id), realm, id}, &version, &created)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return version, moment(created), err
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

// matches adds to the conditions of a dialect. Those of ?10 and ?11 select more than
// they are to, which store.ClientQuery.Narrow leaves out: a secret that does not end
// is a line with 0 at its end.
const matches = ` AND (CASE WHEN {ends} <= ?9 THEN 1 ELSE 0 END = ?8 OR ?8 IS NULL)
	AND (secrets || api_keys <> '' AND NOT EXISTS
		(SELECT 1 FROM uses AS u WHERE u.realm = c.realm AND u.client_id = c.id AND u.last >= ?10) OR ?10 = 0)
	AND ({ends} BETWEEN ?9 AND ?11 OR replace(secrets || api_keys, ' 0' || chr(10), '') LIKE '%' || chr(10) || '%' OR ?11 = 0)`

// errFull ends a query that has found what it was to.
var errFull = errors.New("found enough")

// Clients implements store.Store.
func (s *Store) Clients(ctx context.Context, q store.ClientQuery) ([]store.Client, error) {
	var disabled, expired any
	if q.Disabled != nil {
		disabled = integer(*q.Disabled)
	}
	if q.Expired != nil {
		expired = integer(*q.Expired)
	}
	q.Limit = max(q.Limit, 0)
	limit, narrow := q.Limit, !q.Idle.IsZero() || !q.Ends.IsZero()
	if narrow {
		limit = math.MaxInt64 // it ends when enough clients are found
	}
	var clients []store.Client
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		var id, packed string
		if err := rows.Scan(&id, &packed); err != nil {
			return err
		}
		c, err := unpackClient(q.Realm, id, packed)
		switch {
		case err != nil:
			return err
		case narrow && !q.Narrow(&c):
			return nil
		case len(clients) == q.Limit:
			return errFull
		}
		clients = append(clients, c)
		return nil
	}, "SELECT id, "+packedClient+" FROM clients AS c WHERE realm = ?1 AND id > ?2 AND "+s.matches+" ORDER BY id LIMIT ?3",
		q.Realm, q.After, limit, lowered(q.Search), string(q.Environment), disabled, integer(q.Made), expired, micros(q.Now), micros(q.Idle),
		micros(q.Ends))
	if err != nil && !errors.Is(err, errFull) {
		return nil, err
	}
	return clients, nil
}

// foundBy are the columns with the beginnings of hashes, and indexed how long they
// are.
var foundBy = [...]string{"secret_1", "secret_2", "api_key_1", "api_key_2"}

const indexed = 12

// WithHash is the query of ClientsWithHash, for those who look at its plan. It finds
// the clients of a realm with a hash of that beginning. The index of realms and IDs
// must not be used, which the empty text behind realm prevents.
var WithHash = func() string {
	var each []string
	for _, column := range foundBy {
		each = append(each, "SELECT id, "+packedClient+" FROM clients AS c WHERE "+column+" = ?2 AND realm || '' = ?1")
	}
	return strings.Join(each, " UNION ")
}()

// ClientsWithHash implements store.Store.
func (s *Store) ClientsWithHash(ctx context.Context, realm, value string, limit int) ([]store.Client, error) {
	begins, ok := strings.CutPrefix(value, "sha256:")
	if !ok || len(begins) < indexed {
		return nil, nil
	}
	var clients []store.Client
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		var id, packed string
		if err := rows.Scan(&id, &packed); err != nil {
			return err
		}
		c, err := unpackClient(realm, id, packed)
		if slices.ContainsFunc(slices.Concat(c.Secrets, c.APIKeys), func(h store.SecretHash) bool { return h.Value == value }) {
			clients = append(clients, c)
		}
		return err
	}, WithHash+" ORDER BY id LIMIT ?3", realm, begins[:indexed], max(limit, 0))
	return clients, err
}

// RecordLastUses implements store.Store.
func (s *Store) RecordLastUses(_ context.Context, uses []store.LastUse) error {
	if len(uses) == 0 {
		return nil
	}
	return s.submit(func(t *transaction) error {
		for _, u := range uses {
			if _, err := t.Exec(`INSERT INTO uses SELECT ?1, ?2, ?3, ?4 FROM clients WHERE key = ?5 AND realm = ?1 AND id = ?2
				ON CONFLICT (realm, client_id, secret_id) DO UPDATE SET last = greatest(uses.last, excluded.last)`,
				u.Realm, u.ClientID, u.SecretID, micros(u.Time), clientKey(u.Realm, u.ClientID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastUses implements store.Store.
func (s *Store) LastUses(ctx context.Context, realm string, clientIDs ...string) ([]store.LastUse, error) {
	ids, err := json.Marshal(clientIDs)
	if err != nil {
		return nil, err
	}
	var uses []store.LastUse
	err = s.backend.Query(ctx, func(rows *sql.Rows) error {
		u := store.LastUse{Realm: realm}
		var last int64
		err := rows.Scan(&u.ClientID, &u.SecretID, &last)
		u.Time = moment(last)
		uses = append(uses, u)
		return err
	}, "SELECT client_id, secret_id, last FROM uses WHERE realm = ?1 AND client_id IN ("+s.dialect.Elements+") "+
		"ORDER BY client_id, secret_id", realm, string(ids))
	return uses, err
}

// EndedCredentials implements store.Store.
func (s *Store) EndedCredentials(ctx context.Context, realm, clientID string, at time.Time) (all []store.EndedCredential, err error) {
	var secrets, apiKeys string
	if _, err := s.backend.Row("SELECT secrets, api_keys FROM clients WHERE key = ? AND realm = ? AND id = ?",
		[]any{clientKey(realm, clientID), realm, clientID}, &secrets, &apiKeys); err != nil {
		return nil, err
	}
	for _, of := range [][2]string{{store.EndedSecret, secrets}, {store.EndedAPIKey, apiKeys}} {
		hashes, err := splitHashes(of[1])
		if err != nil {
			return nil, err
		}
		for i := range hashes {
			if h := &hashes[i]; !h.AcceptedAt(at) {
				all = append(all, store.EndedCredential{Kind: of[0], ID: h.ID, Value: h.Value, Ended: h.Expires})
			}
		}
	}
	err = s.backend.Query(ctx, func(rows *sql.Rows) error {
		var e store.EndedCredential
		var ended int64
		err := rows.Scan(&e.Kind, &e.ID, &e.Value, &ended)
		e.Ended = moment(ended)
		all = append(all, e)
		return err
	}, "SELECT kind, id, value, ended FROM ended_credentials WHERE realm = ? AND client_id = ? ORDER BY ended DESC, kind, id", realm, clientID)
	return all, err
}
