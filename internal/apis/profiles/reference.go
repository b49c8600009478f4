package profiles

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"
)

// How many of each the reference data has.
const (
	referencePeople        = 320
	referenceOrganisations = 120
)

// Reference replaces all profiles with those of invented people and
// organisations.
func (a *API) Reference(ctx context.Context, tx *sql.Tx, ref apis.Reference) (int, error) {
	put, err := newStore(ctx, tx)
	if err != nil {
		return 0, err
	}
	g := &generator{dice: rand.New(rand.NewPCG(0x616c74, 7)), day: ref.Day, load: newLoader(put, ref.Day)}
	for i := range referenceOrganisations {
		g.add(&row{organisation: g.organisation(i)})
	}
	for i := range referencePeople {
		g.career(i)
	}
	for i := range referencePeople {
		g.friends(i)
	}
	if g.err == nil {
		g.err = g.load.ends()
	}
	return g.load.rows, g.err
}

// generator makes rows from random numbers that do not depend on the day.
type generator struct {
	dice *rand.Rand
	day  time.Time
	load *loader
	err  error
}

func (g *generator) add(in *row) {
	store, err := g.load.check(g.load.rows+1, in)
	if err == nil {
		err = store()
	}
	if g.err == nil && err != nil {
		g.err = fmt.Errorf("reference row %d: %w", g.load.rows, err)
	}
}

func (g *generator) pick(list []string) string { return list[g.dice.IntN(len(list))] }

// ago is a month some years before the day.
func (g *generator) ago(years int) string {
	return g.day.AddDate(-years, -g.dice.IntN(12), 0).Format("2006-01")
}

func (g *generator) updated() time.Time {
	return g.day.Add(-time.Duration(g.dice.IntN(200*24)) * time.Hour)
}

func personID(number int) string { return apis.HashID("per_", fmt.Sprint("reference person ", number)) }

func organisationID(number int) string {
	return apis.HashID("org_", fmt.Sprint("reference organisation ", number))
}

func (g *generator) organisation(number int) *graph.Organisation {
	kind := kinds[number%len(kinds)]
	town := towns[g.dice.IntN(len(towns))]
	sector := g.pick(kind.sectors)
	name := fmt.Sprintf(kind.pattern, surnames[(number*7)%len(surnames)], sector)
	if kind.kind == graph.OrganisationKindUniversity {
		name = "University of " + surnames[(number*7)%len(surnames)] + " " + []string{"Bay", "Hill", "Bridge"}[number%3]
	}
	employees := int32(kind.staff/2 + g.dice.IntN(kind.staff))
	return &graph.Organisation{
		ID: organisationID(number), Name: name, Kind: kind.kind, Sector: &sector,
		Description: ptr(fmt.Sprintf("%s is %s in %s, active in %s. An invented organisation.",
			name, kind.word, town.city, strings.ToLower(sector))),
		Founded: ptr(g.ago(10 + g.dice.IntN(120))[:4]), Location: &graph.Location{City: &town.city, Country: &town.country},
		Website: ptr("https://" + slug(name) + ".example"), Employees: &employees, UpdatedAt: g.updated(),
	}
}

// career adds a person with the roles of a working life.
func (g *generator) career(number int) {
	town := towns[g.dice.IntN(len(towns))]
	name := firstNames[number%len(firstNames)] + " " + surnames[number*13%len(surnames)]
	id, age := personID(number), 35+g.dice.IntN(45)
	roles := make([]*graph.Role, 1+g.dice.IntN(5))
	left := g.dice.IntN(3)
	used := map[string]bool{}
	for i := range roles {
		title := titles[g.dice.IntN(len(titles))]
		org := g.dice.IntN(referenceOrganisations)
		years := left + 1 + g.dice.IntN(6)
		r := &graph.Role{
			ID: apis.HashID("role_", fmt.Sprint("reference role ", number, " ", i)), PersonID: id, OrganisationID: organisationID(org),
			Title: title.name, Board: title.board, Since: ptr(g.ago(years + 1)),
		}
		if i > 0 && g.dice.IntN(3) > 0 {
			r.Until = ptr(g.ago(left))
		}
		left = years
		roles[i] = r
	}
	interests := []string{}
	for range 1 + g.dice.IntN(4) {
		if word := g.pick(interestWords); !used[word] {
			used[word] = true
			interests = append(interests, word)
		}
	}
	headline := fmt.Sprintf("%s with a past in %s", roles[0].Title, strings.ToLower(g.pick(sectorWords)))
	p := &graph.Person{
		ID: id, Name: name, Headline: &headline, Born: ptr(g.ago(age)[:4]),
		Biography: ptr(fmt.Sprintf("%s works from %s and gives time to %s. %s An invented person.",
			name, town.city, strings.Join(interests, " and "), g.pick(habits))),
		Location: &graph.Location{City: &town.city, Country: &town.country}, Nationalities: []string{town.country},
		Education: []string{g.pick(degrees) + ", University of " + g.pick(surnames) + " " + g.pick([]string{"Bay", "Hill", "Bridge"})},
		Interests: interests, UpdatedAt: g.updated(),
	}
	if band := g.dice.IntN(10); band > 0 {
		p.Wealth = ptr(graph.AllWealthBand[[]int{0, 0, 0, 0, 1, 1, 1, 2, 2, 3}[band]])
	}
	g.add(&row{person: p})
	for _, r := range roles {
		g.add(&row{role: r})
	}
}

// friends adds up to three relationships with people of higher numbers, so
// that none is added twice.
func (g *generator) friends(number int) {
	next := number
	for range g.dice.IntN(4) {
		next += 1 + g.dice.IntN(40)
		kind := graph.AllRelationshipKind[g.dice.IntN(len(graph.AllRelationshipKind))]
		since := g.ago(1 + g.dice.IntN(25))
		if next < referencePeople {
			g.add(&row{relationship: &relationship{People: []string{personID(number), personID(next)}, Kind: kind, Since: &since}})
		}
	}
}

// slug makes a host label of a name.
func slug(name string) string {
	return strings.Join(
		strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }),
		"-",
	)
}

func ptr[T any](v T) *T { return &v }
