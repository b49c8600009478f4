package calendar

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// The bounds of an event's members beside those of package apis; texts are in
// characters.
const (
	maxName       = 300
	maxCategories = 20
	maxCategory   = 50
)

// translation is one member of a LocalizedText.
type translation struct {
	code string
	text **string
}

// languages lists the members of l, English first: the order in which the name
// to sort by is chosen.
func languages(l *graph.LocalizedText) []translation {
	return []translation{
		{"en", &l.En}, {"ar", &l.Ar}, {"cs", &l.Cs}, {"da", &l.Da}, {"de", &l.De}, {"es", &l.Es}, {"fr", &l.Fr},
		{"he", &l.He}, {"it", &l.It}, {"ja", &l.Ja}, {"ko", &l.Ko}, {"nb", &l.Nb}, {"nl", &l.Nl}, {"pl", &l.Pl},
		{"pt", &l.Pt}, {"ru", &l.Ru}, {"sv", &l.Sv}, {"tr", &l.Tr}, {"uk", &l.Uk}, {"zh", &l.Zh},
	}
}

// texts returns the translations that l has, English first.
func texts(l *graph.LocalizedText) []string {
	var out []string
	if l != nil {
		for _, lang := range languages(l) {
			if *lang.text != nil {
				out = append(out, **lang.text)
			}
		}
	}
	return out
}

// check reports what is wrong with an event and what is allowed.
func check(e *graph.Event) error {
	if err := apis.CheckID(e.ID); err != nil {
		return err
	}
	if len(texts(e.Name)) == 0 {
		return errors.New("name is missing: give it in one language at least")
	}
	for _, text := range texts(e.Name) {
		if err := apis.CheckLine("name", &text, maxName); err != nil {
			return err
		}
	}
	for _, text := range texts(e.Description) {
		if err := apis.CheckProse("description", &text); err != nil {
			return err
		}
	}
	for _, day := range []graph.Date{e.Dates.Start, e.Dates.End} {
		if _, err := graph.ParseDate(string(day)); err != nil {
			return err
		}
	}
	if e.Dates.End < e.Dates.Start {
		return fmt.Errorf("the event ends on %s, before it starts on %s", e.Dates.End, e.Dates.Start)
	}
	if e.Place == nil && !e.Online {
		return errors.New(`place is missing: give a place, or "online": true`)
	}
	if err := checkPlace(e.Place); err != nil {
		return err
	}
	if o := e.Organiser; o != nil {
		if err := errors.Join(apis.CheckLine("organiser.name", &o.Name, maxName),
			apis.CheckPage("organiser.website", o.Website)); err != nil {
			return err
		}
	}
	if len(e.Categories) > maxCategories {
		return fmt.Errorf("%d categories: at most %d are allowed", len(e.Categories), maxCategories)
	}
	for _, c := range e.Categories {
		if err := apis.CheckLine("a category", &c, maxCategory); err != nil {
			return err
		}
	}
	return apis.CheckPage("url", e.URL)
}

func checkPlace(p *graph.Place) error {
	if p == nil {
		return nil
	}
	if *p == (graph.Place{}) {
		return errors.New("place is empty: give a city, a country or where it is on the map")
	}
	for name, text := range map[string]*string{"city": p.City, "region": p.Region} {
		if err := apis.CheckLine(name, text, maxName); err != nil {
			return err
		}
	}
	if p.Country != nil && countryName(*p.Country) == "" {
		return fmt.Errorf("country %q is neither an ISO 3166-1 alpha-2 code nor an English name of a country", *p.Country)
	}
	if (p.Latitude == nil) != (p.Longitude == nil) {
		return errors.New("latitude and longitude have to be given together")
	}
	if p.Latitude != nil && !(*p.Latitude >= -90 && *p.Latitude <= 90 && *p.Longitude >= -180 && *p.Longitude <= 180) {
		return errors.New("latitude has to be from -90 to 90 and longitude from -180 to 180")
	}
	return nil
}

// contentID is the id of an event that has none: the same content always has
// the same id.
func contentID(e *graph.Event) (string, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	return apis.HashID("evt_", string(body)), nil
}

// loader checks and stores the events of a file, and refuses a repeated id.
type loader struct {
	put func(*graph.Event) error
	ids apis.IDs
	now time.Time
}

// newLoader removes all events and returns a loader that stores others.
func newLoader(ctx context.Context, tx *sql.Tx, now time.Time) (*loader, error) {
	for _, table := range []string{"calendar_categories", "calendar_events"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return nil, fmt.Errorf("empty %s: %w", table, err)
		}
	}
	event, err := tx.PrepareContext(ctx, `INSERT INTO calendar_events
		(id, start_day, end_day, status, online, country, title, updated, search, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return nil, err
	}
	category, err := tx.PrepareContext(ctx, `INSERT INTO calendar_categories (category, event) VALUES (?, ?)`)
	if err != nil {
		return nil, err
	}
	put := func(e *graph.Event) error { return store(ctx, event, category, e) }
	return &loader{put: put, ids: apis.IDs{}, now: now.UTC().Truncate(time.Second)}, nil
}

// check completes and checks an event that is on a line of a file.
func (l *loader) check(line int, e *graph.Event) error {
	if err := l.complete(e); err != nil {
		return err
	}
	if err := check(e); err != nil {
		return err
	}
	return l.ids.Claim(line, "id", e.ID)
}

// complete sets the defaults of a row.
func (l *loader) complete(e *graph.Event) error {
	var categories []string
	seen := map[string]bool{}
	for _, c := range e.Categories {
		if c = strings.ToLower(strings.TrimSpace(c)); !seen[c] {
			seen[c] = true
			categories = append(categories, c)
		}
	}
	e.Categories = append([]string{}, categories...)
	if e.Status == "" {
		e.Status = graph.EventStatusPublished
	}
	if e.ID == "" {
		id, err := contentID(e)
		if err != nil {
			return err
		}
		e.ID = id
	}
	if e.UpdatedAt.IsZero() {
		e.UpdatedAt = l.now
	}
	e.UpdatedAt = e.UpdatedAt.UTC().Truncate(time.Second)
	return nil
}

// store writes an event with the two statements that newLoader prepared.
func store(ctx context.Context, event, category *sql.Stmt, e *graph.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	nation, words := "", append(texts(e.Name), texts(e.Description)...)
	if p := e.Place; p != nil {
		for _, text := range []*string{p.City, p.Region} {
			if text != nil {
				words = append(words, *text)
			}
		}
		if p.Country != nil {
			nation = *p.Country
			words = append(words, countryName(nation))
		}
	}
	if e.Organiser != nil {
		words = append(words, e.Organiser.Name)
	}
	search := strings.ToLower(strings.Join(append(words, e.Categories...), "\n"))
	_, err = event.ExecContext(ctx, e.ID, string(e.Dates.Start), string(e.Dates.End), string(e.Status), bit(e.Online), nation,
		strings.ToLower(texts(e.Name)[0]), e.UpdatedAt.Format(time.RFC3339), search, string(body))
	if err != nil {
		return fmt.Errorf("store event: %w", err)
	}
	for _, c := range e.Categories {
		if _, err := category.ExecContext(ctx, c, e.ID); err != nil {
			return fmt.Errorf("store category: %w", err)
		}
	}
	return nil
}
