package events_test

import (
	"strings"
	"testing"
)

// TestImportBounds: what stands at a limit is taken, and one more is not.
func TestImportBounds(t *testing.T) {
	const description = `Meet your\nrepresentatives.`
	words := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"Legislative",`, n), ",") }
	url := func(n int) string { return "https://x.example/" + strings.Repeat("x", n-len("https://x.example/")) }
	for _, row := range []struct {
		name     string
		old, new string
		ok       bool
	}{
		{"description of 4,000", description, strings.Repeat("ä", 4000), true},
		{"description of 4,001", description, strings.Repeat("ä", 4001), false},
		{"no categories", `"Legislative"`, "", false},
		{"10 categories", `"Legislative"`, words(10), true},
		{"11 categories", `"Legislative"`, words(11), false},
		{"URL of 2,000", "https://live.example/day", url(2000), true},
		{"URL of 2,001", "https://live.example/day", url(2001), false},
		{"first year", "2026-08-01", "1980-01-01", true},
		{"the year before", "2026-08-01T09:00:00-04:00", "1979-12-31T23:59:59Z", false},
		{"last year", "2026-10-14T20:00:00Z", "2999-12-31T23:59:59Z", true},
		{"the year after", "2026-10-14T20:00:00Z", "3000-01-01T00:00:00Z", false},
		{"description of two lines and a tab", description, `a\n\tb`, true},
		{"description with a return", description, `a\rb`, false},
		{"capacity of 1", `"capacity":300,"registered":120`, `"capacity":1,"registered":1`, true},
		{"capacity of 0", `"capacity":300,"registered":120`, `"capacity":0,"registered":0`, false},
		{"nobody registered", `"registered":120`, `"registered":0`, true},
		{"fewer than nobody", `"registered":120`, `"registered":-1`, false},
		{"all registered", `"registered":120`, `"registered":300`, true},
		{"one more than all", `"registered":120`, `"registered":301`, false},
		{"any number without a capacity", `"capacity":300,"registered":120`, `"registered":1000000`, true},
		{"registration that closes as it opens", "2026-10-10T17:00:00-04:00", "2026-08-01T09:00:00-04:00", false},
		{"end at the start", "2026-10-14T20:00:00Z", "2026-10-14T13:00:00Z", false},
		{"end a second later", "2026-10-14T20:00:00Z", "2026-10-14T13:00:01Z", true},
		{"end less than a second later", "2026-10-14T20:00:00Z", "2026-10-14T13:00:00.9Z", false},
		{"no time zone", "America/New_York", "", false},
		{"UTC", "America/New_York", "UTC", true},
		{"place only", `"onlineUrl":"https://live.example/day",`, "", true},
		{"online only", `"venue":{"name":"Capitol Annex","city":"Harrisburg","region":"PA","country":"US"},`, "", true},
		{"URL without a host", "https://live.example/day", "https:///day", false},
		{"country in lower case", `"US"`, `"us"`, false},
		{"country of a letter", `"US"`, `"U"`, false},
		{"first and last letter", `"US"`, `"AZ"`, true},
		{"no registration", `"registration":{"opens":"2026-08-01T09:00:00-04:00","closes":"2026-10-10T17:00:00-04:00","capacity":300,"registered":120},`, "", true},
		{"name of 200", "Legislative Day", strings.Repeat("ä", 200), true},
		{"phone of two lines", "+1 717 555 0100", `1\n2`, false},
		{"registration opens in no year", `"opens":"2026-08-01T09:00:00-04:00",`, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := line(1, row.old, row.new)
			if text == line(1) {
				t.Fatal("the row changes nothing")
			}
			if _, _, err := importInto(t, text); (err == nil) != row.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestSearchTextBounds: a text to search for has up to 100 characters.
func TestSearchTextBounds(t *testing.T) {
	server, _, err := importInto(t, line(1))
	if err != nil {
		t.Fatal(err)
	}
	for n, status := range map[int]int{100: 200, 101: 400} {
		got := server.Do(t, ask(`{"SearchText":"`+strings.Repeat("é", n)+`"}`))
		if got.Status != status {
			t.Errorf("%d characters got %d %s", n, got.Status, got.Body)
		}
	}
}
