package importer

import (
	"errors"
	"io"
)

// maxDepth bounds the nesting of JSON: it is the bound of encoding/json.
const maxDepth = 10_000

// errBroken is the error of text that is not JSON; the scanner's line says
// where.
var errBroken = errors.New("not JSON")

// scanner reads and validates JSON text (RFC 8259) as a stream. It keeps only
// one requested value, up to a bound: encoding/json would hold a member of any
// size in memory, even an ignored one.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	// c is the byte that is next, -1 at the end of the text or after err.
	c   int
	err error
	// at is the offset of c, line its line from 1.
	at   int64
	line int
	// whole keeps a value, name the name of a member, member the value of one.
	whole, name, member keeper
}

// keeper keeps the skipped text while it is on, up to most bytes; over says
// that it was more.
type keeper struct {
	on, over bool
	kept     []byte
	most     int
}

// start discards the kept text.
func (k *keeper) start(most int) { *k = keeper{on: true, kept: k.kept[:0], most: most} }

func (k *keeper) keep(c int) {
	if len(k.kept) < k.most {
		k.kept = append(k.kept, byte(c))
	} else {
		k.over = true
	}
}

// begin reads text that begins at an offset of a file.
func (s *scanner) begin(r io.Reader, at int64) {
	if s.buf == nil {
		s.buf = make([]byte, 64<<10)
	}
	s.r, s.pos, s.end, s.err, s.at, s.line = r, 0, 0, nil, at, 1
	s.load()
}

// load sets c to the byte at pos.
func (s *scanner) load() {
	for s.pos == s.end {
		n, err := s.r.Read(s.buf)
		if s.pos, s.end = 0, n; n > 0 {
			break
		}
		if err != nil {
			if s.c = -1; !errors.Is(err, io.EOF) {
				s.err = err
			}
			return
		}
	}
	s.c = int(s.buf[s.pos])
}

// step skips c.
func (s *scanner) step() {
	if s.c == '\n' {
		s.line++
	}
	if s.whole.on {
		s.whole.keep(s.c)
	}
	if s.name.on {
		s.name.keep(s.c)
	}
	if s.member.on {
		s.member.keep(s.c)
	}
	s.at++
	s.pos++
	s.load()
}

// space skips white space.
func (s *scanner) space() {
	for s.c == ' ' || s.c == '\t' || s.c == '\n' || s.c == '\r' {
		s.step()
	}
}

// broken returns the error for the next byte.
func (s *scanner) broken() error {
	if s.err != nil {
		return s.err
	}
	return errBroken
}

// value skips the next value, at a nesting depth.
func (s *scanner) value(depth int) error {
	switch {
	case s.c == '{':
		return s.object(depth, func() error { return s.text() }, func() error { return s.value(depth + 1) })
	case s.c == '[':
		return s.array(depth, func() error { return s.value(depth + 1) })
	case s.c == '"':
		return s.text()
	case s.c == '-' || isDigit(s.c):
		return s.number()
	case s.c == 't':
		return s.word("true")
	case s.c == 'f':
		return s.word("false")
	case s.c == 'n':
		return s.word("null")
	}
	return s.broken()
}

// object skips an object; name and value skip those of each member.
func (s *scanner) object(depth int, name, value func() error) error {
	if depth >= maxDepth {
		return errBroken
	}
	s.step()
	if s.space(); s.c == '}' {
		s.step()
		return nil
	}
	for {
		if s.c != '"' {
			return s.broken()
		}
		if err := name(); err != nil {
			return err
		}
		if s.space(); s.c != ':' {
			return s.broken()
		}
		s.step()
		s.space()
		if err := value(); err != nil {
			return err
		}
		more, err := s.more('}')
		if err != nil || !more {
			return err
		}
	}
}

// array skips an array; value skips each element.
func (s *scanner) array(depth int, value func() error) error {
	if depth >= maxDepth {
		return errBroken
	}
	s.step()
	if s.space(); s.c == ']' {
		s.step()
		return nil
	}
	for {
		if err := value(); err != nil {
			return err
		}
		more, err := s.more(']')
		if err != nil || !more {
			return err
		}
	}
}

// more skips a comma, or the end of the object or array.
func (s *scanner) more(end int) (bool, error) {
	s.space()
	switch s.c {
	case ',':
		s.step()
		s.space()
		return true, nil
	case end:
		s.step()
		return false, nil
	}
	return false, s.broken()
}

func (s *scanner) text() error {
	s.step()
	for s.c != '"' {
		switch {
		case s.c < 0x20: // a control, or the end
			return s.broken()
		case s.c == '\\':
			if s.step(); s.c == 'u' {
				for range 4 {
					if s.step(); !isHex(s.c) {
						return s.broken()
					}
				}
			} else if !isEscape(s.c) {
				return s.broken()
			}
		}
		s.step()
	}
	s.step()
	return nil
}

func (s *scanner) number() error {
	if s.c == '-' {
		s.step()
	}
	if s.c == '0' {
		s.step()
	} else if !s.digits() {
		return s.broken()
	}
	if s.c == '.' {
		if s.step(); !s.digits() {
			return s.broken()
		}
	}
	if s.c == 'e' || s.c == 'E' {
		if s.step(); s.c == '+' || s.c == '-' {
			s.step()
		}
		if !s.digits() {
			return s.broken()
		}
	}
	return nil
}

// digits skips digits and reports whether there were any.
func (s *scanner) digits() bool {
	if !isDigit(s.c) {
		return false
	}
	for isDigit(s.c) {
		s.step()
	}
	return true
}

func (s *scanner) word(w string) error {
	for i := range len(w) {
		if s.c != int(w[i]) {
			return s.broken()
		}
		s.step()
	}
	return nil
}

func isDigit(c int) bool { return c >= '0' && c <= '9' }

func isHex(c int) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

func isEscape(c int) bool {
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	}
	return false
}
