package profiles_test

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestListsWithinAProfile have as many elements as were asked for, when there
// are as many, and the first of the whole list.
func TestListsWithinAProfile(t *testing.T) {
	f := start(t).reference(t, today)
	type list []struct {
		ID, Kind string
		Person   struct{ ID string }
	}
	ask := func(limit int) (people, organisations []struct {
		ID                   string
		Roles, Relationships list
	}) {
		var found struct {
			People, Search struct {
				Data []struct {
					ID                   string
					Roles, Relationships list
				}
			}
		}
		data, errs := f.ask(t, fmt.Sprintf(`{ people(size: 100) { data { id roles(limit: %d) { id } relationships(limit: %[1]d) { kind person { id } } } }
			search(text: "a", kind: ORGANISATION, size: 100) { data { ... on Organisation { id roles(limit: %[1]d) { id } } } } }`, limit))
		if errs != "" {
			t.Fatal(errs)
		}
		if err := json.Unmarshal([]byte(data), &found); err != nil {
			t.Fatal(err)
		}
		for _, p := range found.People.Data {
			people = append(people, struct {
				ID                   string
				Roles, Relationships list
			}{p.ID, p.Roles, p.Relationships})
		}
		for _, o := range found.Search.Data {
			organisations = append(organisations, struct {
				ID                   string
				Roles, Relationships list
			}{o.ID, o.Roles, o.Relationships})
		}
		return people, organisations
	}
	wholePeople, wholeOrganisations := ask(20)
	for _, limit := range []int{1, 2, 3} {
		people, organisations := ask(limit)
		cut := 0
		same := func(what string, got, whole list) {
			t.Helper()
			want := whole[:min(limit, len(whole))]
			if len(whole) > limit {
				cut++
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s with a limit of %d: %v, want %v", what, limit, got, want)
			}
		}
		for i, p := range people {
			same("roles of a person", p.Roles, wholePeople[i].Roles)
			same("relationships", p.Relationships, wholePeople[i].Relationships)
		}
		for i, o := range organisations {
			same("roles of an organisation", o.Roles, wholeOrganisations[i].Roles)
		}
		if cut == 0 {
			t.Errorf("no list is longer than %d", limit)
		}
	}
}
