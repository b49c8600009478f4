package clock

import "time"

// maxSlew is what the wall clock may gain on the monotonic one between two
// readings without having been set.
const maxSlew = time.Second

// Steady follows the wall clock, unless it sees that clock set forward: then it
// follows the monotonic clock until the wall clock is set back, or has been ahead
// for Patience. Use it to decide that something has expired and can be deleted,
// which a later correction of the clock cannot undo. The zero value is ready; it is
// not safe for concurrent use.
//
// A clock without a monotonic reading is followed as it is.
type Steady struct {
	// Patience is how long the wall clock must have been ahead to be followed
	// again; 0 means that it never is until it is set back.
	Patience time.Duration

	last  time.Time     // the latest reading that was passed to At
	lag   time.Duration // by how much the steady time was behind the wall clock then
	ahead time.Time     // the reading at which the lag began
}

// At returns the steady time of a reading of the clock: now, or less. Readings
// may come in any order.
func (s *Steady) At(now time.Time) time.Time {
	if s.last.IsZero() {
		s.last = now
	}
	// What the wall clock has gained; negative if it was set back.
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
