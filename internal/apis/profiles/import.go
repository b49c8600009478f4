package profiles

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// Import replaces all profiles with those of r; see the package comment for the
// format.
func (a *API) Import(ctx context.Context, tx *sql.Tx, format apis.Format, r io.Reader) (int, error) {
	if format != apis.JSONLines {
		return 0, fmt.Errorf("%w: profiles are read from %s", apis.ErrFormat, apis.JSONLines)
	}
	put, err := newStore(ctx, tx)
	if err != nil {
		return 0, err
	}
	return importLines(newLoader(put, a.clock.Now()), r)
}

// importLines reads a file into a loader.
func importLines(load *loader, r io.Reader) (int, error) {
	err := apis.Lines(r, func(line int, text []byte) error { return load.line(line, text) })
	if load.failed != nil {
		return 0, load.failed
	}
	if err != nil {
		return 0, err
	}
	return load.rows, load.ends()
}

// loader reads the lines of a file and records references.
type loader struct {
	put  *store
	now  time.Time
	rows int
	// lines says on which line an id is, by kind and id.
	lines map[string]int
	// wanted are the references, in the order of the file.
	wanted []reference
	// failed is an error of the store, which concerns no line.
	failed error
}

// reference is a line's reference to another.
type reference struct {
	line     int
	kind, id string
}

func newLoader(put *store, now time.Time) *loader {
	return &loader{put: put, now: now.UTC().Truncate(time.Second), lines: map[string]int{}}
}

// ends reports the first reference to an id that is not in the file.
func (l *loader) ends() error {
	for _, ref := range l.wanted {
		if l.lines[ref.kind+" "+ref.id] == 0 {
			return &apis.RowError{Line: ref.line, Err: fmt.Errorf("there is no %s with the id %q in this file", ref.kind, ref.id)}
		}
	}
	return nil
}

// line reads one line of JSON.
func (l *loader) line(line int, text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return errors.New("not well-formed JSON: one object a line is allowed")
	}
	var kind string
	if err := json.Unmarshal(members["type"], &kind); err != nil {
		kind = ""
	}
	switch kind {
	case "person":
		in := struct {
			Type string `json:"type"`
			*graph.Person
		}{Person: &graph.Person{}}
		return l.take(decode(text, &in), func() error { return l.person(line, in.Person) })
	case "organisation":
		in := struct {
			Type string `json:"type"`
			*graph.Organisation
		}{Organisation: &graph.Organisation{}}
		return l.take(decode(text, &in), func() error { return l.organisation(line, in.Organisation) })
	case "role":
		in := struct {
			Type string `json:"type"`
			*graph.Role
		}{Role: &graph.Role{}}
		return l.take(decode(text, &in), func() error { return l.role(line, in.Role) })
	case "relationship":
		var in relationship
		return l.take(decode(text, &in), func() error { return l.relationship(line, &in) })
	}
	return errors.New(`"type" has to be "person", "organisation", "role" or "relationship"`)
}

// take adds what was decoded without an error.
func (l *loader) take(err error, add func() error) error {
	if err == nil {
		err = add()
	}
	if err == nil {
		l.rows++
	}
	return err
}

// stored separates an error of the store from errors about the line.
func (l *loader) stored(err error) error {
	l.failed = err
	return err
}

// claim reserves an id for a line.
func (l *loader) claim(line int, kind, id string) error {
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("id has to be 1 to %d printable ASCII characters without spaces", maxID)
	}
	key := kind + " " + id
	if first := l.lines[key]; first != 0 {
		return fmt.Errorf("the id %q is that of line %d already: ids of the same type have to differ", id, first)
	}
	l.lines[key] = line
	return nil
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
	if err := l.claim(line, "person", p.ID); err != nil {
		return err
	}
	return l.stored(l.put.person(p))
}

func (l *loader) organisation(line int, o *graph.Organisation) error {
	o.UpdatedAt = l.updated(o.UpdatedAt)
	if err := checkOrganisation(o); err != nil {
		return err
	}
	if err := l.claim(line, "organisation", o.ID); err != nil {
		return err
	}
	return l.stored(l.put.organisation(o))
}

func (l *loader) role(line int, r *graph.Role) error {
	if r.ID == "" {
		body, err := json.Marshal(r)
		if err != nil {
			return err
		}
		r.ID = hashID("role_", string(body))
	}
	if err := checkRole(r); err != nil {
		return err
	}
	if err := l.claim(line, "role", r.ID); err != nil {
		return err
	}
	l.want(line, "person", r.PersonID)
	l.want(line, "organisation", r.OrganisationID)
	return l.stored(l.put.role(r))
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
	a, b := min(r.People[0], r.People[1]), max(r.People[0], r.People[1])
	key := "relationship " + a + " " + b + " " + string(r.Kind)
	if first := l.lines[key]; first != 0 {
		return fmt.Errorf("line %d says the same already", first)
	}
	l.lines[key] = line
	l.want(line, "person", a)
	l.want(line, "person", b)
	return l.stored(l.put.relationship(a, b, r.Kind, r.Since))
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

// decode reads one object, and refuses members that v does not have.
func decode(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		// A row is embedded in the struct that also has its type.
		_, field, found := strings.Cut(wrong.Field, ".")
		if !found || !unicode.IsUpper(rune(wrong.Field[0])) {
			field = wrong.Field
		}
		return fmt.Errorf("%q has the wrong type: it cannot be a %s", field, wrong.Value)
	}
	var late *time.ParseError
	if errors.As(err, &late) {
		return errors.New("updatedAt is not a time as 2026-01-02T03:04:05Z")
	}
	if err != nil {
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return fmt.Errorf("unknown field %s: see the format in the documentation of the profiles", name)
		}
		return fmt.Errorf("a value has the wrong form: %w", err)
	}
	return nil
}
