package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/spool"
)

// File is a file of another server's clients that can be read as often as
// needed. One goroutine uses it.
type File struct {
	format format
	spool  spool.Spool
	// begin is where the text begins, behind a byte order mark.
	begin int64
	each  func(f *File, row func(*Row) error) error
	unit  string // of places
	// read is how far the file was read, for Progress.
	read int64
}

// FileError says what is wrong with a file as a whole. Other errors are not the
// file's fault.
type FileError struct{ text string }

func (e *FileError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &FileError{fmt.Sprintf(format, args...)} }

// The kinds of file. Each calls row for every client.
var (
	readsCSV       = (*File).records
	readsLines     = (*File).lines
	readsDocuments = (*File).documents
)

// Open takes in a file of one of the Formats, whole but not into memory: what is
// longer than a megabyte goes into a temporary file, encrypted. The error wraps
// a *FileError where it is the file's fault.
func Open(name string, r io.Reader) (*File, error) {
	f, err := open(name, r)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return f, nil
}

func open(name string, r io.Reader) (_ *File, err error) {
	known, ok := formats[name]
	if !ok {
		return nil, wrong("no format is called %q: the formats are %s", name, strings.Join(Formats(), ", "))
	}
	f := &File{format: known}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := io.Copy(&f.spool, io.LimitReader(r, MaxSize+1)); err != nil {
		return nil, err
	}
	if f.spool.Size() > MaxSize {
		return nil, wrong("the file is larger than %d MiB: divide it", MaxSize>>20)
	}
	mark := make([]byte, len(byteOrderMark))
	if n, err := io.ReadFull(f.spool.From(0), mark); err == nil && string(mark) == byteOrderMark {
		f.begin = int64(n)
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return f, f.look(name)
}

const byteOrderMark = "\ufeff"

// Close lets go of the file.
func (f *File) Close() error { return f.spool.Close() }

// look finds out which kind of file it is. Where the first line is one JSON
// value, and others follow, the file is JSON Lines.
func (f *File) look(name string) error {
	s := new(scanner)
	s.begin(f.spool.From(f.begin), f.begin)
	s.space()
	if name == "plain" && s.c != '{' && s.c != '[' {
		f.each, f.unit = readsCSV, "line"
		return s.err
	}
	f.each, f.unit = readsDocuments, "client"
	first := s.line
	if err := s.value(0); err != nil {
		return notJSON(s, err)
	}
	oneLine := s.line == first
	for s.c == ' ' || s.c == '\t' || s.c == '\r' {
		s.step()
	}
	oneLine = oneLine && s.c == '\n'
	if s.space(); oneLine && s.c >= 0 {
		f.each, f.unit = readsLines, "line"
	}
	return s.err
}

// notJSON gives broken JSON its place.
func notJSON(s *scanner, err error) error {
	if errors.Is(err, errBroken) {
		return wrong("the file is not JSON: line %d is broken", s.line)
	}
	return err
}

// Rows calls row for every client of the file, in its order. The error is that of
// row, or wraps a *FileError; what is wrong with a client is in its Row.
func (f *File) Rows(row func(*Row) error) error {
	n := 0
	f.read = 0
	err := f.each(f, func(r *Row) error {
		if n++; n > MaxRows {
			return wrong("import: the file has more than %d clients: divide it", MaxRows)
		}
		r.order()
		return row(r)
	})
	if err == nil && n == 0 {
		err = wrong("import: the file has no clients: look whether it has the format that was named")
	}
	return err
}

// windows calls window for some rows after the other, and with ones that are not
// much larger than windowSize together.
func (f *File) windows(window func([]*Row) error) error {
	var rows []*Row
	size := 0
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := window(rows)
		clear(rows)
		rows, size = rows[:0], 0
		return err
	}
	err := f.Rows(func(r *Row) error {
		rows = append(rows, r)
		if size += r.size; len(rows) < atOnce && size < windowSize {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// part is how much of the file was read, from 0 to 1.
func (f *File) part() float64 {
	return min(1, float64(f.begin+f.read)/float64(max(1, f.spool.Size())))
}

// row reads one client.
func (f *File) row(number int, raw []byte, over bool) *Row {
	row := &Row{Place: place(f.unit, number), number: number, size: len(raw)}
	switch {
	case over:
		row.Err = errTooLarge
	case !json.Valid(raw):
		row.Err = errors.New("it is not JSON")
	default:
		row.Err = f.format.read(raw, row)
		if row.Err == nil && row.Client.ID == "" {
			row.Err = errors.New("it has no client id")
		}
	}
	return row
}

var errTooLarge = fmt.Errorf("it is larger than %d KiB", maxRow>>10)

func place(unit string, number int) string { return fmt.Sprintf("%s %d", unit, number) }

// lines reads JSON Lines; empty lines count, and are no clients.
func (f *File) lines(row func(*Row) error) error {
	r := bufio.NewReaderSize(f.spool.From(f.begin), 64<<10)
	var raw []byte
	for number := 1; ; number++ {
		raw = raw[:0]
		over := false
		part, err := r.ReadSlice('\n')
		for ; ; part, err = r.ReadSlice('\n') {
			f.read += int64(len(part))
			if over = over || len(raw)+len(part) > maxRow+len("\r\n"); !over {
				raw = append(raw, part...)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("import: %w", err)
		}
		if text := bytes.TrimSpace(raw); len(text) > 0 || over {
			if err := row(f.row(number, text, over || len(text) > maxRow)); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// documents reads one JSON document, or one after the other. A broken one breaks
// the file: nothing says where the next begins.
func (f *File) documents(row func(*Row) error) error {
	var s, inner scanner
	s.begin(f.spool.From(f.begin), f.begin)
	number := 0
	client := func(s *scanner) error {
		number++
		f.read = s.at
		return row(f.row(number, s.whole.kept, s.whole.over))
	}
	for s.space(); s.c >= 0; s.space() {
		begin := s.at
		s.whole.start(maxRow)
		where, err := f.format.find(&s, 0)
		if err != nil {
			return fmt.Errorf("import: %w", notJSON(&s, err))
		}
		s.whole.on = false
		if where.from == begin && !where.list {
			err = client(&s)
		} else {
			// What is in it is read again, client by client.
			inner.begin(f.spool.From(where.from), where.from)
			err = where.read(&inner, client)
		}
		if err != nil {
			return err
		}
	}
	if s.err != nil {
		return fmt.Errorf("import: %w", s.err)
	}
	return nil
}

// span is where the clients of a document are: a list, or one client.
type span struct {
	from int64
	list bool
}

// read calls client for each, which s keeps.
func (w span) read(s *scanner, client func(*scanner) error) error {
	each := func() error {
		s.whole.start(maxRow)
		if err := s.value(1); err != nil {
			return fmt.Errorf("import: %w", notJSON(s, err)) // it was JSON a moment ago
		}
		s.whole.on = false
		return client(s)
	}
	if w.list {
		return s.array(0, each)
	}
	return each()
}

// levels is how deep the formats have their lists, in objects.
const levels = 3

// maxName is more than the longest name of a member that holds clients has,
// escaped.
const maxName = 256

// find passes the value that begins here, inside so many objects that hold the
// clients, and tells where they are.
func (f *format) find(s *scanner, level int) (span, error) {
	here := span{from: s.at, list: s.c == '['}
	if s.c != '{' || level == levels {
		if err := s.value(level); err != nil {
			return here, err
		}
		if !here.list {
			return here, wrong("the file has no list of clients where the format has one")
		}
		return here, nil
	}
	best, name := len(f.within), ""
	err := s.object(level, func() error {
		s.name.start(maxName)
		err := s.text()
		s.name.on = false
		if name = ""; err == nil && !s.name.over {
			err = json.Unmarshal(s.name.kept, &name)
		}
		return err
	}, func() error {
		i := slices.Index(f.within, name)
		if i < 0 || s.c != '{' && s.c != '[' {
			return s.value(level + 1)
		}
		found, err := f.find(s, level+1)
		if err == nil && i <= best {
			best, here = i, found
		}
		return err
	})
	return here, err
}
