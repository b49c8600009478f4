// Package profiles is the reference API for a GraphQL provider like Altrata's
// Profile API: people, organisations, the positions that connect them and the
// people that people know. Serve [API.Handler] behind a guard, and
// [API.Explorer], a GraphiQL page that loads nothing from other hosts, in front
// of it at the same path: the page posts to its own address.
//
// However deep a query goes from people to organisations and back, it takes one
// statement per level.
//
// # Import
//
// [API.Import] reads JSON Lines and refuses a file whole when one line is
// wrong. A line is one of these; what is joined may come later in the file than
// what joins it:
//
//	{"type": "person", "id": "per_1", "name": "Ada Quill", "headline": "Chair",
//	 "biography": "…", "born": "1961-04", "location": {"city": "Oslo", "country": "NO"},
//	 "nationalities": ["NO"], "education": ["…"], "interests": ["sailing"],
//	 "wealth": "ULTRA_HIGH", "updatedAt": "2026-01-02T03:04:05Z"}
//	{"type": "organisation", "id": "org_1", "name": "Quill Shipping",
//	 "kind": "PRIVATE_COMPANY", "sector": "Shipping", "description": "…",
//	 "founded": "1912", "location": {"country": "NO"},
//	 "website": "https://quill.example", "employees": 2100}
//	{"type": "role", "person": "per_1", "organisation": "org_1",
//	 "title": "Chair", "board": true, "since": "2019-05", "until": "2024"}
//	{"type": "relationship", "people": ["per_1", "per_2"],
//	 "kind": "COLLEAGUE", "since": "2001"}
//
// People and organisations need an id and a name, organisations a kind; roles
// need both ends and a title; relationships two people and a kind. A role
// without id gets one that is made from its content; a profile without
// updatedAt was updated now.
package profiles

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Config is the configuration of an API.
type Config struct {
	// DB holds the profiles. Required.
	DB *sql.DB
	// Clock gives the time of an import; nil means the machine's clock.
	Clock clock.Clock
	// Log receives internal errors; nil means slog.Default().
	Log *slog.Logger
}

// API implements apis.API.
type API struct {
	db       *sql.DB
	clock    clock.Clock
	handler  http.Handler
	explorer http.Handler
}

var _ apis.API = (*API)(nil)

// New returns the API over cfg's database.
func New(cfg Config) *API {
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	a := &API{db: cfg.DB, clock: cfg.Clock, explorer: newExplorer()}
	schema := graph.Config{Resolvers: resolver{a.db}}
	costs(&schema.Complexity)
	a.handler = gqlhttp.New(gqlhttp.Config{
		Schema: graph.NewExecutableSchema(schema), Log: cfg.Log,
		Context: func(ctx context.Context) context.Context { return withLoaders(ctx, a.db) },
	})
	return a
}

// costs says what the fields with pages and lists may cost.
func costs(c *graph.ComplexityRoot) {
	c.Query.Search = func(child int, _ string, _ *graph.ProfileKind, _, size int32) int { return page(size, child) }
	c.Query.People = func(child int, _, size int32, _ *graph.PersonFilter) int { return page(size, child) }
	c.Query.Organisations = func(child int, _, size int32, _ *graph.OrganisationFilter) int { return page(size, child) }
	c.Person.Roles = func(child int, _ *bool, limit int32) int { return times(limit, maxLimit, child) }
	c.Person.Relationships = func(child int, limit int32) int { return times(limit, maxLimit, child) }
	c.Organisation.Roles = func(child int, _ *bool, limit int32) int { return times(limit, maxLimit, child) }
}

func page(size int32, child int) int { return gqlhttp.PageCost(size, maxSize, child) }

// times multiplies without overflow: arguments out of bounds are refused later.
func times(n, limit int32, child int) int {
	return 1 + int(min(max(n, 1), limit))*min(child, gqlhttp.MaxCost)
}

// Name returns "profiles".
func (a *API) Name() string { return "profiles" }

// Handler serves the GraphQL endpoint at "/".
func (a *API) Handler() http.Handler { return a.handler }

// Explorer serves the GraphiQL page at "/" and its assets beside it. It needs
// no principal: the page holds no data, and sends the headers that its user
// types in.
func (a *API) Explorer() http.Handler { return a.explorer }

// Schema returns the SQL of the tables. A row is kept as JSON, beside the
// columns that filters, orders and joins need.
func (a *API) Schema() string {
	return `CREATE TABLE IF NOT EXISTS profiles_people (
	id      TEXT PRIMARY KEY,
	title   TEXT NOT NULL,    -- the name in lower case, to sort by
	country TEXT NOT NULL,    -- ISO 3166-1 alpha-2, or empty
	wealth  TEXT NOT NULL,    -- or empty
	search  TEXT NOT NULL,    -- what a search looks at, in lower case
	body    TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS profiles_people_by_title ON profiles_people (title, id);
CREATE TABLE IF NOT EXISTS profiles_interests (
	interest TEXT NOT NULL,
	person   TEXT NOT NULL,
	PRIMARY KEY (interest, person)
);
CREATE TABLE IF NOT EXISTS profiles_organisations (
	id      TEXT PRIMARY KEY,
	title   TEXT NOT NULL,
	country TEXT NOT NULL,
	kind    TEXT NOT NULL,
	sector  TEXT NOT NULL,    -- in lower case, or empty
	search  TEXT NOT NULL,
	body    TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS profiles_organisations_by_title ON profiles_organisations (title, id);
CREATE TABLE IF NOT EXISTS profiles_roles (
	id           TEXT PRIMARY KEY,
	person       TEXT NOT NULL,
	organisation TEXT NOT NULL,
	board        INTEGER NOT NULL, -- 0 or 1
	since        TEXT NOT NULL,    -- or empty
	until        TEXT NOT NULL,    -- empty while the role is held
	body         TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS profiles_roles_by_person ON profiles_roles (person);
CREATE INDEX IF NOT EXISTS profiles_roles_by_organisation ON profiles_roles (organisation);
CREATE TABLE IF NOT EXISTS profiles_relationships (
	person TEXT NOT NULL,     -- each relationship has two rows, one from each side
	other  TEXT NOT NULL,
	kind   TEXT NOT NULL,
	since  TEXT NOT NULL,     -- or empty
	PRIMARY KEY (person, other, kind)
)`
}
