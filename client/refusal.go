package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/counterfoil/counterfoil"
)

const (
	// minPause and maxPause bound the wait after a failure, which doubles.
	minPause = time.Second
	maxPause = 60 * time.Second
	// maxOutage bounds it for transient failures while there is no token: calls
	// that fail meanwhile could succeed.
	maxOutage = 16 * time.Second
	// changesPerMinute bounds how often a refusal is forgotten because the
	// credentials have changed: credentials that differ each time they are read
	// must not cause a loop either.
	changesPerMinute = 5
)

// refusal is a remembered failure, so that a request that cannot succeed is not
// repeated at once.
type refusal struct {
	err         *counterfoil.Error
	until       time.Time
	pause       time.Duration
	credentials [32]byte
}

// remember keeps err for a time that doubles with each one in a row, or for as
// long as the provider asked. While an old token is valid, a transient failure
// is not kept: pause delays the next attempt.
func (s *Source) remember(err *counterfoil.Error, credentials [32]byte, serves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.refused
	if r.credentials != credentials {
		if s.changed.wait(s.cfg.Clock.Now()) == 0 {
			r.pause = 0
		}
		r.credentials = credentials
	}
	wait := err.RetryAfter
	switch {
	case err.Class() != counterfoil.Transient:
		r.pause = min(max(2*r.pause, minPause), maxPause)
		wait = max(wait, r.pause)
	case !serves:
		r.pause = min(max(2*r.pause, minPause), maxOutage)
		wait = max(wait, r.pause/2+rand.N(r.pause/2+1))
	}
	r.err, r.until = err, s.cfg.Clock.Now().Add(wait)
}

// remembered returns the failure that is still remembered for these credentials.
// It does not apply to other credentials, unless they have changed too often
// recently.
func (s *Source) remembered(credentials [32]byte) *counterfoil.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.refused
	left := r.until.Sub(s.cfg.Clock.Now())
	if r.err == nil || left <= 0 || r.credentials != credentials && s.changed.take(s.cfg.Clock.Now()) == 0 {
		return nil
	}
	err := *r.err
	err.RetryAfter = left
	err.Message = fmt.Sprintf("%s (remembered; next attempt in %s)", cmp.Or(err.Message, string(err.Reason)), left.Round(time.Millisecond))
	return &err
}

// forget clears the remembered failure: a token was issued.
func (s *Source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = refusal{}
}

// pause delays the next renewal after a failed one.
func (s *Source) pause(err error) {
	s.mu.Lock()
	pause := min(minPause<<min(s.failures, 10), maxPause)
	pause += rand.N(pause/2 + 1)
	s.failures++
	s.mu.Unlock()
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		pause = max(pause, e.RetryAfter)
	}
	if h := s.held.Load(); h != nil {
		next := s.cfg.Clock.Now().Add(pause)
		h.until.Store(&next)
	}
}

// stopped is failed for an error that prevented a request. Callers do not wait,
// so it emits at most one event a second.
func (s *Source) stopped(ctx context.Context, err *counterfoil.Error) error {
	now := s.cfg.Clock.Now()
	s.mu.Lock()
	told := now.Before(s.toldUntil) && s.told == err.Reason
	if !told {
		s.told, s.toldUntil = err.Reason, now.Add(minPause)
	}
	s.mu.Unlock()
	if told {
		return err
	}
	return s.failed(ctx, err)
}

// failed emits an event for err and returns it.
func (s *Source) failed(ctx context.Context, err *counterfoil.Error) error {
	kind := counterfoil.EventTokenFailed
	if err.Class() == counterfoil.Refused {
		kind = counterfoil.EventTokenRefused
	}
	s.event(ctx, counterfoil.Event{Type: kind, Reason: err.Reason, Status: err.Status, Detail: err.Error()})
	return err
}

// event passes e, as something that this Source has done now, to OnEvent.
func (s *Source) event(ctx context.Context, e counterfoil.Event) {
	if s.cfg.OnEvent == nil {
		return
	}
	switch e.Type {
	case counterfoil.EventTokenObtained, counterfoil.EventTokenRenewed:
		e.Success = true
	case counterfoil.EventTokenRequested:
		e.Success = e.Reason == ""
	}
	e.Time, e.Realm, e.ClientID = s.cfg.Clock.Now(), s.cfg.Provider.Name, s.cfg.ClientID
	e.Detail = e.Detail[:min(len(e.Detail), 512)]
	if caller, ok := ctx.Value(callerKey{}).(context.Context); ok {
		ctx = caller
	}
	s.cfg.OnEvent(ctx, e)
}
