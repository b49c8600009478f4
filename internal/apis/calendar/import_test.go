package calendar_test

import (
	"errors"
	"fmt"
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
	if n, err := f.load(t, apis.JSONLines, lines); n != 3 || err != nil {
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
	if _, err := f.load(t, apis.JSONLines, lines); err != nil {
		t.Fatal(err)
	}
	if again := f.events(t, ""); again.Data[1].ID != p.Data[1].ID || !strings.HasPrefix(again.Data[1].ID, "evt_") {
		t.Errorf("imported twice, the id is %s and %s", p.Data[1].ID, again.Data[1].ID)
	}
}

func TestImportOtherFormat(t *testing.T) {
	if _, err := start(t).load(t, "csv", ""); !errors.Is(err, apis.ErrFormat) {
		t.Errorf("the error is %v", err)
	}
}

// A file with one wrong row changes nothing.
func TestImportErrors(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	before := f.events(t, "").TotalCount
	const good = `{"name": "ok", "startDate": "2026-01-01", "online": true}` + "\n"
	ics := func(props ...string) string {
		return "BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + strings.Join(props, "\n") + "\nEND:VEVENT\nEND:VCALENDAR\n"
	}
	const uid, sum, day = "UID:1", "SUMMARY:x", "DTSTART;VALUE=DATE:20260531"
	for _, test := range []struct {
		name    string
		format  apis.Format
		text    string
		line    int
		message string
	}{
		{"not json", "jsonl", good + "{", 2, "not well-formed JSON"},
		{"a list", "jsonl", "[]", 1, "a line has to be an object, not a array"},
		{"not utf-8", "jsonl", good + "{\"name\": \"\xff\"}", 2, "not UTF-8"},
		{"text after the object", "jsonl", "{} {}", 1, "text after the object"},
		{"unknown field", "jsonl", good + "\n" + `{"title": "x"}`, 3, `unknown field "title": the fields are id, name,`},
		{"unknown language", "jsonl", `{"name": {"en": "x", "xx": "y"}, "startDate": "2026-01-01", "online": true}`, 1, `unknown field "xx": the languages are en, ar,`},
		{"name that is a number", "jsonl", `{"name": 7, "startDate": "2026-01-01", "online": true}`, 1, "string in English or an object"},
		{"city that is a number", "jsonl", `{"name": "x", "city": 7}`, 1, `"city" has to be a string, not a number`},
		{"description that is a list", "jsonl", `{"name": "x", "description": [], "startDate": "2026-01-01", "online": true}`, 1, "string in English or an object"},
		{"name that is null", "jsonl", `{"name": null, "startDate": "2026-01-01", "online": true}`, 1, "name is missing"},
		{"translation that is a number", "jsonl", `{"name": {"en": 7}, "startDate": "2026-01-01", "online": true}`, 1, `"en" has to be a string, not a number`},
		{"categories that are text", "jsonl", `{"name": "x", "categories": "go"}`, 1, `"categories" has to be a list, not a string`},
		{"dates that are text", "jsonl", `{"name": "x", "dates": "today"}`, 1, `"dates" has to be an object, not a string`},
		{"online that is text", "jsonl", `{"name": "x", "online": "yes"}`, 1, `"online" has to be true or false, not a string`},
		{"latitude that is text", "jsonl", `{"name": "x", "place": {"latitude": "north"}}`, 1, `"place.latitude" has to be a number, not a string`},
		{"no name", "jsonl", `{"startDate": "2026-01-01", "online": true}`, 1, "name is missing"},
		{"empty name", "jsonl", `{"name": "", "startDate": "2026-01-01", "online": true}`, 1, "name has to be 1 to 300"},
		{"name of two lines", "jsonl", `{"name": "a\nb", "startDate": "2026-01-01", "online": true}`, 1, "on one line"},
		{"no day", "jsonl", `{"name": "x", "online": true}`, 1, "the first day is missing"},
		{"wrong day", "jsonl", `{"name": "x", "startDate": "2026-13-01", "online": true}`, 1, "YYYY-MM-DD"},
		{"ends before it starts", "jsonl", `{"name": "x", "dates": {"start": "2026-01-02", "end": "2026-01-01"}, "online": true}`, 1, "before it starts"},
		{"days twice", "jsonl", `{"name": "x", "dates": {"start": "2026-01-02"}, "startDate": "2026-01-02"}`, 1, "give one of them"},
		{"last day twice", "jsonl", `{"name": "x", "dates": {"start": "2026-01-02"}, "endDate": "2026-01-02"}`, 1, "give one of them"},
		{"wrong last day", "jsonl", `{"name": "x", "startDate": "2026-01-01", "endDate": "2026-02-30", "online": true}`, 1, "YYYY-MM-DD"},
		{"place and city", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"city": "a"}, "city": "b"}`, 1, "place and city or country"},
		{"place and country", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"city": "a"}, "country": "FR"}`, 1, "place and city or country"},
		{"empty city", "jsonl", `{"name": "x", "startDate": "2026-01-01", "city": ""}`, 1, "city has to be 1 to 300"},
		{"region of two lines", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"region": "a\nb"}}`, 1, "region has to be 1 to 300"},
		{"the other half of a position", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"longitude": 9}}`, 1, "together"},
		{"no place", "jsonl", `{"name": "x", "startDate": "2026-01-01"}`, 1, "place is missing"},
		{"empty place", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {}}`, 1, "place is empty"},
		{"no such country", "jsonl", `{"name": "x", "startDate": "2026-01-01", "city": "x", "country": "Atlantis"}`, 1, `country "Atlantis"`},
		{"off the map", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"latitude": 91, "longitude": 0}}`, 1, "from -90 to 90"},
		{"half a position", "jsonl", `{"name": "x", "startDate": "2026-01-01", "place": {"latitude": 9}}`, 1, "together"},
		{"status", "jsonl", `{"name": "x", "startDate": "2026-01-01", "online": true, "status": "LIVE"}`, 1, "the values are [DRAFT PUBLISHED POSTPONED CANCELLED]"},
		{"url", "jsonl", `{"name": "x", "startDate": "2026-01-01", "online": true, "url": "javascript:alert(1)"}`, 1, "http or https URL"},
		{"updatedAt", "jsonl", `{"name": "x", "startDate": "2026-01-01", "online": true, "updatedAt": "yesterday"}`, 1, "2026-01-02T03:04:05Z"},
		{"locales", "jsonl", `{"name": "x", "startDate": "2026-01-01", "online": true, "locales": "EN;FR"}`, 1, "EN,FR"},
		{"id with a space", "jsonl", `{"id": "a b", "name": "x", "startDate": "2026-01-01", "online": true}`, 1, "printable ASCII"},
		{"empty id", "jsonl", `{"id": "", "name": "x", "startDate": "2026-01-01", "online": true}`, 1, "leave it out"},
		{"the same row twice", "jsonl", good + "\n" + good, 3, "is that of line 1 already"},
		{"no calendar", "ics", "", 1, "BEGIN:VCALENDAR"},
		{"no content line", "ics", "BEGIN:VCALENDAR\nhello\n", 2, "NAME:VALUE"},
		{"an end is missing", "ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n", 3, "ends no component"},
		{"the file ends early", "ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n", 3, "END:VEVENT is missing"},
		{"no uid", "ics", ics(sum, day), 2, "no UID"},
		{"no summary", "ics", ics(uid, day), 2, "no SUMMARY"},
		{"no start", "ics", ics(uid, sum), 2, "no DTSTART"},
		{"start that is no day", "ics", ics(uid, sum, "DTSTART:soon"), 2, "(property on line 5)"},
		{"utc in a time zone", "ics", ics(uid, sum, "DTSTART;TZID=Europe/Paris:20260531T090000Z"), 2, "with a Z for UTC"},
		{"a day and a time", "ics", ics(uid, sum, day, "DTEND:20260531T090000"), 2, "both days or both times"},
		{"end and duration", "ics", ics(uid, sum, day, "DTEND;VALUE=DATE:20260601", "DURATION:P1D"), 2, "give one of them"},
		{"ends before it starts (ics)", "ics", ics(uid, sum, day, "DTEND;VALUE=DATE:20260501"), 2, "before it starts"},
		{"beyond the year 9999", "ics", ics(uid, sum, "DTSTART:99991231", "DURATION:P9W"), 2, "is not a day"},
		{"language", "ics", ics(uid, "SUMMARY;LANGUAGE=tlh:x", day), 2, "LANGUAGE=tlh: the languages are en,"},
		{"language twice", "ics", ics(uid, sum, "SUMMARY;LANGUAGE=en-GB:x", day), 2, "given twice in the language"},
		{"uid twice", "ics", ics(uid, uid, sum, day), 2, "UID is given twice"},
		{"status (ics)", "ics", ics(uid, sum, day, "STATUS:MAYBE"), 2, "TENTATIVE, CONFIRMED or CANCELLED"},
		{"geo without a latitude", "ics", ics(uid, sum, day, "GEO:x;1"), 2, "LATITUDE;LONGITUDE"},
		{"geo without a longitude", "ics", ics(uid, sum, day, "GEO:1;x"), 2, "LATITUDE;LONGITUDE"},
		{"geo of no latitude", "ics", ics(uid, sum, day, "GEO:NaN;1"), 2, "LATITUDE;LONGITUDE"},
		{"geo of no longitude", "ics", ics(uid, sum, day, "GEO:1;NaN"), 2, "LATITUDE;LONGITUDE"},
		{"empty summary", "ics", ics(uid, "SUMMARY:", day), 2, "name has to be 1 to 300"},
		{"empty start", "ics", ics(uid, sum, "DTSTART:"), 2, "(property on line 5)"},
		{"escape in a place", "ics", ics(uid, sum, day, `LOCATION:\x`), 2, "is not an escape"},
		{"description in no language", "ics", ics(uid, sum, day, "DESCRIPTION;LANGUAGE=xx:y"), 2, "DESCRIPTION has LANGUAGE=xx"},
		{"geo", "ics", ics(uid, sum, day, "GEO:1,2"), 2, "LATITUDE;LONGITUDE"},
		{"repeats", "ics", ics(uid, sum, day, "RRULE:FREQ=DAILY"), 2, "events that repeat"},
		{"escape", "ics", ics(uid, `SUMMARY:\x`, day), 2, "is not an escape"},
		{"the same uid", "ics", ics(uid, sum, day, "END:VEVENT", "BEGIN:VEVENT", uid, sum, day), 7, "is that of line 2 already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := f.load(t, test.format, test.text)
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

const file = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n" +
	"BEGIN:VTIMEZONE\r\nTZID:Europe/Paris\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n" +
	"BEGIN:VEVENT\r\nUID:lake@runners.example\r\nDTSTAMP:20260101T000000Z\r\nSUMMARY:Lake\\, Marat\r\n hon\r\nSUMMARY;LANGUAGE=fr-CH:Marathon du l\xc3\r\n \xa9ac\r\n" +
	"DESCRIPTION:Two\\nlines\r\nDTSTART;VALUE=DATE:20260530\r\nDTEND;VALUE=DATE:20260601\r\nLOCATION:Annecy\\, Haute-Savoie\\, France\r\nGEO:45.9;6.13\r\n" +
	"URL:https://lake.example\r\nCATEGORIES:Running,Road\\,Closed\r\nCATEGORIES:Marathon\r\nSTATUS:CONFIRMED\r\n" +
	"ORGANIZER;CN=\"Runners; Lake\":mailto:lake@runners.example\r\nLAST-MODIFIED:20260102T030405Z\r\nX-ANYTHING;A=\"b:c\":d\r\n" +
	"BEGIN:VALARM\r\nACTION:DISPLAY\r\nSUMMARY:not the event's\r\nEND:VALARM\r\nEND:VEVENT\r\n" +
	"BEGIN:VEVENT\r\nUID:2\r\nSUMMARY:Night\r\nDTSTART;TZID=Europe/Paris:20260701T210000\r\nDTEND;TZID=Europe/Paris:20260702T000000\r\nSTATUS:CANCELLED\r\nLOCATION:Lyon\r\nEND:VEVENT\r\n" +
	"BEGIN:VEVENT\r\nUID:3\r\nSUMMARY:Three days\r\nDTSTART:20260801T080000Z\r\nDURATION:P2DT1H\r\nORGANIZER:https://org.example\r\nDESCRIPTION:\r\nEND:VEVENT\r\n" +
	"BEGIN:VEVENT\r\nUID:4\r\nSUMMARY:Draft\r\nDTSTART:20260901\r\nSTATUS:TENTATIVE\r\nLOCATION:Online\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

func TestImportICalendar(t *testing.T) {
	f := start(t, "events:read", calendar.ScopeDrafts)
	utf16 := []byte{0xff, 0xfe}
	for _, c := range strings.ReplaceAll(file, "\xc3\r\n \xa9", "\u00e9") {
		utf16 = append(utf16, byte(c), byte(c>>8))
	}
	if n, err := f.load(t, apis.ICalendar, string(utf16)); n != 4 || err != nil {
		t.Fatalf("imported %d events of UTF-16: %v", n, err)
	}
	if _, err := f.load(t, apis.ICalendar, string(utf16[2:])); err == nil || !strings.HasPrefix(err.Error(), "line 1: it is UTF-16 without a byte order mark") {
		t.Errorf("UTF-16 without a mark: error %v", err)
	}
	if n, err := f.load(t, apis.ICalendar, "\ufeff"+file); n != 4 || err != nil {
		t.Fatalf("imported %d events: %v", n, err)
	}
	p := f.events(t, "")
	e := p.Data[0]
	if e.ID != "lake@runners.example" || e.Name["en"] != "Lake, Marathon" || e.Name["fr"] != "Marathon du léac" ||
		e.Description["en"] != "Two\nlines" || e.Dates.Start != "2026-05-30" || e.Dates.End != "2026-05-31" ||
		e.Place.City != "Annecy, Haute-Savoie" || e.Place.Country != "FR" || e.Place.Longitude != 6.13 ||
		e.URL != "https://lake.example" || fmt.Sprint(e.Categories) != "[running road,closed marathon]" || e.Status != "PUBLISHED" ||
		e.Organiser.Name != "Runners; Lake" || e.UpdatedAt != "2026-01-02T03:04:05Z" || e.Online {
		t.Errorf("the first event is %+v", e)
	}
	if e := p.Data[1]; e.Dates.Start != "2026-07-01" || e.Dates.End != "2026-07-01" || e.Status != "CANCELLED" || e.Place.City != "Lyon" {
		t.Errorf("the event until midnight is %+v", e)
	}
	if e := p.Data[2]; e.Dates.End != "2026-08-03" || !e.Online || e.Organiser.Website != "https://org.example" {
		t.Errorf("the event with a duration is %+v", e)
	}
	if e := p.Data[3]; e.Status != "DRAFT" || !e.Online || e.Dates.End != "2026-09-01" {
		t.Errorf("the draft is %+v", e)
	}
}

// TestImportICalendarProperties: what each property comes to.
func TestImportICalendarProperties(t *testing.T) {
	f := start(t, "events:read")
	for _, test := range []struct{ property, fields, want string }{
		{"SUMMARY;LANGUAGE=no:Dag", "name { nb no: en }", `{"name":{"nb":"Dag","no":"x"}}`},
		{"DESCRIPTION;LANGUAGE=:Day", "description { en }", `{"description":{"en":"Day"}}`},
		{"LOCATION:Virtual", "online place { city }", `{"online":true,"place":null}`},
		{"LOCATION:France", "place { city country }", `{"place":{"city":null,"country":"FR"}}`},
		{`LOCATION:\, France`, "place { city country }", `{"place":{"city":null,"country":"FR"}}`},
		{`LOCATION:Paris\, Texas`, "place { city country }", `{"place":{"city":"Paris, Texas","country":null}}`},
		{"URL:", "url", `{"url":null}`},
		{"ORGANIZER:mailto:a@b.example", "organiser { name website }", `{"organiser":{"name":"a@b.example","website":null}}`},
		{"ORGANIZER;CN=A:mailto:a@b.example", "organiser { name website }", `{"organiser":{"name":"A","website":null}}`},
		{"ORGANIZER:tel:117", "organiser { name website }", `{"organiser":{"name":"tel:117","website":null}}`},
		{"ORGANIZER;CN=A:HTTPS://a.example", "organiser { name website }", `{"organiser":{"name":"A","website":"HTTPS://a.example"}}`},
		{"DTEND:20260531", "dates { start end }", `{"dates":{"start":"2026-05-31","end":"2026-05-31"}}`},
		{"DTEND:20260602", "dates { start end }", `{"dates":{"start":"2026-05-31","end":"2026-06-01"}}`},
		{"DURATION:P0D", "dates { start end }", `{"dates":{"start":"2026-05-31","end":"2026-05-31"}}`},
		{"DURATION:P2D", "dates { start end }", `{"dates":{"start":"2026-05-31","end":"2026-06-01"}}`},
	} {
		t.Run(test.property, func(t *testing.T) {
			text := "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\nDTSTART:20260531\n" + test.property + "\nEND:VEVENT\nEND:VCALENDAR\n"
			if _, err := f.load(t, apis.ICalendar, text); err != nil {
				t.Fatal(err)
			}
			if got := f.raw(t, `{ event(id: "1") { `+test.fields+" } }"); got != `{"data":{"event":`+test.want+"}}" {
				t.Errorf("answer is %s, want %s", got, test.want)
			}
		})
	}
}

// FuzzImport reads any file: every error names a line of it, and every event
// that passes can be written as JSON.
func FuzzImport(f *testing.F) {
	f.Add(false, lines)
	f.Add(true, file)
	f.Add(false, `{"name": {"fr": "x"}, "dates": {"start": "2026-01-01"}, "place": {"country": "France"}}`)
	f.Add(true, "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nSUMMARY;LANGUAGE=\"de\":x\nDTSTART:20260101\nDURATION:P1W\nEND:VEVENT\nEND:VCALENDAR")
	f.Fuzz(func(t *testing.T, ics bool, text string) {
		format := apis.JSONLines
		if ics {
			format = apis.ICalendar
		}
		err := calendar.Read(format, strings.NewReader(text), func(body []byte) {
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
