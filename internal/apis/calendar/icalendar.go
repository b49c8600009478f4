package calendar

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/ical"
)

func importICalendar(load *loader, r io.Reader) error {
	err := ical.Read(r, func(in *ical.Event) error {
		event, err := fromICalendar(in)
		if err != nil {
			return &apis.RowError{Line: in.Line, Err: err}
		}
		return load.add(in.Line, event)
	})
	var bad *ical.Error
	if errors.As(err, &bad) {
		return &apis.RowError{Line: bad.Line, Err: bad.Err}
	}
	return err
}

// vevent collects the properties of one VEVENT.
type vevent struct {
	event      *graph.Event
	start, end *ical.Moment
	lasts      *time.Duration
	once       map[string]bool
}

// fromICalendar translates a VEVENT. An error names the line of the property
// that is wrong.
func fromICalendar(in *ical.Event) (*graph.Event, error) {
	v := &vevent{
		event: &graph.Event{Name: &graph.LocalizedText{}},
		once:  map[string]bool{},
	}
	for _, p := range in.Properties {
		if err := v.property(p); err != nil {
			return nil, fmt.Errorf("%w (property on line %d)", err, p.Line)
		}
	}
	for _, name := range []string{"UID", "DTSTART", "SUMMARY"} {
		if !v.once[name] {
			return nil, fmt.Errorf("the event has no %s", name)
		}
	}
	e := v.event
	if e.Place == nil {
		e.Online = true
	}
	var err error
	e.Dates, err = v.days()
	return e, err
}

// repeatable are the properties that an event may have more than once; a text
// only once a language.
var repeatable = map[string]bool{"SUMMARY": true, "DESCRIPTION": true, "CATEGORIES": true}

// property reads one property; properties without a place in the calendar are
// skipped.
func (v *vevent) property(p ical.Property) error {
	read := v.reader(p.Name)
	if read == nil {
		return nil
	}
	if v.once[p.Name] && !repeatable[p.Name] {
		return fmt.Errorf("%s is given twice", p.Name)
	}
	v.once[p.Name] = true
	if p.Value == "" && p.Name != "UID" && p.Name != "SUMMARY" && p.Name != "DTSTART" {
		return nil
	}
	return read(p)
}

// reader returns the function that reads the properties of a name, nil for those
// to skip.
func (v *vevent) reader(name string) func(ical.Property) error {
	switch name {
	case "UID":
		return func(p ical.Property) (err error) { v.event.ID, err = ical.Text(p.Value); return err }
	case "SUMMARY":
		return func(p ical.Property) error { return translation(v.event.Name, p) }
	case "DESCRIPTION":
		return v.description
	case "DTSTART":
		return func(p ical.Property) (err error) { v.start, err = moment(p); return err }
	case "DTEND":
		return func(p ical.Property) (err error) { v.end, err = moment(p); return err }
	case "DURATION":
		return func(p ical.Property) error {
			d, err := ical.Duration(p.Value)
			v.lasts = &d
			return err
		}
	case "LOCATION":
		return v.location
	case "GEO":
		return v.geo
	case "URL":
		return func(p ical.Property) error { v.event.URL = &p.Value; return nil }
	case "CATEGORIES":
		return func(p ical.Property) error {
			list, err := ical.List(p.Value)
			v.event.Categories = append(v.event.Categories, list...)
			return err
		}
	case "STATUS":
		return v.status
	case "ORGANIZER":
		return v.organiser
	case "LAST-MODIFIED":
		return func(p ical.Property) error {
			m, err := ical.When(p)
			v.event.UpdatedAt = m.Time
			return err
		}
	case "RRULE", "RDATE", "RECURRENCE-ID":
		return func(p ical.Property) error {
			return fmt.Errorf("%s: events that repeat are not imported: write each day as an event with a UID of its own", p.Name)
		}
	}
	return nil
}

func moment(p ical.Property) (*ical.Moment, error) {
	m, err := ical.When(p)
	return &m, err
}

// translation adds a text in the language of its LANGUAGE parameter (RFC 5646),
// whose region does not matter here.
func translation(to *graph.LocalizedText, p ical.Property) error {
	tag := p.Params["LANGUAGE"]
	if tag == "" {
		tag = "en"
	}
	code, _, _ := strings.Cut(strings.ToLower(tag), "-")
	if code == "no" {
		code = "nb"
	}
	text, err := ical.Text(p.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	for _, lang := range languages(to) {
		if lang.code != code {
			continue
		}
		if *lang.text != nil {
			return fmt.Errorf("%s is given twice in the language %q", p.Name, code)
		}
		*lang.text = &text
		return nil
	}
	return fmt.Errorf("%s has LANGUAGE=%s: the languages are %s", p.Name, tag, languageCodes())
}

func (v *vevent) description(p ical.Property) error {
	if v.event.Description == nil {
		v.event.Description = &graph.LocalizedText{}
	}
	return translation(v.event.Description, p)
}

// location takes "city, country", where both may be missing.
func (v *vevent) location(p ical.Property) error {
	text, err := ical.Text(p.Value)
	if err != nil {
		return err
	}
	text = strings.Join(strings.Fields(text), " ")
	if strings.EqualFold(text, "online") || strings.EqualFold(text, "virtual") {
		v.event.Online = true
		return nil
	}
	place := v.place()
	city, last := "", text
	if i := strings.LastIndexByte(text, ','); i >= 0 {
		city, last = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
	}
	if code, ok := country(last); ok {
		place.Country, text = &code, city
	}
	if text != "" {
		place.City = &text
	}
	return nil
}

func (v *vevent) geo(p ical.Property) error {
	north, east, ok := strings.Cut(p.Value, ";")
	lat, err := strconv.ParseFloat(north, 64)
	lon, err2 := strconv.ParseFloat(east, 64)
	if !ok || err != nil || err2 != nil || math.IsNaN(lat) || math.IsNaN(lon) {
		return fmt.Errorf("GEO %q is not LATITUDE;LONGITUDE", p.Value)
	}
	place := v.place()
	place.Latitude, place.Longitude = &lat, &lon
	return nil
}

func (v *vevent) place() *graph.Place {
	if v.event.Place == nil {
		v.event.Place = &graph.Place{}
	}
	return v.event.Place
}

func (v *vevent) status(p ical.Property) error {
	status, ok := map[string]graph.EventStatus{
		"CONFIRMED": graph.EventStatusPublished, "TENTATIVE": graph.EventStatusDraft, "CANCELLED": graph.EventStatusCancelled,
	}[strings.ToUpper(p.Value)]
	if !ok {
		return fmt.Errorf("STATUS %q: an event is TENTATIVE, CONFIRMED or CANCELLED", p.Value)
	}
	v.event.Status = status
	return nil
}

// organiser takes the common name, or else the address, of an ORGANIZER.
func (v *vevent) organiser(p ical.Property) error {
	o := &graph.Organiser{Name: p.Params["CN"]}
	switch scheme, rest, _ := strings.Cut(p.Value, ":"); strings.ToLower(scheme) {
	case "http", "https":
		o.Website = &p.Value
	case "mailto":
		if o.Name == "" {
			o.Name = rest
		}
	}
	if o.Name == "" {
		o.Name = p.Value
	}
	v.event.Organiser = o
	return nil
}

// days converts the moments of an event to its first and last day. An end is
// exclusive (RFC 5545 section 3.6.1), so midnight belongs to the day before.
func (v *vevent) days() (*graph.EventDates, error) {
	if v.end != nil && v.lasts != nil {
		return nil, errors.New("DTEND and DURATION: give one of them")
	}
	first, end := v.start.Time, v.start.Time
	switch {
	case v.end != nil && v.end.Whole != v.start.Whole:
		return nil, errors.New("DTSTART and DTEND have to be both days or both times")
	case v.end != nil:
		end = v.end.Time
	case v.lasts != nil:
		end = first.Add(*v.lasts)
	}
	if end.After(first) {
		end = end.Add(-time.Second)
	}
	return &graph.EventDates{
		Start: graph.Date(first.Format(time.DateOnly)),
		End:   graph.Date(end.Format(time.DateOnly)),
	}, nil
}
