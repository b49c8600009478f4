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

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/spool"
)

// File is a file of another server's clients that can be read repeatedly. It
// is not safe for concurrent use.
type File struct {
	format format
	name   string // of the format
	spool  spool.Spool
	each   func(f *File, row func(*Row) error) error
	unit   string // of places
	// read is how much of the file was read, for Progress.
	read int64
	// sure says that a row was read that only this format can have.
	sure bool
	// realm is the one whose clients are read, empty for all; realms are those
	// that were read, up to the number that an error lists.
	realm  string
	realms []string
}

// FileError is an error of the file as a whole. Other errors are not caused by
// the file.
type FileError struct{ text string }

// Error returns the message.
func (e *FileError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &FileError{fmt.Sprintf(format, args...)} }

// The kinds of file. Each calls row for every client.
var (
	readsCSV       = (*File).records
	readsLines     = (*File).lines
	readsDocuments = (*File).documents
)

// Open reads a file of one of the Formats completely, but not into memory: one
// longer than a megabyte goes into an encrypted temporary file. The error
// wraps a *FileError where the file causes it.
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
		return nil, wrong("unknown format %q: the formats are %s", name, strings.Join(Formats(), ", "))
	}
	f := &File{format: known, name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := f.take(io.LimitReader(files.TextReader(r), MaxSize+1)); err != nil {
		return nil, err
	}
	return f, f.look()
}

// take stores the text of the file.
func (f *File) take(text io.Reader) error {
	var into io.Writer = &f.spool
	clean := &relaxed{w: into}
	if f.format.relaxed {
		into = clean
	}
	n, err := io.Copy(into, text)
	var undecoded *files.TextError
	switch {
	case errors.As(err, &undecoded):
		return wrong("the file cannot be read: %v", err)
	case err != nil:
		return err
	case n > MaxSize:
		return wrong("the file is larger than %d MiB: divide it", MaxSize>>20)
	case f.format.relaxed:
		return clean.end()
	}
	return nil
}

// FromRealm selects the clients of one realm of a Keycloak export; "" for all.
func (f *File) FromRealm(name string) error {
	if name != "" && f.name != "keycloak" {
		return wrong("import: files of the format %s name no realms: leave the choice of one out", f.name)
	}
	f.realm = name
	return nil
}

// Close releases the file.
func (f *File) Close() error { return f.spool.Close() }

// look determines the kind of the file. Where the first line is one JSON
// value, and others follow, the file is JSON Lines.
func (f *File) look() error {
	s := new(scanner)
	s.begin(f.spool.From(0), 0)
	s.space()
	if s.err == nil && s.c != '{' && s.c != '[' {
		kind, err := f.otherKind()
		switch {
		case err != nil:
			return err
		case kind != "" && (kind != csvKind || f.name != "plain"):
			return wrong("the file is not JSON: it looks like %s", kind)
		case f.name == "plain":
			f.each, f.unit = readsCSV, "line"
			return nil
		}
	}
	f.each, f.unit = readsDocuments, "client"
	first, begin := s.line, s.at
	where, err := f.format.find(s, "", 0, 0)
	if err != nil {
		return notJSON(s, err)
	}
	oneLine := s.line == first && where.alone(begin)
	for s.c == ' ' || s.c == '\t' || s.c == '\r' {
		s.step()
	}
	oneLine = oneLine && s.c == '\n'
	if s.space(); oneLine && s.c >= 0 {
		f.each, f.unit = readsLines, "line"
	}
	return s.err
}

// notJSON adds the line to an error of broken JSON.
func notJSON(s *scanner, err error) error {
	if errors.Is(err, errBroken) {
		return wrong("the file is not JSON: line %d is broken", s.line)
	}
	return err
}

// Rows calls row for every client of the file, in its order. The error is that
// of row, or wraps a *FileError; the errors of a client are in its Row.
func (f *File) Rows(row func(*Row) error) error {
	n := 0
	f.read, f.sure, f.realms = 0, false, nil
	err := f.each(f, func(r *Row) error {
		if n++; n > MaxRows {
			return wrong("import: the file has more than %d clients: divide it", MaxRows)
		}
		r.order()
		return row(r)
	})
	if err == nil && n == 0 && f.realm != "" && !slices.Contains(f.realms, f.realm) {
		err = wrong("import: the file has no realm %q: its realms are %s", f.realm, strings.Join(f.realms, ", "))
	} else if err == nil && n == 0 {
		err = wrong("import: the file has no clients: check that it has the named format")
	}
	return err
}

// windows calls window with consecutive groups of rows, each not much larger
// than windowSize.
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

// part returns how much of the file was read, from 0 to 1.
func (f *File) part() float64 {
	return min(1, float64(f.read)/float64(max(1, f.spool.Size())))
}

// row reads one client. The error means that the file has another format.
func (f *File) row(number int, raw []byte, over bool, from *source, key string) (*Row, error) {
	row := &Row{Place: place(f.unit, number), number: number, size: len(raw), source: from, key: key}
	switch {
	case over:
		row.Err = errTooLarge
		return row, nil
	case !json.Valid(raw):
		row.Err = errors.New("it is not JSON")
		return row, nil
	}
	row.Err = f.format.read(raw, row)
	nobody := row.Client.ID == ""
	if row.Err == nil && row.Skip == "" && !nobody {
		row.Err = row.tooLong
		f.sure = true
	}
	if f.sure && !nobody {
		return row, nil
	}
	other, sure := f.tellApart(memberNames(raw))
	if other != "" && !f.sure {
		return nil, wrong("import: %s is of the format %s, not %s: choose that one", row.Place, other, f.name)
	}
	f.sure = f.sure || sure
	if nobody && row.Err == nil && (row.Skip == "" || !sure) {
		row.Skip, row.Err = "", fmt.Errorf("it has no client id: %s is missing", f.format.members.id)
	}
	return row, nil
}

var errTooLarge = fmt.Errorf("it is larger than %d KiB", maxRow>>10)

func place(unit string, number int) string { return fmt.Sprintf("%s %d", unit, number) }

// lines reads JSON Lines; empty lines are counted, but are not clients.
func (f *File) lines(row func(*Row) error) error {
	r := bufio.NewReaderSize(f.spool.From(0), 64<<10)
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
			next, err := f.row(number, text, over || len(text) > maxRow, noSource, "")
			if err == nil {
				err = row(next)
			}
			if err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// documents reads one or more JSON documents. After a broken one the rest is
// unreadable: nothing says where the next begins. Where a document may be an
// array of objects that hold clients, each element is read like a document.
func (f *File) documents(row func(*Row) error) error {
	var s, inner scanner
	s.begin(f.spool.From(0), 0)
	number := 0
	client := func(s *scanner, from *source, key string) error {
		number++
		f.read = s.at
		next, err := f.row(number, s.whole.kept, s.whole.over, from, key)
		if err != nil {
			return err
		}
		return row(next)
	}
	document := func(depth int) error {
		begin := s.at
		s.whole.start(maxRow)
		where, err := f.format.find(&s, "", 0, depth)
		s.whole.on = false
		if err != nil {
			return fmt.Errorf("import: %w", notJSON(&s, err))
		}
		alone := where.alone(begin)
		if alone && s.whole.over { // its format can still be reported
			if other, _ := f.tellApart(where.names); other != "" {
				return wrong("import: the file is of the format %s, not %s: choose that one", other, f.name)
			}
		}
		if alone && f.format.relaxed && f.format.index(where.names, f.format.members.id) < 0 {
			if other, sure := f.tellApart(where.names); other == "" && !sure && len(where.names) > 0 {
				return wrong("import: the file has no member %s, in whatever section, and is no client itself: "+
					"its members are %s", clientsMember, shown(where.names))
			}
		}
		switch chosen, err := f.chosen(where.source); {
		case err != nil || !chosen || where.empty:
			return err
		case alone:
			return client(&s, where.source, "")
		}
		// Its contents are read again, client by client.
		inner.begin(f.spool.From(where.from), where.from)
		return where.read(&inner, client)
	}
	for s.space(); s.c >= 0; s.space() {
		err := error(nil)
		if f.format.nests && s.c == '[' {
			if err = s.array(0, func() error { return document(1) }); errors.Is(err, errBroken) {
				err = fmt.Errorf("import: %w", notJSON(&s, err))
			}
		} else {
			err = document(0)
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

// shown lists some names of members, for an error.
func shown(names []string) string {
	const most = 5
	var some []string
	for _, name := range names[:min(most, len(names))] {
		some = append(some, event.Clean(name, 100))
	}
	text := strings.Join(some, ", ")
	if len(names) > most {
		text += " and others"
	}
	return text
}

// maxRealms bounds the remembered realms of a file, for an error.
const maxRealms = 20

// chosen reports whether the clients of a source are selected.
func (f *File) chosen(from *source) (bool, error) {
	name := event.Clean(from.Realm, 100)
	if name != "" && len(f.realms) < maxRealms {
		f.realms = append(f.realms, name)
	}
	switch {
	case f.realm == "" || from.Realm == f.realm:
		return true, nil
	case name == "":
		return false, wrong("import: the file does not say of which realm its clients are: leave the choice of one out")
	}
	return false, nil
}
