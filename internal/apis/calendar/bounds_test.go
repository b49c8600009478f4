package calendar_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestImportBounds: what stands at a limit is taken, and one more is not.
func TestImportBounds(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	many := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint("c", i)
		}
		return list
	}
	at := func(latitude, longitude float64) map[string]any {
		return map[string]any{"latitude": latitude, "longitude": longitude}
	}
	const ä = "ä" // two bytes, one character
	for _, row := range []struct {
		name  string
		field string
		value any
		ok    bool
	}{
		{"id of 200", "id", strings.Repeat("x", 200), true},
		{"id of 201", "id", strings.Repeat("x", 201), false},
		{"id with the first printable", "id", "!", true},
		{"id with the last printable", "id", "~", true},
		{"id beyond ASCII", "id", ä, false},
		{"name of 300", "name", strings.Repeat(ä, 300), true},
		{"name of 301", "name", strings.Repeat(ä, 301), false},
		{"name of 1", "name", ä, true},
		{"description of 10,000", "description", strings.Repeat(ä, 10_000), true},
		{"description of 10,001", "description", strings.Repeat(ä, 10_001), false},
		{"description of 1", "description", ä, true},
		{"empty description", "description", "", false},
		{"20 categories", "categories", many(20), true},
		{"21 categories", "categories", many(21), false},
		{"category of 50", "categories", []string{strings.Repeat(ä, 50)}, true},
		{"category of 51", "categories", []string{strings.Repeat(ä, 51)}, false},
		{"empty category", "categories", []string{"a", ""}, false},
		{"url at the limit", "url", "https://x.example/" + strings.Repeat("x", 2000-18), true},
		{"url over the limit", "url", "https://x.example/" + strings.Repeat("x", 2001-18), false},
		{"url without a host", "url", "https:///x", false},
		{"url of http", "url", "http://x.example", true},
		{"organiser's empty name", "organiser", map[string]any{"name": ""}, false},
		{"organiser's long name", "organiser", map[string]any{"name": strings.Repeat("x", 301)}, false},
		{"organiser's website", "organiser", map[string]any{"name": "x", "website": "ftp://x.example"}, false},
		{"organiser", "organiser", map[string]any{"name": "x", "website": "https://x.example"}, true},
		{"south-west corner", "place", at(-90, -180), true},
		{"north-east corner", "place", at(90, 180), true},
		{"too far south", "place", at(-90.1, 0), false},
		{"too far north", "place", at(90.1, 0), false},
		{"too far west", "place", at(0, -180.1), false},
		{"too far east", "place", at(0, 180.1), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			event := map[string]any{"name": "x", "dates": map[string]any{"start": "2026-01-01", "end": "2026-01-01"}, "online": true}
			event[row.field] = row.value
			text, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.load(t, string(text)); (err == nil) != row.ok {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
