// Package events is Engagifii's Events API as a reference API: REST, and rows
// that belong to tenants. Use it to see tenant isolation at work behind a
// guard, or to try a client that was written for the real API.
//
// Below its mount point it serves
//
//	POST /event/list   a page of events, by a JSON filter (see Filter)
//	GET  /event/{id}   one event
//
// A request sees the rows of its Principal's tenant only, which Provider and
// Tenant identify together: another tenant's event, including that of a tenant
// with the same name at another provider, and one that does not exist are
// answered alike. A file to import names both, as "provider" and "tenant" (see
// [API.Import]). The package's Go API may change.
package events

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Config is the configuration of an API.
type Config struct {
	// DB holds the rows; [apis.Prepare] prepares it. Required.
	DB *sql.DB
	// Clock determines which events are upcoming; nil means the machine's.
	Clock clock.Clock
	// Log receives the failures that callers are not shown; nil means
	// slog.Default().
	Log *slog.Logger
}

// API is the Events API.
type API struct {
	db  *sql.DB
	cfg Config
}

var _ apis.API = (*API)(nil)

// New returns the API over cfg's database.
func New(cfg Config) *API {
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	return &API{db: cfg.DB, cfg: cfg}
}

// Name is "events".
func (*API) Name() string { return "events" }

// Explorer is nil: the API has no page for people.
func (*API) Explorer() http.Handler { return nil }

// Schema makes the one table. A row is the event as it is answered, with the
// columns for lookups; times there are in UTC, so that they sort as text.
func (*API) Schema() string {
	return `CREATE TABLE IF NOT EXISTS events_event (
	id        TEXT PRIMARY KEY,
	provider  TEXT NOT NULL,
	tenant    TEXT NOT NULL,
	starts_at TEXT NOT NULL,
	search    TEXT NOT NULL, -- what SearchText looks at, in lower case
	body      TEXT NOT NULL  -- the Event in JSON
);
CREATE INDEX IF NOT EXISTS events_event_by_start ON events_event (provider, tenant, starts_at, id);`
}

// Handler serves the API.
func (a *API) Handler() http.Handler {
	return rest.Handler(a.cfg.Log,
		rest.Route{Method: http.MethodPost, Path: "/event/list", Serve: a.list},
		rest.Route{Method: http.MethodGet, Path: "/event/{id}", Serve: a.one},
	)
}

// Filter is the body of POST /event/list. Every field may be left out.
type Filter struct {
	// PageNumber counts from 1, the default. A page past the end is empty.
	PageNumber *int64 `json:"PageNumber"`
	// PageSize is from 1 to 100; 20 when left out.
	PageSize *int64 `json:"PageSize"`
	// OnlyUpcoming leaves out events that have started.
	OnlyUpcoming bool `json:"OnlyUpcoming"`
	// SearchText leaves only events with this text, in any case, in their
	// name, description, categories, venue or city; at most 100 characters.
	SearchText string `json:"SearchText"`
}

// maxSearch bounds SearchText, in characters.
const maxSearch = 100

// list answers a page of the tenant's events by their start.
func (a *API) list(r *http.Request, p *counterfoil.Principal) (any, error) {
	if err := needTenant(p); err != nil {
		return nil, err
	}
	if _, err := rest.Query(r); err != nil {
		return nil, err
	}
	var filter Filter
	if err := rest.Body(r, &filter); err != nil {
		return nil, err
	}
	page, err := rest.NewPage(filter.PageNumber, filter.PageSize, "PageNumber", "PageSize")
	if err != nil {
		return nil, err
	}
	s := rest.Selection{
		Columns: "body",
		From:    "events_event WHERE provider = ? AND tenant = ?",
		Order:   "starts_at, id",
		Args:    []any{p.Provider, p.Tenant},
	}
	if filter.OnlyUpcoming {
		s.From += " AND starts_at >= ?"
		s.Args = append(s.Args, sortable(a.cfg.Clock.Now()))
	}
	if filter.SearchText != "" {
		pattern, err := searchPattern(filter.SearchText)
		if err != nil {
			return nil, err
		}
		s.From += ` AND search LIKE ? ESCAPE '\'`
		s.Args = append(s.Args, pattern)
	}
	return rest.Select(r.Context(), a.db, s, page, scan)
}

// one answers one event of the tenant.
func (a *API) one(r *http.Request, p *counterfoil.Principal) (any, error) {
	if err := needTenant(p); err != nil {
		return nil, err
	}
	if _, err := rest.Query(r); err != nil {
		return nil, err
	}
	id, err := rest.ParseID(r.PathValue("id"))
	if err != nil {
		return nil, rest.Refuse(http.StatusBadRequest, rest.InvalidRequest, "the event's id is %v", err)
	}
	row := a.db.QueryRowContext(
		r.Context(), `SELECT body FROM events_event WHERE provider = ? AND tenant = ? AND id = ?`, p.Provider,
		p.Tenant, id,
	)
	event, err := scan(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, rest.Refuse(http.StatusNotFound, rest.NotFound, "there is no event with this id")
	}
	return event, err
}

// needTenant refuses a principal without a provider or a tenant: rows belong to
// both. The guard has refused it before; a guard that was configured without
// tenants must not expose all rows.
func needTenant(p *counterfoil.Principal) error {
	if p.Provider == "" || p.Tenant == "" {
		return rest.Refuse(
			http.StatusForbidden, "MISSING_TENANT",
			"this API answers for a tenant, and the request was let through without one",
		)
	}
	return nil
}

func searchPattern(text string) (string, error) {
	if utf8.RuneCountInString(text) > maxSearch || strings.ContainsFunc(text, unicode.IsControl) {
		return "", rest.Refuse(
			http.StatusBadRequest, rest.InvalidRequest,
			"SearchText must be at most %d characters, without control characters", maxSearch,
		)
	}
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text))
	return "%" + escaped + "%", nil
}

func scan(row func(...any) error) (json.RawMessage, error) {
	var body []byte
	err := row(&body)
	return body, err
}

// sortable is the format of times in the table.
func sortable(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// replaceAll empties the table and returns a function that adds a row.
func replaceAll(ctx context.Context, tx *sql.Tx) (add func(owner apis.Owner, e *Event) error, err error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM events_event`); err != nil {
		return nil, fmt.Errorf("events: remove the old rows: %w", err)
	}
	insert, err := tx.PrepareContext(
		ctx, `INSERT INTO events_event (id, provider, tenant, starts_at, search, body) VALUES (?, ?, ?, ?, ?, ?)`,
	)
	if err != nil {
		return nil, fmt.Errorf("events: add rows: %w", err)
	}
	return func(owner apis.Owner, e *Event) error { // insert ends with tx
		body, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode event %s: %w", e.ID, err)
		}
		if _, err = insert.ExecContext(ctx, e.ID, owner.Provider, owner.Tenant, sortable(e.Start), e.search(), string(body)); err != nil {
			return fmt.Errorf("add event %s: %w", e.ID, err)
		}
		return nil
	}, nil
}
