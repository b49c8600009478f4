package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf16"
)

var (
	errUTF32   = errors.New("it is UTF-32: save it as UTF-8")
	errUTF16   = errors.New("it is UTF-16 that is cut off or damaged: save it as UTF-8")
	errNoMark  = errors.New("it is UTF-16 without a byte order mark, or not text: save it as UTF-8")
	byteOrders = map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian}
)

// Text returns text that came from outside as UTF-8 without a byte order mark: one
// leading mark is dropped, and UTF-16 that begins with one is decoded, as editors
// and shells on Windows write it. UTF-16 without a mark and UTF-32 are refused by
// name. Other text is returned as it is, whether it is UTF-8 or not.
func Text(b []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(b, []byte("\xef\xbb\xbf")); ok {
		return rest, nil
	}
	if len(b) < 2 {
		return b, nil
	}
	order, ok := byteOrders[string(b[:2])]
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(b, []byte("\x00\x00\xfe\xff")):
		return nil, errUTF32
	case !ok && (b[0] == 0) != (b[1] == 0): // RFC 4627 section 3: two ASCII characters come first
		return nil, errNoMark
	case !ok:
		return b, nil
	case len(b)%2 != 0:
		return nil, errUTF16
	}
	units := make([]uint16, 0, len(b)/2-1)
	for i := 2; i < len(b); i += 2 {
		units = append(units, order.Uint16(b[i:]))
	}
	var out bytes.Buffer
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i++; i == len(units) {
				return nil, errUTF16
			}
			if r = utf16.DecodeRune(r, rune(units[i])); r == '\ufffd' {
				return nil, errUTF16
			}
		}
		out.WriteRune(r)
	}
	return out.Bytes(), nil
}
