package clientauth

import (
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Claim says who a request claims to be from, for its record: cleaned, and
// proven only in a Caller.
type Claim struct {
	ClientID, TokenID string
	// Method is how it authenticates; Credential is the ID of the secret, the kid
	// of the assertion or the SHA-256 thumbprint of the certificate.
	Method, Credential string
}

// Refusal says why a request is refused.
type Refusal struct {
	Claim
	Reason counterfoil.Reason
	// Detail is for the record: text of the server, never of the request.
	Detail string
	// Answer is the reason that the answer is shaped for; "" for Reason.
	Answer counterfoil.Reason
	// Header is the name of the offending header, for the answer.
	Header string
	// RetryAfter is how long the caller is told to wait; 0 for nothing.
	RetryAfter time.Duration
	// Err is the cause of a failure of the server's own, for the log.
	Err error
	// Proven is set when the client is authenticated all the same.
	Proven bool
	// Unrecorded is set when the store failed.
	Unrecorded bool
	// Again says that the request should be decided again.
	Again bool
}

// Refused returns a refusal with that reason and text for the record.
func Refused(reason counterfoil.Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail}
}

// StoreFailed returns the refusal for a failure of the store. It is not
// recorded: the store would most likely fail again, and the caller would wait
// twice.
func StoreFailed(op string, err error) *Refusal {
	return &Refusal{Reason: counterfoil.ReasonUnavailable, Detail: op, Err: fmt.Errorf("%s: %w", op, err), Unrecorded: true}
}
