// Package graph is the calendar's GraphQL schema with the code that gqlgen
// makes from it. Only the calendar imports it; nothing but this file and the
// schema is written by hand.
package graph

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

//go:generate go tool gqlgen generate

// Date is a day as YYYY-MM-DD; days in this form sort as text.
type Date string

// ParseDate returns the day that s writes.
func ParseDate(s string) (Date, error) {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", fmt.Errorf("%q is not a day of the calendar as YYYY-MM-DD", s)
	}
	return Date(s), nil
}

// UnmarshalGQL reads an argument.
func (d *Date) UnmarshalGQL(v any) error {
	s, ok := v.(string)
	if !ok {
		return gqlhttp.Invalid("a Date is a string as YYYY-MM-DD")
	}
	day, err := ParseDate(s)
	if err != nil {
		return gqlhttp.Invalid("%v", err)
	}
	*d = day
	return nil
}

// MarshalGQL writes a result.
func (d Date) MarshalGQL(w io.Writer) { _, _ = io.WriteString(w, strconv.Quote(string(d))) }
