// Package calendar is the reference API for a GraphQL provider like ahotu's
// Events Content Calendar: pages of localised events with filters. Serve
// [API.Handler] behind a guard that requires the scope events:read; the finer
// scope events:drafts is this package's own, and without it drafts are not
// visible.
//
// # Import
//
// [API.Import] reads JSON Lines, and refuses a file whole when one row is wrong.
// A line is an event, in the API's own shape:
//
//	{"id": "evt_1",
//	 "name": {"en": "Lake Marathon", "fr": "Marathon du lac"},
//	 "description": {"en": "Once around the lake."},
//	 "dates": {"start": "2026-05-31", "end": "2026-05-31"},
//	 "place": {"city": "Annecy", "region": "Haute-Savoie", "country": "FR",
//	           "latitude": 45.9, "longitude": 6.13},
//	 "online": false,
//	 "organiser": {"name": "Lake Runners", "website": "https://runners.example"},
//	 "categories": ["marathon"],
//	 "status": "PUBLISHED",
//	 "url": "https://lake.example",
//	 "updatedAt": "2026-01-02T03:04:05Z"}
//
// or flat, as public lists of conferences have it:
//
//	{"name": "GopherMeet", "startDate": "2026-05-31", "endDate": "2026-05-31",
//	 "city": "Lyon", "country": "France", "online": false,
//	 "url": "https://meet.example", "locales": "EN,FR", "categories": ["go"]}
//
// Only name and the first day are required, and a place or "online": true. A
// name or description that is a string is English. A country is an ISO 3166-1
// alpha-2 code or its English name. The locales are checked and not kept. An
// event without id gets one that is made from its content; without status it
// is PUBLISHED; without updatedAt it was updated now.
package calendar

import (
	"database/sql"
	"log/slog"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// ScopeDrafts lets a caller see drafts.
const ScopeDrafts = "events:drafts"

// Config is the configuration of an API.
type Config struct {
	// DB holds the events. Required.
	DB *sql.DB
	// Clock determines which events are upcoming; nil means the machine's clock.
	Clock clock.Clock
	// Log receives internal errors; nil means slog.Default().
	Log *slog.Logger
}

// API implements apis.API.
type API struct {
	db      *sql.DB
	clock   clock.Clock
	handler http.Handler
}

var _ apis.API = (*API)(nil)

// New returns the API over cfg's database.
func New(cfg Config) *API {
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	a := &API{db: cfg.DB, clock: cfg.Clock}
	schema := graph.Config{Resolvers: resolver{a}}
	schema.Complexity.Query.Events = func(child int, _, size int32, _ *graph.EventFilter, _ []*graph.EventSort) int {
		return gqlhttp.PageCost(size, maxSize, child)
	}
	a.handler = gqlhttp.New(gqlhttp.Config{Schema: graph.NewExecutableSchema(schema), Log: cfg.Log})
	return a
}

// Name returns "calendar".
func (a *API) Name() string { return "calendar" }

// Handler serves the GraphQL endpoint at "/".
func (a *API) Handler() http.Handler { return a.handler }

// Explorer returns nil: the API has no page for people.
func (a *API) Explorer() http.Handler { return nil }

// Schema returns the SQL of the tables. An event is kept as the JSON of an
// import, with the columns for filters and orders.
func (a *API) Schema() string {
	return `CREATE TABLE IF NOT EXISTS calendar_events (
	id        TEXT PRIMARY KEY,
	start_day TEXT NOT NULL,    -- YYYY-MM-DD
	end_day   TEXT NOT NULL,    -- YYYY-MM-DD
	status    TEXT NOT NULL,
	online    INTEGER NOT NULL, -- 0 or 1
	country   TEXT NOT NULL,    -- ISO 3166-1 alpha-2, or empty
	title     TEXT NOT NULL,    -- the name to sort by, in lower case
	updated   TEXT NOT NULL,    -- RFC 3339 in UTC
	search    TEXT NOT NULL,    -- what the text filter looks at, in lower case
	body      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calendar_events_by_start ON calendar_events (start_day, id);
CREATE TABLE IF NOT EXISTS calendar_categories (
	category TEXT NOT NULL,
	event    TEXT NOT NULL,
	PRIMARY KEY (category, event)
)`
}
