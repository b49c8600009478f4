// Package apis is the common part of the four reference APIs: the rows that each
// keeps in the shared database, where those rows come from, and how a file
// replaces them. The APIs themselves are the packages below it: calendar,
// profiles, events and wallets.
//
// An API uses a [counterfoil.Principal], and does not import the guard that put
// it into the request's context; a request without one is refused.
package apis

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// API is one reference API. Its methods are safe for concurrent use.
type API interface {
	// Name is the identifier of the API in provider descriptions and on the
	// command line: "calendar", "profiles", "events" or "wallets".
	Name() string
	// Schema is the SQL that makes its tables where they do not exist. Every
	// table's name starts with the API's name and an underscore.
	Schema() string
	// Handler serves the API. Paths are below the API's mount point: "/" is the
	// GraphQL endpoint itself or the index of a REST API.
	Handler() http.Handler
	// Explorer serves the page for people and its assets, below its own mount
	// point; nil when the API has none.
	Explorer() http.Handler
	// Reference replaces all rows by the reference data of a day and returns
	// how many there are. The same Reference always gives the same rows.
	Reference(ctx context.Context, tx *sql.Tx, ref Reference) (int, error)
	// Import replaces all rows by those of r, which is JSON Lines. An error about
	// a row is a *RowError. The transaction makes it all or nothing.
	Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error)
}

// Serves reports whether an API's handler has a resource at the path of a
// request, whatever its method. If not, the only thing that matters about the
// request is its sender.
func Serves(h http.Handler, r *http.Request) bool {
	s, ok := h.(interface{ Serves(r *http.Request) bool })
	return !ok || s.Serves(r)
}

// Reference is the input of the reference data.
type Reference struct {
	// Day is midnight UTC of the day that the dates of the rows are relative to.
	// The identifiers of rows do not depend on it.
	Day time.Time
	// Owners are the owners that rows are made for. Each client gets rows of the
	// kind that belong to clients. Each tenant gets a third of a set of the rows
	// that belong to tenants; the others belong to two more tenants of the same
	// provider. It may be empty: rows that have owners are then not made. The
	// order determines the rows' identifiers.
	Owners []Owner
}

// Owner is the owner of a row. Names of clients and of tenants are unique within
// their provider only: the same ClientID of another Provider is another client.
type Owner struct {
	// Provider is the Principal's Provider. Required.
	Provider string
	// ClientID owns rows together with Provider; empty for no client.
	ClientID string
	// Tenant owns rows together with Provider; empty where the provider has no
	// tenants.
	Tenant string
}

// Clients returns the owners of rows that belong to clients: each Provider and
// ClientID once, in order, without their Tenant.
func (r Reference) Clients() []Owner {
	return r.owners(func(o Owner) (Owner, bool) {
		return Owner{Provider: o.Provider, ClientID: o.ClientID}, o.ClientID != ""
	})
}

// Tenants returns the owners of rows that belong to tenants: each Provider and
// Tenant once, in order, without their ClientID.
func (r Reference) Tenants() []Owner {
	return r.owners(func(o Owner) (Owner, bool) { return Owner{Provider: o.Provider, Tenant: o.Tenant}, o.Tenant != "" })
}

func (r Reference) owners(part func(Owner) (Owner, bool)) []Owner {
	var found []Owner
	for _, o := range r.Owners {
		if p, ok := part(o); ok && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	return found
}

// ErrEmpty is returned for a file without rows.
var ErrEmpty = errors.New("the file has no rows")

const datasets = `CREATE TABLE IF NOT EXISTS api_datasets (
	api    TEXT PRIMARY KEY,
	source TEXT NOT NULL, -- 'reference' or 'import'
	basis  TEXT NOT NULL, -- what reference rows were made from: see Reference
	rows   INTEGER NOT NULL
)`

// basis identifies a Reference.
func (r Reference) basis() string {
	return fmt.Sprintf("%s %q", r.Day.UTC().Format(time.DateOnly), r.Owners)
}

// Prepare makes the tables of api and fills them with the reference data of ref.
// Imported rows are unchanged; reference rows of another day are made again, so
// that there are always past and upcoming dates, and so are those of other
// owners. An owner without a Provider is refused.
func Prepare(ctx context.Context, db *sql.DB, api API, ref Reference) error {
	if slices.ContainsFunc(ref.Owners, func(o Owner) bool { return o.Provider == "" }) {
		return fmt.Errorf("%s: an owner of reference data has no provider: set Owner.Provider", api.Name())
	}
	return replace(ctx, db, api, "reference", ref.basis(), func(tx *sql.Tx) (int, error) {
		var source, basis string
		err := tx.QueryRowContext(ctx, `SELECT source, basis FROM api_datasets WHERE api = ?`, api.Name()).Scan(&source, &basis)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return 0, err
		case source != "reference" || basis == ref.basis():
			return 0, errKeep
		}
		return api.Reference(ctx, tx, ref)
	})
}

// Import replaces the rows of api with those of r, all or nothing, and returns
// how many there are now. A file without rows is refused: it is more likely a
// failed generator than a request for an empty API.
func Import(ctx context.Context, db *sql.DB, api API, r io.Reader) (n int, err error) {
	err = replace(ctx, db, api, "import", "", func(tx *sql.Tx) (int, error) {
		n, err = api.Import(ctx, tx, r)
		if err == nil && n == 0 {
			err = ErrEmpty
		}
		return n, err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// errKeep ends a replacement that has nothing to replace.
var errKeep = errors.New("keep the rows")

func replace(ctx context.Context, db *sql.DB, api API, source, basis string, fill func(*sql.Tx) (int, error)) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", api.Name(), err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, datasets); err != nil {
		return fmt.Errorf("%s: make table: %w", api.Name(), err)
	}
	if _, err := tx.ExecContext(ctx, api.Schema()); err != nil {
		return fmt.Errorf("%s: make tables: %w", api.Name(), err)
	}
	rows, err := fill(tx)
	if errors.Is(err, errKeep) {
		return tx.Commit()
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO api_datasets (api, source, basis, rows) VALUES (?, ?, ?, ?)
		ON CONFLICT (api) DO UPDATE SET source = excluded.source, basis = excluded.basis, rows = excluded.rows`,
		api.Name(), source, basis, rows)
	if err != nil {
		return fmt.Errorf("%s: note the data set: %w", api.Name(), err)
	}
	return tx.Commit()
}
