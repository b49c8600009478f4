package profiles

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// The bounds of a batch.
const (
	batchSize   = 500
	batchWindow = time.Millisecond
)

// batch collects the keys that the resolvers of one request need and fetches
// them together, each once, after a window without new keys. Resolvers of a list
// run concurrently, so this collects a level of the query; on a busy machine a
// level may take several rounds, which costs statements but never a wrong
// answer. It reads no clock: only the number of statements depends on the
// window.
type batch[K comparable, V any] struct {
	fetch func(context.Context, []K) (map[K]V, error)

	mu   sync.Mutex
	next *round[K, V]
	asks map[K]*round[K, V]
}

// round is one fetch.
type round[K comparable, V any] struct {
	keys  []K
	timer *time.Timer
	began bool // the fetch did; guarded by batch.mu
	done  chan struct{}
	found map[K]V
	err   error
}

func newBatch[K comparable, V any](fetch func(context.Context, []K) (map[K]V, error)) *batch[K, V] {
	return &batch[K, V]{fetch: fetch, asks: map[K]*round[K, V]{}}
}

// load returns the value of a key; the zero value if the key is unknown.
func (b *batch[K, V]) load(ctx context.Context, key K) (V, error) {
	r := b.join(ctx, key)
	select {
	case <-r.done:
		return r.found[key], r.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// join returns the round that fetches a key.
func (b *batch[K, V]) join(ctx context.Context, key K) *round[K, V] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.asks[key]; r != nil {
		return r
	}
	if b.next == nil {
		r := &round[K, V]{done: make(chan struct{})}
		r.timer = time.AfterFunc(batchWindow, func() { b.close(ctx, r) })
		b.next = r
	}
	r := b.next
	r.timer.Reset(batchWindow)
	r.keys = append(r.keys, key)
	b.asks[key] = r
	if len(r.keys) == batchSize {
		b.next = nil // no caller joins; its timer expires
	}
	return r
}

// close ends the collection of a round and fetches.
func (b *batch[K, V]) close(ctx context.Context, r *round[K, V]) {
	b.mu.Lock()
	again := r.began
	r.began = true
	if b.next == r {
		b.next = nil
	}
	b.mu.Unlock()
	if again { // the timer was reset just as it expired
		return
	}
	defer close(r.done)
	defer func() {
		// A panic here would not be recovered by a request.
		if v := recover(); v != nil {
			r.err = fmt.Errorf("fetch: panic: %v", v)
		}
	}()
	r.found, r.err = b.fetch(ctx, r.keys)
}

// loaders are the batches of one request.
type loaders struct {
	people        *batch[string, *graph.Person]
	organisations *batch[string, *graph.Organisation]
	roles         *batch[rolesOf, []*graph.Role]
	relationships *batch[relationshipsOf, []*graph.Relationship]
}

// rolesOf asks for the roles of a person or an organisation.
type rolesOf struct {
	column  string // "person" or "organisation"
	id      string
	current string // "", "true" or "false"
	limit   int32
}

// relationshipsOf asks for the relationships of a person.
type relationshipsOf struct {
	id    string
	limit int32
}

type loadersKey struct{}

func withLoaders(ctx context.Context, db *sql.DB) context.Context {
	return context.WithValue(ctx, loadersKey{}, &loaders{
		people: newBatch(func(ctx context.Context, ids []string) (map[string]*graph.Person, error) {
			return byID(ctx, db, "profiles_people", ids, func(p *graph.Person) string { return p.ID })
		}),
		organisations: newBatch(func(ctx context.Context, ids []string) (map[string]*graph.Organisation, error) {
			return byID(ctx, db, "profiles_organisations", ids, func(o *graph.Organisation) string { return o.ID })
		}),
		roles: newBatch(func(ctx context.Context, keys []rolesOf) (map[rolesOf][]*graph.Role, error) {
			return fetchRoles(ctx, db, keys)
		}),
		relationships: newBatch(func(ctx context.Context, keys []relationshipsOf) (map[relationshipsOf][]*graph.Relationship, error) {
			return fetchRelationships(ctx, db, keys)
		}),
	})
}

func loadersFrom(ctx context.Context) *loaders { return ctx.Value(loadersKey{}).(*loaders) }

// list returns n placeholders in brackets, and ids as arguments for them.
func list(ids []string) (string, []any) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return "(?" + strings.Repeat(", ?", len(ids)-1) + ")", args
}

// byID fetches the rows of a table, whose bodies are T in JSON.
func byID[T any](ctx context.Context, db *sql.DB, table string, ids []string, id func(*T) string) (map[string]*T, error) {
	in, args := list(ids)
	found := map[string]*T{}
	err := each(ctx, db, "SELECT body FROM "+table+" WHERE id IN "+in, args, func(rows *sql.Rows) error {
		v, err := body[T](rows)
		if err == nil {
			found[id(v)] = v
		}
		return err
	})
	return found, err
}

// fetchRoles uses one statement for all keys that differ only in their ids.
func fetchRoles(ctx context.Context, db *sql.DB, keys []rolesOf) (map[rolesOf][]*graph.Role, error) {
	groups := map[rolesOf][]string{}
	for _, k := range keys {
		args := k
		args.id = ""
		groups[args] = append(groups[args], k.id)
	}
	found := map[rolesOf][]*graph.Role{}
	for k, ids := range groups {
		in, args := list(ids)
		where := k.column + " IN " + in
		switch k.current {
		case "true":
			where += " AND until = ''"
		case "false":
			where += " AND until <> ''"
		}
		query := `SELECT body FROM (SELECT body, ` + k.column + ` AS side, ROW_NUMBER() OVER (PARTITION BY ` + k.column + `
			ORDER BY CASE WHEN until = '' THEN 0 ELSE 1 END, since DESC, id) AS place
			FROM profiles_roles WHERE ` + where + `) AS numbered WHERE place <= ? ORDER BY side, place`
		err := each(ctx, db, query, append(args, k.limit), func(rows *sql.Rows) error {
			role, err := body[graph.Role](rows)
			if err != nil {
				return err
			}
			key := k
			if key.id = role.PersonID; k.column == "organisation" {
				key.id = role.OrganisationID
			}
			found[key] = append(found[key], role)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// fetchRelationships does for relationships what fetchRoles does for roles.
func fetchRelationships(ctx context.Context, db *sql.DB, keys []relationshipsOf) (map[relationshipsOf][]*graph.Relationship, error) {
	groups := map[int32][]string{}
	for _, k := range keys {
		groups[k.limit] = append(groups[k.limit], k.id)
	}
	found := map[relationshipsOf][]*graph.Relationship{}
	for limit, ids := range groups {
		in, args := list(ids)
		query := `SELECT person, other, kind, since FROM (SELECT person, other, kind, since, ROW_NUMBER() OVER (PARTITION BY person
			ORDER BY since DESC, other, kind) AS place
			FROM profiles_relationships WHERE person IN ` + in + `) AS numbered WHERE place <= ? ORDER BY person, place`
		err := each(ctx, db, query, append(args, limit), func(rows *sql.Rows) error {
			var person, kind, since string
			r := &graph.Relationship{}
			if err := rows.Scan(&person, &r.OtherID, &kind, &since); err != nil {
				return err
			}
			r.Kind = graph.RelationshipKind(kind)
			if since != "" {
				r.Since = &since
			}
			key := relationshipsOf{person, limit}
			found[key] = append(found[key], r)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// each calls row for each row that a query finds.
func each(ctx context.Context, db querier, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("query profiles: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("read profile: %w", err)
		}
	}
	return rows.Err()
}

// body decodes a row's only column.
func body[T any](rows *sql.Rows) (*T, error) {
	var text []byte
	if err := rows.Scan(&text); err != nil {
		return nil, err
	}
	v := new(T)
	return v, json.Unmarshal(text, v)
}
