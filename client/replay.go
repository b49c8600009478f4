package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

const (
	// maxReplay is how much of a body that offers neither GetBody nor Seek is
	// kept, in bytes.
	maxReplay = 1 << 20
	// maxRejection is how much of a rejection's body is read to end its call.
	maxRejection = 64 << 10
	// patience is how long the base transport may take to let go of the first
	// body once its call has ended.
	patience = time.Second
)

// replay is a request body that can be sent twice. The body itself is closed
// when the last of its readers is, and not before it is settled that there will
// be no other. A nil replay stands for a body that needs no such care.
type replay struct {
	body  io.ReadCloser
	seek  io.Seeker
	start int64
	clock counterfoil.Clock
	// released is closed when the base transport has closed the first body.
	released chan struct{}

	mu      sync.Mutex
	copied  []byte
	tooLong bool
	settled bool
	closed  bool
}

// replayable returns nil for no body and for one with GetBody.
func replayable(req *http.Request, c counterfoil.Clock) *replay {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil {
		return nil
	}
	r := &replay{body: req.Body, clock: c, released: make(chan struct{})}
	if s, ok := req.Body.(io.Seeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			r.seek, r.start = s, at
		}
	}
	return r
}

// first returns the body for the first attempt.
func (r *replay) first() io.ReadCloser { return (*firstBody)(r) }

// possible reports whether the body can be sent again, as far as is known
// before the first attempt has let go of it.
func (r *replay) possible() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.tooLong
}

var errNotReplayable = errors.New("the body cannot be sent again")

// second returns the body for the second attempt. It ends the call that was
// rejected, whose answer can still be read.
func (r *replay) second(req *http.Request, rejected *http.Response) (io.ReadCloser, error) {
	var ended bool
	if rejected.Body, ended = drained(rejected.Body, maxRejection); !ended {
		return nil, errNotReplayable
	}
	if r == nil {
		if req.GetBody == nil {
			return req.Body, nil
		}
		return req.GetBody()
	}
	ctx, cancel := withTimeout(req.Context(), r.clock, patience)
	defer cancel()
	select {
	case <-r.released:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	again := io.Reader(r.body)
	if r.seek != nil {
		if _, err := r.seek.Seek(r.start, io.SeekStart); err != nil {
			return nil, err
		}
	} else if r.tooLong {
		return nil, errNotReplayable
	} else {
		again = io.MultiReader(bytes.NewReader(r.copied), r.body)
	}
	r.settled = true
	return struct {
		io.Reader
		io.Closer
	}{again, r.body}, nil
}

// settle says that there will be no further attempt.
func (r *replay) settle() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled, r.copied = true, nil
	if r.closed {
		_ = r.body.Close()
	}
}

// firstBody is the body as the first attempt reads it.
type firstBody replay

func (b *firstBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if b.seek != nil {
		return n, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.settled || b.tooLong:
	case len(b.copied)+n > maxReplay:
		b.tooLong, b.copied = true, nil
	default:
		b.copied = append(b.copied, p[:n]...)
	}
	return n, err
}

func (b *firstBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	close(b.released)
	if b.settled {
		return b.body.Close()
	}
	return nil
}
