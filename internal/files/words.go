package files

import (
	"errors"
	"strings"
)

// Words returns the words of a command line as sh splits it, for a program that is
// run without a shell: blanks separate them, quotes and backslashes join them. It
// refuses text that only a shell could expand.
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
		return nil, errors.New("there is no shell that would expand or connect this: " +
			"put $ ` * ? [ ~ ; & | < > ( ) and # into single quotes where they mean themselves, or name a script")
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
	// equals is the index of an unquoted = with nothing quoted before it, or -1.
	equals int
	// computed says that the shell would replace a part of the word, and pattern
	// that it might match it with files.
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

// newline reports whether a line ends here, with LF or CR LF.
func (s *scanner) newline() bool { return s.at("\n") || s.at("\r\n") || s.rest() == "\r" }

// ends reports whether a command ends here.
func (s *scanner) ends() bool { return s.rest() == "" || s.newline() || s.at(";") && !s.at(";;") }

// continued skips a backslash at the end of a line, with the line end.
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

// blanks skips what separates words, and a comment.
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

// command reads the words up to the end of a command. If there are operators
// between them, it reads the words up to the end of the line.
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
	// begins are the characters that make an expansion of a $ before them.
	begins = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@*#?$!-{("
	// parts are those that end a word if they are not quoted.
	parts = " \t\n;&|<>()"
	// escapes are those that a backslash escapes inside double quotes.
	escapes = "$`\"\\"
)

// word reads the word that begins here.
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

// double reads text in double quotes.
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

// dollar reads a $ or a backquote, with the expansion that it begins. A $ that
// begins no expansion is an ordinary character.
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
	if !s.at("'") && !s.at(`"`) { // shells differ about quotes after a $
		s.next()
	}
	return nil
}

// maxNested bounds the depth of nested quotes and brackets.
const maxNested = 32

// skip skips a quoted or bracketed part of a word. A single quote in double quotes
// is an ordinary character, also inside ${…} there.
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
