package importer

import "io"

// relaxed passes JSON on without the comments and trailing commas that .NET's
// configuration takes (System.Text.Json's Skip and AllowTrailingCommas). Lines
// keep their numbers: line ends are passed on, also those in comments.
type relaxed struct {
	w   io.Writer
	buf []byte
	// in is what c is in: text, a comment or none.
	in state
	// comma is kept back until what follows it is known; before is the last byte
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

// end passes on what was kept back.
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

// plain reads what is neither text nor a comment.
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

// pass passes a byte on, none for 0, behind the comma that was kept back.
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
