package profiles

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// Import replaces all profiles with those of r; see the package comment for the
// format.
func (a *API) Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error) {
	put, err := newStore(ctx, tx)
	if err != nil {
		return 0, err
	}
	return newLoader(put, a.clock.Now()).read(r)
}

// loader reads the lines of a file and records references.
type loader struct {
	put  *store
	now  time.Time
	rows int
	// ids are those of each kind of line.
	ids map[string]apis.IDs
	// wanted are the references, in the order of the file.
	wanted []reference
}

// reference is a line's reference to another.
type reference struct {
	line     int
	kind, id string
}

func newLoader(put *store, now time.Time) *loader {
	ids := map[string]apis.IDs{"person": {}, "organisation": {}, "role": {}, "relationship": {}}
	return &loader{put: put, now: now.UTC().Truncate(time.Second), ids: ids}
}

// read reads a whole file and returns how many rows it has.
func (l *loader) read(r io.Reader) (int, error) {
	if err := apis.ReadRows(r, l.check); err != nil {
		return 0, err
	}
	return l.rows, l.ends()
}

// check completes and checks the row on a line, and returns what stores it.
func (l *loader) check(line int, in *row) (store func() error, err error) {
	l.rows++
	switch {
	case in.person != nil:
		return func() error { return l.put.person(in.person) }, l.person(line, in.person)
	case in.organisation != nil:
		return func() error { return l.put.organisation(in.organisation) }, l.organisation(line, in.organisation)
	case in.role != nil:
		return func() error { return l.put.role(in.role) }, l.role(line, in.role)
	}
	return func() error { return l.put.relationship(in.relationship) }, l.relationship(line, in.relationship)
}

// ends reports the first reference to an id that is not in the file.
func (l *loader) ends() error {
	for _, ref := range l.wanted {
		if l.ids[ref.kind][ref.id] == 0 {
			return &apis.RowError{Line: ref.line, Err: fmt.Errorf("there is no %s with the id %q in this file", ref.kind, ref.id)}
		}
	}
	return nil
}

// row is a line of a file: one of these.
type row struct {
	person       *graph.Person
	organisation *graph.Organisation
	role         *graph.Role
	relationship *relationship
}

// UnmarshalJSON reads the kind of row that its type names.
func (r *row) UnmarshalJSON(text []byte) error {
	var kind struct{ Type any }
	if err := json.Unmarshal(text, &kind); err != nil {
		return errors.New("not a JSON object: write it in {}")
	}
	type typed struct {
		Type string `json:"type"`
	}
	switch kind.Type {
	case "person":
		r.person = &graph.Person{}
		return apis.Decode(text, &struct {
			typed
			*graph.Person
		}{Person: r.person})
	case "organisation":
		r.organisation = &graph.Organisation{}
		return apis.Decode(text, &struct {
			typed
			*graph.Organisation
		}{Organisation: r.organisation})
	case "role":
		r.role = &graph.Role{}
		return apis.Decode(text, &struct {
			typed
			*graph.Role
		}{Role: r.role})
	case "relationship":
		r.relationship = &relationship{}
		return apis.Decode(text, r.relationship)
	}
	return errors.New(`"type" has to be "person", "organisation", "role" or "relationship"`)
}

// claim checks an id and notes its line.
func (l *loader) claim(line int, kind, id string) error {
	if err := apis.CheckID(id); err != nil {
		return err
	}
	return l.ids[kind].Claim(line, "id", id)
}

func (l *loader) want(line int, kind, id string) {
	l.wanted = append(l.wanted, reference{line, kind, id})
}

func (l *loader) person(line int, p *graph.Person) error {
	p.Nationalities, p.Education, p.Interests = orEmpty(p.Nationalities), orEmpty(p.Education), orEmpty(p.Interests)
	p.UpdatedAt = l.updated(p.UpdatedAt)
	if err := checkPerson(p); err != nil {
		return err
	}
	return l.claim(line, "person", p.ID)
}

func (l *loader) organisation(line int, o *graph.Organisation) error {
	o.UpdatedAt = l.updated(o.UpdatedAt)
	if err := checkOrganisation(o); err != nil {
		return err
	}
	return l.claim(line, "organisation", o.ID)
}

func (l *loader) role(line int, r *graph.Role) error {
	if r.ID == "" {
		body, err := json.Marshal(r)
		if err != nil {
			return err
		}
		r.ID = apis.HashID("role_", string(body))
	}
	if err := checkRole(r); err != nil {
		return err
	}
	l.want(line, "person", r.PersonID)
	l.want(line, "organisation", r.OrganisationID)
	return l.claim(line, "role", r.ID)
}

// relationship is a line that joins two people.
type relationship struct {
	Type   string                 `json:"type"`
	People []string               `json:"people"`
	Kind   graph.RelationshipKind `json:"kind"`
	Since  *string                `json:"since"`
}

func (l *loader) relationship(line int, r *relationship) error {
	if len(r.People) != 2 || r.People[0] == r.People[1] {
		return errors.New(`"people" has to be the ids of two people`)
	}
	if !r.Kind.IsValid() {
		return fmt.Errorf("kind: the values are %v", graph.AllRelationshipKind)
	}
	if err := partialDate("since", r.Since); err != nil {
		return err
	}
	slices.Sort(r.People)
	for _, person := range r.People {
		l.want(line, "person", person)
	}
	return l.ids["relationship"].Claim(line, "the relationship", r.People[0]+" "+r.People[1]+" "+string(r.Kind))
}

func (l *loader) updated(t time.Time) time.Time {
	if t.IsZero() {
		return l.now
	}
	return t.UTC().Truncate(time.Second)
}

// orEmpty returns the list, or an empty one for nil.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
