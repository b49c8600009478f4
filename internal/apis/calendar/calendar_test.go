package calendar_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar"
	"github.com/counterfoil/counterfoil/internal/clock"
)

var today = time.Date(2026, 5, 20, 0, 0, 0, 0, time.UTC)

// fixture is the API on a database of its own, behind a listener.
type fixture struct {
	path   string
	db     *sql.DB
	api    *calendar.API
	server *httptest.Server
}

// start serves the API to a caller with the scopes given.
func start(t testing.TB, scopes ...string) *fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "calendar.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	api := calendar.New(calendar.Config{DB: db, Clock: clock.NewManual(today.Add(9 * time.Hour))})
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &counterfoil.Principal{ClientID: "client", Scopes: scopes}
		api.Handler().ServeHTTP(w, r.WithContext(counterfoil.WithPrincipal(r.Context(), p)))
	})
	srv := httptest.NewTLSServer(guard)
	t.Cleanup(srv.Close)
	return &fixture{path, db, api, srv}
}

// referenceFile is a database with the reference data of today, made once:
// tests that only read start with a copy.
var referenceFile struct {
	sync.Mutex
	content []byte
}

// reference fills the database, which nobody has used yet when the day is
// today, with the reference data of a day.
func (f *fixture) reference(t testing.TB, day time.Time) *fixture {
	t.Helper()
	referenceFile.Lock()
	defer referenceFile.Unlock()
	if day.Equal(today) && referenceFile.content != nil {
		if err := os.WriteFile(f.path, referenceFile.content, 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f.prepare(t, day)
	if day.Equal(today) {
		content, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		referenceFile.content = content
	}
	return f
}

// prepare makes the reference data of a day anew.
func (f *fixture) prepare(t testing.TB, day time.Time) *fixture {
	t.Helper()
	if err := apis.Prepare(t.Context(), f.db, f.api, apis.Reference{Day: day}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) load(t testing.TB, text string) (int, error) {
	t.Helper()
	return apis.Import(t.Context(), f.db, f.api, strings.NewReader(text))
}

type event struct {
	ID          string
	Name        map[string]string
	Description map[string]string
	Dates       struct{ Start, End string }
	Place       *struct {
		City, Region, Country string
		Latitude, Longitude   float64
	}
	Online                 bool
	Organiser              *struct{ Name, Website string }
	Categories             []string
	Status, URL, UpdatedAt string
}

type page struct {
	TotalCount int
	Data       []event
}

type answer struct {
	Data struct {
		Events page
		Event  *event
	}
	Errors []struct {
		Message    string
		Extensions struct{ Code string }
	}
}

func (f *fixture) ask(t testing.TB, query string) (int, *answer) {
	t.Helper()
	status, text := f.post(t, query)
	a := &answer{}
	if err := json.Unmarshal(text, a); err != nil {
		t.Fatalf("answer %d %q: %v", status, text, err)
	}
	return status, a
}

// raw returns an answer as it came.
func (f *fixture) raw(t testing.TB, query string) string {
	t.Helper()
	_, text := f.post(t, query)
	return strings.TrimSpace(string(text))
}

func (f *fixture) post(t testing.TB, query string) (int, []byte) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.server.Client().Post(f.server.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, text
}

const all = `id name { en fr de ja } description { en } dates { start end } place { city region country latitude longitude }
	online organiser { name website } categories status url updatedAt`

// events asks for events with the arguments given, which may be none, and
// fails on an error.
func (f *fixture) events(t testing.TB, args string) page {
	t.Helper()
	if args != "" {
		args = "(" + args + ")"
	}
	_, a := f.ask(t, "{ events"+args+" { totalCount data { "+all+" } } }")
	if len(a.Errors) > 0 {
		t.Fatalf("events%s: %v", args, a.Errors)
	}
	return a.Data.Events
}

// The example of the provider's own guide.
func TestExampleOfTheGuide(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	status, a := f.ask(t, "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }")
	if status != 200 || len(a.Errors) > 0 || a.Data.Events.TotalCount < 300 || len(a.Data.Events.Data) != 10 {
		t.Fatalf("answer is %d %+v", status, a)
	}
	for _, e := range a.Data.Events.Data {
		if e.ID == "" || e.Name["en"] == "" {
			t.Errorf("event is %+v", e)
		}
	}
}

func TestPages(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	total := f.events(t, "").TotalCount
	seen := map[string]bool{}
	last := ""
	for n := 0; ; n++ {
		p := f.events(t, fmt.Sprintf("page: %d, size: 70", n))
		if p.TotalCount != total {
			t.Errorf("page %d says there are %d events, not %d", n, p.TotalCount, total)
		}
		if len(p.Data) == 0 {
			break
		}
		for _, e := range p.Data {
			if seen[e.ID] || e.Dates.Start < last {
				t.Errorf("event %s on %s is on two pages or out of order", e.ID, e.Dates.Start)
			}
			seen[e.ID], last = true, e.Dates.Start
		}
	}
	if len(seen) != total {
		t.Errorf("the pages have %d of %d events", len(seen), total)
	}
	if n := len(f.events(t, "").Data); n != 20 {
		t.Errorf("a page has %d events when none says how many", n)
	}
	if p := f.events(t, "page: 1000000000, size: 100"); len(p.Data) != 0 || p.TotalCount != total {
		t.Errorf("a page far past the end is %+v", p)
	}
}

func TestArgumentsOutOfBounds(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	for _, test := range []struct{ name, args, message string }{
		{"negative page", "page: -1", "page is -1: the first page is 0"},
		{"no size", "size: 0", "size is 0: it has to be from 1 to 100"},
		{"negative size", "size: -1", "size is -1"},
		{"size 101", "size: 101", "from 1 to 100"},
		{"enormous size", "size: 1000000000", "from 1 to 100"},
		{"page beyond 32 bits", "page: 4294967296", "fit"},
		{"empty text", `filter: {text: " "}`, "from 1 to 100"},
		{"long text", `filter: {text: "` + strings.Repeat("x", 101) + `"}`, "has 101 characters"},
		{"no country", `filter: {country: ["France"]}`, "ISO 3166-1"},
		{"many categories", `filter: {categories: [` + strings.Repeat(`"x",`, 51) + `]}`, "at most 50"},
		{"no day", `filter: {from: "2026-02-30"}`, "is not a day"},
		{"a number for a day", `filter: {from: 2026}`, "Date"},
		{"days the wrong way round", `filter: {from: "2026-02-02", to: "2026-02-01"}`, "after"},
		{"many sorts", `sort: [{field: START}, {field: END}, {field: NAME}, {field: COUNTRY}]`, "at most 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, a := f.ask(t, "{ events("+test.args+") { totalCount } }")
			if status != 200 || len(a.Errors) != 1 || a.Errors[0].Extensions.Code != "BAD_USER_INPUT" || !strings.Contains(a.Errors[0].Message, test.message) {
				t.Errorf("answer is %d %+v", status, a)
			}
		})
	}
}

func TestDrafts(t *testing.T) {
	f := start(t, "events:read", calendar.ScopeDrafts).reference(t, today)
	drafts := f.events(t, "filter: {status: [DRAFT]}, size: 100")
	every := f.events(t, "").TotalCount
	if len(drafts.Data) == 0 || drafts.TotalCount == every {
		t.Fatalf("there are %d drafts among %d events", drafts.TotalCount, every)
	}
	_, a := f.ask(t, `{ event(id: "`+drafts.Data[0].ID+`") { status } }`)
	if a.Data.Event == nil || a.Data.Event.Status != "DRAFT" {
		t.Errorf("a draft is %+v to those who may see it", a)
	}

	f = start(t, "events:read").reference(t, today)
	if n := f.events(t, "").TotalCount; n != every-drafts.TotalCount {
		t.Errorf("without the scope there are %d events, want %d", n, every-drafts.TotalCount)
	}
	_, a = f.ask(t, `{ event(id: "`+drafts.Data[0].ID+`") { status } }`)
	if a.Data.Event != nil || len(a.Errors) > 0 {
		t.Errorf("a draft is %+v to those who may not see it", a)
	}
	_, a = f.ask(t, "{ events(filter: {status: [PUBLISHED, DRAFT]}) { totalCount } }")
	if len(a.Errors) != 1 || a.Errors[0].Extensions.Code != "FORBIDDEN" {
		t.Errorf("asking for drafts answers %+v", a)
	}
}

func TestWithoutPrincipal(t *testing.T) {
	f := start(t).reference(t, today)
	bare := httptest.NewTLSServer(f.api.Handler())
	defer bare.Close()
	f.server = bare
	status, a := f.ask(t, "{ events { totalCount } }")
	if status != 401 || a.Errors[0].Extensions.Code != "UNAUTHENTICATED" {
		t.Errorf("answer is %d %+v", status, a)
	}
}

func TestFilters(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	for _, test := range []struct {
		name, filter string
		holds        func(event) bool
	}{
		{"text in any case", `text: "hERon"`, func(e event) bool {
			return strings.Contains(strings.ToLower(e.Name["en"]+e.Organiser.Name), "heron")
		}},
		{"text that is a country's name", `text: "Portugal"`, func(e event) bool { return e.Place.Country == "PT" }},
		{"country", `country: ["FR", "NZ"]`, func(e event) bool { return e.Place.Country == "FR" || e.Place.Country == "NZ" }},
		{"category", `categories: ["triathlon", "mountain"]`, func(e event) bool {
			return slices.Contains(e.Categories, "triathlon") || slices.Contains(e.Categories, "mountain")
		}},
		{"status", `status: [CANCELLED]`, func(e event) bool { return e.Status == "CANCELLED" }},
		{"online", `online: true`, func(e event) bool { return e.Online && e.Place == nil }},
		{"from", `from: "2026-05-24"`, func(e event) bool { return e.Dates.End >= "2026-05-24" }},
		{"to", `to: "2026-05-24"`, func(e event) bool { return e.Dates.Start <= "2026-05-24" }},
		{"upcoming", `upcoming: true`, func(e event) bool { return e.Dates.End >= "2026-05-20" }},
		{"over", `upcoming: false`, func(e event) bool { return e.Dates.End < "2026-05-20" }},
		{"two at once", `country: ["FR"], upcoming: true`, func(e event) bool { return e.Place.Country == "FR" && e.Dates.End >= "2026-05-20" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := f.events(t, "size: 100, filter: {"+test.filter+"}")
			if len(p.Data) == 0 {
				t.Fatal("no event passes")
			}
			for _, e := range p.Data {
				if !test.holds(e) {
					t.Errorf("event %+v passes", e)
				}
			}
		})
	}
	for _, text := range []string{"%", "_", `\`, "no such race"} {
		if p := f.events(t, fmt.Sprintf("filter: {text: %q}", text)); p.TotalCount != 0 {
			t.Errorf("%q finds %d events", text, p.TotalCount)
		}
	}
	if p := f.events(t, "filter: {country: []}"); p.TotalCount != f.events(t, "").TotalCount {
		t.Errorf("an empty list lets %d events through", p.TotalCount)
	}
}

func TestSort(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	p := f.events(t, "size: 100, sort: [{field: COUNTRY, direction: DESC}, {field: START}]")
	sorted := slices.IsSortedFunc(p.Data, func(a, b event) int {
		return 2*strings.Compare(b.country(), a.country()) + strings.Compare(a.Dates.Start, b.Dates.Start)
	})
	if !sorted || p.Data[0].country() == p.Data[99].country() {
		t.Errorf("the order is wrong: %+v", p.Data)
	}
}

func (e event) country() string {
	if e.Place == nil {
		return ""
	}
	return e.Place.Country
}

func TestReference(t *testing.T) {
	f := start(t, "events:read", calendar.ScopeDrafts).reference(t, today)
	first := f.events(t, "size: 100")
	if f.events(t, "filter: {upcoming: true}").TotalCount < 100 || f.events(t, "filter: {upcoming: false}").TotalCount < 100 {
		t.Error("there are few past or few upcoming events")
	}
	if again := start(t, calendar.ScopeDrafts).prepare(t, today).events(t, "size: 100"); dump(t, again) != dump(t, first) {
		t.Error("the same day gives other rows")
	}
	later := f.reference(t, today.AddDate(1, 0, 0))
	if later.events(t, "").Data[0].Dates.Start <= first.Data[0].Dates.Start {
		t.Error("another day gives the same dates")
	}
	_, a := later.ask(t, `{ event(id: "`+first.Data[0].ID+`") { name { en fr de ja } } }`)
	if a.Data.Event == nil || a.Data.Event.Name["en"] != first.Data[0].Name["en"] {
		t.Errorf("on another day the id names %+v", a.Data.Event)
	}
}

// dump writes a value with what its pointers point at.
func dump(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExplorer(t *testing.T) {
	if start(t).api.Explorer() != nil {
		t.Error("the calendar has a page for people")
	}
}
