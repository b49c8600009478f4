package calendar

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// The bounds of an event's members, in characters unless told otherwise.
const (
	maxID          = 200 // bytes
	maxName        = 300
	maxDescription = 10_000
	maxURL         = 2000 // bytes
	maxCategories  = 20
	maxCategory    = 50
)

// language is one member of a LocalizedText.
type language struct {
	code string
	text **string
}

// languages lists the members of l, English first: the order in which the name
// to sort by is chosen.
func languages(l *graph.LocalizedText) []language {
	return []language{
		{"en", &l.En}, {"ar", &l.Ar}, {"cs", &l.Cs}, {"da", &l.Da}, {"de", &l.De}, {"es", &l.Es}, {"fr", &l.Fr},
		{"he", &l.He}, {"it", &l.It}, {"ja", &l.Ja}, {"ko", &l.Ko}, {"nb", &l.Nb}, {"nl", &l.Nl}, {"pl", &l.Pl},
		{"pt", &l.Pt}, {"ru", &l.Ru}, {"sv", &l.Sv}, {"tr", &l.Tr}, {"uk", &l.Uk}, {"zh", &l.Zh},
	}
}

// languageCodes are the languages of a LocalizedText, for messages.
func languageCodes() string {
	var codes []string
	for _, l := range languages(&graph.LocalizedText{}) {
		codes = append(codes, l.code)
	}
	return strings.Join(codes, ", ")
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
	if e.ID == "" || len(e.ID) > maxID || strings.ContainsFunc(e.ID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("id has to be 1 to %d printable ASCII characters without spaces", maxID)
	}
	if len(texts(e.Name)) == 0 {
		return errors.New("name is missing: give it in one language at least")
	}
	for _, text := range texts(e.Name) {
		if err := line("name", text, maxName); err != nil {
			return err
		}
	}
	for _, text := range texts(e.Description) {
		if n := utf8.RuneCountInString(text); n < 1 || n > maxDescription {
			return fmt.Errorf("description has %d characters: it has to have from 1 to %d", n, maxDescription)
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
		if err := errors.Join(line("organiser.name", o.Name, maxName), webPage("organiser.website", o.Website)); err != nil {
			return err
		}
	}
	if len(e.Categories) > maxCategories {
		return fmt.Errorf("%d categories: at most %d are allowed", len(e.Categories), maxCategories)
	}
	for _, c := range e.Categories {
		if err := line("a category", c, maxCategory); err != nil {
			return err
		}
	}
	return webPage("url", e.URL)
}

func checkPlace(p *graph.Place) error {
	if p == nil {
		return nil
	}
	if *p == (graph.Place{}) {
		return errors.New("place is empty: give a city, a country or where it is on the map")
	}
	for name, text := range map[string]*string{"city": p.City, "region": p.Region} {
		if text != nil {
			if err := line(name, *text, maxName); err != nil {
				return err
			}
		}
	}
	if p.Country != nil && countryNames[*p.Country] == "" {
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

// line checks a text of one line.
func line(name, text string, limit int) error {
	n := utf8.RuneCountInString(text)
	if n < 1 || n > limit || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%s has to be 1 to %d characters on one line", name, limit)
	}
	return nil
}

func webPage(name string, address *string) error {
	if address == nil {
		return nil
	}
	u, err := url.Parse(*address)
	if err != nil || len(*address) > maxURL || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%s has to be an http or https URL of at most %d bytes", name, maxURL)
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
	return hashID(string(body)), nil
}

// hashID makes an id from the identifying values of an event.
func hashID(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return "evt_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}

// loader stores the events of a file, and refuses a repeated id.
type loader struct {
	put   func(*graph.Event) error
	lines map[string]int // by id
	now   time.Time
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
	return &loader{put: put, lines: map[string]int{}, now: now.UTC().Truncate(time.Second)}, nil
}

// add completes, checks and stores an event that starts at a line of a file.
func (l *loader) add(line int, e *graph.Event) error {
	err := l.complete(e)
	if err == nil {
		err = check(e)
	}
	if first, again := l.lines[e.ID]; err == nil && again {
		err = fmt.Errorf("the id %q is that of line %d already: ids have to differ", e.ID, first)
	}
	if err != nil {
		return &apis.RowError{Line: line, Err: err}
	}
	l.lines[e.ID] = line
	return l.put(e)
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
			words = append(words, countryNames[nation])
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
