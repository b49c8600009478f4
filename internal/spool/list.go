package spool

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"
)

// List is a long list whose elements have a form in JSON. The zero value is
// empty. One goroutine uses it; Close lets go of it.
type List[T any] struct {
	spool Spool
	enc   *json.Encoder
	n     int
}

// Append adds to the end. Nothing may be added after the first All.
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

// Len is how many elements the list has.
func (l *List[T]) Len() int { return l.n }

// All are the elements in their order, up to an error.
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

// Close lets go of the list.
func (l *List[T]) Close() error { return l.spool.Close() }
