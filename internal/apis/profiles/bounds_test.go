package profiles_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis"
)

// TestImportBounds: what stands at a limit is taken, and one more is not.
func TestImportBounds(t *testing.T) {
	f := start(t)
	many := func(n int) []string { return strings.Split(strings.Repeat("x,", n-1)+"x", ",") }
	const ä = "ä" // two bytes, one character
	for _, row := range []struct {
		name   string
		kind   string
		fields map[string]any
		ok     bool
	}{
		{"id of 200", "person", map[string]any{"id": strings.Repeat("x", 200)}, true},
		{"id of 201", "person", map[string]any{"id": strings.Repeat("x", 201)}, false},
		{"id with the first printable", "person", map[string]any{"id": "!"}, true},
		{"id with the last printable", "person", map[string]any{"id": "~"}, true},
		{"id with a space", "person", map[string]any{"id": "a b"}, false},
		{"id beyond ASCII", "person", map[string]any{"id": ä}, false},
		{"id with a delete", "person", map[string]any{"id": "a\x7f"}, false},
		{"name of 200", "person", map[string]any{"name": strings.Repeat(ä, 200)}, true},
		{"name of 201", "person", map[string]any{"name": strings.Repeat(ä, 201)}, false},
		{"name of two lines", "person", map[string]any{"name": "a\nb"}, false},
		{"empty headline", "person", map[string]any{"headline": ""}, false},
		{"biography of 1", "person", map[string]any{"biography": ä}, true},
		{"empty biography", "person", map[string]any{"biography": ""}, false},
		{"biography of 10,000", "person", map[string]any{"biography": strings.Repeat(ä, 10_000)}, true},
		{"biography of 10,001", "person", map[string]any{"biography": strings.Repeat(ä, 10_001)}, false},
		{"30 interests", "person", map[string]any{"interests": many(30)}, true},
		{"31 interests", "person", map[string]any{"interests": many(31)}, false},
		{"empty interest", "person", map[string]any{"interests": []string{""}}, false},
		{"city alone", "person", map[string]any{"location": map[string]any{"city": "Oslo"}}, true},
		{"empty city", "person", map[string]any{"location": map[string]any{"city": ""}}, false},
		{"no employees", "organisation", map[string]any{"employees": 0}, true},
		{"website of http", "organisation", map[string]any{"website": "http://x.example"}, true},
		{"website of ftp", "organisation", map[string]any{"website": "ftp://x.example"}, false},
		{"website without a host", "organisation", map[string]any{"website": "https:///x"}, false},
		{"website of 2,000", "organisation", map[string]any{"website": "https://x.example/" + strings.Repeat("x", 2000-18)}, true},
		{"website of 2,001", "organisation", map[string]any{"website": "https://x.example/" + strings.Repeat("x", 2001-18)}, false},
		{"role that ends in its month", "role", map[string]any{"since": "2020-05", "until": "2020-05"}, true},
		{"role that ends in its year", "role", map[string]any{"since": "2020-05", "until": "2020"}, true},
		{"role that ends the day before", "role", map[string]any{"since": "2020-05-02", "until": "2020-05-01"}, false},
		{"role whose start is not known", "role", map[string]any{"until": "2020"}, true},
		{"role without a person", "role", map[string]any{"person": ""}, false},
		{"role without an organisation", "role", map[string]any{"organisation": ""}, false},
		{"relationship of one", "relationship", map[string]any{"people": []string{"p"}}, false},
		{"relationship of three", "relationship", map[string]any{"people": []string{"p", "q", "r"}}, false},
		{"relationship since a day", "relationship", map[string]any{"since": "2020-02-29"}, true},
		{"relationship since no day", "relationship", map[string]any{"since": "2021-02-29"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			line := map[string]map[string]any{
				"person":       {"id": "x", "name": "X"},
				"organisation": {"id": "x", "name": "X", "kind": "FOUNDATION"},
				"role":         {"person": "p", "organisation": "o", "title": "X"},
				"relationship": {"people": []string{"p", "q"}, "kind": "FRIEND"},
			}[row.kind]
			line["type"] = row.kind
			for name, value := range row.fields {
				line[name] = value
			}
			last, err := json.Marshal(line)
			if err != nil {
				t.Fatal(err)
			}
			text := `{"type": "person", "id": "p", "name": "P"}` + "\n" + `{"type": "person", "id": "q", "name": "Q"}` + "\n" +
				`{"type": "organisation", "id": "o", "name": "O", "kind": "FOUNDATION"}` + "\n" + string(last)
			if _, err := apis.Import(t.Context(), f.db, f.api, strings.NewReader(text)); (err == nil) != row.ok {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestArgumentsAtTheirBounds are taken.
func TestArgumentsAtTheirBounds(t *testing.T) {
	f := start(t).reference(t, today)
	for name, query := range map[string]string{
		"size 1":           "people(size: 1) { data { id } }",
		"size 100":         "organisations(size: 100) { data { id } }",
		"text of 1":        `search(text: "é") { totalCount }`,
		"text of 100":      `search(text: "` + strings.Repeat("é", 100) + `") { totalCount }`,
		"limit 1":          "people(size: 1) { data { roles(limit: 1) { id } } }",
		"limit 50":         "people(size: 1) { data { relationships(limit: 50) { kind } } }",
		"the largest page": "people(page: 2147483647, size: 100) { data { id } }",
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs := f.ask(t, "{ "+query+" }"); errs != "" {
				t.Errorf("the errors are %s", errs)
			}
		})
	}
}

// TestPagesFollowOneAnother: page n begins where the page before it ended.
func TestPagesFollowOneAnother(t *testing.T) {
	f := start(t).reference(t, today)
	for _, list := range []string{"people(%s) { data { id } }", "organisations(%s) { data { id } }", `search(text: "a", %s) { data { ... on Person { id } ... on Organisation { id } } }`} {
		ids := func(args string) (all []string) {
			var found map[string]struct{ Data []struct{ ID string } }
			f.get(t, "{ "+fmt.Sprintf(list, args)+" }", &found)
			for _, page := range found {
				for _, row := range page.Data {
					all = append(all, row.ID)
				}
			}
			return all
		}
		want := ids("size: 90")
		var got []string
		for page := range 3 {
			got = append(got, ids(fmt.Sprintf("page: %d, size: 30", page))...)
		}
		if len(want) != 90 || !slices.Equal(got, want) {
			t.Errorf("%s: three pages are %q, want %q", list, got, want)
		}
	}
}

// TestCosts: a query costs as many values as it may return, whatever its
// arguments claim, before a statement is made.
func TestCosts(t *testing.T) {
	f := start(t).reference(t, today)
	const roles = "roles(limit: 50) { person { roles(limit: 50) { id } } }"
	const want = "QUERY_TOO_COMPLEX: the query may cost 261600"
	for _, query := range []string{
		"people(size: 100) { data { " + roles + " } }",
		"organisations(size: 100) { data { " + roles + " } }",
		`search(text: "a", size: 100) { data { ... on Organisation { ` + roles + " } } }",
		"people(size: 100) { data { relationships(limit: 50) { person { relationships(limit: 50) { kind } } } } }",
		"people(size: 2000000000) { data { " + roles + " } }",
		"people(size: 100) { data { roles(limit: 2000000000) { person { roles(limit: 2000000000) { id } } } } }",
	} {
		before := f.queries.Load()
		if _, errs := f.ask(t, "{ "+query+" }"); !strings.HasPrefix(errs, want) {
			t.Errorf("%s answers %s, want %s", query, errs, want)
		}
		if n := f.queries.Load() - before; n != 0 {
			t.Errorf("%s took %d statements", query, n)
		}
	}
}

// TestRolesByTime: true lets the roles through that are held now, false those
// that ended, and a person is on a board who has a seat on one now.
func TestRolesByTime(t *testing.T) {
	f := start(t)
	text := `{"type": "person", "id": "p", "name": "P", "interests": ["chess"]}` + "\n" + `{"type": "person", "id": "q", "name": "Q"}` + "\n" +
		`{"type": "organisation", "id": "o", "name": "O", "kind": "FOUNDATION"}` + "\n" +
		`{"type": "role", "id": "now", "person": "p", "organisation": "o", "title": "X", "board": true, "since": "2020"}` + "\n" +
		`{"type": "role", "id": "once", "person": "p", "organisation": "o", "title": "X", "board": true, "since": "2021", "until": "2022"}` + "\n" +
		`{"type": "role", "id": "late", "person": "q", "organisation": "o", "title": "X", "board": true, "since": "2021", "until": "2022"}` + "\n" +
		`{"type": "role", "id": "desk", "person": "q", "organisation": "o", "title": "X", "since": "2019"}`
	if _, err := apis.Import(t.Context(), f.db, f.api, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"people { data { roles { id } } }":                                    `{"people":{"data":[{"roles":[{"id":"now"},{"id":"once"}]},{"roles":[{"id":"desk"},{"id":"late"}]}]}}`,
		"people { data { roles(current: true) { id } } }":                     `{"people":{"data":[{"roles":[{"id":"now"}]},{"roles":[{"id":"desk"}]}]}}`,
		"people { data { roles(current: false) { id } } }":                    `{"people":{"data":[{"roles":[{"id":"once"}]},{"roles":[{"id":"late"}]}]}}`,
		`organisation(id: "o") { roles(limit: 3) { id person { id } } }`:      `{"organisation":{"roles":[{"id":"now","person":{"id":"p"}},{"id":"desk","person":{"id":"q"}},{"id":"late","person":{"id":"q"}}]}}`,
		"people(filter: {onBoard: true}) { data { id } }":                     `{"people":{"data":[{"id":"p"}]}}`,
		"people(filter: {onBoard: false}) { data { id } }":                    `{"people":{"data":[{"id":"q"}]}}`,
		`people(filter: {interest: "chess"}) { totalCount data { id } }`:      `{"people":{"totalCount":1,"data":[{"id":"p"}]}}`,
		`people(page: 1, size: 1) { totalCount page size data { id } }`:       `{"people":{"totalCount":2,"page":1,"size":1,"data":[{"id":"q"}]}}`,
		`search(text: "o", kind: ORGANISATION) { data { kind: __typename } }`: `{"search":{"data":[{"kind":"Organisation"}]}}`,
	} {
		if data, errs := f.ask(t, "{ "+query+" }"); data != want || errs != "" {
			t.Errorf("%s answers %s %s, want %s", query, data, errs, want)
		}
	}
}
