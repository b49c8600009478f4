package events

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
)

// ReferenceEvents is how many events a set of reference data has. A third
// belongs to a tenant of the Reference, a third to CountiesTenant and a third to
// NursesTenant.
const ReferenceEvents = 360

// The tenants of reference events at each provider that has tenants, beside
// those of the Reference.
const (
	CountiesTenant = "COUNTIES456"
	NursesTenant   = "NURSES789"
)

// Reference replaces all events with invented ones: ReferenceEvents for the
// first tenant of each provider in ref, a third as many for each further one,
// whose provider has the other tenants already; none if ref has no tenant. They
// are from about half a year before the day to a year after it.
func (a *API) Reference(ctx context.Context, tx *sql.Tx, ref apis.Reference) (int, error) {
	add, err := replaceAll(ctx, tx)
	if err != nil {
		return 0, err
	}
	rows := 0
	strangers := map[string]bool{} // the providers whose other tenants have theirs
	for k, owner := range ref.Tenants() {
		tenants := []string{owner.Tenant, CountiesTenant, NursesTenant}
		for i := range ReferenceEvents {
			owner.Tenant = tenants[i%len(tenants)]
			if i%len(tenants) > 0 && strangers[owner.Provider] {
				continue
			}
			event, err := invent(i+k*ReferenceEvents, ref.Day)
			if err != nil {
				return 0, fmt.Errorf("events: invent event %d: %w", i, err)
			}
			if err := add(owner, event); err != nil {
				return 0, fmt.Errorf("events: %w", err)
			}
			rows++
		}
		strangers[owner.Provider] = true
	}
	return rows, nil
}

// invent makes event i. Only its dates, and what follows from them, depend on
// the day: chance is drawn from a source that starts at i.
func invent(i int, day time.Time) (*Event, error) {
	chance := rand.New(rand.NewPCG(uint64(i), 0xe7e275))
	host := hosts[i%len(hosts)]
	kind := kinds[i/len(hosts)%len(kinds)]
	place := pick(chance, host.places)
	if kind.capital {
		place = host.places[0]
	}
	topic := pick(chance, host.topics)
	zone, err := time.LoadLocation(place.zone)
	if err != nil {
		return nil, err
	}

	// 131 shares no factor with ReferenceEvents: the events of each host and
	// kind spread evenly, from 180 days back to 358 ahead.
	date := workday(day.AddDate(0, 0, i*131%ReferenceEvents*3/2-180))
	start := time.Date(date.Year(), date.Month(), date.Day(), kind.hour, 30*chance.IntN(2), 0, 0, zone)
	e := &Event{
		ID:         rest.ID(fmt.Sprintf("events/%d", i)),
		Start:      start,
		End:        start.Add(kind.length),
		TimeZone:   place.zone,
		Status:     status(chance, start, day),
		Categories: kind.categories,
		Contact:    contact(chance, host, place),
	}
	words := strings.NewReplacer(
		"{year}", fmt.Sprint(start.Year()), "{topic}", topic, "{city}", place.city,
		"{member}", host.member, "{members}", host.members, "{host}", host.name,
		"{region}", place.area, "{speaker}", person(chance),
	)
	e.Name = sentence(words.Replace(pick(chance, kind.names)))
	e.Description = sentence(words.Replace(kind.description))
	if kind.mode != online {
		e.Venue = &Venue{Name: words.Replace(pick(chance, kind.venues)), City: place.city, Region: place.region, Country: place.country}
	}
	if kind.mode != onSite {
		e.OnlineURL = "https://meet." + host.domain + "/" + e.ID[:8]
	}
	if kind.capacity > 0 {
		closing := closings
		if kind.mode == online {
			closing = closings[:onlineClosings]
		}
		e.Description += " " + pick(chance, closing)
		e.Registration = registration(chance, e, kind, day)
	}
	return e, nil
}

// workday moves a date off the weekend.
func workday(date time.Time) time.Time {
	switch date.Weekday() {
	case time.Saturday:
		return date.AddDate(0, 0, 2)
	case time.Sunday:
		return date.AddDate(0, 0, 1)
	}
	return date
}

func status(chance *rand.Rand, start, day time.Time) string {
	switch n := chance.IntN(100); {
	case n < 4:
		return "cancelled"
	case start.Before(day):
		return "completed"
	case n < 8:
		return "postponed"
	}
	return "scheduled"
}

// registration opens two to four months ahead, and fills as the event nears.
func registration(chance *rand.Rand, e *Event, kind kind, day time.Time) *Registration {
	opensAhead, share := 60+chance.IntN(60), 30+chance.IntN(71)
	date := func(daysAhead, hour int) time.Time {
		y, m, d := e.Start.AddDate(0, 0, -daysAhead).Date()
		return time.Date(y, m, d, hour, 0, 0, 0, e.Start.Location())
	}
	r := &Registration{Opens: date(opensAhead, 9), Closes: date(1+chance.IntN(7), 17)}
	capacity := kind.capacity * int64(8+chance.IntN(9)) / 10
	if kind.mode != online {
		r.Capacity = &capacity
	}
	passed, whole := day.Sub(r.Opens), r.Closes.Sub(r.Opens)
	passed = min(max(passed, 0), whole)
	r.Registered = capacity * int64(share) / 100 * int64(passed/time.Hour) / int64(whole/time.Hour)
	return r
}

// contact uses names that are reserved for examples: the domain .example (RFC
// 2606) and the telephone numbers 555-0100 to 555-0199.
func contact(chance *rand.Rand, host host, place place) Contact {
	return Contact{
		Name:  person(chance),
		Email: "events@" + host.domain,
		Phone: fmt.Sprintf("+1 %s 555 01%02d", place.dial, chance.IntN(100)),
	}
}

// sentence starts with a capital letter; the word lists are in ASCII.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func person(chance *rand.Rand) string {
	return pick(chance, givenNames) + " " + pick(chance, familyNames)
}

func pick[T any](chance *rand.Rand, from []T) T { return from[chance.IntN(len(from))] }
