package counterfoil

import (
	"fmt"
	"time"
)

// Error is a refusal or a failure with a reason for machines and words for
// people. Its text never holds a secret, a token or a response's body.
type Error struct {
	// Reason tells what went wrong.
	Reason Reason
	// Message is one line for a person: what happened and, where it is known,
	// what to do next.
	Message string
	// Code is the error code as the other side wrote it (RFC 6749 section 5.2),
	// empty when it wrote none.
	Code string
	// Status is the HTTP status that came with it; 0 when there was no answer.
	Status int
	// RetryAfter is how long the other side asked to wait; 0 when it did not.
	RetryAfter time.Duration
	// Err is the cause, for errors.Is and the log; never sent to a caller.
	Err error
}

// Error returns "message" or "message: cause".
func (e *Error) Error() string {
	msg := e.Message
	if msg == "" {
		msg = string(e.Reason)
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", msg, e.Err)
	}
	return msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
