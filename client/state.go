package client

import (
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

// state is what a Source knows of its tokens and of its failures. It is never
// changed: whoever has loaded it reads one moment, and a change is another state
// in its place.
type state struct {
	held *held // the token in use; nil for none
	// until is the time up to which held is used without any check: its renewal,
	// then the next attempt.
	until time.Time
	// seen is the counter of held's place when the token was taken from it, and
	// counted says that held's early end was counted.
	seen    uint64
	counted bool
	// rejected are the tokens that the API has rejected, the most recent first.
	rejected []counterfoil.Secret

	place  *place // where the next token is kept; nil until it is needed
	former *place // that of held, while place has no token yet

	refused  refusal
	failures int // renewals that failed in a row
	// told is why the last request was not sent. It is returned until toldUntil.
	told      counterfoil.Reason
	toldUntil time.Time
}

// fresh reports whether the token in use can be used without any check.
func (s *state) fresh(now time.Time) bool {
	h := s.held
	return h != nil && clocks.Before(now, s.until) && clocks.Before(now, h.ends) && s.seen == h.place.changes.Load()
}

// states is the one state of a Source.
type states struct{ last atomic.Pointer[state] }

// load returns the state, which is not to be changed.
func (s *states) load() *state { return s.last.Load() }

// change replaces the state by what f makes of a copy of it. f returns false to
// leave it; it may be called again when another change comes first, so it changes
// nothing else. change returns the state afterwards, and what f returned.
func (s *states) change(f func(*state) bool) (*state, bool) {
	for {
		before := s.last.Load()
		next := *before
		if !f(&next) {
			return before, false
		}
		if s.last.CompareAndSwap(before, &next) {
			return &next, true
		}
	}
}
