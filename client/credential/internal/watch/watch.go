// Package watch reads a file again whenever it changes. Its API may change.
package watch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/files"
)

const (
	// settling is how old a change must be before the file counts as read: in
	// the same tick of the file system's clock it may be written again, and look
	// the same. The coarsest such clock in use (FAT) ticks every 2 s.
	settling = 3 * time.Second
	// grace is how long the last valid value is used while the file is missing,
	// empty or invalid: it may be half replaced.
	grace = 10 * time.Second
	// minPause and maxPause bound the wait, which doubles, before the same bytes
	// are tried again: parsing them may cost a second of work.
	minPause = time.Second
	maxPause = 30 * time.Second
)

// foreignError says that others can write the file. A previous value never
// excuses it.
type foreignError struct{ error }

// File is a watched file. Make it with New. It is safe for concurrent use, and
// needs no closing: it checks the file when it is called.
type File[T any] struct {
	path  string
	max   int64
	clock counterfoil.Clock
	parse func(context.Context, []byte) (T, error)
	// foreign says why a file is refused for its mode and owner.
	foreign func(fs.FileInfo) error
	turn    chan struct{} // held by who reads; a channel, so that waiting ends with a context
	state   atomic.Pointer[state[T]]
}

// state is what is known of the file; it is never changed, only replaced.
type state[T any] struct {
	info    fs.FileInfo // of the file that was read last
	settled bool
	has     bool // value is there, made of bytes with that sum
	value   T
	sum     [sha256.Size]byte

	err    error     // why value is not what the file holds
	since  time.Time // when it began
	badSum [sha256.Size]byte
	tried  time.Time     // when the bytes of badSum were tried last
	pause  time.Duration // before they are again
}

// New returns the file at path, of at most max bytes. Parse makes the value; the
// bytes are overwritten when it returns. A loose file follows the rules for
// operators' files; others must be safe without warnings.
func New[T any](path string, max int64, loose bool, clock counterfoil.Clock, parse func(context.Context, []byte) (T, error)) *File[T] {
	f := &File[T]{path: path, max: max, clock: clock, parse: parse, foreign: files.Foreign, turn: make(chan struct{}, 1)}
	if loose {
		f.foreign = files.Untrusted
	}
	return f
}

// Get returns the value of the file's current content. It costs a stat if
// nothing has changed. While the file is missing, empty or invalid, the previous
// value is used for 10 s; a file that other users can write, or that belongs to
// one of them, is refused at once. Files that others can only read are the
// operator's decision: Kubernetes mounts secrets readable to all of a container.
func (f *File[T]) Get(ctx context.Context) (T, error) {
	if s := f.state.Load(); s != nil && f.stands(s) {
		return s.value, nil
	}
	var none T
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return none, fmt.Errorf("gave up waiting: %w", context.Cause(ctx))
	}
	s := f.state.Load()
	if s != nil && f.stands(s) {
		return s.value, nil // read by an earlier caller
	}
	if s == nil {
		s = &state[T]{}
	}
	s = f.read(ctx, s)
	f.state.Store(s)
	_, foreign := errors.AsType[foreignError](s.err)
	switch {
	case s.err == nil:
		return s.value, nil
	case s.has && !foreign && clocks.Within(f.clock.Now(), s.since, grace):
		return s.value, nil
	}
	return none, s.err
}

// stands reports whether s is the file's content, by its metadata.
func (f *File[T]) stands(s *state[T]) bool {
	if s.err != nil || !s.settled {
		return false
	}
	info, err := os.Stat(f.path)
	return err == nil && same(info, s.info) && f.foreign(info) == nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode() &&
		changeTime(a).Equal(changeTime(b))
}

// read returns the state after old.
func (f *File[T]) read(ctx context.Context, old *state[T]) *state[T] {
	now := f.clock.Now()
	b, info, err := f.bytes()
	defer clear(b)
	next := *old
	if err != nil {
		next.fail(now, err)
		return &next
	}
	next.info, next.settled = info, now.Sub(later(info.ModTime(), changeTime(info))) > settling
	sum := sha256.Sum256(b)
	switch {
	case old.has && sum == old.sum:
		next.err = nil
		return &next
	case old.err != nil && sum == old.badSum && clocks.Within(now, old.tried, old.pause):
		return &next
	}
	value, err := f.parse(ctx, b)
	if err != nil && ctx.Err() != nil {
		next.settled = false // the caller gave up, not the file
		next.fail(now, err)
		return &next
	}
	if err != nil {
		if sum != old.badSum {
			next.pause = 0
		}
		next.fail(now, err)
		next.badSum, next.tried, next.pause = sum, f.clock.Now(), min(max(2*next.pause, minPause), maxPause)
		return &next
	}
	return &state[T]{info: next.info, settled: next.settled, has: true, value: value, sum: sum}
}

// fail records why there is no new value.
func (s *state[T]) fail(now time.Time, err error) {
	if s.err == nil {
		s.since = now
	}
	s.err = err
}

// bytes reads the file and returns the info of the one that it read.
func (f *File[T]) bytes() ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file") // opening a pipe would block
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, nil, err
	}
	if err := f.foreign(info); err != nil {
		return nil, nil, foreignError{err}
	}
	b, err := io.ReadAll(io.LimitReader(file, f.max+1))
	switch {
	case err != nil:
	case len(b) == 0:
		err = errors.New("it is empty")
	case int64(len(b)) > f.max:
		err = fmt.Errorf("it is longer than %d bytes", f.max)
	}
	return b, info, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
