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

// span is the place of the clients of a document: a list, an object that has
// each under a name, or one client.
type span struct {
	from        int64
	list, keyed bool
	// ways are the paths of the members Clients that were found, up to a bound.
	ways []string
	// empty says that it is a realm without clients.
	empty bool
	// source holds the document's data about all of them; names are those of the
	// document's own members, up to a bound.
	source *source
	names  []string
}

// source is the data of a file about all clients of one list.
type source struct {
	// Of a realm of Keycloak.
	Realm                 string   `json:"realm"`
	DefaultDefaultScopes  []string `json:"defaultDefaultClientScopes"`
	DefaultOptionalScopes []string `json:"defaultOptionalClientScopes"`
	// Of a configuration of IdentityServer.
	IdentityResources names

	// seed says that an admin tool hashes the secrets when it reads the file.
	seed bool
}

var noSource = &source{}

// read calls client for each client, whose text s keeps.
func (w span) read(s *scanner, client func(from *scanner, all *source, key string) error) error {
	key := ""
	each := func() error {
		s.whole.start(maxRow)
		if err := s.value(1); err != nil {
			return fmt.Errorf("import: %w", notJSON(s, err)) // it was JSON a moment ago
		}
		s.whole.on = false
		return client(s, w.source, key)
	}
	switch {
	case w.list:
		return s.array(0, each)
	case w.keyed:
		return s.object(0, func() (err error) {
			if key, err = s.memberName(); isIndex(key) {
				key = ""
			}
			return err
		}, func() error {
			if s.c != '{' { // $id
				return s.value(1)
			}
			return each()
		})
	}
	return each()
}

// alone reports whether the next value is a client.
func (w span) alone(begin int64) bool { return w.from == begin && !w.list && !w.keyed }

// levels is how deeply the formats nest their lists in objects.
const levels = 8

// maxName is more than the length of the longest name of a member that holds
// clients, escaped.
const maxName = 256

// find skips the next value, of a member or of none, at a depth of objects
// that hold the clients and of all values, and returns the place of the
// clients.
func (f *format) find(s *scanner, member string, level, depth int) (span, error) {
	here := span{from: s.at, list: s.c == '[', source: noSource}
	if s.c != '{' || level == levels {
		if err := s.value(depth); err != nil {
			return here, err
		}
		if !here.list {
			return here, wrong("the file has no list of clients where the format has one")
		}
		return here, nil
	}
	best, name, seed := len(f.within), "", false
	beside := map[string]json.RawMessage{}
	var names []string
	var section span // of an unknown name
	all := tally{indexes: true}
	clients := f.relaxed && strings.EqualFold(member, clientsMember)
	err := s.object(depth, func() (err error) {
		name, err = s.memberName()
		if level == 0 && len(names) < maxNames {
			names = append(names, name)
		}
		return err
	}, func() error {
		i := f.index(f.within, name)
		all.add(f, name, s.c)
		if i < 0 && s.c == '{' && f.relaxed && !clients && level+1 < levels && f.index(f.beside, name) < 0 {
			found, err := f.find(s, name, level+1, depth+1)
			if len(found.ways) > 0 {
				found.ways = append(section.ways, found.under(name)...)
				found.ways = found.ways[:min(2, len(found.ways))]
				section = found
			}
			return err
		}
		if i < 0 || s.c != '{' && s.c != '[' {
			return f.pass(s, name, depth+1, beside)
		}
		begin := s.at
		found, err := f.find(s, name, level+1, depth+1)
		if found.ways = found.under(name); f.within[i] == clientsMember {
			found.ways = []string{name}
		}
		// A section without clients is not a client.
		empty := found.alone(begin) && slices.Contains(f.sections, f.within[i])
		if err == nil && i <= best && !empty {
			best, here, seed = i, found, slices.Contains(seeds, f.within[i])
		}
		return err
	})
	if err == nil && best == len(f.within) && !all.id {
		switch {
		case level == 0 && len(section.ways) > 1:
			return here, wrong("the file has clients in %s and in %s: leave one of them in it", section.ways[0], section.ways[1])
		case len(section.ways) > 0:
			section.names = names
			return section, nil
		}
		here.keyed = f.relaxed && all.others == 0 && (clients || level == 0 && all.indexes && all.objects > 0)
	}
	here.names = names
	here.empty = best == len(f.within) && beside["realm"] != nil && !slices.Contains(names, f.members.id)
	if err != nil || best == len(f.within) && !here.empty {
		return here, err
	}
	if here.source == noSource {
		if here.source, err = newSource(beside); err != nil {
			return here, err
		}
	}
	here.source.seed = here.source.seed || seed
	return here, nil
}

// under returns the paths below a member of that name, at most two: they are
// for an error.
func (w span) under(name string) []string {
	var ways []string
	for _, way := range w.ways[:min(2, len(w.ways))] {
		ways = append(ways, event.Clean(name, 100)+":"+way)
	}
	return ways
}

// tally counts the members of an object.
type tally struct {
	objects, others int
	// id says that one is a client's, indexes that all names are numbers.
	id, indexes bool
}

func (t *tally) add(f *format, name string, c int) {
	switch {
	case c == '{':
		t.objects++
	case !strings.HasPrefix(name, "$"):
		t.others++
	}
	t.id = t.id || f.index([]string{f.members.id}, name) >= 0
	t.indexes = t.indexes && isIndex(name)
}

// index returns the position of a name in a list.
func (f *format) index(list []string, name string) int {
	return slices.IndexFunc(list, func(s string) bool { return s == name || f.relaxed && strings.EqualFold(s, name) })
}

// pass skips a member, and keeps it where the format needs it to read clients.
func (f *format) pass(s *scanner, name string, depth int, beside map[string]json.RawMessage) error {
	i := f.index(f.beside, name)
	if i < 0 {
		return s.value(depth)
	}
	s.member.start(maxRow)
	err := s.value(depth)
	s.member.on = false
	if err == nil && s.member.over {
		return wrong("%s is larger than %d KiB", f.beside[i], maxRow>>10)
	}
	beside[f.beside[i]] = bytes.Clone(s.member.kept)
	return err
}

// newSource reads the members next to a list of clients.
func newSource(beside map[string]json.RawMessage) (*source, error) {
	from := new(source)
	for name, value := range beside {
		object, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err == nil {
			err = decode(object, from)
		}
		if err != nil {
			return nil, wrong("%v", err)
		}
	}
	return from, nil
}

// memberName skips the name of a member and returns it; "" for one that is
// longer than every known name.
func (s *scanner) memberName() (string, error) {
	s.name.start(maxName)
	err := s.text()
	s.name.on = false
	if err != nil || s.name.over {
		return "", err
	}
	if raw := s.name.kept; bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var name string
	err = json.Unmarshal(s.name.kept, &name)
	return name, err
}
