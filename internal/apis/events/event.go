package events

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for machines that have no time zones of their own
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
)

// Event is an event in a response and in a file to import.
type Event struct {
	// ID is a UUID, unique among all tenants of all providers.
	ID string `json:"id"`
	// Name is from 1 to 200 characters.
	Name string `json:"name"`
	// Description is at most 4000 characters; it may have line breaks.
	Description string `json:"description"`
	// Start and End are in TimeZone, to the second; End is after Start.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// TimeZone is an IANA name such as "America/New_York".
	TimeZone string `json:"timeZone"`
	// Status is "scheduled", "postponed", "cancelled" or "completed".
	Status string `json:"status"`
	// Categories are from 1 to 10 words to group events by.
	Categories []string `json:"categories"`
	// Venue is where to go, OnlineURL where to connect; one of them at least.
	Venue     *Venue `json:"venue,omitempty"`
	OnlineURL string `json:"onlineUrl,omitempty"`
	// Registration is missing when nobody registers.
	Registration *Registration `json:"registration,omitempty"`
	// Contact is the contact for questions.
	Contact Contact `json:"contact"`
}

// Venue is a place. Its fields have at most 200 characters.
type Venue struct {
	Name   string `json:"name"`
	City   string `json:"city"`
	Region string `json:"region,omitempty"`
	// Country is an ISO 3166-1 alpha-2 code.
	Country string `json:"country"`
}

// Registration is when, and for how many, registration is possible.
type Registration struct {
	Opens  time.Time `json:"opens"`
	Closes time.Time `json:"closes"`
	// Capacity is how many can register; missing when there is no limit.
	Capacity *int64 `json:"capacity,omitempty"`
	// Registered is how many have.
	Registered int64 `json:"registered"`
}

// Contact is a contact. Its fields have at most 200 characters.
type Contact struct {
	Name  string `json:"name"`
	Email string `json:"email"`
	Phone string `json:"phone,omitempty"`
}

// maxText bounds each text but the description, in characters.
const maxText = 200

// search returns the text that SearchText matches.
func (e *Event) search() string {
	texts := append([]string{e.Name, e.Description}, e.Categories...)
	if e.Venue != nil {
		texts = append(texts, e.Venue.Name, e.Venue.City)
	}
	return strings.ToLower(strings.Join(texts, "\n"))
}

// normalize checks an event from a file and converts it to the form of
// responses. Its error says what is allowed.
func (e *Event) normalize() error {
	id, err := rest.ParseID(e.ID)
	if err != nil {
		return fmt.Errorf("id is %w", err)
	}
	e.ID = id
	if n := utf8.RuneCountInString(e.Description); n > 4000 {
		return fmt.Errorf("description has %d characters: at most 4000 are allowed", n)
	}
	if strings.ContainsFunc(e.Description, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errors.New("description has a control character: only line breaks and tabs are allowed")
	}
	if !slices.Contains([]string{"scheduled", "postponed", "cancelled", "completed"}, e.Status) {
		return errors.New("status must be scheduled, postponed, cancelled or completed")
	}
	if n := len(e.Categories); n < 1 || n > 10 {
		return fmt.Errorf("categories has %d words: from 1 to 10 are allowed", n)
	}
	if err := e.checkTexts(); err != nil {
		return err
	}
	if err := e.checkPlace(); err != nil {
		return err
	}
	if err := e.normalizeTimes(); err != nil {
		return err
	}
	return e.checkRegistration()
}

func (e *Event) checkTexts() error {
	type text struct{ name, value string }
	texts := []text{{"name", e.Name}, {"contact.name", e.Contact.Name}, {"contact.email", e.Contact.Email}}
	for i, c := range e.Categories {
		texts = append(texts, text{fmt.Sprintf("categories[%d]", i), c})
	}
	if v := e.Venue; v != nil {
		texts = append(texts, text{"venue.name", v.Name}, text{"venue.city", v.City}, text{"venue.region", v.Region})
	}
	texts = append(texts, text{"contact.phone", e.Contact.Phone})
	for _, t := range texts {
		optional := t.name == "venue.region" || t.name == "contact.phone"
		if err := apis.CheckText(t.name, t.value, maxText, optional); err != nil {
			return err
		}
	}
	if !strings.Contains(e.Contact.Email, "@") {
		return errors.New("contact.email must be an email address")
	}
	return nil
}

func (e *Event) checkPlace() error {
	if e.Venue == nil && e.OnlineURL == "" {
		return errors.New("venue and onlineUrl are both missing: give one of them")
	}
	if v := e.Venue; v != nil && (len(v.Country) != 2 || strings.Trim(v.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return errors.New("venue.country must be an ISO 3166-1 alpha-2 code such as US")
	}
	if e.OnlineURL == "" {
		return nil
	}
	u, err := url.Parse(e.OnlineURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || len(e.OnlineURL) > 2000 {
		return errors.New("onlineUrl must be an https URL of at most 2000 bytes")
	}
	return nil
}

func (e *Event) normalizeTimes() error {
	zone, err := time.LoadLocation(e.TimeZone)
	if err != nil || e.TimeZone == "" || e.TimeZone == "Local" {
		return errors.New("timeZone must be an IANA name such as America/New_York")
	}
	type field struct {
		name string
		at   *time.Time
	}
	times := []field{{"start", &e.Start}, {"end", &e.End}}
	if r := e.Registration; r != nil {
		times = append(times, field{"registration.opens", &r.Opens}, field{"registration.closes", &r.Closes})
	}
	for _, t := range times {
		if y := t.at.UTC().Year(); t.at.IsZero() || y < 1980 || y > 2999 {
			return fmt.Errorf("%s is required, in a year from 1980 to 2999", t.name)
		}
		*t.at = t.at.Truncate(time.Second).In(zone)
	}
	if !e.End.After(e.Start) {
		return errors.New("end must be after start")
	}
	return nil
}

func (e *Event) checkRegistration() error {
	r := e.Registration
	switch {
	case r == nil:
		return nil
	case !r.Closes.After(r.Opens):
		return errors.New("registration.closes must be after registration.opens")
	case r.Capacity != nil && *r.Capacity < 1:
		return errors.New("registration.capacity must be 1 or more; leave it out for no limit")
	case r.Registered < 0, r.Capacity != nil && r.Registered > *r.Capacity:
		return errors.New("registration.registered must be from 0 to the capacity")
	}
	return nil
}
