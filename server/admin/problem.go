package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// The codes of problems that a program may branch on, besides those of wrong
// requests.
const (
	NotFound      = "not_found"      // 404: no such client, or nothing at the path
	NoSuchRealm   = "no_such_realm"  // 404
	AlreadyExists = "already_exists" // 409: the realm has a client of that ID
	Conflict      = "conflict"       // 409: changed by someone else at the same time
	Changed       = "changed"        // 412: not the version that was named
	// ExceedsOwn: 403, in the realm of the Admin API a client manages and gives
	// only what it has itself.
	ExceedsOwn = "exceeds_own"
	// 404: no open alert, and no silence, of that number.
	NoSuchAlert   = "no_such_alert"
	NoSuchSilence = "no_such_silence"
)

const (
	noSuchSecret = "no_such_secret"
	malformed    = "malformed_request"
	forbidden    = "insufficient_scope"
	wrongMethod  = "method_not_allowed"
	tooLarge     = "request_too_large"
	wrongMedia   = "unsupported_media_type"
	wrongValues  = "invalid"
	serverError  = "server_error"
	tooMany      = "too_many_streams"
)

var statuses = map[string]int{
	NotFound: http.StatusNotFound, noSuchSecret: http.StatusNotFound, NoSuchRealm: http.StatusNotFound,
	NoSuchAlert: http.StatusNotFound, NoSuchSilence: http.StatusNotFound,
	AlreadyExists: http.StatusConflict, Conflict: http.StatusConflict, Changed: http.StatusPreconditionFailed,
	malformed: http.StatusBadRequest, forbidden: http.StatusForbidden,
	ExceedsOwn:  http.StatusForbidden,
	wrongMethod: http.StatusMethodNotAllowed, tooLarge: http.StatusRequestEntityTooLarge, wrongMedia: http.StatusUnsupportedMediaType,
	wrongValues: http.StatusUnprocessableEntity, serverError: http.StatusInternalServerError, tooMany: http.StatusServiceUnavailable,
}

// Problem is an error that the caller is told about (RFC 9457).
type Problem struct {
	// Title is the phrase of the HTTP Status.
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is for programs.
	Code string `json:"code"`
	// Detail is one line: what is wrong and what to do.
	Detail string `json:"detail"`
	// Faults are the mistakes in the request.
	Faults []Fault `json:"errors,omitempty"`
}

// Fault is one mistake in a request.
type Fault struct {
	// Pointer is its place in the JSON of the request (RFC 6901).
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Error returns the faults, or the detail when there are none, in one line.
func (p *Problem) Error() string {
	if len(p.Faults) == 0 {
		return p.Detail
	}
	all := make([]string, len(p.Faults))
	for i, f := range p.Faults {
		all[i] = strings.TrimPrefix(f.Pointer, "/") + ": " + f.Detail
		if f.Pointer == "" {
			all[i] = f.Detail
		}
	}
	return strings.Join(all, "; ")
}

func problem(code string, format string, args ...any) *Problem {
	status := statuses[code]
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// invalid returns a problem with the contents of a request.
func invalid(code string, faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	p := problem(code, "the request has %d mistakes: see errors", len(faults))
	if len(faults) == 1 {
		p.Detail = "the request has a mistake: see errors"
	}
	p.Faults = faults
	return p
}

// of returns an error of package server as a problem; it returns other errors
// unchanged.
func of(err error, realm, id string, version int64) error {
	var known *Problem
	var wrong clients.Faults
	var excess *clients.Excess
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &excess):
		p := problem(ExceedsOwn, "in the realm of the Admin API itself, a client manages and gives only what it has itself: see errors")
		p.Faults = faultsOf(excess.Faults)
		if slices.ContainsFunc(p.Faults, func(f Fault) bool { return f.Pointer == "/scopes" }) {
			p.Code = forbidden
		}
		return p
	case errors.As(err, &wrong):
		return invalid(wrongValues, faultsOf(wrong))
	case errors.Is(err, store.ErrNotFound):
		return problem(NotFound, "the realm %s has no such client", realm)
	case errors.Is(err, store.ErrExists):
		return problem(AlreadyExists, "the realm %s has a client %s already", realm, id)
	case errors.Is(err, store.ErrConflict) && version != 0:
		return problem(Changed, "the client was changed by someone else in the meantime and has another version now")
	case errors.Is(err, store.ErrConflict):
		return problem(Conflict, "the client was changed by someone else at the same time: nothing was done")
	}
	return err
}

func faultsOf(all clients.Faults) []Fault {
	faults := make([]Fault, len(all))
	for i, f := range all {
		faults[i].Detail = f.Err.Error()
		if f.Member != "" {
			faults[i].Pointer = "/" + f.Member
		}
	}
	return faults
}
