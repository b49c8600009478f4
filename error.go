package counterfoil

import (
	"fmt"
	"time"
)

// Error is a refusal or a failure, with a reason for programs and a message for
// people. Its text never contains a secret, a token or the body of a response.
type Error struct {
	// Reason tells what went wrong.
	Reason Reason
	// Message is one line for a person: what happened and, where it is known,
	// what to do next.
	Message string
	// Code is the error code that the other side sent (RFC 6749 section 5.2);
	// empty if it sent none.
	Code string
	// Description is the error_description that the other side sent (RFC 6749
	// section 5.2): at most 256 characters of printable ASCII. It is empty if the
	// other side sent none or something else, or repeated one of the request's
	// credentials.
	Description string
	// Status is the HTTP status of the answer; 0 if there was no answer.
	Status int
	// RetryAfter is how long to wait before the next attempt: as long as the
	// other side asked or, in an error that a client returns without having sent
	// a request, until it sends the next. 0 if the other side did not ask.
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
	// ClassTransient: the failure is temporary and the same request may succeed later.
	// The network failed, or the other side answered 408, 429 or 5xx.
	ClassTransient Class = "transient"
	// ClassRefused: the request was understood and will be refused again until a person
	// changes something, such as a secret or a scope.
	ClassRefused Class = "refused"
	// ClassProtocol: the other side does not follow the protocol. It answers with a web
	// page instead of a token, for example, or presents an invalid certificate.
	ClassProtocol Class = "protocol"
)

// Class returns the class of the error's reason.
func (e *Error) Class() Class {
	reason := e.Reason
	for reason.Parent() != "" {
		reason = reason.Parent()
	}
	switch reason {
	case ReasonUnavailable, ReasonRateLimited, ReasonServerError:
		return ClassTransient
	case ReasonBadResponse:
		return ClassProtocol
	}
	return ClassRefused
}
