package apis

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/counterfoil/counterfoil/internal/files"
)

// ReadRows is the importer of all APIs: it decodes each line of r into a new T
// by the json tags of its fields, as [Decode] does, has it checked, and calls the
// function that check returns to store it. An error about a line is a *RowError;
// one of storing is returned unchanged.
func ReadRows[T any](r io.Reader, check func(line int, row *T) (store func() error, err error)) error {
	var failed error
	err := Lines(r, func(line int, text []byte) error {
		row := new(T)
		if err := Decode(text, row); err != nil {
			return err
		}
		store, err := check(line, row)
		if err != nil {
			return err
		}
		failed = store()
		return failed
	})
	if failed != nil {
		return failed
	}
	return err
}

// IDs are the ids of a file, with the lines that they are on.
type IDs map[string]int

// Claim notes the line of an id, and refuses the second line of one. The error
// calls it by its name in the file.
func (ids IDs) Claim(line int, name, id string) error {
	if first, ok := ids[id]; ok {
		return fmt.Errorf("%s %s is on line %d already: give each its own", name, id, first)
	}
	ids[id] = line
	return nil
}

// RowError is a row that cannot be imported.
type RowError struct {
	// Line is where the row starts in the file, counting from 1.
	Line int
	// Err says what is wrong and what is allowed.
	Err error
}

// Error returns "line N: what is wrong".
func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *RowError) Unwrap() error { return e.Err }

// MaxLine bounds a line of an imported JSON Lines file, in bytes.
const MaxLine = 1 << 20

// Lines calls row for each line of r that is not blank, with its number from 1,
// and stops at the first error, which it returns as a *RowError. One leading byte
// order mark is dropped, and UTF-16 that begins with one is decoded.
func Lines(r io.Reader, row func(line int, text []byte) error) error {
	sc := bufio.NewScanner(files.TextReader(r))
	sc.Buffer(make([]byte, 64<<10), MaxLine+len("\r\n"))
	n := 0
	for sc.Scan() {
		n++
		if len(sc.Bytes()) > MaxLine {
			return tooLong(n)
		}
		text := bytes.TrimSpace(sc.Bytes())
		if len(text) == 0 {
			continue
		}
		if err := row(n, text); err != nil {
			return &RowError{Line: n, Err: err}
		}
	}
	var undecoded *files.TextError
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return tooLong(n + 1)
	case errors.As(err, &undecoded):
		return &RowError{Line: n + 1, Err: err}
	case err != nil:
		return fmt.Errorf("read line %d: %w", n+1, err)
	}
	return nil
}

func tooLong(line int) error {
	return &RowError{Line: line, Err: fmt.Errorf("longer than %d bytes", MaxLine)}
}
