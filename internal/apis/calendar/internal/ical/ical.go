// Package ical reads the events of an iCalendar file (RFC 5545) strictly enough
// to say which line is wrong: it unfolds content lines, splits them into name,
// parameters and value, and keeps the line number of each. The importer
// interprets the values, with the help of Text, List and Day. Only the calendar
// imports it.
//
// It is written here because the available libraries either lose the line
// numbers or panic on a parameter that ends its line.
package ical

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/files"
)

// The bounds of a file.
const (
	maxLine       = 1 << 20 // bytes of a content line, unfolded
	maxProperties = 1000    // of an event
	maxNesting    = 8       // of components
)

// Error is a line that is wrong.
type Error struct {
	// Line counts from 1, of the file as it is folded.
	Line int
	// Err says what is wrong.
	Err error
}

// Error returns "line N: what is wrong".
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Property is a content line (RFC 5545 section 3.1).
type Property struct {
	// Name is in upper case.
	Name string
	// Params are by their names in upper case, without quotes.
	Params map[string]string
	// Value is as it is written; see Text.
	Value string
	Line  int
}

// Event is a VEVENT, without the components within it.
type Event struct {
	// Line is that of BEGIN:VEVENT.
	Line       int
	Properties []Property
}

// Read calls event for each VEVENT of r, in order, and stops at the first error.
// An invalid line is an *Error; an error of event is returned unchanged. One
// leading byte order mark is dropped, and UTF-16 that begins with one is
// decoded.
func Read(r io.Reader, event func(*Event) error) error {
	lines := &unfolder{r: bufio.NewReaderSize(files.TextReader(r), 64<<10)}
	var open []string
	var current *Event
	seen := false
	for {
		text, at, err := lines.next()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		p, err := parse(text)
		if err != nil {
			return &Error{at, err}
		}
		p.Line = at
		switch {
		case p.Name == "BEGIN":
			name := strings.ToUpper(p.Value)
			if err := begin(name, open); err != nil {
				return &Error{at, err}
			}
			open, seen = append(open, name), true
			if len(open) == 2 && name == "VEVENT" {
				current = &Event{Line: at}
			}
		case p.Name == "END":
			if len(open) == 0 || open[len(open)-1] != strings.ToUpper(p.Value) {
				return &Error{at, fmt.Errorf("END:%s ends no component that is open", p.Value)}
			}
			if open = open[:len(open)-1]; len(open) == 1 && current != nil {
				if err := event(current); err != nil {
					return err
				}
				current = nil
			}
		case len(open) == 0:
			return &Error{at, errors.New("a line outside BEGIN:VCALENDAR and END:VCALENDAR")}
		case len(open) == 2 && current != nil:
			if len(current.Properties) == maxProperties {
				return &Error{at, fmt.Errorf("the event has more than %d properties", maxProperties)}
			}
			current.Properties = append(current.Properties, *p)
		}
	}
	if len(open) > 0 {
		return &Error{lines.line, fmt.Errorf("the file ends within %s: END:%s is missing", open[len(open)-1], open[len(open)-1])}
	}
	if !seen {
		return &Error{max(lines.line, 1), errors.New("the file has no calendar: it starts with BEGIN:VCALENDAR")}
	}
	return nil
}

// begin checks that a component may start inside the open ones.
func begin(name string, open []string) error {
	switch {
	case len(open) == 0 && name != "VCALENDAR":
		return fmt.Errorf("BEGIN:%s outside a calendar: the file starts with BEGIN:VCALENDAR", name)
	case len(open) > 0 && name == "VCALENDAR":
		return errors.New("BEGIN:VCALENDAR within a calendar")
	case len(open) > 1 && name == "VEVENT":
		return fmt.Errorf("BEGIN:VEVENT within %s: END:%s is missing", open[len(open)-1], open[len(open)-1])
	case len(open) >= maxNesting:
		return fmt.Errorf("components nest deeper than %d", maxNesting)
	}
	return nil
}

// unfolder joins the lines that RFC 5545 section 3.1 folds.
type unfolder struct {
	r    *bufio.Reader
	line int // number of the last line read
}

// next returns the next content line that is not blank and the number of its
// first line, or io.EOF.
func (u *unfolder) next() (string, int, error) {
	for {
		text, err := u.physical(0)
		if err != nil {
			return "", 0, err
		}
		at := u.line
		for {
			ahead, err := u.r.Peek(1)
			if err != nil && err != io.EOF {
				return "", 0, unread(u.line+1, err)
			}
			if len(ahead) == 0 || ahead[0] != ' ' && ahead[0] != '\t' {
				break
			}
			more, err := u.physical(len(text))
			if err != nil {
				return "", 0, err
			}
			text = append(text, more[1:]...)
		}
		if !utf8.Valid(text) {
			return "", 0, &Error{at, errors.New("not UTF-8")}
		}
		if strings.TrimSpace(string(text)) != "" {
			return string(text), at, nil
		}
	}
}

// unread is the error for a line that cannot be read, or is not text.
func unread(line int, err error) error {
	var undecoded *files.TextError
	if errors.As(err, &undecoded) {
		return &Error{line, err}
	}
	return fmt.Errorf("read line %d: %w", line, err)
}

// physical returns a line without its end; have is how long the content line
// is already.
func (u *unfolder) physical(have int) ([]byte, error) {
	var text []byte
	for {
		part, err := u.r.ReadSlice('\n')
		if len(part) > 0 && len(text) == 0 {
			u.line++
		}
		text = append(text, part...)
		if len(text)+have > maxLine {
			return nil, &Error{u.line, fmt.Errorf("longer than %d bytes", maxLine)}
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(text) == 0:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, unread(max(u.line, 1), err)
		}
		text = text[:len(text)-len(trailingEnd(text))]
		return text, nil
	}
}

// trailingEnd returns the CRLF or LF that ends a line.
func trailingEnd(text []byte) string {
	for _, end := range []string{"\r\n", "\n"} {
		if strings.HasSuffix(string(text[max(0, len(text)-2):]), end) {
			return end
		}
	}
	return ""
}

// parse splits a content line.
func parse(text string) (*Property, error) {
	end := strings.IndexAny(text, ";:")
	if end < 0 {
		return nil, errors.New("not a content line: NAME:VALUE is allowed")
	}
	p := &Property{Name: strings.ToUpper(text[:end]), Params: map[string]string{}}
	if !isName(p.Name) {
		return nil, fmt.Errorf("%q is not the name of a property: letters, digits and dashes are allowed", text[:end])
	}
	rest := text[end:]
	for strings.HasPrefix(rest, ";") {
		name, after, ok := strings.Cut(rest[1:], "=")
		if !ok || !isName(name) {
			return nil, fmt.Errorf("a parameter of %s is not NAME=VALUE", p.Name)
		}
		value, after, err := paramValue(after)
		if err != nil {
			return nil, fmt.Errorf("parameter %s of %s: %w", strings.ToUpper(name), p.Name, err)
		}
		p.Params[strings.ToUpper(name)] = value
		rest = after
	}
	if !strings.HasPrefix(rest, ":") {
		return nil, fmt.Errorf("%s has no value: a colon is missing", p.Name)
	}
	p.Value = rest[1:]
	return p, nil
}

// paramValue returns the value that text starts with, a list's quotes taken
// off and its commas kept, and what follows.
func paramValue(text string) (value, rest string, err error) {
	var b strings.Builder
	for text != "" {
		switch text[0] {
		case ';', ':':
			return b.String(), text, nil
		case '"':
			quoted, after, ok := strings.Cut(text[1:], `"`)
			if !ok {
				return "", "", errors.New("a quote is not closed")
			}
			b.WriteString(quoted)
			text = after
		default:
			b.WriteByte(text[0])
			text = text[1:]
		}
	}
	return b.String(), "", nil
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
}
