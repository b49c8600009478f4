package calendar_test

import (
	"fmt"
	"strings"
	"testing"
)

// A short query for many pages took as long as hundreds of others. What it may
// cost is known before it runs.
func TestCostOfPages(t *testing.T) {
	f := start(t, "events:read").reference(t, today)
	pages := func(n int, field string) string {
		var q strings.Builder
		for i := range n {
			fmt.Fprintf(&q, " a%d: %s", i, field)
		}
		return "{" + q.String() + " }"
	}
	for _, row := range []struct {
		query string
		cost  int // more than is allowed; 0 for one that is answered
	}{
		{`{ events(page: 0, size: 10) { totalCount data { id name { en } } } }`, 0}, // the guide's
		{`{ events(size: 100) { data { id name { en fr } dates { start end } place { city region } categories url updatedAt } } }`, 0},
		{pages(30, "events(size: 1) { totalCount }"), 0},
		{pages(30, "events(size: 100) { data { id name { en fr } } }"), 57000},
		{pages(11, "events(size: 100) { data { id name { en fr } } }"), 20900},
		{pages(10, "events(size: 100) { data { id name { en fr } } }"), 0},
		{pages(30, "events(size: 36) { data { id name { en fr } } }"), 24360},
		{pages(12, "events(size: 2000000000) { totalCount }"), 0},
	} {
		got := f.raw(t, row.query)
		want := fmt.Sprintf("the query may cost %d and the limit is 20000: ask for fewer or smaller pages, or for fewer fields", row.cost)
		if refused := strings.Contains(got, want) && strings.Contains(got, "QUERY_TOO_COMPLEX"); refused != (row.cost > 0) {
			t.Errorf("%.60s (%d bytes) answers %.200s", row.query, len(row.query), got)
		}
	}
}
