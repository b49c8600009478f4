package profiles

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// The bounds of a row's members beside those of package apis; maxName is in
// characters.
const (
	maxName   = 200
	maxValues = 30 // of a list
)

func checkPerson(p *graph.Person) error {
	if p.Wealth != nil && !p.Wealth.IsValid() {
		return fmt.Errorf("wealth: the values are %v", graph.AllWealthBand)
	}
	for _, code := range p.Nationalities {
		if !countryCode.MatchString(code) {
			return errNoCode("nationalities")
		}
	}
	for name, list := range map[string][]string{"nationalities": p.Nationalities, "education": p.Education, "interests": p.Interests} {
		if len(list) > maxValues {
			return fmt.Errorf("%s has %d values: at most %d are allowed", name, len(list), maxValues)
		}
		for _, text := range list {
			if err := line(name, &text); err != nil {
				return err
			}
		}
	}
	return errors.Join(line("name", &p.Name), line("headline", p.Headline), apis.CheckProse("biography", p.Biography),
		partialDate("born", p.Born), location(p.Location))
}

func checkOrganisation(o *graph.Organisation) error {
	if !o.Kind.IsValid() {
		return fmt.Errorf("kind: the values are %v", graph.AllOrganisationKind)
	}
	if o.Employees != nil && *o.Employees < 0 {
		return errors.New("employees has to be 0 or more")
	}
	return errors.Join(apis.CheckPage("website", o.Website), line("name", &o.Name), line("sector", o.Sector),
		apis.CheckProse("description", o.Description), partialDate("founded", o.Founded), location(o.Location))
}

func checkRole(r *graph.Role) error {
	if r.PersonID == "" || r.OrganisationID == "" {
		return errors.New("person and organisation have to be the ids of both ends")
	}
	if err := errors.Join(line("title", &r.Title), partialDate("since", r.Since), partialDate("until", r.Until)); err != nil {
		return err
	}
	if r.Since != nil && r.Until != nil {
		if n := min(len(*r.Since), len(*r.Until)); (*r.Until)[:n] < (*r.Since)[:n] {
			return errors.New("until is before since")
		}
	}
	return nil
}

func line(name string, text *string) error { return apis.CheckLine(name, text, maxName) }

// partialDate checks a day, a month or a year.
func partialDate(name string, date *string) error {
	if date == nil {
		return nil
	}
	for _, layout := range []string{"2006", "2006-01", time.DateOnly} {
		if _, err := time.Parse(layout, *date); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s %q is not a day, month or year as 1987-05-31, 1987-05 or 1987", name, *date)
}

var countryCode = regexp.MustCompile(`^[A-Z]{2}$`)

func errNoCode(name string) error {
	return fmt.Errorf("%s has to be written with ISO 3166-1 alpha-2 codes, such as FR", name)
}

func location(l *graph.Location) error {
	if l == nil {
		return nil
	}
	if l.Country != nil && !countryCode.MatchString(*l.Country) {
		return errNoCode("location.country")
	}
	return line("location.city", l.City)
}

// store writes rows. A store without a transaction, as in a test, discards them.
type store struct {
	ctx context.Context
	tx  *sql.Tx
}

// newStore removes all profiles and returns a store for others.
func newStore(ctx context.Context, tx *sql.Tx) (*store, error) {
	for _, table := range []string{"people", "interests", "organisations", "roles", "relationships"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM profiles_"+table); err != nil {
			return nil, fmt.Errorf("empty profiles_%s: %w", table, err)
		}
	}
	return &store{ctx, tx}, nil
}

func (s *store) insert(table string, values ...any) error {
	if s.tx == nil {
		return nil
	}
	query := "INSERT INTO profiles_" + table + " VALUES (?" + strings.Repeat(", ?", len(values)-1) + ")"
	if _, err := s.tx.ExecContext(s.ctx, query, values...); err != nil {
		return fmt.Errorf("store in profiles_%s: %w", table, err)
	}
	return nil
}

// words are the text that a search matches.
func words(l *graph.Location, texts ...string) string {
	if l != nil {
		texts = append(texts, deref(l.City), deref(l.Country))
	}
	return strings.ToLower(strings.Join(texts, "\n"))
}

func nation(l *graph.Location) string {
	if l == nil {
		return ""
	}
	return deref(l.Country)
}

func deref[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *store) person(p *graph.Person) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	search := words(p.Location, append(p.Interests[:len(p.Interests):len(p.Interests)], p.Name, deref(p.Headline))...)
	err = s.insert("people", p.ID, strings.ToLower(p.Name), nation(p.Location), deref(p.Wealth), search, string(body))
	seen := map[string]bool{}
	for _, interest := range p.Interests {
		if err == nil && !seen[interest] {
			seen[interest] = true
			err = s.insert("interests", interest, p.ID)
		}
	}
	return err
}

func (s *store) organisation(o *graph.Organisation) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return s.insert("organisations", o.ID, strings.ToLower(o.Name), nation(o.Location), string(o.Kind), strings.ToLower(deref(o.Sector)),
		words(o.Location, o.Name, deref(o.Sector)), string(body))
}

func (s *store) role(r *graph.Role) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.insert("roles", r.ID, r.PersonID, r.OrganisationID, bit(r.Board), deref(r.Since), deref(r.Until), string(body))
}

func (s *store) relationship(r *relationship) error {
	a, b := r.People[0], r.People[1]
	if err := s.insert("relationships", a, b, string(r.Kind), deref(r.Since)); err != nil {
		return err
	}
	return s.insert("relationships", b, a, string(r.Kind), deref(r.Since))
}
