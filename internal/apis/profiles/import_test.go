package profiles_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/profiles"
)

const lines = `{"type": "role", "person": "per_1", "organisation": "org_1", "title": "Chair", "board": true, "since": "2019-05", "until": "2024"}
{"type": "role", "id": "now", "person": "per_1", "organisation": "org_1", "title": "Adviser", "board": false, "since": "2024-02-01"}
{"type": "person", "id": "per_1", "name": "Ada Quill", "headline": "Chair", "biography": "Two\nlines.", "born": "1961-04", "location": {"city": "Oslo", "country": "NO"}, "nationalities": ["NO"], "education": ["BA"], "interests": ["sailing", "sailing"], "wealth": "ULTRA_HIGH", "updatedAt": "2026-01-02T03:04:05+01:00"}

{"type": "person", "id": "per_2", "name": "Bo Quill"}
{"type": "organisation", "id": "org_1", "name": "Quill Shipping", "kind": "PRIVATE_COMPANY", "sector": "Shipping", "description": "Ships.", "founded": "1912", "location": {"country": "NO"}, "website": "https://quill.example", "employees": 2100}
{"type": "relationship", "people": ["per_2", "per_1"], "kind": "FAMILY", "since": "2001"}
`

func TestImport(t *testing.T) {
	f := start(t).reference(t, today)
	for range 2 { // the same file twice gives the same rows
		n, err := apis.Import(t.Context(), f.db, f.api, strings.NewReader(lines))
		if n != 6 || err != nil {
			t.Fatalf("imported %d rows: %v", n, err)
		}
		data, errs := f.ask(t, `{ people { totalCount data { id name headline biography born location { city country } nationalities education interests wealth updatedAt
			roles { title board since until organisation { id name kind sector description founded location { city country } website employees updatedAt roles(current: false) { id person { id } } } }
			relationships { kind since person { id } } } } }`)
		const want = `{"people":{"totalCount":2,"data":[` +
			`{"id":"per_1","name":"Ada Quill","headline":"Chair","biography":"Two\nlines.","born":"1961-04","location":{"city":"Oslo","country":"NO"},"nationalities":["NO"],"education":["BA"],"interests":["sailing","sailing"],"wealth":"ULTRA_HIGH","updatedAt":"2026-01-02T02:04:05Z","roles":[` +
			`{"title":"Adviser","board":false,"since":"2024-02-01","until":null,"organisation":ORG},{"title":"Chair","board":true,"since":"2019-05","until":"2024","organisation":ORG}],` +
			`"relationships":[{"kind":"FAMILY","since":"2001","person":{"id":"per_2"}}]},` +
			`{"id":"per_2","name":"Bo Quill","headline":null,"biography":null,"born":null,"location":null,"nationalities":[],"education":[],"interests":[],"wealth":null,"updatedAt":"2026-05-20T00:00:00Z","roles":[],` +
			`"relationships":[{"kind":"FAMILY","since":"2001","person":{"id":"per_1"}}]}]}}`
		const org = `{"id":"org_1","name":"Quill Shipping","kind":"PRIVATE_COMPANY","sector":"Shipping","description":"Ships.","founded":"1912","location":{"city":null,"country":"NO"},"website":"https://quill.example","employees":2100,"updatedAt":"2026-05-20T00:00:00Z","roles":[{"id":"role_rhnkvcb5oydk57futh3ai4cq","person":{"id":"per_1"}}]}`
		if errs != "" || strings.ReplaceAll(data, org, "ORG") != want {
			t.Fatalf("answer is %s\n%s, want\n%s", errs, strings.ReplaceAll(data, org, "ORG"), want)
		}
	}
}

// A file with one wrong line changes nothing.
func TestImportErrors(t *testing.T) {
	f := start(t).reference(t, today)
	const person, org = `{"type": "person", "id": "p", "name": "P"}` + "\n", `{"type": "organisation", "id": "o", "name": "O", "kind": "FOUNDATION"}` + "\n"
	for _, test := range []struct {
		name, text string
		line       int
		message    string
	}{
		{"not json", person + "{", 2, "not one JSON object"},
		{"not utf-8", "{\"type\": \"\xff\"}", 1, "not UTF-8"},
		{"null", "null", 1, `"type" has to be`},
		{"no type", `{"id": "p"}`, 1, `"type" has to be "person", "organisation", "role" or "relationship"`},
		{"type that is a number", `{"type": 1}`, 1, `"type" has to be`},
		{"unknown field", `{"type": "person", "id": "p", "name": "P", "roles": []}`, 1, `unknown field "roles"`},
		{"wrong type", `{"type": "person", "id": 7}`, 1, "id must be a string"},
		{"no id", `{"type": "person", "name": "P"}`, 1, "id has to be 1 to 200"},
		{"no name", `{"type": "person", "id": "p"}`, 1, "name has to be 1 to 200"},
		{"wealth", `{"type": "person", "id": "p", "name": "P", "wealth": "POOR"}`, 1, "wealth: POOR is not a valid WealthBand"},
		{"country", `{"type": "person", "id": "p", "name": "P", "location": {"country": "Norway"}}`, 1, "alpha-2"},
		{"nationality", `{"type": "person", "id": "p", "name": "P", "nationalities": ["no"]}`, 1, "alpha-2"},
		{"many interests", `{"type": "person", "id": "p", "name": "P", "interests": [` + strings.Repeat(`"x",`, 30) + `"x"]}`, 1, "at most 30"},
		{"born", `{"type": "person", "id": "p", "name": "P", "born": "1961-13"}`, 1, "not a day, month or year"},
		{"updatedAt", `{"type": "person", "id": "p", "name": "P", "updatedAt": "now"}`, 1, "updatedAt must be a date-time"},
		{"kind", `{"type": "organisation", "id": "o", "name": "O"}`, 1, "kind: the values are [PUBLIC_COMPANY"},
		{"website", `{"type": "organisation", "id": "o", "name": "O", "kind": "FOUNDATION", "website": "javascript:alert(1)"}`, 1, "http or https URL"},
		{"employees", `{"type": "organisation", "id": "o", "name": "O", "kind": "FOUNDATION", "employees": -1}`, 1, "0 or more"},
		{"role without ends", `{"type": "role", "title": "x"}`, 1, "both ends"},
		{"role that ends before it starts", `{"type": "role", "person": "p", "organisation": "o", "title": "x", "since": "2020-05", "until": "2019"}`, 1, "until is before since"},
		{"role of nobody", org + "\n" + `{"type": "role", "person": "p", "organisation": "o", "title": "x"}`, 3, `no person with the id "p"`},
		{"role nowhere", person + `{"type": "role", "person": "p", "organisation": "o", "title": "x"}` + "\n" + person[:0], 2, `no organisation with the id "o"`},
		{"relationship of one", person + `{"type": "relationship", "people": ["p", "p"], "kind": "FRIEND"}`, 2, "ids of two people"},
		{"relationship without kind", person + `{"type": "relationship", "people": ["p", "q"]}`, 2, "kind: the values are [COLLEAGUE"},
		{"relationship twice", `{"type": "relationship", "people": ["p", "q"], "kind": "FRIEND"}` + "\n" + `{"type": "relationship", "people": ["q", "p"], "kind": "FRIEND"}`, 2, "is on line 1 already"},
		{"the same id", person + "\n" + person, 3, "is on line 1 already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := apis.Import(t.Context(), f.db, f.api, strings.NewReader(test.text))
			var row *apis.RowError
			if !errors.As(err, &row) || row.Line != test.line || !strings.Contains(err.Error(), test.message) {
				t.Errorf("the error is %v, want line %d: …%s…", err, test.line, test.message)
			}
			if data, _ := f.ask(t, "{ people { totalCount } }"); data != `{"people":{"totalCount":320}}` {
				t.Errorf("afterwards there are %s", data)
			}
		})
	}
}

// FuzzImport reads any file: every error names a line of it.
func FuzzImport(f *testing.F) {
	f.Add(lines)
	f.Add(`{"type": "relationship", "people": ["a", "b"], "kind": "FRIEND", "since": "1999-01-01"}`)
	f.Add("\ufeff" + `{"type": "organisation", "id": "o", "name": "O", "kind": "UNIVERSITY", "founded": null, "employees": 1e2}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, err := profiles.Read(strings.NewReader(text))
		var row *apis.RowError
		if err != nil && !errors.As(err, &row) {
			t.Fatalf("not about a row: %v", err)
		}
		if n := strings.Count(text, "\n") + 1; err != nil && (row.Line < 1 || row.Line > n) {
			t.Errorf("line %d of %d: %v", row.Line, n, err)
		}
	})
}
