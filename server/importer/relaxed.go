package importer

import "io"

// relaxed removes the comments and trailing commas that .NET's configuration
// accepts (System.Text.Json's Skip and AllowTrailingCommas) from JSON. Lines
// keep their numbers: line ends in comments are kept.
type relaxed struct {
	w   io.Writer
	buf []byte
	// in is what c is in: text, a comment or none.
	in state
	// comma is held back until the next byte is known; before is the last byte
	// that was neither white space nor part of a comment.
	comma  bool
	before byte
}

type state int

const (
	inNone state = iota
	inText
	inEscape
	afterSlash
	inLine  // a comment up to the end of its line
	inBlock // a comment up to */
	afterStar
)

func (r *relaxed) Write(p []byte) (int, error) {
	r.buf = r.buf[:0]
	for _, c := range p {
		r.step(c)
	}
	if _, err := r.w.Write(r.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes what was held back.
func (r *relaxed) end() error {
	r.buf = r.buf[:0]
	if r.in == afterSlash {
		r.pass('/')
	}
	r.pass(0)
	_, err := r.w.Write(r.buf)
	return err
}

func (r *relaxed) step(c byte) {
	switch r.in {
	case inText:
		r.buf = append(r.buf, c)
		switch c {
		case '\\':
			r.in = inEscape
		case '"':
			r.in = inNone
		}
	case inEscape:
		r.buf = append(r.buf, c)
		r.in = inText
	case afterSlash:
		switch c {
		case '/', '*':
			if r.in = inLine; c == '*' {
				r.in = inBlock
			}
			r.buf = append(r.buf, ' ') // so that it still ends a number or a word
		default:
			r.in = inNone
			r.pass('/')
			r.step(c)
		}
	case inLine, inBlock, afterStar:
		r.comment(c)
	default:
		r.plain(c)
	}
}

func (r *relaxed) comment(c byte) {
	if c == '\n' {
		r.buf = append(r.buf, c)
	}
	switch {
	case r.in == inLine && c == '\n', r.in == afterStar && c == '/':
		r.in = inNone
	case r.in == inLine:
	case c == '*':
		r.in = afterStar
	default:
		r.in = inBlock
	}
}

// plain reads a byte outside of text and comments.
func (r *relaxed) plain(c byte) {
	switch c {
	case ' ', '\t', '\r', '\n':
		r.buf = append(r.buf, c)
	case '/':
		r.in = afterSlash
	case ',':
		r.pass(0)
		r.comma = true
	case ']', '}':
		if before := r.before; before != '[' && before != '{' && before != ',' {
			r.comma = false // a trailing one
		}
		r.pass(c)
	default:
		if c == '"' {
			r.in = inText
		}
		r.pass(c)
	}
}

// pass writes a byte, none for 0, after the comma that was held back.
func (r *relaxed) pass(c byte) {
	if r.comma {
		r.buf = append(r.buf, ',')
		r.comma, r.before = false, ','
	}
	if c != 0 {
		r.buf = append(r.buf, c)
		r.before = c
	}
}
