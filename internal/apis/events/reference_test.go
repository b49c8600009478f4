package events_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/events"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// on returns what a tenant sees of the reference data of a day.
func on(t *testing.T, day time.Time) map[string]events.Event {
	t.Helper()
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db, Clock: clock.NewManual(day)})
	server := resttest.Serve(t, db, api, mount)
	ref := resttest.Reference
	ref.Day = day
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	found := map[string]events.Event{}
	for _, body := range []string{`{"PageSize":100}`, `{"PageSize":100,"PageNumber":2}`} {
		var got page
		server.Into(t, &got, ask(body))
		for _, e := range got.Data {
			found[e.ID] = e
		}
	}
	return found
}

func TestReferenceFollowsTheDay(t *testing.T) {
	first := on(t, resttest.Day)
	days := []struct {
		name string
		day  time.Time
	}{
		{"the same day", resttest.Day},
		{"the next day", resttest.Day.AddDate(0, 0, 1)},
		{"a leap day", time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC)},
		{"the end of a year", time.Date(2030, 12, 31, 0, 0, 0, 0, time.UTC)},
	}
	for _, tt := range days {
		t.Run(tt.name, func(t *testing.T) {
			past, upcoming := 0, 0
			for id, e := range on(t, tt.day) {
				if _, ok := first[id]; !ok {
					t.Errorf("%s is not an id of another day", id)
				}
				checkEvent(t, e, tt.day)
				if e.Start.Before(tt.day) {
					past++
				} else {
					upcoming++
				}
			}
			if past < 30 || upcoming < 60 || past+upcoming != 120 {
				t.Errorf("%d past and %d upcoming events, want some 40 and 80", past, upcoming)
			}
		})
	}
}

// checkEvent looks for what no reader would believe.
func checkEvent(t *testing.T, e events.Event, day time.Time) {
	t.Helper()
	if _, err := rest.ParseID(e.ID); err != nil {
		t.Errorf("id %q: %v", e.ID, err)
	}
	if d := e.Start.Weekday(); d == time.Saturday || d == time.Sunday {
		t.Errorf("%s starts on a %s", e.ID, d)
	}
	zone, err := time.LoadLocation(e.TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	if _, want := e.Start.In(zone).Zone(); offset(e.Start) != want {
		t.Errorf("%s starts %s: not the offset of %s", e.ID, e.Start, e.TimeZone)
	}
	if e.Status == "completed" != e.Start.Before(day) && e.Status != "cancelled" {
		t.Errorf("%s starts %s and is %s on %s", e.ID, e.Start, e.Status, day)
	}
	if r := e.Registration; r != nil {
		if !r.Opens.Before(r.Closes) || !r.Closes.Before(e.Start) {
			t.Errorf("%s starts %s and registers from %s to %s", e.ID, e.Start, r.Opens, r.Closes)
		}
		if r.Opens.After(day) && r.Registered != 0 || r.Capacity != nil && r.Registered > *r.Capacity {
			t.Errorf("%s has %d registered, opens %s", e.ID, r.Registered, r.Opens)
		}
	}
	if e.Venue == nil && e.OnlineURL == "" || e.Contact.Email == "" || len(e.Categories) == 0 {
		t.Errorf("%s lacks a place, a contact or a category: %+v", e.ID, e)
	}
	for _, text := range []string{e.Name, e.Description} {
		for _, c := range text {
			if c == '{' || c == '}' {
				t.Errorf("%s has a gap that was not filled: %q", e.ID, text)
			}
		}
	}
}

func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// Realms without tenants must start too.
func TestReferenceWithoutTenants(t *testing.T) {
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	ref := resttest.Reference
	ref.Owners = []apis.Owner{{Provider: resttest.Owner.Provider, ClientID: "client"}}
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	var got page
	server.Into(t, &got, ask(`{}`))
	if got.TotalCount != 0 {
		t.Errorf("%d events, want none", got.TotalCount)
	}
}

// A tenant's name is unique at its provider only: rows were once joined by it
// alone, and tenants of two realms saw each other's events.
func TestEqualTenantsOfTwoProviders(t *testing.T) {
	single := on(t, resttest.Day)
	db := resttest.Open(t)
	api := events.New(events.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	ref := resttest.Reference
	tenant := resttest.Owner.Tenant
	providers := []string{resttest.Owner.Provider, "provider-two"}
	ref.Owners = []apis.Owner{
		resttest.Owner, {Provider: providers[1], ClientID: "a", Tenant: tenant},
		{Provider: providers[1], ClientID: "b", Tenant: tenant}, {Provider: providers[1], ClientID: "b", Tenant: "SECOND"},
	}
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, provider := range providers {
		for name, want := range map[string]int{tenant: 120, events.CountiesTenant: 120, events.NursesTenant: 120, "SECOND": 120 * i} {
			count := 0
			for _, body := range []string{`{"PageSize":100}`, `{"PageSize":100,"PageNumber":2}`} {
				in := ask(body)
				in.Provider, in.Tenant = provider, name
				var got page
				server.Into(t, &got, in)
				count += len(got.Data)
				for _, e := range got.Data {
					_, known := single[e.ID]
					if seen[e.ID] || known != (i == 0 && name == tenant) {
						t.Errorf("%s at %s has %s: seen before, or not as for one owner", name, provider, e.ID)
					}
					seen[e.ID] = true
					foreign := server.Do(t, resttest.Request{Path: mount + "/event/" + e.ID, Provider: providers[1-i], Tenant: name})
					resttest.WantProblem(t, foreign, http.StatusNotFound, "NOT_FOUND", "there is no event with this id")
				}
			}
			if count != want {
				t.Errorf("%s at %s has %d events, want %d", name, provider, count, want)
			}
		}
	}
}
