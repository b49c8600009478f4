package rest

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
)

// The bounds of a page's size.
const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// Page is a part of a list.
type Page struct {
	// Number counts from 1.
	Number int64
	// Size is how many rows a page has, from 1 to 100.
	Size int64
}

// NewPage returns the page that a caller asked for; nil means the first page,
// or 20 rows. Its error is a *Problem that uses the names of the API's
// two fields.
func NewPage(number, size *int64, numberName, sizeName string) (Page, error) {
	p := Page{Number: 1, Size: defaultPageSize}
	if number != nil {
		p.Number = *number
	}
	if size != nil {
		p.Size = *size
	}
	if p.Number < 1 {
		return p, Refuse(http.StatusBadRequest, InvalidRequest, "%s must be 1 or more: pages count from 1", numberName)
	}
	if p.Size < 1 || p.Size > maxPageSize {
		return p, Refuse(http.StatusBadRequest, InvalidRequest, "%s must be a whole number from 1 to %d", sizeName, maxPageSize)
	}
	return p, nil
}

// ParsePage is NewPage for the two query parameters with these names.
func ParsePage(query url.Values, numberName, sizeName string) (Page, error) {
	var given [2]*int64
	for i, name := range []string{numberName, sizeName} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.ParseInt(query.Get(name), 10, 64)
		if err != nil {
			return Page{}, Refuse(http.StatusBadRequest, InvalidRequest, "%s must be a whole number of at most 64 bits", name)
		}
		given[i] = &n
	}
	return NewPage(given[0], given[1], numberName, sizeName)
}

// offset is how many rows come before the page, limited to an int64: no table
// has that many rows.
func (p Page) offset() int64 {
	if p.Number-1 > math.MaxInt64/p.Size {
		return math.MaxInt64
	}
	return (p.Number - 1) * p.Size
}

// Selection is a list that can be cut into pages. Its SQL is the program's own,
// never a caller's; values from a caller go into Args.
type Selection struct {
	// Columns follow SELECT, From follows FROM with its WHERE, and Order
	// follows ORDER BY and decides between any two rows.
	Columns, From, Order string
	// Args fill the placeholders of From.
	Args []any
}

// List is a page and how long the whole list is.
type List[T any] struct {
	TotalCount int64 `json:"totalCount"`
	Data       []T   `json:"data"`
}

// Select reads a page of s, scanning each row. The count and the rows are from
// the same moment.
func Select[T any](ctx context.Context, db *sql.DB, s Selection, page Page, scan func(row func(...any) error) (T, error)) (List[T], error) {
	list := List[T]{Data: []T{}}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return list, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+s.From, s.Args...).Scan(&list.TotalCount); err != nil {
		return list, fmt.Errorf("count rows: %w", err)
	}
	args := append(append([]any{}, s.Args...), page.Size, page.offset())
	rows, err := tx.QueryContext(ctx, "SELECT "+s.Columns+" FROM "+s.From+" ORDER BY "+s.Order+" LIMIT ? OFFSET ?", args...)
	if err != nil {
		return list, fmt.Errorf("read page: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scan(rows.Scan)
		if err != nil {
			return list, fmt.Errorf("read row: %w", err)
		}
		list.Data = append(list.Data, row)
	}
	return list, rows.Err()
}
