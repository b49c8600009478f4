package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store"
)

// topWindow is how far back 'top' looks.
const topWindow = time.Hour

// hour counts what clients did in the last hour, minute by minute, so that each
// event is read once.
type hour struct {
	realm string
	// next is the event to read after; begun says that it is known.
	next    int64
	begun   bool
	minutes map[int64]map[topKey]*topCount
	groups  int
}

// topKey is a client of a realm, as it named itself. Those beyond maxTop have none.
type topKey struct{ realm, client string }

// topCount is what a client did.
type topCount struct {
	Tokens, Calls, Failures int64
	reasons                 map[counterfoil.Reason]int64
}

// read counts the events that were recorded since the last time, and forgets those
// of more than an hour before now.
func (h *hour) read(ctx context.Context, s admin.Service, now time.Time) (err error) {
	since := now.Add(-topWindow)
	if !h.begun {
		if h.next, err = firstSince(ctx, s, since); err != nil {
			return err
		}
		h.begun = true
	}
	q := audit.Query{After: h.next, Filter: audit.Filter{Realm: h.realm, Since: since}}
	if h.next, err = eachEvent(ctx, s, q, h.add); err != nil {
		return err
	}
	for minute, counts := range h.minutes {
		if minute < since.Unix()/60 {
			h.groups -= len(counts)
			delete(h.minutes, minute)
		}
	}
	return nil
}

// firstSince returns the number of an event that all of a time and later come
// after: events are in the order of their times, unless the clock was set.
func firstSince(ctx context.Context, s admin.Service, since time.Time) (int64, error) {
	state, err := s.AuditLog(ctx)
	if err != nil {
		return 0, err
	}
	low := max(state.Base, state.Dropped)
	var failed error
	n := sort.Search(int(max(0, state.Recorded-low)), func(i int) bool {
		page, err := s.Events(ctx, audit.Query{After: low + int64(i), Limit: 1})
		if err != nil || failed != nil {
			failed = cmp.Or(failed, err)
			return true
		}
		return len(page.Events) == 0 || !page.Events[0].Time.Before(since)
	})
	return low + int64(n), failed
}

// add counts an event.
func (h *hour) add(e *store.RecordedEvent) {
	n := max(1, e.Count)
	var tokens, calls, failures int64
	switch e.Type {
	case counterfoil.EventTokenIssued, counterfoil.EventTokenReused:
		tokens = n
	case counterfoil.EventCallAllowed, counterfoil.EventAdminCalled:
		calls = n
	case counterfoil.EventTokenRefused, counterfoil.EventCallRefused, counterfoil.EventAdminRefused:
		failures = n
	default:
		return
	}
	minute, k := e.Time.Unix()/60, topKey{e.Realm, e.ClientID}
	counts := h.minutes[minute]
	if counts == nil {
		counts = map[topKey]*topCount{}
		h.minutes[minute] = counts
	}
	c := counts[k]
	if c == nil {
		if h.groups >= maxTop {
			k = topKey{}
			c = counts[k]
		}
		if c == nil {
			c = &topCount{reasons: map[counterfoil.Reason]int64{}}
			counts[k] = c
			h.groups++
		}
	}
	c.Tokens, c.Calls, c.Failures = c.Tokens+tokens, c.Calls+calls, c.Failures+failures
	if failures > 0 {
		c.reasons[e.Reason] += n
	}
}

// topRow is a client of the last hour.
type topRow struct {
	Realm    string `json:"realm"`
	ClientID string `json:"client_id"`
	Tokens   int64  `json:"tokens"`
	Calls    int64  `json:"calls"`
	Failures int64  `json:"failures"`
	// Reason is the most frequent one of the failures.
	Reason counterfoil.Reason `json:"reason,omitempty"`
}

// rows returns the clients of the last hour, the busiest first.
func (h *hour) rows() []topRow {
	sums := map[topKey]*topCount{}
	for _, counts := range h.minutes {
		for k, c := range counts {
			sum := sums[k]
			if sum == nil {
				sum = &topCount{reasons: map[counterfoil.Reason]int64{}}
				sums[k] = sum
			}
			sum.Tokens, sum.Calls, sum.Failures = sum.Tokens+c.Tokens, sum.Calls+c.Calls, sum.Failures+c.Failures
			for reason, n := range c.reasons {
				sum.reasons[reason] += n
			}
		}
	}
	rows := make([]topRow, 0, len(sums))
	for k, c := range sums {
		row := topRow{k.realm, k.client, c.Tokens, c.Calls, c.Failures, ""}
		for _, reason := range slices.Sorted(maps.Keys(c.reasons)) {
			if c.reasons[reason] > c.reasons[row.Reason] {
				row.Reason = reason
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b topRow) int {
		return cmp.Or(
			cmp.Compare(b.Tokens+b.Calls+b.Failures, a.Tokens+a.Calls+a.Failures),
			strings.Compare(a.Realm, b.Realm), strings.Compare(a.ClientID, b.ClientID),
		)
	})
	return rows
}

// eachEvent visits the events that a query selects, whatever its limit, and returns
// the After of those that come later.
func eachEvent(ctx context.Context, s admin.Service, q audit.Query, visit func(*store.RecordedEvent)) (next int64, err error) {
	q.Limit = auditPage
	for {
		page, err := s.Events(ctx, q)
		if err != nil {
			return q.After, err
		}
		for i := range page.Events {
			visit(&page.Events[i])
		}
		if q.After = page.Next; page.End {
			return q.After, nil
		}
	}
}
