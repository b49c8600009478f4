package calendar

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
)

// Import replaces all events with those of r; see the package comment for the
// formats.
func (a *API) Import(ctx context.Context, tx *sql.Tx, format apis.Format, r io.Reader) (int, error) {
	if format != apis.JSONLines && format != apis.ICalendar {
		return 0, fmt.Errorf("%w: the calendar reads %s and %s", apis.ErrFormat, apis.JSONLines, apis.ICalendar)
	}
	load, err := newLoader(ctx, tx, a.clock.Now())
	if err != nil {
		return 0, err
	}
	if format == apis.ICalendar {
		err = importICalendar(load, r)
	} else {
		err = importLines(load, r)
	}
	return len(load.lines), err
}

func importLines(load *loader, r io.Reader) error {
	// A row's error is wrapped by load already when it has a line of its own.
	var failed error
	err := apis.Lines(r, func(line int, text []byte) error {
		event, err := parseLine(text)
		if err != nil {
			return err
		}
		failed = load.add(line, event)
		return failed
	})
	if failed != nil {
		return failed
	}
	return err
}

// fields are the members of a line, for messages.
const fields = "id, name, description, dates, place, online, organiser, categories, status, url, updatedAt, " +
	"or flat startDate, endDate, city, country, locales"

// row is a line of JSON in either shape.
type row struct {
	ID          *string          `json:"id"`
	Name        text             `json:"name"`
	Description text             `json:"description"`
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
type text struct{ *graph.LocalizedText }

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	t.LocalizedText = &graph.LocalizedText{}
	switch b[0] { // a value is never empty
	case '"':
		return json.Unmarshal(b, &t.En)
	case '{':
	default:
		return errors.New("name and description have to be a string in English or an object with a member per language")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t.LocalizedText); err != nil {
		return words(err, "the languages are "+languageCodes())
	}
	return nil
}

// words converts an error of encoding/json to one about the file.
func words(err error, allowed string) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		kind := map[string]string{"string": "a string", "bool": "true or false", "float64": "a number"}[wrong.Type.String()]
		if kind == "" {
			kind = "an object"
			if strings.HasPrefix(wrong.Type.String(), "[]") {
				kind = "a list"
			}
		}
		if wrong.Field == "" {
			return fmt.Errorf("a line has to be %s, not a %s", kind, wrong.Value)
		}
		return fmt.Errorf("%q has to be %s, not a %s", wrong.Field, kind, wrong.Value)
	}
	if unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s: %s", unknown, allowed)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not well-formed JSON: one object a line is allowed")
	}
	return err
}

// parseLine reads an event from a line of JSON.
func parseLine(line []byte) (*graph.Event, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("not UTF-8")
	}
	var in row
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return nil, words(err, "the fields are "+fields)
	}
	if dec.InputOffset() != int64(len(line)) {
		return nil, errors.New("text after the object: one object a line is allowed")
	}
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
		Name: in.Name.LocalizedText, Description: in.Description.LocalizedText, Dates: dates, Place: place,
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
