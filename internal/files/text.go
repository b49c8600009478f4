package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// TextError says why text cannot be decoded.
type TextError struct{ text string }

// Error returns the message.
func (e *TextError) Error() string { return e.text }

var (
	errUTF32   = &TextError{"it is UTF-32: save it as UTF-8"}
	errUTF16   = &TextError{"it is UTF-16 that is cut off or damaged: save it as UTF-8"}
	errNoMark  = &TextError{"it is UTF-16 without a byte order mark, or not text: save it as UTF-8"}
	byteOrders = map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian}
)

// Text returns external text as UTF-8 without a byte order mark: one leading mark
// is dropped, and UTF-16 that begins with one, as editors and shells on Windows
// write it, is decoded. UTF-16 without a mark and UTF-32 are refused. Other text is
// returned unchanged, whether it is UTF-8 or not.
func Text(b []byte) ([]byte, error) {
	out, err := io.ReadAll(TextReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// TextReader is Text for a stream. Its errors are those of r, or a *TextError.
func TextReader(r io.Reader) io.Reader { return &textReader{in: bufio.NewReaderSize(r, 64<<10)} }

type textReader struct {
	in    *bufio.Reader
	begun bool
	order binary.ByteOrder // nil for text that is passed on unchanged
	out   []byte           // decoded and not yet read
	err   error
}

func (t *textReader) Read(p []byte) (int, error) {
	if !t.begun {
		t.begun, t.err = true, t.begin()
	}
	if t.err == nil && t.order == nil {
		return t.in.Read(p)
	}
	if len(t.out) == 0 && t.err == nil {
		t.out, t.err = t.decode(t.out[:0])
	}
	n := copy(p, t.out)
	if t.out = t.out[n:]; n == 0 {
		return 0, t.err
	}
	return n, nil
}

// begin finds out the encoding of the text, and skips its mark.
func (t *textReader) begin() error {
	b, err := t.in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		_, err := t.in.Discard(3)
		return err
	}
	if len(b) < 2 {
		return nil
	}
	order, ok := byteOrders[string(b[:2])]
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(b, []byte("\x00\x00\xfe\xff")):
		return errUTF32
	case !ok && (b[0] == 0) != (b[1] == 0): // RFC 4627 section 3: two ASCII characters come first
		return errNoMark
	case !ok:
		return nil
	}
	t.order = order
	_, err = t.in.Discard(2)
	return err
}

// decode adds some kilobytes of UTF-16 to out.
func (t *textReader) decode(out []byte) ([]byte, error) {
	for len(out) < 32<<10 {
		r, err := t.unit()
		if err == nil && utf16.IsSurrogate(r) {
			var second rune
			if second, err = t.unit(); errors.Is(err, io.EOF) {
				err = errUTF16
			}
			if r = utf16.DecodeRune(r, second); err == nil && r == '\ufffd' {
				err = errUTF16
			}
		}
		if err != nil {
			return out, err
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// unit reads 16 bits.
func (t *textReader) unit() (rune, error) {
	var b [2]byte
	_, err := io.ReadFull(t.in, b[:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errUTF16
	}
	return rune(t.order.Uint16(b[:])), err
}
