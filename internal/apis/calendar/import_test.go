package calendar_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar"
)

const lines = `{"id": "evt_1", "name": {"en": "Lake Marathon", "fr": "Marathon du lac"}, "description": {"en": "Once around."}, "dates": {"start": "2026-05-31", "end": "2026-06-01"}, "place": {"city": "Annecy", "region": "Haute-Savoie", "country": "FR", "latitude": 45.9, "longitude": 6.13}, "online": false, "organiser": {"name": "Lake Runners", "website": "https://runners.example"}, "categories": ["Marathon", "road", "marathon"], "status": "POSTPONED", "url": "https://lake.example", "updatedAt": "2026-01-02T03:04:05+01:00"}

{"name": "GopherMeet", "startDate": "2026-07-01", "endDate": "2026-07-02", "city": "London", "country": "U.K.", "online": false, "url": "https://meet.example", "locales": "EN, FR", "categories": ["go"]}
{"name": "Anywhere", "startDate": "2026-08-01", "online": true}
`

func TestImportLines(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	if n, err := f.load(t, lines); n != 3 || err != nil {
		t.Fatalf("imported %d rows: %v", n, err)
	}
	p := f.events(t, "")
	if p.TotalCount != 3 {
		t.Fatalf("there are %d events", p.TotalCount)
	}
	const want = `{"ID":"evt_1","Name":{"de":"","en":"Lake Marathon","fr":"Marathon du lac","ja":""},"Description":{"en":"Once around."},` +
		`"Dates":{"Start":"2026-05-31","End":"2026-06-01"},` +
		`"Place":{"City":"Annecy","Region":"Haute-Savoie","Country":"FR","Latitude":45.9,"Longitude":6.13},"Online":false,` +
		`"Organiser":{"Name":"Lake Runners","Website":"https://runners.example"},"Categories":["marathon","road"],` +
		`"Status":"POSTPONED","URL":"https://lake.example","UpdatedAt":"2026-01-02T02:04:05Z"}`
	if got := dump(t, p.Data[0]); got != want {
		t.Errorf("event is\n%s, want\n%s", got, want)
	}
	if e := p.Data[1]; e.Name["en"] != "GopherMeet" || e.Place.Country != "GB" || e.Status != "PUBLISHED" || e.UpdatedAt != "2026-05-20T09:00:00Z" {
		t.Errorf("the flat event is %+v", e)
	}
	if e := p.Data[2]; !e.Online || e.Place != nil || e.Dates.End != "2026-08-01" {
		t.Errorf("the online event is %+v", e)
	}
	if _, err := f.load(t, lines); err != nil {
		t.Fatal(err)
	}
	if again := f.events(t, ""); again.Data[1].ID != p.Data[1].ID || !strings.HasPrefix(again.Data[1].ID, "evt_") {
		t.Errorf("imported twice, the id is %s and %s", p.Data[1].ID, again.Data[1].ID)
	}
}

// A file with one wrong row changes nothing.
func TestImportErrors(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	before := f.events(t, "").TotalCount
	const good = `{"name": "ok", "startDate": "2026-01-01", "online": true}` + "\n"
	for _, test := range []struct {
		name    string
		text    string
		line    int
		message string
	}{
		{"not json", good + "{", 2, "not one JSON object"},
		{"a list", "[]", 1, "not a JSON object"},
		{"not utf-8", good + "{\"name\": \"\xff\"}", 2, "not UTF-8"},
		{"text after the object", "{} {}", 1, "after top-level value"},
		{"unknown field", good + "\n" + `{"title": "x"}`, 3, `unknown field "title": allowed are id, name,`},
		{"unknown language", `{"name": {"en": "x", "xx": "y"}, "startDate": "2026-01-01", "online": true}`, 1, `name: unknown field "xx": allowed are ar, cs,`},
		{"name that is a number", `{"name": 7, "startDate": "2026-01-01", "online": true}`, 1, "string in English or an object"},
		{"city that is a number", `{"name": "x", "city": 7}`, 1, "city must be a string"},
		{"description that is a list", `{"name": "x", "description": [], "startDate": "2026-01-01", "online": true}`, 1, "string in English or an object"},
		{"name that is null", `{"name": null, "startDate": "2026-01-01", "online": true}`, 1, "name is missing"},
		{"translation that is a number", `{"name": {"en": 7}, "startDate": "2026-01-01", "online": true}`, 1, "name: en must be a string"},
		{"categories that are text", `{"name": "x", "categories": "go"}`, 1, "categories must be an array"},
		{"dates that are text", `{"name": "x", "dates": "today"}`, 1, "dates must be a JSON object"},
		{"online that is text", `{"name": "x", "online": "yes"}`, 1, "online must be true or false"},
		{"latitude that is text", `{"name": "x", "place": {"latitude": "north"}}`, 1, "place.latitude must be a number"},
		{"no name", `{"startDate": "2026-01-01", "online": true}`, 1, "name is missing"},
		{"empty name", `{"name": "", "startDate": "2026-01-01", "online": true}`, 1, "name has to be 1 to 300"},
		{"name of two lines", `{"name": "a\nb", "startDate": "2026-01-01", "online": true}`, 1, "on one line"},
		{"no day", `{"name": "x", "online": true}`, 1, "the first day is missing"},
		{"wrong day", `{"name": "x", "startDate": "2026-13-01", "online": true}`, 1, "YYYY-MM-DD"},
		{"ends before it starts", `{"name": "x", "dates": {"start": "2026-01-02", "end": "2026-01-01"}, "online": true}`, 1, "before it starts"},
		{"days twice", `{"name": "x", "dates": {"start": "2026-01-02"}, "startDate": "2026-01-02"}`, 1, "give one of them"},
		{"last day twice", `{"name": "x", "dates": {"start": "2026-01-02"}, "endDate": "2026-01-02"}`, 1, "give one of them"},
		{"wrong last day", `{"name": "x", "startDate": "2026-01-01", "endDate": "2026-02-30", "online": true}`, 1, "YYYY-MM-DD"},
		{"place and city", `{"name": "x", "startDate": "2026-01-01", "place": {"city": "a"}, "city": "b"}`, 1, "place and city or country"},
		{"place and country", `{"name": "x", "startDate": "2026-01-01", "place": {"city": "a"}, "country": "FR"}`, 1, "place and city or country"},
		{"empty city", `{"name": "x", "startDate": "2026-01-01", "city": ""}`, 1, "city has to be 1 to 300"},
		{"region of two lines", `{"name": "x", "startDate": "2026-01-01", "place": {"region": "a\nb"}}`, 1, "region has to be 1 to 300"},
		{"the other half of a position", `{"name": "x", "startDate": "2026-01-01", "place": {"longitude": 9}}`, 1, "together"},
		{"no place", `{"name": "x", "startDate": "2026-01-01"}`, 1, "place is missing"},
		{"empty place", `{"name": "x", "startDate": "2026-01-01", "place": {}}`, 1, "place is empty"},
		{"no such country", `{"name": "x", "startDate": "2026-01-01", "city": "x", "country": "Atlantis"}`, 1, `country "Atlantis"`},
		{"off the map", `{"name": "x", "startDate": "2026-01-01", "place": {"latitude": 91, "longitude": 0}}`, 1, "from -90 to 90"},
		{"half a position", `{"name": "x", "startDate": "2026-01-01", "place": {"latitude": 9}}`, 1, "together"},
		{"status", `{"name": "x", "startDate": "2026-01-01", "online": true, "status": "LIVE"}`, 1, "the values are [DRAFT PUBLISHED POSTPONED CANCELLED]"},
		{"url", `{"name": "x", "startDate": "2026-01-01", "online": true, "url": "javascript:alert(1)"}`, 1, "http or https URL"},
		{"updatedAt", `{"name": "x", "startDate": "2026-01-01", "online": true, "updatedAt": "yesterday"}`, 1, "2026-01-02T03:04:05Z"},
		{"locales", `{"name": "x", "startDate": "2026-01-01", "online": true, "locales": "EN;FR"}`, 1, "EN,FR"},
		{"id with a space", `{"id": "a b", "name": "x", "startDate": "2026-01-01", "online": true}`, 1, "printable ASCII"},
		{"empty id", `{"id": "", "name": "x", "startDate": "2026-01-01", "online": true}`, 1, "leave it out"},
		{"the same row twice", good + "\n" + good, 3, "is on line 1 already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := f.load(t, test.text)
			var row *apis.RowError
			if !errors.As(err, &row) || row.Line != test.line || !strings.Contains(err.Error(), test.message) {
				t.Errorf("the error is %v, want line %d: …%s…", err, test.line, test.message)
			}
			if after := f.events(t, "").TotalCount; after != before {
				t.Errorf("there are %d events now, %d before", after, before)
			}
		})
	}
}

// FuzzImport reads any file: every error names a line of it, and every event
// that passes can be written as JSON.
func FuzzImport(f *testing.F) {
	f.Add(lines)
	f.Add(`{"name": {"fr": "x"}, "dates": {"start": "2026-01-01"}, "place": {"country": "France"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		err := calendar.Read(strings.NewReader(text), func(body []byte) {
			if !strings.HasPrefix(string(body), `{"id":"`) {
				t.Errorf("event is %s", body)
			}
		})
		var row *apis.RowError
		if err == nil {
			return
		}
		if !errors.As(err, &row) {
			t.Fatalf("not about a row: %v", err)
		}
		if lines := strings.Count(text, "\n") + 1; row.Line < 1 || row.Line > lines {
			t.Errorf("line %d of %d: %v", row.Line, lines, err)
		}
	})
}
