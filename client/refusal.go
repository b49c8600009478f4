package client

import (
	"cmp"
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
)

// refusal is a remembered failure, so that a request that cannot succeed is not
// repeated at once.
type refusal struct {
	err         *counterfoil.Error
	until       time.Time
	pause       time.Duration
	credentials [32]byte
}

// after returns r after another failure at now, to be remembered for a time that
// doubles with each one in a row, or for as long as the provider asked. fresh says
// that other credentials begin anew. While an old token serves, a transient
// failure is not kept: pauseAfter delays the next attempt.
func (r refusal) after(err *counterfoil.Error, credentials [32]byte, now time.Time, fresh, serves bool) refusal {
	if r.credentials != credentials && fresh {
		r.pause = 0
	}
	wait := err.RetryAfter
	switch {
	case err.Class() != counterfoil.ClassTransient:
		r.pause = min(max(2*r.pause, minPause), maxPause)
		wait = max(wait, r.pause)
	case !serves:
		r.pause = min(max(2*r.pause, minPause), maxOutage)
		wait = max(wait, r.pause/2+rand.N(r.pause/2+1))
	}
	return refusal{err: err, until: now.Add(wait), pause: r.pause, credentials: credentials}
}

// repeated returns the error of r while it is remembered, left longer.
func (r refusal) repeated(left time.Duration) *counterfoil.Error {
	err := *r.err
	err.RetryAfter = left
	err.Message = fmt.Sprintf("%s (remembered; next attempt in %s)", cmp.Or(err.Message, string(err.Reason)), left.Round(time.Millisecond))
	return &err
}

// pauseAfter returns how long to wait after a renewal that failed with err, after
// as many others.
func pauseAfter(err error, failures int) time.Duration {
	pause := min(minPause<<min(failures, 10), maxPause)
	pause += rand.N(pause/2 + 1)
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		pause = max(pause, e.RetryAfter)
	}
	return pause
}
