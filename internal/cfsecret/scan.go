package cfsecret

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/counterfoil/counterfoil"
)

// window is how much of a text is looked at in one piece, in bytes.
const window = 64 << 10

// buffers are those of scans that have ended: a history has millions of texts.
var buffers = sync.Pool{New: func() any { return new([window]byte) }}

// Scan calls found for each secret in a text, with its line from 1. It reads the text
// once, whatever its length, and keeps some 64 KiB of it. Bytes that are zero are
// left out, so that UTF-16 is read as well. Scan ends with the first error of found.
func Scan(r io.Reader, found func(s counterfoil.Secret, line int) error) error {
	from := buffers.Get().(*[window]byte)
	defer buffers.Put(from)
	buf := from[:0]
	line := 1
	for {
		kept := len(buf)
		n, err := r.Read(buf[kept:cap(buf)])
		fresh := buf[kept : kept+n]
		buf = buf[:kept+len(withoutZeros(fresh))]
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at := 0
		for {
			i := bytes.Index(buf[at:], []byte(Prefix))
			if i < 0 || at+i+Length > len(buf) {
				break
			}
			at += i
			if s := counterfoil.Secret(buf[at : at+Length]); Is(s) {
				if err := found(s, line+bytes.Count(buf[:at], []byte("\n"))); err != nil {
					return err
				}
			}
			at++
		}
		if err != nil {
			return nil
		}
		// What could be the beginning of a secret stays; what was looked at goes.
		gone := max(at, len(buf)-Length+1)
		line += bytes.Count(buf[:gone], []byte("\n"))
		buf = buf[:copy(buf, buf[gone:])]
	}
}

// withoutZeros removes the zero bytes of b in place.
func withoutZeros(b []byte) []byte {
	if bytes.IndexByte(b, 0) < 0 {
		return b
	}
	kept := b[:0]
	for _, c := range b {
		if c != 0 {
			kept = append(kept, c)
		}
	}
	return kept
}
