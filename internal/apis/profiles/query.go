package profiles

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// The bounds of arguments.
const (
	maxSize  = 100 // of a page
	maxLimit = 50  // of a list within a profile
	maxText  = 100 // characters
)

// resolver resolves the fields that are not plain members.
type resolver struct{ db *sql.DB }

func (r resolver) Query() graph.QueryResolver               { return queries(r) }
func (r resolver) Person() graph.PersonResolver             { return personFields{} }
func (r resolver) Organisation() graph.OrganisationResolver { return organisationFields{} }
func (r resolver) Role() graph.RoleResolver                 { return roleFields{} }
func (r resolver) Relationship() graph.RelationshipResolver { return relationshipFields{} }

// queries implements graph.QueryResolver: resolver cannot, because two of its
// methods would have the names of others.
type queries struct{ db *sql.DB }

func (q queries) Person(ctx context.Context, id string) (*graph.Person, error) {
	return loadersFrom(ctx).people.load(ctx, id)
}

func (q queries) Organisation(ctx context.Context, id string) (*graph.Organisation, error) {
	return loadersFrom(ctx).organisations.load(ctx, id)
}

// Search resolves search(text, kind, page, size).
func (q queries) Search(ctx context.Context, text string, kind *graph.ProfileKind, page, size int32) (*graph.ProfilePage, error) {
	if n := utf8.RuneCountInString(text); strings.TrimSpace(text) == "" || n > maxText {
		return nil, gqlhttp.Invalid("text has %d characters: it has to have a word, and at most %d characters", n, maxText)
	}
	where := conditions{}
	for word := range strings.FieldsSeq(strings.ToLower(text)) {
		where.add(`search LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(word)+"%")
	}
	const people = "SELECT 'P' AS kind, title, id, search, body FROM profiles_people"
	const organisations = "SELECT 'O' AS kind, title, id, search, body FROM profiles_organisations"
	from := people + " UNION ALL " + organisations
	switch {
	case kind == nil:
	case *kind == graph.ProfileKindPerson:
		from = people
	default:
		from = organisations
	}
	out := &graph.ProfilePage{Page: page, Size: size, Data: []graph.Profile{}}
	total, err := pageOf(ctx, q.db, "kind, body", "("+from+") AS profiles", where, page, size, func(rows *sql.Rows) error {
		var kind string
		var text []byte
		if err := rows.Scan(&kind, &text); err != nil {
			return err
		}
		var profile graph.Profile = &graph.Person{}
		if kind == "O" {
			profile = &graph.Organisation{}
		}
		out.Data = append(out.Data, profile)
		return json.Unmarshal(text, profile)
	})
	out.TotalCount = total
	return out, err
}

// People resolves people(page, size, filter).
func (q queries) People(ctx context.Context, page, size int32, f *graph.PersonFilter) (*graph.PersonPage, error) {
	where := conditions{}
	if f != nil {
		if f.Country != nil {
			where.add("country = ?", *f.Country)
		}
		if f.Wealth != nil {
			where.add("wealth = ?", string(*f.Wealth))
		}
		if f.Interest != nil {
			where.add("id IN (SELECT person FROM profiles_interests WHERE interest = ?)", *f.Interest)
		}
		if f.OnBoard != nil {
			not := "NOT "
			if *f.OnBoard {
				not = ""
			}
			where.add("id " + not + "IN (SELECT person FROM profiles_roles WHERE board = 1 AND until = '')")
		}
	}
	out := &graph.PersonPage{Page: page, Size: size, Data: []*graph.Person{}}
	total, err := pageOf(ctx, q.db, "body", "profiles_people", where, page, size, func(rows *sql.Rows) error {
		p, err := body[graph.Person](rows)
		out.Data = append(out.Data, p)
		return err
	})
	out.TotalCount = total
	return out, err
}

// Organisations resolves organisations(page, size, filter).
func (q queries) Organisations(ctx context.Context, page, size int32, f *graph.OrganisationFilter) (*graph.OrganisationPage, error) {
	where := conditions{}
	if f != nil {
		if f.Country != nil {
			where.add("country = ?", *f.Country)
		}
		if f.Kind != nil {
			where.add("kind = ?", string(*f.Kind))
		}
		if f.Sector != nil {
			where.add("sector = ?", strings.ToLower(*f.Sector))
		}
	}
	out := &graph.OrganisationPage{Page: page, Size: size, Data: []*graph.Organisation{}}
	total, err := pageOf(ctx, q.db, "body", "profiles_organisations", where, page, size, func(rows *sql.Rows) error {
		o, err := body[graph.Organisation](rows)
		out.Data = append(out.Data, o)
		return err
	})
	out.TotalCount = total
	return out, err
}

// conditions is a WHERE clause under construction.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

// pageOf calls row for the rows of one page, by title, and returns how many
// there are on all pages, as of the same moment.
func pageOf(
	ctx context.Context, db *sql.DB, columns, from string, c conditions, page, size int32, row func(*sql.Rows) error,
) (int32, error) {
	if page < 0 {
		return 0, gqlhttp.Invalid("page is %d: the first page is 0", page)
	}
	if size < 1 || size > maxSize {
		return 0, gqlhttp.Invalid("size is %d: it has to be from 1 to %d", size, maxSize)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, fmt.Errorf("list profiles: %w", err)
	}
	defer tx.Rollback()
	from += " WHERE " + strings.Join(append(c.parts, "1 = 1"), " AND ")
	var total int32
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+from, c.args...).Scan(&total); err != nil {
		return 0, fmt.Errorf("count profiles: %w", err)
	}
	query := "SELECT " + columns + " FROM " + from + " ORDER BY title, id LIMIT ? OFFSET ?"
	return total, each(ctx, tx, query, append(c.args, size, int64(page)*int64(size)), row)
}

type personFields struct{}

// Roles resolves a person's roles.
func (personFields) Roles(ctx context.Context, p *graph.Person, current *bool, limit int32) ([]*graph.Role, error) {
	return roles(ctx, "person", p.ID, current, limit)
}

// Relationships resolves a person's relationships.
func (personFields) Relationships(ctx context.Context, p *graph.Person, limit int32) ([]*graph.Relationship, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	found, err := loadersFrom(ctx).relationships.load(ctx, relationshipsOf{p.ID, limit})
	return append([]*graph.Relationship{}, found...), err
}

type organisationFields struct{}

// Roles resolves an organisation's roles.
func (organisationFields) Roles(ctx context.Context, o *graph.Organisation, current *bool, limit int32) ([]*graph.Role, error) {
	return roles(ctx, "organisation", o.ID, current, limit)
}

func roles(ctx context.Context, column, id string, current *bool, limit int32) ([]*graph.Role, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	key := rolesOf{column: column, id: id, limit: limit}
	if current != nil {
		key.current = strconv.FormatBool(*current)
	}
	found, err := loadersFrom(ctx).roles.load(ctx, key)
	return append([]*graph.Role{}, found...), err
}

func checkLimit(limit int32) error {
	if limit < 1 || limit > maxLimit {
		return gqlhttp.Invalid("limit is %d: it has to be from 1 to %d", limit, maxLimit)
	}
	return nil
}

type roleFields struct{}

// Person resolves the person of a role.
func (roleFields) Person(ctx context.Context, r *graph.Role) (*graph.Person, error) {
	return loadersFrom(ctx).people.load(ctx, r.PersonID)
}

// Organisation resolves the organisation of a role.
func (roleFields) Organisation(ctx context.Context, r *graph.Role) (*graph.Organisation, error) {
	return loadersFrom(ctx).organisations.load(ctx, r.OrganisationID)
}

type relationshipFields struct{}

// Person resolves the other person of a relationship.
func (relationshipFields) Person(ctx context.Context, r *graph.Relationship) (*graph.Person, error) {
	return loadersFrom(ctx).people.load(ctx, r.OtherID)
}
