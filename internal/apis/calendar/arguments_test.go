package calendar_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestArgumentsAtTheirBounds are taken.
func TestArgumentsAtTheirBounds(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	for name, args := range map[string]string{
		"size 1":            "size: 1",
		"size 100":          "size: 100",
		"text of 1":         `filter: {text: "é"}`,
		"text of 100":       `filter: {text: "` + strings.Repeat("é", 100) + `"}`,
		"50 categories":     `filter: {categories: [` + strings.Repeat(`"x",`, 50) + `]}`,
		"50 countries":      `filter: {country: [` + strings.Repeat(`"FR",`, 50) + `]}`,
		"one day":           `filter: {from: "2026-05-24", to: "2026-05-24"}`,
		"three fields":      "sort: [{field: START}, {field: END}, {field: NAME}]",
		"the largest page":  "page: 2147483647",
		"one of everything": `page: 0, size: 1, filter: {country: ["FR"], categories: ["x"], status: [PUBLISHED]}, sort: [{field: UPDATED}]`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, a := f.ask(t, "{ events("+args+") { totalCount } }"); len(a.Errors) > 0 {
				t.Errorf("answer is %+v", a.Errors)
			}
		})
	}
}

// TestLocales are of two or three letters each.
func TestLocales(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	for locales, ok := range map[string]bool{
		"EN": true, "eng": true, "az,AZ,za,ZA": true, "EN, FR": true,
		"": false, "E": false, "ENGL": false, "EN,": false, "E`": false, "{n": false, "E1": false, "én": false,
	} {
		text := fmt.Sprintf(`{"name": "x", "startDate": "2026-01-01", "online": true, "locales": %q}`, locales)
		if _, err := f.load(t, text); (err == nil) != ok {
			t.Errorf("locales %q: error %v", locales, err)
		}
	}
}
