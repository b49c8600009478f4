package alerts

import (
	"fmt"
	"time"
)

// LaterError says that the receiver of an alert asked for time:
// another attempt should not be made before After has passed.
type LaterError struct {
	Err error
	// After is above 0 and at most an hour.
	After time.Duration
}

// Error is that of Err.
func (e *LaterError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *LaterError) Unwrap() error { return e.Err }

// MessageID identifies what is sent of an alert for receivers, who can drop what
// they have already: every attempt to send an alert with the same Count has the
// same one, and no other alert has, of whatever server.
func (a *Alert) MessageID() string {
	return fmt.Sprintf("alert-%d-%d-%d", a.ID, a.First.UnixMicro(), a.Count)
}
