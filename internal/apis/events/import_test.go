package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/events"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
)

// line returns a good line of an import, with parts replaced.
func line(n int, oldnew ...string) string {
	good := fmt.Sprintf(`{"provider":"provider-one","tenant":"TENANT123","id":"6F1C2F2E-55A4-4D0E-9B1A-%012d","name":"Legislative Day",`, n) +
		`"description":"Meet your\nrepresentatives.","start":"2026-10-14T09:00:00-04:00","end":"2026-10-14T20:00:00Z",` +
		`"timeZone":"America/New_York","status":"scheduled","categories":["Legislative"],` +
		`"venue":{"name":"Capitol Annex","city":"Harrisburg","region":"PA","country":"US"},"onlineUrl":"https://live.example/day",` +
		`"registration":{"opens":"2026-08-01T09:00:00-04:00","closes":"2026-10-10T17:00:00-04:00","capacity":300,"registered":120},` +
		`"contact":{"name":"Ana Ruiz","email":"events@association.example","phone":"+1 717 555 0100"}}`
	return strings.NewReplacer(oldnew...).Replace(good)
}

func importInto(t testing.TB, text string) (*resttest.Server, int, error) {
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	n, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
	return server, n, err
}

func TestImport(t *testing.T) {
	text := line(1) + "\r\n\n" + line(2, "TENANT123", "OTHER") + "\n" + line(4, "provider-one", "other") + "\n" +
		line(3, `"capacity":300,`, "", `"region":"PA",`, "", `,"phone":"+1 717 555 0100"`, "", `"description":"Meet your\nrepresentatives.",`, "")
	server, n, err := importInto(t, text)
	if err != nil || n != 4 {
		t.Fatalf("imported %d rows, error %v", n, err)
	}
	var got page
	server.Into(t, &got, ask(`{"SearchText":"HARRISBURG"}`))
	if got.TotalCount != 2 {
		t.Fatalf("the tenant sees %d events, want 2", got.TotalCount)
	}
	answer := server.Do(t, resttest.Request{Path: mount + "/event/6f1c2f2e-55a4-4d0e-9b1a-000000000001"})
	want := line(1, `{"provider":"provider-one","tenant":"TENANT123",`, "{", "6F1C2F2E-55A4-4D0E-9B1A", "6f1c2f2e-55a4-4d0e-9b1a", "2026-10-14T20:00:00Z", "2026-10-14T16:00:00-04:00")
	if string(answer.Body) != want+"\n" {
		t.Errorf("answer\n%s\nwant\n%s", answer.Body, want)
	}
}

func TestImportRefusesRows(t *testing.T) {
	tests := []struct{ name, row, words string }{
		{"no object", `[]`, "not a JSON object"},
		{"truncated", line(2)[:100], "not one JSON object"},
		{"two objects", line(2) + line(3), "after top-level value"},
		{"unknown field", line(2, `"name":"Leg`, `"title":"Leg`), `unknown field "title": allowed are provider, tenant, id, name,`},
		{"unknown inner field", line(2, `"city"`, `"town"`), `unknown field "town" in venue: allowed are name, city, region, country`},
		{"repeated field", line(2, `"status":"scheduled"`, `"status":"scheduled","status":"cancelled"`), "field status stands twice"},
		{"repeated id in another case", line(1, "6F1C2F2E", "6f1c2f2e"), "is on line 1 already"},
		{"repeated id of another tenant", line(1, "TENANT123", "OTHER"), "is on line 1 already"},
		{"repeated id of another provider", line(1, "provider-one", "other"), "is on line 1 already"},
		{"no provider", line(2, `"provider":"provider-one",`, ""), "provider is missing"},
		{"blank provider", line(2, "provider-one", " "), "provider is missing"},
		{"no tenant", line(2, `"tenant":"TENANT123",`, ""), "tenant is missing"},
		{"no id", line(2, `"id":"6F1C2F2E-55A4-4D0E-9B1A-000000000002",`, ""), "id is not a UUID"},
		{"id is no UUID", line(2, "6F1C2F2E-", ""), "id is not a UUID"},
		{"no name", line(2, `"name":"Legislative Day",`, ""), "name is missing"},
		{"blank name", line(2, "Legislative Day", "  "), "name is missing"},
		{"long name", line(2, "Legislative Day", strings.Repeat("x", 201)), "name has 201 characters: at most 200"},
		{"long description", line(2, "Meet", strings.Repeat("x", 4001)), "at most 4000"},
		{"control character", line(2, "Capitol Annex", `Capitol\u0007`), "venue.name has a control character"},
		{"control character in description", line(2, "Meet", `\u0000`), "description has a control character"},
		{"start without offset", line(2, "2026-10-14T09:00:00-04:00", "2026-10-14T09:00:00"), "start must be a date-time"},
		{"no start", line(2, `"start":"2026-10-14T09:00:00-04:00",`, ""), "start is required"},
		{"year out of bounds", line(2, "2026-10-14T09:00:00-04:00", "9999-12-31T23:59:59-12:00"), "start is required, in a year from 1980 to 2999"},
		{"end before start", line(2, "2026-10-14T20:00:00Z", "2026-10-14T13:00:00Z"), "end must be after start"},
		{"unknown zone", line(2, "America/New_York", "America/Gotham"), "timeZone must be an IANA name"},
		{"zone of the machine", line(2, "America/New_York", "Local"), "timeZone must be an IANA name"},
		{"zone that is a path", line(2, "America/New_York", "../localtime"), "timeZone must be an IANA name"},
		{"unknown status", line(2, `"scheduled"`, `"open"`), "status must be scheduled, postponed, cancelled or completed"},
		{"no categories", line(2, `["Legislative"]`, `[]`), "categories has 0 words"},
		{"null category", line(2, `["Legislative"]`, `[null]`), "categories[0] must not be null"},
		{"category as number", line(2, `["Legislative"]`, `["a",1]`), "categories[1] must be a string"},
		{"categories as string", line(2, `["Legislative"]`, `"Legislative"`), "categories must be an array"},
		{"country in words", line(2, `"US"`, `"USA"`), "venue.country must be an ISO 3166-1 alpha-2 code"},
		{"plain HTTP", line(2, "https://", "http://"), "onlineUrl must be an https URL"},
		{"script", line(2, "https://live.example/day", "javascript:alert(1)"), "onlineUrl must be an https URL"},
		{"capacity as fraction", line(2, "300", "300.5"), "registration.capacity must be a whole number"},
		{"capacity 0", line(2, "300", "0"), "registration.capacity must be 1 or more"},
		{"overbooked", line(2, "120", "301"), "registration.registered must be from 0 to the capacity"},
		{"closes before it opens", line(2, "2026-08-01", "2026-11-01"), "registration.closes must be after"},
		{"no email", line(2, "events@association.example", "events"), "contact.email must be an email address"},
		{"contact as string", line(2, `{"name":"Ana Ruiz","email":"events@association.example","phone":"+1 717 555 0100"}`, `"Ana"`), "contact must be a JSON object"},
	}
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := line(1) + "\n\n" + tt.row + "\n" + line(9)
			_, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
			var row *apis.RowError
			if !errors.As(err, &row) || row.Line != 3 || !strings.Contains(err.Error(), tt.words) {
				t.Fatalf("error %v, want line 3 and %q", err, tt.words)
			}
			if strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("error of more than one line: %q", err)
			}
			var got page
			server.Into(t, &got, ask(`{}`))
			if got.TotalCount != 120 {
				t.Errorf("%d events after a refused import, want the 120 from before", got.TotalCount)
			}
		})
	}
}

func TestImportRefusesAnEventNowhere(t *testing.T) {
	_, _, err := importInto(t, line(1, `"venue":{"name":"Capitol Annex","city":"Harrisburg","region":"PA","country":"US"},"onlineUrl":"https://live.example/day",`, ""))
	if err == nil || !strings.Contains(err.Error(), "venue and onlineUrl are both missing") {
		t.Errorf("error %v", err)
	}
}

// FuzzImport looks for a file that is accepted and then cannot be listed.
func FuzzImport(f *testing.F) {
	db := resttest.Open(f)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(f, db, api, mount)
	for _, seed := range []string{"", line(1), "\ufeff" + line(1) + "\r\n" + line(2), line(1) + "\n" + line(1), line(1, "2026", "9999"), "{}", "[[", "{\"tenant\":\xff}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
		var row *apis.RowError
		if err != nil {
			if !errors.Is(err, apis.ErrEmpty) && (!errors.As(err, &row) || row.Line < 1) {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		var total int
		if err := db.QueryRow(`SELECT COUNT(*) FROM events_event`).Scan(&total); err != nil || total != n {
			t.Fatalf("%d rows imported, %d there, error %v", n, total, err)
		}
		var got rest.List[events.Event]
		server.Into(t, &got, ask(`{}`))
	})
}

// A page and its count are of one moment, also while the rows are replaced.
func TestListDuringImports(t *testing.T) {
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	files := []string{line(1), line(1) + "\n" + line(2) + "\n" + line(3)}
	done := make(chan error, 1)
	go func() {
		for i := range 30 {
			if _, err := apis.Import(t.Context(), db, api, strings.NewReader(files[i%2])); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		var got page
		server.Into(t, &got, ask(`{"PageSize":100}`))
		if n := got.TotalCount; n != 1 && n != 3 && n != 120 || int(min(n, 100)) != len(got.Data) {
			t.Fatalf("%d events in a page of %d in all", len(got.Data), n)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
