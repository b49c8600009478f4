package calendar

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// referenceEvents is how many events the reference data has.
const referenceEvents = 400

// Reference replaces all events with invented races: from a year before the day
// to a year and a half after it, most on a weekend.
func (a *API) Reference(ctx context.Context, tx *sql.Tx, ref apis.Reference) (int, error) {
	load, err := newLoader(ctx, tx, ref.Day)
	if err != nil {
		return 0, err
	}
	dice := rand.New(rand.NewPCG(0x61686f7475, 2))
	for i := range referenceEvents {
		event := race(dice, i, ref.Day)
		err := load.check(i+1, event)
		if err == nil {
			err = load.put(event)
		}
		if err != nil {
			return 0, fmt.Errorf("reference event %d: %w", i, err)
		}
	}
	return referenceEvents, nil
}

// race makes the event of a number. Each call draws the same number of random
// numbers whatever the day is, so that only dates depend on it.
func race(dice *rand.Rand, number int, day time.Time) *graph.Event {
	kind, theme := kinds[dice.IntN(len(kinds))], themes[dice.IntN(len(themes))]
	town, organiser := towns[number%len(towns)], organisers[dice.IntN(len(organisers))]
	offset, weekday, length := dice.IntN(900)-360, dice.IntN(10), dice.IntN(12)
	state, extra, age := dice.IntN(100), dice.IntN(1<<len(otherLanguages)), dice.IntN(90*24*60)

	online := kind.online
	first := weekend(day.AddDate(0, 0, offset), weekday)
	last := first
	if kind.days > 1 || length == 0 {
		last = first.AddDate(0, 0, max(kind.days-1, 1))
	}
	name, about := &graph.LocalizedText{}, &graph.LocalizedText{}
	for _, lang := range languages(name) {
		if spoken(lang.code, town.language, extra) {
			*lang.text = ptr(compose(kind.name[lang.code], theme[lang.code], town.city, online))
		}
	}
	for _, lang := range languages(about) {
		if lang.code == "en" || lang.code == town.language {
			*lang.text = ptr(fmt.Sprintf(abouts[lang.code], kind.name[lang.code], town.city, organiser))
		}
	}
	site := "https://" + slug(theme["en"]+"-"+kind.name["en"]+"-"+town.city) + ".example"
	e := &graph.Event{
		ID: apis.HashID("evt_", fmt.Sprintf("reference event %d", number)), Name: name, Description: about,
		Dates:  &graph.EventDates{Start: graph.Date(first.Format(time.DateOnly)), End: graph.Date(last.Format(time.DateOnly))},
		Online: online, Organiser: &graph.Organiser{Name: organiser, Website: ptr("https://" + slug(organiser) + ".example")},
		Categories: kind.categories, Status: status(state, offset), URL: &site,
		UpdatedAt: day.Add(-time.Duration(age) * time.Minute),
	}
	if !online {
		e.Place = &graph.Place{City: &town.city, Region: &town.region, Country: &town.country, Latitude: &town.north, Longitude: &town.east}
	}
	return e
}

// weekend moves most days to the Saturday or Sunday after them.
func weekend(day time.Time, throw int) time.Time {
	switch {
	case throw < 5:
		return day.AddDate(0, 0, (7-int(day.Weekday()))%7)
	case throw < 9:
		return day.AddDate(0, 0, 6-int(day.Weekday()))
	}
	return day
}

// status picks a status that fits the event's distance in days.
func status(throw, offset int) graph.EventStatus {
	switch {
	case throw < 4:
		return graph.EventStatusCancelled
	case throw < 7 && offset > 0:
		return graph.EventStatusPostponed
	case throw < 17 && offset > 30:
		return graph.EventStatusDraft
	}
	return graph.EventStatusPublished
}

// spoken reports whether an event has its name in a language: in English, in
// that of the town, and in those whose random bits are set.
func spoken(code, local string, extra int) bool {
	if code == "en" || code == local {
		return true
	}
	for bit, other := range otherLanguages {
		if code == other {
			return extra&(1<<bit) != 0
		}
	}
	return false
}

// compose puts the kind, the theme and the town into one name.
func compose(kind, theme, city string, online bool) string {
	if online {
		return kind + " " + theme
	}
	return kind + " " + theme + " – " + city
}

// slug makes a host label of a name.
func slug(name string) string {
	plain := strings.NewReplacer("ä", "a", "á", "a", "ã", "a", "ç", "c", "é", "e", "è", "e",
		"í", "i", "ñ", "n", "ó", "o", "ö", "o", "ø", "o", "ü", "u", "ú", "u", "ł", "l", "å", "a").
		Replace(strings.ToLower(name))
	return strings.Join(strings.FieldsFunc(plain, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }), "-")
}

func ptr[T any](v T) *T { return &v }
