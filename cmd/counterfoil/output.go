package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"golang.org/x/term"
)

// checkedWriter remembers the first write that failed, so that a command whose
// output is lost does not succeed.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	if err != nil {
		c.err = fmt.Errorf("write the output: %w", err)
	}
	return n, c.err
}

// heldLog keeps log lines until it is known whether the command fails at once:
// programs expect its error as the only output.
type heldLog struct {
	to io.Writer

	mu       sync.Mutex
	released bool
	lines    [][]byte
}

func (h *heldLog) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return h.to.Write(line)
	}
	h.lines = append(h.lines, bytes.Clone(line))
	return len(line), nil
}

// release writes the kept lines, and passes on later ones.
func (h *heldLog) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.lines {
		_, _ = h.to.Write(line)
	}
	h.lines, h.released = nil, true
}

// take returns the kept lines, as values for programs.
func (h *heldLog) take() (all []any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.lines {
		if line = bytes.TrimSpace(line); json.Valid(line) {
			all = append(all, json.RawMessage(line))
		} else {
			all = append(all, string(line))
		}
	}
	h.lines, h.released = nil, true
	return all
}

// console is how a command speaks: where to, and in which form.
type console struct {
	stdio
	clock  counterfoil.Clock
	output format
	// held is the log of a command that may fail at once: see logTo.
	held heldLog
	// verbose prints each step of a connection on standard error.
	verbose bool
}

// print writes v as JSON with -o json, and calls people otherwise.
func (c *console) print(v any, people func(w io.Writer)) error {
	if c.output == text {
		people(c.Out)
		if out, ok := c.Out.(*checkedWriter); ok {
			return out.err
		}
		return nil
	}
	enc := json.NewEncoder(c.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// logTo is where a command logs to.
func (c *console) logTo() io.Writer {
	if c.output == jsonForm {
		return &c.held
	}
	return c.Err
}

// warn prints a warning about something that may not be intended.
func (c *console) warn(text string) {
	if c.output == jsonForm {
		c.logger(false).Warn(text)
		return
	}
	fmt.Fprintf(c.Err, "warning: %s\n", oneLine(text))
}

// width returns the number of columns of the terminal that is written to; 0 when
// the output is not a terminal.
func (c *console) width() int {
	out := c.Out
	if checked, ok := out.(*checkedWriter); ok {
		out = checked.w
	}
	if f, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

// aligned is how many rows of a table share the widths of its columns, and are
// kept in memory.
const aligned = 1000

// table writes rows in columns as they come, some rows aligned at a time. A row
// has as many cells as the heading; the last is not padded.
type table struct {
	w       *bufio.Writer
	heading []int // widths
	cells   []string
	// width is that of the terminal, which no line exceeds; 0 for no terminal.
	width int
}

// newTable begins a table. flush ends it.
func newTable(w io.Writer, heading ...string) *table {
	t := &table{w: bufio.NewWriterSize(w, 64<<10), heading: make([]int, len(heading))}
	for i, h := range heading {
		t.heading[i] = utf8.RuneCountInString(h)
	}
	t.cells = append(t.cells, heading...)
	return t
}

func (t *table) row(cells ...string) error {
	t.cells = append(t.cells, cells...)
	if len(t.cells) <= aligned*len(t.heading) { // the heading is one more
		return nil
	}
	return t.flush()
}

// fit cuts a line off that is too long for the terminal.
func (t *table) fit(line []byte) []byte {
	if t.width < 2 || utf8.RuneCount(line) <= t.width {
		return line
	}
	end := 0
	for range t.width - 1 {
		_, size := utf8.DecodeRune(line[end:])
		end += size
	}
	return append(line[:end], "…"...)
}

func (t *table) flush() error {
	columns := len(t.heading)
	widths := make([]int, columns)
	copy(widths, t.heading)
	for i, cell := range t.cells {
		if at := i % columns; len(cell) > widths[at] {
			widths[at] = max(widths[at], utf8.RuneCountInString(cell))
		}
	}
	const gap = 2
	blanks := strings.Repeat(" ", maxOf(widths)+gap)
	line := make([]byte, 0, 512)
	for i, cell := range t.cells {
		line = append(line, cell...)
		if at := i % columns; at < columns-1 {
			line = append(line, blanks[:widths[at]+gap-utf8.RuneCountInString(cell)]...)
			continue
		}
		_, _ = t.w.Write(t.fit(line)) // the writer keeps the error
		_ = t.w.WriteByte('\n')
		line = line[:0]
	}
	clear(t.cells)
	t.cells = t.cells[:0]
	return t.w.Flush()
}

func maxOf(widths []int) (most int) {
	for _, w := range widths {
		most = max(most, w)
	}
	return most
}

// jsonRows writes values in JSON as they come: one a line, or as the elements of
// one array.
type jsonRows struct {
	w     *bufio.Writer
	text  bytes.Buffer
	enc   *json.Encoder
	array bool
	n     int
}

// printJSONArray prints all rows as one JSON array.
func printJSONArray[T any](w io.Writer, all []T) error {
	rows := newJSONRows(w, true)
	for i := range all {
		if err := rows.row(&all[i]); err != nil {
			return err
		}
	}
	return rows.end()
}

func newJSONRows(w io.Writer, array bool) *jsonRows {
	j := &jsonRows{w: bufio.NewWriterSize(w, 64<<10), array: array}
	j.enc = json.NewEncoder(&j.text)
	j.enc.SetEscapeHTML(false)
	if array {
		_ = j.w.WriteByte('[') // the writer keeps the error
	}
	return j
}

func (j *jsonRows) row(v any) error {
	j.text.Reset()
	if err := j.enc.Encode(v); err != nil {
		return err
	}
	text := j.text.Bytes()
	if j.array {
		if text = text[:len(text)-1]; j.n > 0 {
			_ = j.w.WriteByte(',')
		}
	}
	j.n++
	_, err := j.w.Write(text)
	return err
}

func (j *jsonRows) end() error {
	if j.array {
		_, _ = j.w.WriteString("]\n")
	}
	return j.w.Flush()
}
