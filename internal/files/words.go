package files

import (
	"errors"
	"strings"
)

// Words are those of a command line as sh splits it, for a program that is to be
// run without a shell: blanks part them, quotes and backslashes keep them together.
// What would need a shell is refused.
func Words(text string) ([]string, error) {
	s := &scanner{text: text, line: 1}
	words, operators, err := s.command()
	if err != nil {
		return nil, err
	}
	s.blanks()
	all := make([]string, len(words))
	for i, w := range words {
		operators = operators || w.computed || w.pattern
		all[i] = w.text
	}
	if operators || s.comment || s.rest() != "" {
		return nil, errors.New("there is no shell that would expand or connect this: put $ ` * ? [ ~ ; & | < > ( ) and # into single quotes where they mean themselves, or name a script")
	}
	return all, nil
}

// scanner reads words as a POSIX shell does (XCU section 2.2 and 2.3), without
// computing anything.
type scanner struct {
	text    string
	pos     int
	line    int
	comment bool // there was one
}

// word is one of the shell's.
type word struct {
	text string // without quotes
	// equals is where an unquoted = stands before which nothing is quoted, or -1.
	equals int
	// computed says that the shell would put something else in the place of a part,
	// and pattern that it might look for files.
	computed, pattern, quoted bool
}

func (w word) is(s string) bool { return w.text == s && !w.quoted && !w.computed }

// assignment is the word as KEY=value.
func (w word) assignment() (key, value string, ok bool) {
	if w.equals <= 0 {
		return "", "", false
	}
	return w.text[:w.equals], w.text[w.equals+1:], true
}

func (s *scanner) rest() string { return s.text[s.pos:] }

// at reports whether what comes next is prefix.
func (s *scanner) at(prefix string) bool { return strings.HasPrefix(s.rest(), prefix) }

// next takes one byte.
func (s *scanner) next() byte {
	c := s.text[s.pos]
	s.pos++
	if c == '\n' {
		s.line++
	}
	return c
}

// newline reports whether a line ends here, also with CR LF.
func (s *scanner) newline() bool { return s.at("\n") || s.at("\r\n") || s.rest() == "\r" }

// ends reports whether a command ends here.
func (s *scanner) ends() bool { return s.rest() == "" || s.newline() || s.at(";") && !s.at(";;") }

// continued takes a backslash and the end of its line, which mean nothing.
func (s *scanner) continued() bool {
	for _, end := range []string{"\\\n", "\\\r\n"} {
		if s.at(end) {
			s.pos += len(end)
			s.line++
			return true
		}
	}
	return false
}

// blanks takes what parts words, and a comment.
func (s *scanner) blanks() {
	for s.at(" ") || s.at("\t") || s.continued() {
		if s.at(" ") || s.at("\t") {
			s.next()
		}
	}
	if s.at("#") {
		end := strings.IndexByte(s.rest(), '\n')
		if end < 0 {
			end = len(s.rest())
		}
		s.pos += end
		s.comment = true
	}
}

// command takes the words up to the end of a command. Operators says that there
// are some between them; then the words up to the end of the line are taken.
func (s *scanner) command() (words []word, operators bool, err error) {
	for {
		s.blanks()
		switch {
		case s.ends():
			if s.at(";") {
				s.next()
			}
			return words, operators, nil
		case s.at("("), s.at(")"), s.at(";"), s.at("<<"):
			return nil, false, errNoSetting
		case s.at("&&"), s.at("|"):
			operators = true
			for s.at("&") || s.at("|") {
				s.next()
			}
			for s.blanks(); s.newline(); s.blanks() { // the command goes on
				s.next()
			}
			continue
		case s.at("&"), s.at("<"), s.at(">"):
			operators = true
			s.next()
			continue
		}
		w, err := s.word()
		if err != nil {
			return nil, false, err
		}
		words = append(words, w)
	}
}

const (
	// begins are the characters behind $ that make it more than itself.
	begins = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@*#?$!-{("
	// parts are those that end a word, when they are not quoted.
	parts = " \t\n;&|<>()"
	// escapes are those before which a backslash counts inside double quotes.
	escapes = "$`\"\\"
)

// word takes one word, which begins here.
func (s *scanner) word() (word, error) {
	w := word{equals: -1}
	var b strings.Builder
	tilde := true // whether one would be expanded here
	for s.rest() != "" && !strings.ContainsRune(parts, rune(s.text[s.pos])) && !s.newline() {
		if s.continued() {
			continue
		}
		first := tilde
		tilde = false
		switch c := s.text[s.pos]; {
		case c == '\\':
			w.quoted = true
			s.next()
			if s.rest() == "" {
				b.WriteByte(c)
			} else {
				b.WriteByte(s.next())
			}
		case c == '\'':
			w.quoted = true
			end := strings.IndexByte(s.rest()[1:], '\'')
			if end < 0 {
				return w, errOpen
			}
			text := s.rest()[1 : 1+end]
			b.WriteString(text)
			s.pos += end + 2
			s.line += strings.Count(text, "\n")
		case c == '"':
			w.quoted = true
			if err := s.double(&w, &b); err != nil {
				return w, err
			}
		case c == '$' || c == '`':
			if err := s.dollar(&w, &b, begins+"'\"", false); err != nil {
				return w, err
			}
		default:
			switch {
			case c == '=' && w.equals < 0 && !w.quoted && !w.computed:
				w.equals, tilde = b.Len(), true
			case c == ':':
				tilde = w.equals >= 0
			case c == '~' && first:
				w.computed = true
			case c == '*' || c == '?' || c == '[':
				w.pattern = true
			}
			b.WriteByte(s.next())
		}
	}
	w.text = b.String()
	return w, nil
}

// double takes what stands in double quotes.
func (s *scanner) double(w *word, b *strings.Builder) error {
	s.next()
	for {
		switch {
		case s.rest() == "":
			return errOpen
		case s.continued():
		case s.at(`"`):
			s.next()
			return nil
		case s.at(`\`):
			s.next()
			if s.rest() == "" {
				return errOpen
			}
			if strings.IndexByte(escapes, s.text[s.pos]) < 0 {
				b.WriteByte('\\')
				continue
			}
			b.WriteByte(s.next())
		case s.at("$"), s.at("`"):
			if err := s.dollar(w, b, begins, true); err != nil {
				return err
			}
		default:
			b.WriteByte(s.next())
		}
	}
}

// dollar takes a $ or a backquote, and what the shell would compute from it. A $
// that begins nothing means itself.
func (s *scanner) dollar(w *word, b *strings.Builder, begins string, inQuotes bool) error {
	c := s.text[s.pos]
	if c == '$' && (len(s.rest()) == 1 || strings.IndexByte(begins, s.text[s.pos+1]) < 0) {
		b.WriteByte(s.next())
		return nil
	}
	w.computed = true
	if c == '`' || s.at("$(") || s.at("${") {
		return s.skip(maxNested, inQuotes)
	}
	s.next()
	if !s.at("'") && !s.at(`"`) { // what is quoted behind $ differs from shell to shell
		s.next()
	}
	return nil
}

// maxNested bounds what stands in one another.
const maxNested = 32

// skip takes a quoted or bracketed part of a word, whose end alone matters. A
// single quote means itself in double quotes, also inside ${…} there.
func (s *scanner) skip(depth int, inQuotes bool) error {
	if depth == 0 {
		return errOpen
	}
	ends := map[byte]byte{'(': ')', '{': '}'}
	open := s.next()
	if open == '$' {
		open = s.next()
	}
	end, ok := ends[open]
	if !ok {
		end = open
	}
	for s.rest() != "" {
		c := s.text[s.pos]
		switch {
		case c == end:
			s.next()
			return nil
		case c == '\\' && open != '\'':
			s.next()
			if s.rest() != "" {
				s.next()
			}
		case open == '\'' || open == '`':
			s.next()
		case c == '\'' && open != '"' && !(open == '{' && inQuotes), c == '"', c == '`', s.at("$("), s.at("${"), c == '(' && open == '(':
			if err := s.skip(depth-1, open == '"' || open == '{' && inQuotes); err != nil {
				return err
			}
		default:
			s.next()
		}
	}
	return errOpen
}
