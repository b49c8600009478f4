package calendar

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis/calendar/internal/graph"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

// The bounds of the arguments of events.
const (
	maxSize   = 100
	maxText   = 100
	maxValues = 50
	maxSorts  = 3
)

// resolver resolves the root fields; all other fields are plain members.
type resolver struct{ api *API }

func (r resolver) Query() graph.QueryResolver { return r }

// Event resolves event(id).
func (r resolver) Event(ctx context.Context, id string) (*graph.Event, error) {
	where := conditions{}
	where.add("id = ?", id)
	where.visible(ctx)
	event, err := scan(r.api.db.QueryRowContext(ctx, "SELECT body FROM calendar_events WHERE "+where.sql(), where.args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return event, err
}

// Events resolves events(page, size, filter, sort).
func (r resolver) Events(
	ctx context.Context, page, size int32, filter *graph.EventFilter, sort []*graph.EventSort,
) (*graph.EventPage, error) {
	if page < 0 {
		return nil, gqlhttp.Invalid("page is %d: the first page is 0", page)
	}
	if size < 1 || size > maxSize {
		return nil, gqlhttp.Invalid("size is %d: it has to be from 1 to %d", size, maxSize)
	}
	where, err := r.where(ctx, filter)
	if err != nil {
		return nil, err
	}
	order, err := orderBy(sort)
	if err != nil {
		return nil, err
	}
	tx, err := r.api.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer tx.Rollback()
	out := &graph.EventPage{Page: page, Size: size, Data: []*graph.Event{}}
	err = tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM calendar_events WHERE "+where.sql(), where.args...).Scan(&out.TotalCount)
	if err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT body FROM calendar_events WHERE "+where.sql()+" ORDER BY "+order+" LIMIT ? OFFSET ?",
		append(where.args, size, int64(page)*int64(size))...)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		event, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		out.Data = append(out.Data, event)
	}
	return out, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (*graph.Event, error) {
	var body []byte
	if err := row.Scan(&body); err != nil {
		return nil, err
	}
	event := &graph.Event{}
	return event, json.Unmarshal(body, event)
}

// conditions is a WHERE clause under construction.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

// in adds a condition with a list of values in place of its %s.
func in[T ~string](c *conditions, part string, values []T) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	c.add(fmt.Sprintf(part, "(?"+strings.Repeat(", ?", len(values)-1)+")"), args...)
}

// visible excludes what the caller may not see.
func (c *conditions) visible(ctx context.Context) {
	if !seesDrafts(ctx) {
		c.add("status <> ?", string(graph.EventStatusDraft))
	}
}

func (c *conditions) sql() string {
	if len(c.parts) == 0 {
		return "1 = 1"
	}
	return strings.Join(c.parts, " AND ")
}

func seesDrafts(ctx context.Context) bool {
	p, ok := counterfoil.PrincipalFrom(ctx)
	return ok && p.Scopes.Contains(ScopeDrafts)
}

// where checks a filter and translates it.
func (r resolver) where(ctx context.Context, f *graph.EventFilter) (*conditions, error) {
	c := &conditions{}
	c.visible(ctx)
	if f == nil {
		return c, nil
	}
	if err := c.text(f.Text); err != nil {
		return nil, err
	}
	if err := c.lists(ctx, f); err != nil {
		return nil, err
	}
	if f.From != nil && f.To != nil && *f.From > *f.To {
		return nil, gqlhttp.Invalid("filter.from is after filter.to")
	}
	if f.From != nil {
		c.add("end_day >= ?", string(*f.From))
	}
	if f.To != nil {
		c.add("start_day <= ?", string(*f.To))
	}
	if f.Online != nil {
		c.add("online = ?", bit(*f.Online))
	}
	if f.Upcoming != nil {
		today := r.api.clock.Now().UTC().Format(time.DateOnly)
		if *f.Upcoming {
			c.add("end_day >= ?", today)
		} else {
			c.add("end_day < ?", today)
		}
	}
	return c, nil
}

func (c *conditions) text(text *string) error {
	if text == nil {
		return nil
	}
	t := strings.ToLower(strings.TrimSpace(*text))
	if n := utf8.RuneCountInString(t); n < 1 || n > maxText {
		return gqlhttp.Invalid("filter.text has %d characters: it has to have from 1 to %d", n, maxText)
	}
	c.add(`search LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(t)+"%")
	return nil
}

// lists adds the conditions on countries, categories and status.
func (c *conditions) lists(ctx context.Context, f *graph.EventFilter) error {
	for name, n := range map[string]int{"country": len(f.Country), "categories": len(f.Categories), "status": len(f.Status)} {
		if n > maxValues {
			return gqlhttp.Invalid("filter.%s has %d values: at most %d are allowed", name, n, maxValues)
		}
	}
	if len(f.Country) > 0 {
		for _, code := range f.Country {
			if countryName(code) == "" {
				return gqlhttp.Invalid("filter.country has a value that is not an ISO 3166-1 alpha-2 code in upper case, such as FR")
			}
		}
		in(c, "country IN %s", f.Country)
	}
	if len(f.Categories) > 0 {
		in(c, "id IN (SELECT event FROM calendar_categories WHERE category IN %s)", f.Categories)
	}
	if len(f.Status) > 0 {
		for _, status := range f.Status {
			if status == graph.EventStatusDraft && !seesDrafts(ctx) {
				return &gqlhttp.Error{Code: gqlhttp.Forbidden, Message: "DRAFT events need the scope " + ScopeDrafts}
			}
		}
		in(c, "status IN %s", f.Status)
	}
	return nil
}

// columns of the fields to sort by.
var columns = map[graph.EventSortField]string{
	graph.EventSortFieldStart:   "start_day",
	graph.EventSortFieldEnd:     "end_day",
	graph.EventSortFieldName:    "title",
	graph.EventSortFieldCountry: "country",
	graph.EventSortFieldUpdated: "updated",
}

func orderBy(sort []*graph.EventSort) (string, error) {
	if len(sort) > maxSorts {
		return "", gqlhttp.Invalid("sort has %d fields: at most %d are allowed", len(sort), maxSorts)
	}
	if len(sort) == 0 {
		return "start_day, id", nil
	}
	var order strings.Builder
	for _, s := range sort {
		order.WriteString(columns[s.Field])
		if s.Direction == graph.SortDirectionDesc {
			order.WriteString(" DESC")
		}
		order.WriteString(", ")
	}
	return order.String() + "id", nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
