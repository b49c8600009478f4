package events_test

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis/events"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// mount is where the provider has the API.
const mount = "/api/1.0"

const list = mount + "/event/list"

type page = rest.List[events.Event]

func serve(t testing.TB) (*resttest.Server, *clock.Manual) {
	turned := clock.NewManual(resttest.Day.Add(12 * time.Hour))
	db := resttest.Open(t)
	return resttest.Serve(t, db, events.New(events.Config{DB: db, Clock: turned}), mount), turned
}

func ask(filter string) resttest.Request {
	return resttest.Request{Method: "POST", Path: list, Body: filter}
}

func TestListPages(t *testing.T) {
	server, _ := serve(t)
	var all []events.Event
	for number := 1; ; number++ {
		var got page
		server.Into(t, &got, ask(`{"PageNumber":`+strconv.Itoa(number)+`,"PageSize":50}`))
		if got.TotalCount != 120 {
			t.Fatalf("totalCount %d, want 120", got.TotalCount)
		}
		if len(got.Data) == 0 {
			break
		}
		all = append(all, got.Data...)
	}
	if len(all) != 120 {
		t.Fatalf("pages have %d events, want 120", len(all))
	}
	ids := map[string]bool{}
	for i, e := range all {
		ids[e.ID] = true
		if i > 0 && e.Start.Before(all[i-1].Start) {
			t.Errorf("event %d starts before the one ahead of it", i)
		}
	}
	if len(ids) != 120 {
		t.Errorf("%d different ids, want 120", len(ids))
	}
}

func TestListFilters(t *testing.T) {
	server, turned := serve(t)
	var everything, upcoming, past page
	server.Into(t, &everything, ask(`{"PageSize":100}`))
	server.Into(t, &upcoming, ask(`{"OnlyUpcoming":true,"PageSize":100}`))
	if n := upcoming.TotalCount; n < 40 || n > 100 {
		t.Errorf("%d upcoming events, want most of 120 but not all", n)
	}
	for _, e := range upcoming.Data {
		if e.Start.Before(turned.Now()) {
			t.Errorf("%s starts %s: not upcoming at %s", e.ID, e.Start, turned.Now())
		}
	}
	turned.Turn(1000 * 24 * time.Hour)
	server.Into(t, &past, ask(`{"OnlyUpcoming":true}`))
	if past.TotalCount != 0 {
		t.Errorf("%d events are upcoming after the last one", past.TotalCount)
	}

	tests := []struct{ name, filter string }{
		{"any case", `{"SearchText":"sCHOOL fUNDING","PageSize":100}`},
		{"lower case", `{"SearchText":"school funding","PageSize":100}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got page
			server.Into(t, &got, ask(tt.filter))
			if got.TotalCount == 0 || got.TotalCount == 120 {
				t.Fatalf("%d events match, want some", got.TotalCount)
			}
			for _, e := range got.Data {
				if text := strings.ToLower(e.Name + "\n" + e.Description); !strings.Contains(text, "school funding") {
					t.Errorf("%q matches", e.Name)
				}
			}
		})
	}
	for _, text := range []string{"%", "_", `\\`, "' OR 1=1 --", "no such text"} {
		t.Run("literally "+text, func(t *testing.T) {
			var got page
			server.Into(t, &got, ask(`{"SearchText":"`+text+`"}`))
			if got.TotalCount != 0 || got.Data == nil {
				t.Errorf("%d events, data %v; want none and an empty array", got.TotalCount, got.Data)
			}
		})
	}
}

func TestListBounds(t *testing.T) {
	server, _ := serve(t)
	tests := []struct {
		name, filter string
		count        int
	}{
		{"everything", `{}`, 20},
		{"nulls are left out", `{"PageNumber":null,"PageSize":null,"OnlyUpcoming":null,"SearchText":null}`, 20},
		{"largest page", `{"PageSize":100}`, 100},
		{"members as JavaScript writes them", `{"pageNumber":2,"pageSize":100,"onlyUpcoming":false,"searchText":""}`, 20},
		{"members in capitals", `{"PAGESIZE":7}`, 7},
		{"last page", `{"PageNumber":2,"PageSize":100}`, 20},
		{"past the end", `{"PageNumber":3,"PageSize":100}`, 0},
		{"largest page number", `{"PageNumber":9223372036854775807,"PageSize":100}`, 0},
		{"largest page number of one", `{"PageNumber":9223372036854775807,"PageSize":1}`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got page
			server.Into(t, &got, ask(tt.filter))
			if len(got.Data) != tt.count || got.TotalCount != 120 || got.Data == nil {
				t.Errorf("%d of %d events, want %d of 120", len(got.Data), got.TotalCount, tt.count)
			}
		})
	}
}

func TestListRefuses(t *testing.T) {
	server, _ := serve(t)
	number, size := "PageNumber must be", "PageSize must be"
	tests := []struct{ name, filter, words string }{
		{"page 0", `{"PageNumber":0}`, number},
		{"page -1", `{"PageNumber":-1}`, number},
		{"page as string", `{"PageNumber":"1"}`, number},
		{"page beyond 64 bits", `{"PageNumber":9223372036854775808}`, number},
		{"page beyond a float", `{"PageNumber":1e400}`, number},
		{"page as fraction", `{"PageNumber":1.5}`, number},
		{"page as object", `{"PageNumber":{}}`, number},
		{"size 0", `{"PageSize":0}`, size},
		{"size -1", `{"PageSize":-1}`, size},
		{"size 101", `{"PageSize":101}`, size},
		{"size of a billion", `{"PageSize":1000000000}`, size},
		{"size beyond a float", `{"PageSize":1e400}`, size},
		{"size as string", `{"PageSize":"20"}`, size},
		{"size as boolean", `{"PageSize":true}`, size},
		{"upcoming as string", `{"OnlyUpcoming":"true"}`, "OnlyUpcoming must be true or false"},
		{"search as number", `{"SearchText":1}`, "SearchText must be a string"},
		{"search too long", `{"SearchText":"` + strings.Repeat("é", 101) + `"}`, "at most 100 characters"},
		{"search with NUL", `{"SearchText":"a\u0000b"}`, "control characters"},
		{"unknown field", `{"pages":20}`, `unknown field "pages": allowed are PageNumber, PageSize, OnlyUpcoming, SearchText`},
		{"long unknown field", `{"` + strings.Repeat("x", 9000) + `":1}`, strings.Repeat("x", 40) + `…": allowed`},
		{"repeated field", `{"PageSize":1,"PageSize":2}`, "PageSize stands twice"},
		{"array", `[]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"string", `"x"`, "not a JSON object"},
		{"truncated", `{"PageSize":`, "unexpected end"},
		{"spaces only", `   `, "unexpected end"},
		{"trailing garbage", `{} x`, "after top-level value"},
		{"second object", `{}{}`, "after top-level value"},
		{"not UTF-8", "{\"SearchText\":\"\xff\"}", "UTF-8"},
		{"byte order mark", "\ufeff{}", "not one JSON object"},
		{"deep arrays", strings.Repeat("[", 60000), "not one JSON object"},
		{"deep objects", strings.Repeat(`{"a":`, 10500), "not one JSON object"},
		{"deep value", `{"SearchText":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "SearchText must be a string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resttest.WantProblem(t, server.Do(t, ask(tt.filter)), http.StatusBadRequest, "INVALID_REQUEST", tt.words)
		})
	}
}

func TestRequestsRefused(t *testing.T) {
	server, _ := serve(t)
	typed := func(contentType string) resttest.Request {
		in := ask(`{}`)
		in.Header = map[string]string{"Content-Type": contentType}
		return in
	}
	tests := []struct {
		name   string
		in     resttest.Request
		status int
		code   string
	}{
		{"no content type", typed(""), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"form", typed("application/x-www-form-urlencoded"), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"like JSON", typed("application/jsonl"), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"other charset", typed("application/json; charset=utf-16"), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"malformed type", typed("application/json; ;"), 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"compressed", resttest.Request{Method: "POST", Path: list, Body: "{}", Header: map[string]string{"Content-Encoding": "gzip"}}, 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"empty body", resttest.Request{Method: "POST", Path: list, Header: map[string]string{"Content-Type": "application/json"}}, 400, "INVALID_REQUEST"},
		{"body too long", ask(`{"SearchText":"` + strings.Repeat("x", 64<<10) + `"}`), 413, "REQUEST_TOO_LARGE"},
		{"spaces too long", ask(`{}` + strings.Repeat(" ", 64<<10)), 413, "REQUEST_TOO_LARGE"},
		{"query", resttest.Request{Method: "POST", Path: list + "?PageSize=1", Body: "{}"}, 400, "INVALID_REQUEST"},
		{"id is no GUID", resttest.Request{Path: mount + "/event/42"}, 400, "INVALID_REQUEST"},
		{"id with braces", resttest.Request{Path: mount + "/event/%7B00000000-0000-0000-0000-000000000000%7D"}, 400, "INVALID_REQUEST"},
		{"id without hyphens", resttest.Request{Path: mount + "/event/00000000000000000000000000000000"}, 400, "INVALID_REQUEST"},
		{"id with SQL", resttest.Request{Path: mount + "/event/'%20OR%201=1%20--%20"}, 400, "INVALID_REQUEST"},
		{"unknown id", resttest.Request{Path: mount + "/event/00000000-0000-0000-0000-000000000000"}, 404, "NOT_FOUND"},
		{"unknown path", resttest.Request{Path: mount + "/events"}, 404, "NOT_FOUND"},
		{"root", resttest.Request{Path: mount + "/"}, 404, "NOT_FOUND"},
		{"no id", resttest.Request{Path: mount + "/event/"}, 404, "NOT_FOUND"},
		{"escaped slash at the end", resttest.Request{Path: mount + "/event/" + rest.ID("events/0") + "%2F"}, 404, "NOT_FOUND"},
		{"two slashes at the end", resttest.Request{Method: "POST", Path: list + "//", Body: "{}"}, 404, "NOT_FOUND"},
		{"nothing without a type", resttest.Request{Method: "POST", Path: list}, 400, "INVALID_REQUEST"},
		{"page number twice, in two cases", ask(`{"PageNumber":1,"pagenumber":2}`), 400, "INVALID_REQUEST"},
		{"path that is not clean", resttest.Request{Path: mount + "//event/../event/list"}, 404, "NOT_FOUND"},
		{"no tenant for the list", resttest.Request{Method: "POST", Path: list, Body: "{}", Tenant: "-"}, 403, "MISSING_TENANT"},
		{"no provider for the list", resttest.Request{Method: "POST", Path: list, Body: "{}", Provider: "-"}, 403, "MISSING_TENANT"},
		{"no provider for an event", resttest.Request{Path: mount + "/event/" + rest.ID("events/0"), Provider: "-"}, 403, "MISSING_TENANT"},
		{"no tenant for an event", resttest.Request{Path: mount + "/event/" + rest.ID("events/0"), Tenant: "-"}, 403, "MISSING_TENANT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resttest.WantProblem(t, server.Do(t, tt.in), tt.status, tt.code, "")
		})
	}
}

// Clients of the real API add a slash, or a charset, and get the same.
func TestSlashAndCharsetMakeNoDifference(t *testing.T) {
	server, _ := serve(t)
	one := mount + "/event/" + rest.ID("events/0")
	post := func(path, contentType string) resttest.Request {
		return resttest.Request{Method: "POST", Path: path, Body: `{"PageSize":1}`, Header: map[string]string{"Content-Type": contentType}}
	}
	for _, row := range []struct {
		name     string
		in, same resttest.Request
	}{
		{"list with a slash", post(list+"/", "application/json"), post(list, "application/json")},
		{"event with a slash", resttest.Request{Path: one + "/"}, resttest.Request{Path: one}},
		{"event with a slash, escaped", resttest.Request{Path: strings.Replace(one, "-", "%2D", 1) + "/"}, resttest.Request{Path: one}},
		{"charset utf8", post(list, "application/json; charset=utf8"), post(list, "application/json")},
		{"charset UTF-8", post(list, "application/json;charset=UTF-8"), post(list, "application/json")},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, want := server.Do(t, row.in), server.Do(t, row.same)
			if got.Status != http.StatusOK || string(got.Body) != string(want.Body) {
				t.Errorf("answered %d %s, want %s", got.Status, got.Body, want.Body)
			}
		})
	}
}

func TestWrongMethods(t *testing.T) {
	server, _ := serve(t)
	one := mount + "/event/" + rest.ID("events/0")
	tests := []struct{ name, method, path, allow string }{
		{"GET the list", "GET", list, "POST"},
		{"PUT the list", "PUT", list, "POST"},
		{"OPTIONS on the list", "OPTIONS", list, "POST"},
		{"POST an event", "POST", one, "GET, HEAD"},
		{"DELETE an event", "DELETE", one, "GET, HEAD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := server.Do(t, resttest.Request{Method: tt.method, Path: tt.path})
			resttest.WantProblem(t, got, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "use ")
			if allow := got.Header.Get("Allow"); allow != tt.allow {
				t.Errorf("Allow: %q, want %q", allow, tt.allow)
			}
		})
	}
}

func TestAnonymousIsRefused(t *testing.T) {
	server, _ := serve(t)
	server.Anonymous = true
	for _, in := range []resttest.Request{ask(`{}`), {Path: mount + "/event/" + rest.ID("events/0")}, {Path: mount + "/nothing"}, {Method: "PUT", Path: list}} {
		resttest.WantProblem(t, server.Do(t, in), http.StatusUnauthorized, "UNAUTHENTICATED", "")
	}
}

func TestOneEvent(t *testing.T) {
	server, _ := serve(t)
	var all page
	server.Into(t, &all, ask(`{"PageSize":100}`))
	want := all.Data[7]
	for _, id := range []string{want.ID, strings.ToUpper(want.ID)} {
		var got events.Event
		server.Into(t, &got, resttest.Request{Path: mount + "/event/" + id})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("one: %+v, in the list: %+v", got, want)
		}
	}
	head := server.Do(t, resttest.Request{Method: "HEAD", Path: mount + "/event/" + want.ID})
	if head.Status != http.StatusOK || len(head.Body) != 0 {
		t.Errorf("HEAD: status %d, %d bytes", head.Status, len(head.Body))
	}
	resttest.WantHeaders(t, head)
}

// A tenant must not learn from any answer that a row of another tenant exists.
func TestTenantsSeeTheirOwn(t *testing.T) {
	server, _ := serve(t)
	seen := map[string]string{}
	tenants := []string{resttest.Owner.Tenant, events.CountiesTenant, events.NursesTenant}
	for _, tenant := range tenants {
		for number := range 2 {
			var got page
			in := ask(`{"PageSize":100,"PageNumber":` + strconv.Itoa(number+1) + `}`)
			in.Tenant = tenant
			server.Into(t, &got, in)
			for _, e := range got.Data {
				if owner, ok := seen[e.ID]; ok && owner != tenant {
					t.Errorf("%s is seen by %s and %s", e.ID, owner, tenant)
				}
				seen[e.ID] = tenant
			}
		}
	}
	if len(seen) != events.ReferenceEvents {
		t.Fatalf("the tenants see %d events, want %d", len(seen), events.ReferenceEvents)
	}
	unknown := server.Do(t, resttest.Request{Path: mount + "/event/" + rest.ID("no such row")})
	resttest.WantProblem(t, unknown, http.StatusNotFound, "NOT_FOUND", "no event with this id")
	for id, owner := range seen {
		if owner == resttest.Owner.Tenant {
			continue
		}
		foreign := server.Do(t, resttest.Request{Path: mount + "/event/" + id})
		if foreign.Status != unknown.Status || !slices.Equal(foreign.Body, unknown.Body) {
			t.Fatalf("another tenant's event: %d %s", foreign.Status, foreign.Body)
		}
	}
	var none page
	in := ask(`{}`)
	in.Tenant = strings.ToLower(resttest.Owner.Tenant)
	server.Into(t, &none, in)
	if none.TotalCount != 0 {
		t.Errorf("a tenant in another case sees %d events", none.TotalCount)
	}
}

// FuzzFilter looks for a body that is answered with anything but a page or a
// refusal.
func FuzzFilter(f *testing.F) {
	server, _ := serve(f)
	for _, seed := range []string{
		`{}`, `{"PageNumber":2,"PageSize":5,"OnlyUpcoming":true,"SearchText":"day"}`, `{"PageSize":1e400}`, `{"PageSize":-0}`,
		`{"SearchText":"%_\\"}`, `[[[[`, `{"a":{"b":[]}}`, `{} {}`, "\xff", `{"PageNumber":9223372036854775807}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		got := server.Do(t, ask(filter))
		switch got.Status {
		case http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		default:
			t.Errorf("%q: status %d: %s", filter, got.Status, got.Body)
		}
	})
}
