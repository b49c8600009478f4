// Package postgres stores the server's data in a PostgreSQL database. Use it where
// one machine is not enough, or may not be the only one: any number of servers may
// have the database open at once.
//
// It implements store.Store, with the tables of package sqlite. Each write is
// synced to the database's disk before its call returns; the concurrent writes of
// a server share one transaction, and the transactions of all servers follow one
// another. It works through a pooler that gives each transaction another
// connection, such as PgBouncer, when the URL has
// default_query_exec_mode=exec.
//
// A server whose database cannot be reached goes on once it can: no call waits for
// it longer than a few seconds.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/netip"
	neturl "net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// connectTimeout bounds an attempt to connect where the URL has no
	// connect_timeout.
	connectTimeout = 3 * time.Second
	// lockTimeout is how long a write waits for those of other servers.
	lockTimeout = 3 * time.Second
	// connections are how many a server has open at most, beside the writer's.
	connections = 16
	// pause is how long after a failed attempt to connect the next one is made.
	pause = 250 * time.Millisecond
)

// answerTimeout is how long the database may take to answer: after that, the
// connection is closed. Tests set it.
var answerTimeout atomic.Int64

func init() { answerTimeout.Store(int64(10 * time.Second)) }

// Store is a store.Store in a PostgreSQL database.
type Store struct {
	*relational.Store
	db    *sql.DB
	close func() error
}

var _ store.Store = (*Store)(nil)

// Open opens the database that a URL names, as libpq reads it (postgres://…), and
// makes or upgrades its tables. The password, unless it is empty, takes the place of
// one in the URL. Several hosts may be named: the one that can be written to is used.
// It refuses tables of a newer version, and a database that would lose what it has
// acknowledged. Its errors never hold the password.
func Open(ctx context.Context, url string, password counterfoil.Secret) (*Store, error) {
	config, err := parse(url, password)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", name(config), explain(err))
	}
	return s, nil
}

// Inspection describes a database that was not changed.
type Inspection struct {
	// Migrations is how many Open would apply; New says that there are no tables yet.
	Migrations int
	New        bool
	// Keys are the signing keys of all realms, with Realm, ID and Private only; none
	// when migrations are pending.
	Keys []store.SigningKey
}

// Inspect reads a database without changing it, and refuses what Open refuses.
func Inspect(ctx context.Context, url string, password counterfoil.Secret) (Inspection, error) {
	config, err := parse(url, password)
	if err != nil {
		return Inspection{}, err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	found, err := inspect(ctx, db)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect database %s: %w", name(config), explain(err))
	}
	return found, nil
}

func inspect(ctx context.Context, db *sql.DB) (found Inspection, err error) {
	if err := keepsWrites(ctx, db); err != nil {
		return found, err
	}
	names, err := known()
	if err != nil {
		return found, err
	}
	version, err := applied(ctx, db, names)
	found.Migrations, found.New = len(names)-version, version == 0
	if err != nil || found.Migrations > 0 {
		return found, err
	}
	rows, err := db.QueryContext(ctx, "SELECT realm, id, private FROM signing_keys ORDER BY realm, id")
	if err != nil {
		return found, err
	}
	defer rows.Close()
	for rows.Next() {
		var k store.SigningKey
		var private []byte
		if err := rows.Scan(&k.Realm, &k.ID, &private); err != nil {
			return found, err
		}
		k.Private = counterfoil.Secret(private)
		found.Keys = append(found.Keys, k)
	}
	return found, rows.Err()
}

// CheckURL checks the URL of a database of a server: it holds no password, which is
// given by reference, and connections to other machines are encrypted and verified.
func CheckURL(url string) error {
	config, err := parse(url, "")
	if err != nil {
		return err
	}
	if u, err := neturl.Parse(url); err == nil {
		if _, has := u.User.Password(); has || u.Query().Has("password") {
			return errors.New("the URL holds a password: give a reference to it as database_password")
		}
	}
	for _, c := range append([]*pgconn.FallbackConfig{{Host: config.Host, TLSConfig: config.TLSConfig}}, config.Fallbacks...) {
		if ip, err := netip.ParseAddr(c.Host); c.Host == "localhost" || filepath.IsAbs(c.Host) || err == nil && ip.IsLoopback() {
			continue
		}
		const next = "add sslmode=verify-full, and sslrootcert=FILE for an authority of your own"
		switch t := c.TLSConfig; {
		case t == nil:
			return fmt.Errorf("the connection to %s would not be encrypted: %s", c.Host, next)
		case t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil:
			return fmt.Errorf("the certificate of %s would not be verified: %s", c.Host, next)
		}
	}
	return nil
}

// parse reads a URL.
func parse(url string, password counterfoil.Secret) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// Its own text may hold a part of the password.
		return nil, errors.New("the URL of the database cannot be read: write postgres://USER@HOST:5432/NAME?sslmode=verify-full")
	}
	if password != "" {
		config.Password = password.Reveal()
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &bounded{Conn: conn}, nil
	}
	return config, nil
}

// name names a database in errors and logs.
func name(c *pgx.ConnConfig) string {
	return fmt.Sprintf("postgres://%s/%s", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), c.Database)
}

// bounded is a connection whose peer must go on in time.
type bounded struct{ net.Conn }

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.Conn.SetReadDeadline(clock.System.Now().Add(time.Duration(answerTimeout.Load()))); err != nil {
		return 0, err
	}
	return b.Conn.Read(p)
}

func (b *bounded) Write(p []byte) (int, error) {
	if err := b.Conn.SetWriteDeadline(clock.System.Now().Add(time.Duration(answerTimeout.Load()))); err != nil {
		return 0, err
	}
	return b.Conn.Write(p)
}

func open(ctx context.Context, config *pgx.ConnConfig) (*Store, error) {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := prepare(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	a := &access{db: db, connector: stdlib.GetConnector(*config)}
	a.conn = relational.NewConn(nil, translate, false)
	s := &Store{Store: relational.New(a, dialect), db: db}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(a.conn)
		a.drop()
	}()
	s.close = sync.OnceValue(func() error {
		s.Stop()
		<-ended
		return db.Close()
	})
	return s, nil
}

// Close waits for writes in progress and closes all connections.
func (s *Store) Close() error { return s.close() }

// access is how the tables are written and read.
type access struct {
	db *sql.DB
	// conn is the writer's; raw is its driver's connection, nil for none.
	connector driver.Connector
	conn      *relational.Conn
	raw       *stdlib.Conn
	// failed is when the last attempt to connect failed, and why.
	failed time.Time
	cause  error
}

// Begin implements relational.Backend.
func (a *access) Begin() error {
	if err := a.connect(); err != nil {
		return err
	}
	err := a.run(fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = %d; SELECT 1 FROM totals FOR UPDATE", lockTimeout.Milliseconds()), "SELECT 1")
	if err != nil {
		a.Rollback()
	}
	return err
}

// connect connects the writer, unless it is.
func (a *access) connect() error {
	if a.raw != nil && !a.raw.Conn().IsClosed() {
		return nil
	}
	a.drop()
	if now := clock.System.Now(); a.cause != nil && now.Sub(a.failed) < pause && !now.Before(a.failed) {
		return a.cause // others have just waited for it
	}
	conn, err := a.connector.Connect(context.Background())
	if a.cause = err; err != nil {
		a.failed = clock.System.Now()
		return err
	}
	a.raw = conn.(*stdlib.Conn)
	a.conn.Reset(conn)
	return nil
}

// drop closes the writer's connection.
func (a *access) drop() {
	if a.raw != nil {
		_ = a.raw.Close()
		a.raw = nil
	}
}

// run runs statements without parameters in one round trip, the last of which has
// a result with the tag.
func (a *access) run(statements, tag string) error {
	results, err := a.raw.Conn().PgConn().Exec(context.Background(), statements).ReadAll()
	if err != nil {
		return err
	}
	if got := results[len(results)-1].CommandTag.String(); got != tag {
		return fmt.Errorf("the database answered %s to %s", got, tag)
	}
	return nil
}

// Commit implements relational.Backend.
func (a *access) Commit() error {
	err := a.run("COMMIT", "COMMIT")
	var refused *pgconn.PgError
	if err != nil && a.raw.Conn().IsClosed() && !errors.As(err, &refused) {
		return fmt.Errorf("%w: %w", relational.ErrUnknown, err)
	}
	return err
}

// Rollback implements relational.Backend.
func (a *access) Rollback() {
	if a.raw == nil || a.raw.Conn().IsClosed() || a.run("ROLLBACK", "ROLLBACK") != nil {
		a.drop() // which ends the transaction too
	}
}

// Check implements relational.Backend.
func (*access) Check() error { return nil }

// Explain implements relational.Backend.
func (*access) Explain(err error) error { return explain(err) }

// Row implements relational.Backend.
func (a *access) Row(query string, args []any, into ...any) (found bool, err error) {
	err = a.Query(context.Background(), func(rows *sql.Rows) error {
		found = true
		return rows.Scan(into...)
	}, query, args...)
	return found, err
}

// Query implements relational.Backend.
func (a *access) Query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := a.db.QueryContext(ctx, translate(query), args...)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return explain(rows.Err())
}
