package profiles_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles"
	"github.com/counterfoil/counterfoil/internal/clock"
)

var today = time.Date(2026, 5, 20, 0, 0, 0, 0, time.UTC)

// counting opens connections that count the queries they are asked.
type counting struct {
	path    string
	queries *atomic.Int64
}

func (c counting) Driver() driver.Driver { return &sqlite.Driver{} }

func (c counting) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.path)
	if err != nil {
		return nil, err
	}
	return &countingConn{conn, conn.(driver.QueryerContext), conn.(driver.ExecerContext), conn.(driver.ConnBeginTx), c.queries}, nil
}

type countingConn struct {
	driver.Conn
	query driver.QueryerContext
	driver.ExecerContext
	driver.ConnBeginTx
	queries *atomic.Int64
}

func (c *countingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.queries.Add(1)
	return c.query.QueryContext(ctx, query, args)
}

// fixture is the API on a database of its own, behind a listener.
type fixture struct {
	path    string
	db      *sql.DB
	api     *profiles.API
	server  *httptest.Server
	queries atomic.Int64
}

func start(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{path: filepath.Join(t.TempDir(), "profiles.db")}
	f.db = sql.OpenDB(counting{f.path, &f.queries})
	t.Cleanup(func() { f.db.Close() })
	f.api = profiles.New(profiles.Config{DB: f.db, Clock: clock.NewManual(today)})
	f.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &counterfoil.Principal{ClientID: "client", Scopes: counterfoil.Scopes{"profiles:read"}}
		f.api.Handler().ServeHTTP(w, r.WithContext(counterfoil.WithPrincipal(r.Context(), p)))
	}))
	t.Cleanup(f.server.Close)
	return f
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

// ask returns the data of an answer, and the codes and messages of its errors.
func (f *fixture) ask(t testing.TB, query string) (data string, errs string) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.server.Client().Post(f.server.URL, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		Data   json.RawMessage
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("answer %q: %v", body, err)
	}
	for _, e := range a.Errors {
		errs += e.Extensions.Code + ": " + e.Message + "\n"
	}
	return string(a.Data), errs
}

// get decodes the data of an answer that has no errors.
func (f *fixture) get(t testing.TB, query string, into any) {
	t.Helper()
	data, errs := f.ask(t, query)
	if errs != "" {
		t.Fatalf("%s: %s", query, errs)
	}
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatal(err)
	}
}

type role struct {
	Title        string
	Board        bool
	Since, Until string
	Person       person
	Organisation organisation
}

type person struct {
	ID, Name, Headline, Biography string
	Location                      struct{ City, Country string }
	Interests                     []string
	Wealth                        string
	Roles                         []role
	Relationships                 []struct {
		Kind   string
		Person person
	}
}

type organisation struct {
	ID, Name, Kind, Sector string
	Roles                  []role
}

type pages struct {
	People struct {
		TotalCount int
		Data       []person
	}
	Organisations struct {
		TotalCount int
		Data       []organisation
	}
	Search struct {
		TotalCount int
		Data       []struct{ Kind, ID, Name string }
	}
}

func TestReference(t *testing.T) {
	f := start(t).reference(t, today)
	var p pages
	f.get(t, `{ people(size: 100) { totalCount data { id name headline biography location { city country } interests wealth } } organisations { totalCount } }`, &p)
	if p.People.TotalCount != 320 || p.Organisations.TotalCount != 120 || len(p.People.Data) != 100 {
		t.Fatalf("there are %d people and %d organisations", p.People.TotalCount, p.Organisations.TotalCount)
	}
	names := map[string]bool{}
	for _, x := range p.People.Data {
		names[x.Name] = true
		if x.Headline == "" || !strings.Contains(x.Biography, "An invented person.") || x.Location.Country == "" || len(x.Interests) == 0 {
			t.Errorf("person is %+v", x)
		}
	}
	if len(names) != 100 {
		t.Errorf("100 people have %d names", len(names))
	}
	const query = `{ people(size: 50) { data { id roles { title since until organisation { id name } } relationships { kind since person { id } } } } }`
	first, _ := f.ask(t, query)
	if again, _ := start(t).prepare(t, today).ask(t, query); again != first {
		t.Error("the same day gives other rows")
	}
	var q pages
	f.reference(t, today.AddDate(2, 1, 0)).get(t, `{ people(size: 100) { data { id name } } }`, &q)
	for i, x := range q.People.Data {
		if x.ID != p.People.Data[i].ID || x.Name != p.People.Data[i].Name {
			t.Fatalf("on another day person %d is %+v", i, x)
		}
	}
}

func TestBothWays(t *testing.T) {
	f := start(t).reference(t, today)
	var p pages
	f.get(t, `{ people(size: 10, filter: {onBoard: true}) { data { id name
		roles(current: true, limit: 5) { title board organisation { id name roles(limit: 50) { title person { id } } } }
		relationships(limit: 5) { kind person { id relationships(limit: 50) { kind person { id } } } } } } }`, &p)
	joined := 0
	for _, x := range p.People.Data {
		board := false
		for _, r := range x.Roles {
			board = board || r.Board
			found := false
			for _, back := range r.Organisation.Roles {
				found = found || back.Person.ID == x.ID && back.Title == r.Title
			}
			if !found {
				t.Errorf("%s is %s of %s, which does not know", x.Name, r.Title, r.Organisation.Name)
			}
		}
		if !board {
			t.Errorf("%s sits on no board", x.Name)
		}
		for _, r := range x.Relationships {
			joined++
			found := false
			for _, back := range r.Person.Relationships {
				found = found || back.Person.ID == x.ID && back.Kind == r.Kind
			}
			if !found {
				t.Errorf("%s knows %s, who does not know", x.Name, r.Person.ID)
			}
		}
	}
	if joined == 0 {
		t.Error("nobody knows anybody")
	}
}

// A level of a query costs one statement, however many there are on it.
func TestStatementsPerLevel(t *testing.T) {
	f := start(t).reference(t, today)
	for _, size := range []int{2, 50} {
		before := f.queries.Load()
		var p pages
		f.get(t, fmt.Sprintf(`{ people(size: %d) { data { roles(limit: 5) { organisation { name roles(limit: 4) { person { name } } } }
			relationships(limit: 3) { person { name } } } } }`, size), &p)
		// The count, the page; roles and relationships; organisations and
		// people; roles; people. A busy machine makes it some more; a statement
		// for each profile would make it hundreds.
		n := f.queries.Load() - before
		t.Logf("a page of %d takes %d statements", size, n)
		if n < 7 || n > 100 {
			t.Errorf("a page of %d takes %d statements", size, n)
		}
	}
}

func TestSearch(t *testing.T) {
	f := start(t).reference(t, today)
	find := func(args string) pages {
		var p pages
		f.get(t, `{ search(`+args+`, size: 100) { totalCount data { kind: __typename ... on Person { id name } ... on Organisation { id name } } } }`, &p)
		if len(p.Search.Data) != min(p.Search.TotalCount, 100) {
			t.Errorf("%s: %d of %d", args, len(p.Search.Data), p.Search.TotalCount)
		}
		return p
	}
	both := find(`text: "quillFEATHER"`)
	people, organisations := find(`text: "quillfeather", kind: PERSON`), find(`text: "quillfeather", kind: ORGANISATION`)
	if people.Search.TotalCount == 0 || organisations.Search.TotalCount == 0 || both.Search.TotalCount != people.Search.TotalCount+organisations.Search.TotalCount {
		t.Errorf("found %d, of them %d people and %d organisations", both.Search.TotalCount, people.Search.TotalCount, organisations.Search.TotalCount)
	}
	for _, x := range people.Search.Data {
		if x.Kind != "Person" || !strings.Contains(x.Name, "Quillfeather") {
			t.Errorf("found %+v", x)
		}
	}
	one := people.Search.Data[0]
	if p := find(fmt.Sprintf("text: %q", "  "+strings.ToUpper(one.Name)+" ")); p.Search.TotalCount < 1 || p.Search.Data[0].ID != one.ID {
		t.Errorf("the full name finds %+v", p.Search)
	}
	for _, text := range []string{"%", "_", `\\`, "no such name"} {
		if n := find(`text: "` + text + `"`).Search.TotalCount; n != 0 {
			t.Errorf("%q finds %d", text, n)
		}
	}
}

func TestFilters(t *testing.T) {
	f := start(t).reference(t, today)
	var p pages
	f.get(t, `{ people(filter: {country: "CH", wealth: HIGH}, size: 100) { totalCount data { location { country } wealth } }
		organisations(filter: {kind: FAMILY_OFFICE, sector: "real estate"}) { totalCount data { kind sector } } }`, &p)
	for _, x := range p.People.Data {
		if x.Location.Country != "CH" || x.Wealth != "HIGH" {
			t.Errorf("%+v passes", x)
		}
	}
	for _, x := range p.Organisations.Data {
		if x.Kind != "FAMILY_OFFICE" || x.Sector != "Real Estate" {
			t.Errorf("%+v passes", x)
		}
	}
	if p.People.TotalCount == 0 || p.Organisations.TotalCount == 0 {
		t.Error("nothing passes")
	}
	f.get(t, `{ people(filter: {interest: "chess"}, size: 100) { totalCount data { interests } } organisations(filter: {country: "XX"}) { totalCount data { id } } }`, &p)
	if p.People.TotalCount == 0 || !strings.Contains(fmt.Sprint(p.People.Data[0].Interests), "chess") || p.Organisations.TotalCount != 0 {
		t.Errorf("found %d who play chess", p.People.TotalCount)
	}
}

func TestById(t *testing.T) {
	f := start(t).reference(t, today)
	data, errs := f.ask(t, `{ person(id: "nobody") { name } organisation(id: "nothing") { name } }`)
	if data != `{"person":null,"organisation":null}` || errs != "" {
		t.Errorf("answer is %s %s", data, errs)
	}
}

func TestArgumentsOutOfBounds(t *testing.T) {
	f := start(t).reference(t, today)
	for _, test := range []struct{ query, want string }{
		{`{ people(page: -1) { totalCount } }`, "BAD_USER_INPUT: page is -1"},
		{`{ people(size: 0) { totalCount } }`, "BAD_USER_INPUT: size is 0"},
		{`{ organisations(size: 101) { totalCount } }`, "BAD_USER_INPUT: size is 101"},
		{`{ search(text: " ") { totalCount } }`, "BAD_USER_INPUT: text has 1 characters"},
		{`{ search(text: "` + strings.Repeat("x", 101) + `") { totalCount } }`, "BAD_USER_INPUT: text has 101"},
		{`{ people(size: 1) { data { roles(limit: 51) { id } } } }`, "BAD_USER_INPUT: limit is 51"},
		{`{ people(size: 1) { data { relationships(limit: 0) { kind } } } }`, "BAD_USER_INPUT: limit is 0"},
		{`{ people(size: 100) { data { roles(limit: 50) { organisation { roles(limit: 50) { id } } } } } }`, "QUERY_TOO_COMPLEX: the query may cost 261600"},
	} {
		if _, errs := f.ask(t, test.query); !strings.HasPrefix(errs, test.want) {
			t.Errorf("%s answers %s, want %s", test.query, errs, test.want)
		}
	}
	if data, errs := f.ask(t, `{ people(page: 1000000000, size: 100) { totalCount data { id } } }`); data != `{"people":{"totalCount":320,"data":[]}}` {
		t.Errorf("a page far past the end is %s %s", data, errs)
	}
}

func TestWithoutPrincipal(t *testing.T) {
	f := start(t)
	srv := httptest.NewTLSServer(f.api.Handler())
	defer srv.Close()
	res, err := srv.Client().Post(srv.URL, "application/json", strings.NewReader(`{"query":"{ __typename }"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 401 {
		t.Errorf("answer is %s", res.Status)
	}
}
