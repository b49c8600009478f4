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
	// Description is the error_description as the other side wrote it (RFC 6749
	// section 5.2): at most 256 characters of printable ASCII, empty when it wrote
	// none, something else, or one of the request's credentials.
	Description string
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

// Class tells what to do about an [Error].
type Class string

const (
	// Transient: it may pass without anybody's doing, so the same request may be
	// repeated later. The network failed, or the other side answered 408, 429 or
	// 5xx.
	Transient Class = "transient"
	// Refused: the request was understood and will be refused again until someone
	// changes something, such as a secret or a scope.
	Refused Class = "refused"
	// Protocol: the other side does not speak what was expected, such as a web
	// page in the place of a token, or shows a certificate that is not good.
	Protocol Class = "protocol"
)

// Class returns the class of the error's reason.
func (e *Error) Class() Class {
	reason := e.Reason
	for reason.Parent() != "" {
		reason = reason.Parent()
	}
	switch reason {
	case Unavailable, RateLimited, ServerError:
		return Transient
	case BadResponse:
		return Protocol
	}
	return Refused
}
