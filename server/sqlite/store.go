package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
)

// Store is a server.Store in a SQLite file.
type Store struct {
	db           *sql.DB
	client, live *sql.Stmt
	writes       chan write
	closing      chan struct{}
	closed       chan struct{}
	close        func() error
	keep         atomic.Int64
}

var _ server.Store = (*Store)(nil)

const (
	eventColumns  = "time, type, realm, client_id, success, reason, actor, token_id, address, user_agent, detail"
	clientColumns = "realm, id, version, name, scopes, tenants, disabled, created, changed, secrets, api_keys"
	// packedClient is the row in one column, which is read in half the time of
	// many. The name, which may hold anything, is the last of its parts.
	packedClient = "concat_ws(char(31), version, disabled, created, changed, scopes, tenants, secrets, api_keys, name)"
	insertEvent  = "INSERT INTO events (" + eventColumns + ", stranger) "
)

func newStore(ctx context.Context, db *sql.DB) (*Store, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, writes: make(chan write), closing: make(chan struct{}), closed: make(chan struct{})}
	s.KeepRefusals(server.KeptRefusals)
	t := &transaction{Conn: conn}
	prepare := func(on interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}, into **sql.Stmt, query string) {
		if err == nil {
			*into, err = on.PrepareContext(ctx, query)
		}
	}
	prepare(db, &s.client, "SELECT "+packedClient+" FROM clients WHERE realm = ? AND id = ?")
	prepare(db, &s.live, "SELECT token_id FROM live_tokens WHERE realm = ? AND client_id = ?")
	prepare(conn, &t.begin, "BEGIN IMMEDIATE")
	prepare(conn, &t.commit, "COMMIT")
	prepare(conn, &t.rollback, "ROLLBACK")
	prepare(conn, &t.refused, insertEvent+"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
	prepare(conn, &t.issued, insertEvent+"SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0 FROM clients WHERE realm = ?3 AND id = ?4 AND disabled = 0")
	prepare(conn, &t.replaced, "INSERT INTO live_tokens VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET token_id = ?3")
	if err != nil {
		return nil, err
	}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		<-s.closed
		// A connection with a statement left stays open: SQLite would not empty
		// the log into the file.
		return errors.Join(s.client.Close(), s.live.Close(), t.close(), db.Close())
	})
	go s.run(t)
	return s, nil
}

// DB is the database itself, for other tables in the same file. Transactions on
// it hold the writer up: keep them short. Close ends it.
func (s *Store) DB() *sql.DB { return s.db }

// KeepRefusals sets how many records of refused strangers are kept.
func (s *Store) KeepRefusals(n int64) { s.keep.Store(n) }

// Close waits for writes under way and closes the file. When no other process
// has it open, all is in the one file then.
func (s *Store) Close() error { return s.close() }

// CreateClient implements server.Store.
func (s *Store) CreateClient(_ context.Context, c server.Client, e counterfoil.Event) error {
	c.Version = 1
	return s.submit(func(ctx context.Context, t *transaction) error {
		err := t.one(ctx, server.ErrExists, "INSERT INTO clients ("+clientColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", clientRow(&c)...)
		if err != nil {
			return err
		}
		return t.record(ctx, e, false)
	})
}

// UpdateClient implements server.Store.
func (s *Store) UpdateClient(_ context.Context, c server.Client, e counterfoil.Event) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		err := t.one(ctx, server.ErrConflict, `UPDATE clients SET version = ?3 + 1, name = ?4, scopes = ?5, tenants = ?6, disabled = ?7,
			created = ?8, changed = ?9, secrets = ?10, api_keys = ?11 WHERE realm = ?1 AND id = ?2 AND version = ?3`, clientRow(&c)...)
		if errors.Is(err, server.ErrConflict) {
			return t.missing(ctx, c.Realm, c.ID)
		}
		if err == nil && c.Disabled {
			_, err = t.ExecContext(ctx, "DELETE FROM live_tokens WHERE realm = ? AND client_id = ?", c.Realm, c.ID)
		}
		if err != nil {
			return err
		}
		return t.record(ctx, e, false)
	})
}

// missing tells why an update found no client of its version.
func (t *transaction) missing(ctx context.Context, realm, id string) error {
	var n int
	err := t.QueryRowContext(ctx, "SELECT count(*) FROM clients WHERE realm = ? AND id = ?", realm, id).Scan(&n)
	switch {
	case err != nil:
		return err
	case n == 0:
		return server.ErrNotFound
	}
	return server.ErrConflict
}

// DeleteClient implements server.Store.
func (s *Store) DeleteClient(_ context.Context, realm, id string, e counterfoil.Event) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		if err := t.one(ctx, server.ErrNotFound, "DELETE FROM clients WHERE realm = ? AND id = ?", realm, id); err != nil {
			return err
		}
		return t.record(ctx, e, false)
	})
}

// RecordIssued implements server.Store.
func (s *Store) RecordIssued(_ context.Context, e counterfoil.Event, replace bool) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		row := eventRow(&e)
		if err := affected(server.ErrNotFound)(t.issued.ExecContext(ctx, row[:]...)); err != nil || !replace {
			return err
		}
		_, err := t.replaced.ExecContext(ctx, e.Realm, e.ClientID, e.TokenID)
		return err
	})
}

// RecordRefused implements server.Store.
func (s *Store) RecordRefused(_ context.Context, e counterfoil.Event, stranger bool) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		if stranger {
			t.strangers++
		}
		return t.record(ctx, e, stranger)
	})
}

func (t *transaction) record(ctx context.Context, e counterfoil.Event, stranger bool) error {
	row := eventRow(&e)
	_, err := t.refused.ExecContext(ctx, append(row[:], stranger)...)
	return err
}

// one runs a statement that changes one row, and returns otherwise when it
// changes none.
func (t *transaction) one(ctx context.Context, otherwise error, query string, args ...any) error {
	return affected(otherwise)(t.ExecContext(ctx, query, args...))
}

func affected(otherwise error) func(sql.Result, error) error {
	return func(r sql.Result, err error) error {
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return otherwise
	}
}

// Client implements server.Store.
func (s *Store) Client(ctx context.Context, realm, id string) (server.Client, error) {
	// A lookup by key is over sooner than a goroutine that watches the context
	// would start.
	var packed string
	err := s.client.QueryRowContext(context.WithoutCancel(ctx), realm, id).Scan(&packed)
	if errors.Is(err, sql.ErrNoRows) {
		return server.Client{}, server.ErrNotFound
	}
	if err != nil {
		return server.Client{}, err
	}
	return unpackClient(realm, id, packed)
}

// LiveToken implements server.Store.
func (s *Store) LiveToken(ctx context.Context, realm, clientID string) (string, error) {
	var id string
	err := s.live.QueryRowContext(context.WithoutCancel(ctx), realm, clientID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", server.ErrNotFound
	}
	return id, err
}

// Clients implements server.Store.
func (s *Store) Clients(ctx context.Context, realm, after string, limit int) ([]server.Client, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, "+packedClient+" FROM clients WHERE realm = ? AND id > ? ORDER BY id LIMIT ?", realm, after, max(limit, 0))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var clients []server.Client
	for rows.Next() {
		var id, packed string
		if err := rows.Scan(&id, &packed); err != nil {
			return nil, err
		}
		c, err := unpackClient(realm, id, packed)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, rows.Err()
}

// AddSigningKey implements server.Store.
func (s *Store) AddSigningKey(_ context.Context, k server.SigningKey) error {
	return s.submit(func(ctx context.Context, t *transaction) error {
		return t.one(ctx, server.ErrExists, `INSERT INTO signing_keys (realm, id, algorithm, created, active, pkcs8)
			VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT DO NOTHING`, k.Realm, k.ID, k.Algorithm, micros(k.Created), []byte(k.PKCS8.Reveal()))
	})
}

// SigningKeys implements server.Store.
func (s *Store) SigningKeys(ctx context.Context, realm string) ([]server.SigningKey, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, algorithm, created, pkcs8 FROM signing_keys WHERE realm = ? ORDER BY created, id", realm)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []server.SigningKey
	for rows.Next() {
		k := server.SigningKey{Realm: realm}
		var created int64
		var der []byte
		if err := rows.Scan(&k.ID, &k.Algorithm, &created, &der); err != nil {
			return nil, err
		}
		k.Created, k.PKCS8 = moment(created), counterfoil.Secret(der)
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// Events implements server.Store.
func (s *Store) Events(ctx context.Context, after int64, limit int) (server.EventPage, error) {
	var page server.EventPage
	if err := s.db.QueryRowContext(ctx, "SELECT evicted FROM event_totals").Scan(&page.Evicted); err != nil {
		return page, err
	}
	rows, err := s.db.QueryContext(ctx, "SELECT sequence, "+eventColumns+" FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", after, max(limit, 0))
	if err != nil {
		return page, err
	}
	defer rows.Close()
	for rows.Next() {
		var e server.RecordedEvent
		var at int64
		if err := rows.Scan(&e.Sequence, &at, &e.Type, &e.Realm, &e.ClientID, &e.Success, &e.Reason, &e.Actor, &e.TokenID, &e.Address, &e.UserAgent, &e.Detail); err != nil {
			return page, err
		}
		e.Time = moment(at)
		page.Events = append(page.Events, e)
	}
	return page, rows.Err()
}

// eventRow returns the values of eventColumns, with room for one more.
func eventRow(e *counterfoil.Event) []any {
	row := make([]any, 0, 12)
	return append(row, micros(e.Time), e.Type, e.Realm, e.ClientID, e.Success, string(e.Reason), e.Actor, e.TokenID, e.Address, e.UserAgent, e.Detail)
}

// clientRow returns the values of clientColumns.
func clientRow(c *server.Client) []any {
	return []any{
		c.Realm, c.ID, c.Version, c.Name, c.Scopes.String(), strings.Join(c.Tenants, "\n"), c.Disabled,
		micros(c.Created), micros(c.Changed), joinHashes(c.Secrets), joinHashes(c.APIKeys),
	}
}

func unpackClient(realm, id, packed string) (server.Client, error) {
	parts := strings.SplitN(packed, "\x1f", 9)
	if len(parts) != 9 {
		return server.Client{}, errDamaged
	}
	c := server.Client{Realm: realm, ID: id, Disabled: parts[1] != "0", Name: parts[8]}
	var err, err2, err3 error
	c.Version, err = strconv.ParseInt(parts[0], 10, 64)
	c.Created, err2 = parseMoment(parts[2])
	c.Changed, err3 = parseMoment(parts[3])
	if err != nil || err2 != nil || err3 != nil {
		return server.Client{}, errDamaged
	}
	if parts[4] != "" {
		c.Scopes = strings.Split(parts[4], " ")
	}
	if parts[5] != "" {
		c.Tenants = strings.Split(parts[5], "\n")
	}
	if c.Secrets, err = splitHashes(parts[6]); err == nil {
		c.APIKeys, err = splitHashes(parts[7])
	}
	return c, err
}

func joinHashes(hashes []server.Hash) string {
	var lines []byte
	for _, h := range hashes {
		lines = fmt.Appendf(lines, "%s %d %d\n", h.Value, micros(h.Created), micros(h.Ends))
	}
	return string(lines)
}

func splitHashes(lines string) ([]server.Hash, error) {
	var hashes []server.Hash
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		value, times, _ := strings.Cut(line, " ")
		created, ends, _ := strings.Cut(times, " ")
		h := server.Hash{Value: value}
		var err, err2 error
		h.Created, err = parseMoment(created)
		h.Ends, err2 = parseMoment(ends)
		if err != nil || err2 != nil {
			return nil, errDamaged
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// micros is the form of a time in the database; 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func parseMoment(s string) (time.Time, error) {
	us, err := strconv.ParseInt(s, 10, 64)
	return moment(us), err
}
