// Package spool stores a stream that has to be read more than once, such as a file
// of clients that is checked as a whole before any of it is imported. It is
// internal and makes no compatibility promise.
package spool

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// inMemory is how much of a stream is kept in memory, in bytes. The rest of a
// longer one is in a file.
const inMemory = 1 << 20

// Spool is a stream: written first, then read as often as needed. The zero value is
// empty. What does not fit into memory is in a temporary file that has no name and
// is encrypted under a key that only this process knows, because streams of clients
// contain secrets. A Spool is not safe for concurrent use; its readers are
// independent of each other. Close releases the file.
type Spool struct {
	memory []byte
	file   *os.File
	name   string // on systems where an open file cannot be removed
	block  cipher.Block
	out    *bufio.Writer
	size   int64
	err    error
}

// Write appends to the stream.
func (s *Spool) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n := min(len(p), inMemory-len(s.memory))
	s.memory = append(s.memory, p[:n]...)
	if rest := p[n:]; len(rest) > 0 {
		if s.file == nil {
			s.err = s.open()
		}
		if s.err == nil {
			_, s.err = s.out.Write(rest)
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	s.size += int64(len(p))
	return len(p), nil
}

// open makes the file and its key.
func (s *Spool) open() error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if s.file, err = os.CreateTemp("", "counterfoil-*"); err != nil {
		return fmt.Errorf("make a temporary file: %w: let TMPDIR name a directory that can be written to", err)
	}
	if err := os.Remove(s.file.Name()); err != nil {
		s.name = s.file.Name()
	}
	s.block = block
	s.out = bufio.NewWriterSize(&encrypting{w: s.file, stream: s.stream(0)}, 64<<10)
	return nil
}

// encrypting is a cipher.StreamWriter that allocates nothing.
type encrypting struct {
	w      io.Writer
	stream cipher.Stream
	buf    [64 << 10]byte
}

func (e *encrypting) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		part := e.buf[:min(len(p)-done, len(e.buf))]
		e.stream.XORKeyStream(part, p[done:done+len(part)])
		if _, err := e.w.Write(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// stream returns the key stream from an offset of the file on. Each file has its
// own key, so no nonce is needed.
func (s *Spool) stream(offset int64) cipher.Stream {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(offset/aes.BlockSize))
	stream := cipher.NewCTR(s.block, counter[:])
	var skipped [aes.BlockSize]byte
	skip := skipped[:offset%aes.BlockSize]
	stream.XORKeyStream(skip, skip)
	return stream
}

// Size returns the length of the stream, in bytes.
func (s *Spool) Size() int64 { return s.size }

// From returns a reader of the stream from an offset on. Nothing may be written
// after it.
func (s *Spool) From(offset int64) io.Reader {
	if s.out != nil {
		if err := s.out.Flush(); err != nil {
			s.err = errors.Join(s.err, err)
		}
	}
	return &reader{spool: s, at: offset}
}

type reader struct {
	spool  *Spool
	at     int64
	stream cipher.Stream
}

func (r *reader) Read(p []byte) (int, error) {
	s := r.spool
	switch {
	case s.err != nil:
		return 0, s.err
	case r.at >= s.size:
		return 0, io.EOF
	case r.at < int64(len(s.memory)):
		n := copy(p, s.memory[r.at:])
		r.at += int64(n)
		return n, nil
	}
	at := r.at - int64(len(s.memory))
	if r.stream == nil {
		r.stream = s.stream(at)
	}
	n, err := s.file.ReadAt(p[:min(int64(len(p)), s.size-r.at)], at)
	r.stream.XORKeyStream(p[:n], p[:n])
	r.at += int64(n)
	if errors.Is(err, io.EOF) && r.at < s.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close releases the file.
func (s *Spool) Close() error {
	s.memory = nil
	if s.err == nil {
		s.err = os.ErrClosed
	}
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	s.file = nil
	return err
}
