// Package clocks compares times by the wall clock and by the monotonic one.
// Neither alone can be trusted: the wall clock may be set, forward or back, and
// the monotonic one stands still while the machine is suspended. Each function
// chooses the result by which nothing lasts longer than it should. Its API may
// change.
//
// A time that has no monotonic reading, because it comes from elsewhere, is
// compared by the wall clock alone.
package clocks

import "time"

// Left returns how long it is from now to end, by the clock that gives less.
func Left(now, end time.Time) time.Duration {
	return min(end.Sub(now), end.Round(0).Sub(now.Round(0)))
}

// Since returns how long ago then was, by the clock that gives more.
func Since(now, then time.Time) time.Duration { return -Left(now, then) }

// Before reports whether now is before end by both clocks.
func Before(now, end time.Time) bool {
	return now.Before(end) && now.Round(0).Before(end.Round(0))
}

// Within reports whether now is in the d that begin at then. Times without a
// monotonic reading are not, if the wall clock was set back before then.
func Within(now, then time.Time, d time.Duration) bool {
	past := Since(now, then)
	return past >= 0 && past < d
}

// Drift returns by how much the wall clock has gained on the monotonic one since
// then: it was set forward, or the machine was suspended. If negative, it was
// set back.
func Drift(now, then time.Time) time.Duration {
	return now.Round(0).Sub(then.Round(0)) - now.Sub(then)
}
