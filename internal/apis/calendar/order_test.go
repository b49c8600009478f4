package calendar_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestFarPages: a page beyond the end is empty, however far beyond.
func TestFarPages(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	total := f.events(t, "").TotalCount
	// 42949673 times 100 is 4, and 2147483647 times 100 negative, in 32 bits.
	for _, n := range []int{42_949_673, 21_474_837, 2_147_483_647} {
		if p := f.events(t, fmt.Sprintf("page: %d, size: 100", n)); len(p.Data) != 0 || p.TotalCount != total {
			t.Errorf("page %d has %d events of %d", n, len(p.Data), p.TotalCount)
		}
	}
}

// TestUpcomingOnItsLastDay: an event is upcoming until its last day is over.
func TestUpcomingOnItsLastDay(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	var lines strings.Builder
	for _, end := range []string{"2026-05-19", "2026-05-20", "2026-05-21"} {
		fmt.Fprintf(&lines, `{"id": "%s", "name": "x", "dates": {"start": "2026-05-01", "end": "%s"}, "online": true}`+"\n", end, end)
	}
	if _, err := f.load(t, lines.String()); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]string{"true": "2026-05-20 2026-05-21", "false": "2026-05-19"} {
		var got []string
		for _, e := range f.events(t, "filter: {upcoming: "+filter+"}").Data {
			got = append(got, e.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("upcoming %s: %q, want %s", filter, got, want)
		}
	}
}

// TestOrderDecides: events that are the same in what is sorted by stand in the
// order of their ids, so that pages neither repeat nor skip one.
func TestOrderDecides(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	var lines strings.Builder
	for n := 9; n > 0; n-- {
		fmt.Fprintf(&lines, `{"id": "e%d", "name": "same", "startDate": "2026-05-31", "online": true}`+"\n", n)
	}
	if _, err := f.load(t, lines.String()); err != nil {
		t.Fatal(err)
	}
	for _, sort := range []string{"", "sort: [{field: NAME}], ", "sort: [{field: NAME, direction: DESC}], ", "sort: [{field: COUNTRY}, {field: END}], "} {
		var got strings.Builder
		for page := range 3 {
			for _, e := range f.events(t, fmt.Sprintf("%spage: %d, size: 3", sort, page)).Data {
				got.WriteString(e.ID)
			}
		}
		if want := "e1e2e3e4e5e6e7e8e9"; got.String() != want {
			t.Errorf("%q: the pages are %s, want %s", sort, &got, want)
		}
	}
}

// TestSizeCounts: what a query may return is counted by the size of its pages.
func TestSizeCounts(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	for _, row := range []struct{ size, lists, errors int }{{1, 8, 0}, {20, 8, 0}, {100, 1, 0}, {100, 8, 1}} {
		var query strings.Builder
		for n := range row.lists {
			fmt.Fprintf(&query, " e%d: events(size: %d) { data { %s } }", n, row.size, all)
		}
		_, a := f.ask(t, "{"+query.String()+" }")
		if len(a.Errors) != row.errors || row.errors > 0 && a.Errors[0].Extensions.Code != "QUERY_TOO_COMPLEX" {
			t.Errorf("%d lists of %d events: %+v", row.lists, row.size, a.Errors)
		}
	}
}
