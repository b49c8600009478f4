package clock

import "time"

// maxSlew is what the wall clock may gain on the monotonic one between two
// readings without having been set.
const maxSlew = time.Second

// Steady follows the wall clock, except where that was set forward while it was
// watched: then it goes on by the monotonic clock, until the wall clock is back
// or has been ahead for long. It tells when something has certainly expired,
// because what a wrong clock deletes does not come back with the right one. The
// zero value is ready; it is not safe for concurrent use.
//
// A clock without a monotonic reading is taken at its word.
type Steady struct {
	// Patience is for how long the wall clock must have been ahead to be taken at
	// its word; 0 for ever.
	Patience time.Duration

	last  time.Time     // the latest reading that was passed to At
	lag   time.Duration // of the steady time behind the wall clock there
	ahead time.Time     // the reading since when there has been a lag
}

// At returns the steady time of a reading of the clock: now, or less. Readings
// may come in any order.
func (s *Steady) At(now time.Time) time.Time {
	if s.last.IsZero() {
		s.last = now
	}
	// What the wall clock has gained, negative when it was set back.
	gained := wall(now).Sub(wall(s.last)) - now.Sub(s.last)
	switch lag := s.lag + gained; {
	case s.lag == 0 && lag <= maxSlew, lag <= 0:
		s.lag, s.ahead = 0, time.Time{}
	case s.lag == 0:
		s.lag, s.ahead = lag, now
	default:
		s.lag = lag
	}
	s.last = now
	if s.lag > 0 && s.Patience > 0 && now.Sub(s.ahead) >= s.Patience {
		s.lag, s.ahead = 0, time.Time{}
	}
	return wall(now).Add(-s.lag)
}

// wall drops the monotonic reading.
func wall(t time.Time) time.Time { return t.Round(0) }
