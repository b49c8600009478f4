package ical

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Text removes the escapes of a TEXT value (RFC 5545 section 3.3.11).
func Text(value string) (string, error) {
	parts, err := split(value, false)
	if err != nil {
		return "", err
	}
	return parts[0], nil
}

// List splits a list of TEXT values at its commas.
func List(value string) ([]string, error) { return split(value, true) }

func split(value string, list bool) ([]string, error) {
	var parts []string
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == ',' && list:
			parts = append(parts, b.String())
			b.Reset()
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(value):
			return nil, errors.New(`a text ends in the middle of an escape: \\ is a backslash`)
		default:
			i++
			switch value[i] {
			case 'n', 'N':
				b.WriteByte('\n')
			case '\\', ';', ',':
				b.WriteByte(value[i])
			default:
				return nil, fmt.Errorf(`%q is not an escape: \\, \;, \, and \n are`, value[i-1:i+1])
			}
		}
	}
	return append(parts, b.String()), nil
}

// Moment is the value of DTSTART or DTEND, on the clock of its own time zone.
type Moment struct {
	// Time has the date and the time of day; its location says nothing.
	Time time.Time
	// Whole tells that the value is a date without a time.
	Whole bool
}

// When reads a DATE or a DATE-TIME (RFC 5545 sections 3.3.4 and 3.3.5), the
// latter floating, in UTC or in the time zone of its TZID.
func When(p Property) (Moment, error) {
	kind := strings.ToUpper(p.Params["VALUE"])
	if kind != "" && kind != "DATE" && kind != "DATE-TIME" {
		return Moment{}, fmt.Errorf("%s has VALUE=%s: DATE and DATE-TIME are allowed", p.Name, kind)
	}
	if t, err := time.Parse("20060102", p.Value); err == nil && kind != "DATE-TIME" {
		return Moment{t, true}, nil
	}
	text, utc := strings.CutSuffix(p.Value, "Z")
	t, err := time.Parse("20060102T150405", text)
	if err != nil || len(text) != len("20060102T150405") || kind == "DATE" || utc && p.Params["TZID"] != "" {
		return Moment{}, fmt.Errorf("%s %q is not a day as 20260531 or a time as 20260531T090000, with a Z for UTC", p.Name, p.Value)
	}
	return Moment{t, false}, nil
}

var duration = regexp.MustCompile(`^\+?P(?:(\d{1,4})W|(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?)$`)

// Duration reads a DURATION that is not negative (RFC 5545 section 3.3.6).
func Duration(value string) (time.Duration, error) {
	m := duration.FindStringSubmatch(value)
	if m == nil || strings.HasSuffix(value, "P") || strings.HasSuffix(value, "T") {
		return 0, fmt.Errorf("%q is not a duration such as P2D or PT1H30M", value)
	}
	const day = 24 * time.Hour
	var sum time.Duration
	for i, unit := range []time.Duration{7 * day, day, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * unit
	}
	return sum, nil
}
