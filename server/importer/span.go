package importer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/event"
)

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
