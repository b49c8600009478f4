package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// idempotencyKey is the header of a request that may be repeated because its
// answer was interrupted (draft-ietf-httpapi-idempotency-key-header).
const idempotencyKey = "Idempotency-Key"

const (
	// repeatTime is how long an answer can be requested again. The answer holds
	// a secret.
	repeatTime = 10 * time.Minute
	// maxRepeats bounds the answers that are kept.
	maxRepeats = 1024
	maxKey     = 255 // in bytes
	doTime     = 30 * time.Second
)

// repeats keeps the answers to requests that carry an Idempotency-Key, in the
// memory of this process.
type repeats struct {
	clock counterfoil.Clock

	mu   sync.Mutex
	all  map[[sha256.Size]byte]*repeat
	each []*repeat // oldest first
}

// repeat is one request, and its answer once it has one.
type repeat struct {
	id      [sha256.Size]byte
	request [sha256.Size]byte
	at      time.Time
	done    chan struct{}
	answer  *answer // nil when it failed: then it may be retried
}

func newRepeats(clock counterfoil.Clock) *repeats {
	return &repeats{clock: clock, all: map[[sha256.Size]byte]*repeat{}}
}

// serve answers a request like the earlier one with the same key, of the same
// client at the same path, or else by do. Another request with that key is
// refused. A request that arrives while the first is in progress waits for it.
func (s *repeats) serve(c *call, client string, do func(*call) (answer, error)) (answer, error) {
	given := c.Header.Values(idempotencyKey)
	key, quoted := strings.CutPrefix(given[0], `"`)
	key, closed := strings.CutSuffix(key, `"`)
	if len(given) > 1 || quoted != closed || key == "" || len(key) > maxKey ||
		strings.ContainsFunc(key, func(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' }) {
		return answer{}, problem(malformed,
			`Idempotency-Key must be one string of 1 to %d visible characters, as "8e03978e-40d5-43dd-bc93-6894a57f9324"`, maxKey)
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
	if err != nil {
		c.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		return do(c) // which reports the error
	}
	c.Body = io.NopCloser(bytes.NewReader(body))
	id := digest(client, c.Method, c.URL.EscapedPath(), key)
	request := digest(c.Header.Get("Content-Type"), c.Header.Get("If-Match"), string(body))
	for {
		r, first := s.begin(id, request)
		switch {
		case r.request != request:
			return answer{}, problem(wrongValues, "the Idempotency-Key was sent with another request: a new request needs a new one")
		case first:
			return s.do(r, c, do)
		}
		select {
		case <-r.done:
			if r.answer != nil {
				return *r.answer, nil
			}
		case <-c.Context().Done():
			return answer{}, c.Context().Err()
		}
	}
}

// do runs to its end when the caller disconnects: the secret is only in its
// answer.
func (s *repeats) do(r *repeat, c *call, do func(*call) (answer, error)) (a answer, err error) {
	err = errors.New("the earlier request with this key was interrupted")
	defer func() { s.end(r, a, err) }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), doTime)
	defer cancel()
	c.Request = c.WithContext(ctx)
	a, err = do(c)
	return a, err
}

// begin returns the request of that ID, and whether it is the first.
func (s *repeats) begin(id, request [sha256.Size]byte) (*repeat, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for len(s.each) > 0 && (len(s.each) >= maxRepeats || now.Sub(s.each[0].at) >= repeatTime) {
		if s.all[s.each[0].id] == s.each[0] {
			delete(s.all, s.each[0].id)
		}
		s.each = s.each[1:]
	}
	if r := s.all[id]; r != nil {
		return r, false
	}
	r := &repeat{id: id, request: request, at: now, done: make(chan struct{})}
	s.all[id] = r
	s.each = append(s.each, r)
	return r, true
}

// end stores the answer of r, or forgets r when it failed.
func (s *repeats) end(r *repeat, a answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		r.answer = &a
	} else if s.all[r.id] == r {
		delete(s.all, r.id)
		s.each = slices.DeleteFunc(s.each, func(other *repeat) bool { return other == r })
	}
	close(r.done)
}

func digest(parts ...string) [sha256.Size]byte {
	text, _ := json.Marshal(parts) // keeps the parts distinct
	return sha256.Sum256(text)
}

// failing is a body that fails with that error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, fmt.Errorf("read the body: %w", f.err) }
