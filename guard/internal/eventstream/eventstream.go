// Package eventstream reads Server-Sent Events (WHATWG HTML section 9.2): one
// event after the other, each of bounded size. It neither connects nor
// reconnects. It is internal and makes no compatibility promise.
package eventstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrTooLong means that a line or an event is longer than the reader accepts. The
// reader cannot continue after it.
var ErrTooLong = errors.New("an event is too long")

// Event is one event of a stream.
type Event struct {
	// Type is the event's name; "message" if it has none.
	Type string
	// ID is the last ID in the stream, of this event or an earlier one.
	ID string
	// Data are the event's data lines, with line feeds between them.
	Data []byte
}

// Reader reads a stream of events. It is not safe for concurrent use.
type Reader struct {
	in   *bufio.Reader
	most int
	// begun is false before the first line, which may have a byte order mark.
	begun bool
	// carriage is true if the last line ended with a carriage return. A line feed
	// that follows belongs to it.
	carriage bool
	text     []byte
	id       string
}

// NewReader returns a reader of in that accepts lines of up to most bytes, and
// events whose data have up to most bytes in total.
func NewReader(in io.Reader, most int) *Reader { return &Reader{in: bufio.NewReader(in), most: most} }

// Next returns the next event that has data, as soon as its last line has arrived.
// The error is io.EOF at the end, where an unfinished event is dropped, ErrTooLong,
// or an error of the stream.
func (r *Reader) Next() (Event, error) {
	e := Event{}
	var there bool
	for {
		line, err := r.line()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			if !there {
				e.Type = ""
				continue
			}
			if e.Type == "" {
				e.Type = "message"
			}
			e.ID = r.id
			return e, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) { // "" is a comment
		case "event":
			e.Type = string(value)
		case "data":
			if there {
				e.Data = append(e.Data, '\n')
			}
			there = true
			if e.Data = append(e.Data, value...); len(e.Data) > r.most {
				return Event{}, ErrTooLong
			}
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				r.id = string(value)
			}
		}
	}
}

// line returns the next line without its end; it is valid until the next call.
// line does not wait for bytes after the first one of the line end.
func (r *Reader) line() ([]byte, error) {
	r.text = r.text[:0]
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if r.carriage {
			r.carriage = false
			if c == '\n' {
				continue
			}
		}
		if c == '\n' || c == '\r' {
			r.carriage = c == '\r'
			break
		}
		if len(r.text) == r.most {
			return nil, ErrTooLong
		}
		r.text = append(r.text, c)
	}
	if !r.begun {
		r.begun = true
		return bytes.TrimPrefix(r.text, []byte("\ufeff")), nil
	}
	return r.text, nil
}
