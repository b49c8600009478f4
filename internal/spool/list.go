package spool

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"
)

// List is a long list whose elements can be encoded in JSON. The zero value is
// empty. It is not safe for concurrent use; Close releases its file.
type List[T any] struct {
	spool Spool
	enc   *json.Encoder
	n     int
}

// Append adds an element at the end. It must not be called after All.
func (l *List[T]) Append(v T) error {
	if l.enc == nil {
		l.enc = json.NewEncoder(&l.spool)
	}
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	l.n++
	return nil
}

// Len returns the number of elements.
func (l *List[T]) Len() int { return l.n }

// All returns the elements in order, up to the first error.
func (l *List[T]) All() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		dec := json.NewDecoder(bufio.NewReaderSize(l.spool.From(0), 64<<10))
		for {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Close releases the list.
func (l *List[T]) Close() error { return l.spool.Close() }
