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
	"github.com/counterfoil/counterfoil/internal/clock"
)

const (
	// maxReplay is how much of a body that offers neither GetBody nor Seek is
	// kept, in bytes.
	maxReplay = 1 << 20
	// patience is how long the base transport may take to release one body
	// before the next attempt.
	patience = time.Second
)

var errNotReplayable = errors.New("the body cannot be sent again")

// replay is a request body that can be sent several times: from its initial
// offset if it can seek, or else from a copy of what was read. Only one attempt
// reads at a time. The body itself is closed when the last attempt has released
// it and there will be no other. A nil replay stands for a body that needs no
// such care.
type replay struct {
	body  io.ReadCloser
	seek  io.Seeker
	start int64
	clock counterfoil.Clock

	mu      sync.Mutex
	copied  []byte
	tooLong bool
	failed  bool // the body's own reader failed, so the rest is unknown
	settled bool
	closed  bool
	last    *sending
}

// sending is the body as one attempt reads it.
type sending struct {
	*replay
	// at is how much of copied has been read; reading and done say whether the
	// attempt is inside the body, and whether it has released it. All are
	// guarded by mu.
	at      int
	reading bool
	done    bool
	// released is closed when the attempt can no longer touch the body.
	released chan struct{}
}

// replayable returns nil for no body and for one with GetBody.
func replayable(req *http.Request, c counterfoil.Clock) *replay {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil {
		return nil
	}
	r := &replay{body: req.Body, clock: c}
	if s, ok := req.Body.(io.Seeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			r.seek, r.start = s, at
		}
	}
	return r
}

// first returns the body of the first attempt at req.
func (r *replay) first(req *http.Request) io.ReadCloser {
	if r == nil {
		return req.Body
	}
	r.last = &sending{replay: r, released: make(chan struct{})}
	return r.last
}

// again returns the body of another attempt at req, once the base transport has
// released the previous one.
func (r *replay) again(req *http.Request) (io.ReadCloser, error) {
	if r == nil {
		if req.GetBody == nil {
			return req.Body, nil
		}
		return req.GetBody()
	}
	if !r.possible() {
		return nil, errNotReplayable
	}
	ctx, cancel := clock.WithTimeout(req.Context(), r.clock, patience)
	defer cancel()
	select {
	case <-r.last.released:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if !r.possible() {
		return nil, errNotReplayable
	}
	if r.seek != nil {
		if _, err := r.seek.Seek(r.start, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return r.first(req), nil
}

// possible reports whether the body can be sent again, as far as is known.
func (r *replay) possible() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.tooLong && !r.failed
}

// settle says that there will be no further attempt.
func (r *replay) settle() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.settled = true
	end := r.ended()
	r.mu.Unlock()
	if end {
		_ = r.body.Close()
	}
}

// ended reports, once, that the body is to be closed; the caller holds mu.
func (r *replay) ended() bool {
	if !r.settled || r.closed || r.last != nil && !r.last.done {
		return false
	}
	r.closed = true
	return true
}

func (s *sending) Read(p []byte) (int, error) {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if n := copy(p, s.copied[s.at:]); n > 0 {
		s.at += n
		s.mu.Unlock()
		return n, nil
	}
	s.reading = true
	s.mu.Unlock()
	n, err := s.body.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	s.failed = s.failed || err != nil && err != io.EOF
	switch {
	case s.done:
		close(s.released)
	case s.settled && s.copied != nil:
		s.copied, s.at = nil, 0 // read to its end above, and not needed again
	}
	if s.seek == nil && !s.settled && !s.tooLong {
		if len(s.copied)+n > maxReplay {
			s.tooLong, s.copied, s.at = true, nil, 0
		} else {
			s.copied = append(s.copied, p[:n]...)
			s.at = len(s.copied)
		}
	}
	return n, err
}

func (s *sending) Close() error {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		return nil
	}
	s.done = true
	if !s.reading {
		close(s.released)
	}
	end := s.ended()
	s.mu.Unlock()
	if end {
		return s.body.Close()
	}
	return nil
}

// maxRest is how much of an answer's body is read to end its call, in bytes.
const maxRest = 64 << 10

// ended reads the body of resp to its end, so that the connection can be reused,
// and replaces it with what was read. It abandons a body that is long or slow if
// that is certain not to be needed; otherwise ended is false, and the body can
// be read on.
func ended(ctx context.Context, c counterfoil.Clock, resp *http.Response, certain bool) bool {
	if resp == nil {
		return true
	}
	ctx, cancel := clock.WithTimeout(ctx, c, patience)
	defer cancel()
	body := resp.Body
	stop := context.AfterFunc(ctx, func() { _ = body.Close() })
	head, err := io.ReadAll(io.LimitReader(body, maxRest+1))
	open := stop()
	long := err == nil && len(head) > maxRest
	if long && !certain && open {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), body), body}
		return false
	}
	if open {
		_ = body.Close()
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(head), &cut{long || err != nil}))
	return true
}

// cut ends a body: as abandoned, or properly.
type cut struct{ early bool }

func (c *cut) Read([]byte) (int, error) {
	if c.early {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, io.EOF
}

func closeBody(req *http.Request) { closeReader(req.Body) }

func closeReader(r io.Closer) {
	if r != nil {
		_ = r.Close()
	}
}
