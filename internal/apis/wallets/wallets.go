// Package wallets is A55's core API as a reference API: REST, and rows that
// belong to clients. Use it to see each client get its own data behind a guard,
// or to try a client that was written for the real API.
//
// Below its mount point it serves
//
//	GET /                        an index of what is there
//	GET /wallets                 a page of the client's wallets
//	GET /wallets/{id}            one wallet
//	GET /wallets/{id}/movements  a page of its movements, latest first
//
// Lists take the query parameters page (from 1) and size (1 to 100, 20 when
// left out); movements also from and to, days in UTC as 2026-03-17, both
// included.
//
// A request sees the wallets of its Principal's client only, which Provider and
// ClientID identify together: another client's wallet, including that of a
// client with the same id at another provider, and one that does not exist are
// answered alike. A file to import names both, as "provider" and "clientId" (see
// [API.Import]).
//
// Amounts are integers in the currency's minor unit, within an int64 and never
// rounded; a wallet's balance is the sum of its movements. The package's Go API
// may change.
package wallets

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
)

// Config is the configuration of an API.
type Config struct {
	// DB holds the rows; [apis.Prepare] prepares it. Required.
	DB *sql.DB
	// Log receives the failures that callers are not shown; nil means
	// slog.Default().
	Log *slog.Logger
}

// API is the wallets API.
type API struct {
	db  *sql.DB
	cfg Config
}

var _ apis.API = (*API)(nil)

// New returns the API over cfg's database.
func New(cfg Config) *API { return &API{db: cfg.DB, cfg: cfg} }

// Name is "wallets".
func (*API) Name() string { return "wallets" }

// Explorer is nil: the API has no page for people.
func (*API) Explorer() http.Handler { return nil }

// Schema makes the two tables. Times are in UTC to the second, so that they
// sort as text; seq is a movement's place in its wallet, from 1.
func (*API) Schema() string {
	return `CREATE TABLE IF NOT EXISTS wallets_wallet (
	id         TEXT PRIMARY KEY,
	provider   TEXT NOT NULL,
	client_id  TEXT NOT NULL,
	name       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	currency   TEXT NOT NULL,
	balance    BIGINT NOT NULL,
	available  BIGINT NOT NULL,
	status     TEXT NOT NULL,
	opened_at  TEXT NOT NULL,
	updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS wallets_wallet_by_owner ON wallets_wallet (provider, client_id, name, id);
CREATE TABLE IF NOT EXISTS wallets_movement (
	id            TEXT PRIMARY KEY,
	wallet_id     TEXT NOT NULL,
	seq           BIGINT NOT NULL,
	booked_at     TEXT NOT NULL,
	amount        BIGINT NOT NULL,
	balance_after BIGINT NOT NULL,
	kind          TEXT NOT NULL,
	counterparty  TEXT NOT NULL,
	description   TEXT NOT NULL,
	reference     TEXT NOT NULL,
	UNIQUE (wallet_id, seq)
);
CREATE INDEX IF NOT EXISTS wallets_movement_by_day ON wallets_movement (wallet_id, booked_at);`
}

// Handler serves the API.
func (a *API) Handler() http.Handler {
	return rest.Handler(a.cfg.Log,
		rest.Route{Method: http.MethodGet, Path: "/{$}", Serve: a.index},
		rest.Route{Method: http.MethodGet, Path: "/wallets", Serve: a.list},
		rest.Route{Method: http.MethodGet, Path: "/wallets/{id}", Serve: a.one},
		rest.Route{Method: http.MethodGet, Path: "/wallets/{id}/movements", Serve: a.movements},
	)
}

// Index is the answer of GET /.
type Index struct {
	Name      string     `json:"name"`
	Resources []Resource `json:"resources"`
}

// Resource is something that the API serves, at a path relative to the index.
type Resource struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

func (a *API) index(r *http.Request, _ *counterfoil.Principal) (any, error) {
	if _, err := rest.Query(r); err != nil {
		return nil, err
	}
	return Index{"wallets", []Resource{
		{"wallets", "wallets"},
		{"wallet", "wallets/{id}"},
		{"movements", "wallets/{id}/movements"},
	}}, nil
}

// Page is a part of a list, and which part.
type Page[T any] struct {
	Page int64 `json:"page"`
	Size int64 `json:"size"`
	rest.List[T]
}

// list answers a page of the client's wallets by their name.
func (a *API) list(r *http.Request, p *counterfoil.Principal) (any, error) {
	if err := needClient(p); err != nil {
		return nil, err
	}
	query, err := rest.Query(r, "page", "size")
	if err != nil {
		return nil, err
	}
	return answerPage(r, a.db, query, rest.Selection{
		Columns: walletColumns,
		From:    "wallets_wallet WHERE provider = ? AND client_id = ?",
		Order:   "name, id",
		Args:    []any{p.Provider, p.ClientID},
	}, scanWallet)
}

// one answers one wallet of the client.
func (a *API) one(r *http.Request, p *counterfoil.Principal) (any, error) {
	if _, err := rest.Query(r); err != nil {
		return nil, err
	}
	return a.wallet(r, p)
}

// movements answers a page of what happened in one wallet of the client.
func (a *API) movements(r *http.Request, p *counterfoil.Principal) (any, error) {
	query, err := rest.Query(r, "page", "size", "from", "to")
	if err != nil {
		return nil, err
	}
	wallet, err := a.wallet(r, p)
	if err != nil {
		return nil, err
	}
	s := rest.Selection{
		Columns: movementColumns,
		From:    "wallets_movement WHERE wallet_id = ?",
		Order:   "seq DESC",
		Args:    []any{wallet.ID},
	}
	from, to, err := days(query)
	if err != nil {
		return nil, err
	}
	if from != "" {
		s.From += " AND booked_at >= ?"
		s.Args = append(s.Args, from+"T00:00:00Z")
	}
	if to != "" {
		s.From += " AND booked_at <= ?"
		s.Args = append(s.Args, to+"T23:59:59Z")
	}
	return answerPage(r, a.db, query, s, scanMovement)
}

// wallet reads the wallet in the path, if it is the client's.
func (a *API) wallet(r *http.Request, p *counterfoil.Principal) (Wallet, error) {
	if err := needClient(p); err != nil {
		return Wallet{}, err
	}
	id, err := rest.ParseID(r.PathValue("id"))
	if err != nil {
		return Wallet{}, rest.Refuse(http.StatusBadRequest, rest.InvalidRequest, "the wallet's id is %v", err)
	}
	row := a.db.QueryRowContext(r.Context(), `SELECT `+walletColumns+` FROM wallets_wallet WHERE provider = ? AND client_id = ? AND id = ?`,
		p.Provider, p.ClientID, id)
	wallet, err := scanWallet(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return wallet, rest.Refuse(http.StatusNotFound, rest.NotFound, "there is no wallet with this id")
	}
	return wallet, err
}

// needClient refuses a principal without a provider or a client id: rows belong
// to both.
func needClient(p *counterfoil.Principal) error {
	if p.Provider == "" || p.ClientID == "" {
		return rest.Refuse(
			http.StatusForbidden, "MISSING_CLIENT",
			"this API answers for a client, and the request was let through without one",
		)
	}
	return nil
}

// days returns the bounds of the date range; empty means no bound.
func days(query url.Values) (from, to string, err error) {
	for _, name := range []string{"from", "to"} {
		if _, err := time.Parse(time.DateOnly, query.Get(name)); err != nil && query.Has(name) {
			return "", "", rest.Refuse(http.StatusBadRequest, rest.InvalidRequest, "%s must be a day such as 2026-03-17", name)
		}
	}
	from, to = query.Get("from"), query.Get("to")
	if from != "" && to != "" && from > to {
		return "", "", rest.Refuse(http.StatusBadRequest, rest.InvalidRequest, "from must not be after to")
	}
	return from, to, nil
}

func answerPage[T any](
	r *http.Request, db *sql.DB, query url.Values, s rest.Selection, scan func(func(...any) error) (T, error),
) (any, error) {
	page, err := rest.ParsePage(query, "page", "size")
	if err != nil {
		return nil, err
	}
	list, err := rest.Select(r.Context(), db, s, page, scan)
	return Page[T]{Page: page.Number, Size: page.Size, List: list}, err
}

// replaceAll empties the tables and returns a function that adds a wallet with
// its movements.
func replaceAll(ctx context.Context, tx *sql.Tx) (add func(*account) error, err error) {
	for _, table := range []string{"wallets_movement", "wallets_wallet"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table); err != nil {
			return nil, fmt.Errorf("wallets: remove the old rows: %w", err)
		}
	}
	wallet, err := tx.PrepareContext(
		ctx,
		`INSERT INTO wallets_wallet (provider, client_id, `+walletColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	)
	if err != nil {
		return nil, fmt.Errorf("wallets: add wallets: %w", err)
	}
	movement, err := tx.PrepareContext(
		ctx,
		`INSERT INTO wallets_movement (wallet_id, seq, `+movementColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	)
	if err != nil {
		return nil, fmt.Errorf("wallets: add movements: %w", err)
	}
	return func(a *account) error { // the statements end with tx
		_, err := wallet.ExecContext(
			ctx, a.Owner.Provider, a.Owner.ClientID, a.ID, a.Name, a.Kind, a.Currency, a.Balance, a.Available,
			a.Status, sortable(a.OpenedAt), sortable(a.UpdatedAt),
		)
		if err != nil {
			return fmt.Errorf("add wallet %s: %w", a.ID, err)
		}
		for i, m := range a.Movements {
			_, err := movement.ExecContext(
				ctx, a.ID, i+1, m.ID, sortable(m.BookedAt), m.Amount, m.BalanceAfter, m.Kind, m.Counterparty,
				m.Description, m.Reference,
			)
			if err != nil {
				return fmt.Errorf("add movement %s: %w", m.ID, err)
			}
		}
		return nil
	}, nil
}
