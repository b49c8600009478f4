package calendar

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// Import replaces all events with those of r; see the package comment for the
// format.
func (a *API) Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error) {
	load, err := newLoader(ctx, tx, a.clock.Now())
	if err != nil {
		return 0, err
	}
	err = load.read(r)
	return len(load.ids), err
}

// read reads a whole file.
func (l *loader) read(r io.Reader) error {
	return apis.ReadRows(r, func(line int, in *row) (func() error, error) {
		event, err := in.event()
		if err != nil {
			return nil, err
		}
		return func() error { return l.put(event) }, l.check(line, event)
	})
}

// row is a line of JSON in either shape.
type row struct {
	ID          *string          `json:"id"`
	Name        *text            `json:"name"`
	Description *text            `json:"description"`
	Dates       *days            `json:"dates"`
	Place       *graph.Place     `json:"place"`
	Online      bool             `json:"online"`
	Organiser   *graph.Organiser `json:"organiser"`
	Categories  []string         `json:"categories"`
	Status      *string          `json:"status"`
	URL         *string          `json:"url"`
	UpdatedAt   *string          `json:"updatedAt"`

	StartDate *string `json:"startDate"`
	EndDate   *string `json:"endDate"`
	City      *string `json:"city"`
	Country   *string `json:"country"`
	Locales   *string `json:"locales"`
}

type days struct {
	Start *string `json:"start"`
	End   *string `json:"end"`
}

// text is a LocalizedText, or a string in English.
type text graph.LocalizedText

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	switch b[0] { // a value is never empty
	case '"':
		return json.Unmarshal(b, &t.En)
	case '{':
		return apis.Decode(b, (*graph.LocalizedText)(t))
	}
	return errors.New("it has to be a string in English or an object with a member per language")
}

// event converts a row to an event.
func (in *row) event() (*graph.Event, error) {
	dates, err := in.dates()
	if err != nil {
		return nil, err
	}
	place, err := in.place()
	if err != nil {
		return nil, err
	}
	if err := in.checkLocales(); err != nil {
		return nil, err
	}
	event := &graph.Event{
		Name: (*graph.LocalizedText)(in.Name), Description: (*graph.LocalizedText)(in.Description), Dates: dates, Place: place,
		Online: in.Online, Organiser: in.Organiser, Categories: in.Categories, URL: in.URL,
	}
	if in.ID != nil {
		if event.ID = *in.ID; event.ID == "" {
			return nil, errors.New("id is empty: leave it out to have one made")
		}
	}
	if in.Status != nil {
		event.Status = graph.EventStatus(*in.Status)
		if !event.Status.IsValid() {
			return nil, fmt.Errorf("status %q: the values are %v", *in.Status, graph.AllEventStatus)
		}
	}
	if in.UpdatedAt != nil {
		if event.UpdatedAt, err = time.Parse(time.RFC3339, *in.UpdatedAt); err != nil {
			return nil, fmt.Errorf("updatedAt %q is not a time as 2026-01-02T03:04:05Z", *in.UpdatedAt)
		}
	}
	return event, nil
}

// dates returns the days of a row, which has one of two forms.
func (in *row) dates() (*graph.EventDates, error) {
	start, end := in.StartDate, in.EndDate
	if in.Dates != nil {
		if start != nil || end != nil {
			return nil, errors.New("dates and startDate or endDate: give one of them")
		}
		start, end = in.Dates.Start, in.Dates.End
	}
	if start == nil {
		return nil, errors.New(`the first day is missing: give "dates": {"start": "YYYY-MM-DD"} or "startDate"`)
	}
	if end == nil {
		end = start
	}
	first, err := graph.ParseDate(*start)
	if err != nil {
		return nil, err
	}
	last, err := graph.ParseDate(*end)
	return &graph.EventDates{Start: first, End: last}, err
}

// place returns the place of a row, which has one of two forms.
func (in *row) place() (*graph.Place, error) {
	place := in.Place
	if in.City != nil || in.Country != nil {
		if place != nil {
			return nil, errors.New("place and city or country: give one of them")
		}
		place = &graph.Place{City: in.City, Country: in.Country}
	}
	if place != nil && place.Country != nil {
		if code, ok := country(*place.Country); ok {
			place.Country = &code
		}
	}
	return place, nil
}

// checkLocales checks the languages that an event is held in: two or three
// letters each, separated by commas.
func (in *row) checkLocales() error {
	if in.Locales == nil {
		return nil
	}
	bad := func(code string) bool {
		code = strings.TrimSpace(code)
		return len(code) < 2 || len(code) > 3 || strings.ContainsFunc(code, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' })
	}
	if slices.ContainsFunc(strings.Split(*in.Locales, ","), bad) {
		return fmt.Errorf("locales %q have to be language codes separated by commas, such as EN,FR", *in.Locales)
	}
	return nil
}
