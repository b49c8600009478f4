package gqlhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// The codes that an error carries in extensions.code.
const (
	BadUserInput     = "BAD_USER_INPUT"
	Forbidden        = "FORBIDDEN"
	Internal         = "INTERNAL_SERVER_ERROR"
	TooComplex       = "QUERY_TOO_COMPLEX"
	ValidationFailed = errcode.ValidationFailed
)

// Error is an error that a resolver returns for the caller; every other error is
// internal.
type Error struct {
	// Code is the machine-readable code, sent as extensions.code.
	Code string
	// Message is one line for a person, with what is allowed.
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Invalid returns an Error about an argument, with the code BAD_USER_INPUT.
func Invalid(format string, args ...any) *Error {
	return &Error{BadUserInput, fmt.Sprintf(format, args...)}
}

// errorOnWire is gqlparser's error, whose JSON is that of the specification.
type errorOnWire = gqlerror.Error

func coded(code, format string, args ...any) *errorOnWire {
	return &errorOnWire{Message: fmt.Sprintf(format, args...), Extensions: map[string]any{"code": code}}
}

// errInternal is what a caller sees of an internal error.
var errInternal = &Error{Internal, "internal server error"}

// hideErrors wraps every resolver: errors that are not for the caller are
// logged.
func (h *Handler) hideErrors(ctx context.Context, next graphql.Resolver) (any, error) {
	res, err := next(ctx)
	var shown *Error
	if err == nil || errors.As(err, &shown) {
		return res, err
	}
	level := slog.LevelError
	if ctx.Err() != nil {
		level = slog.LevelDebug // the caller has disconnected
	}
	h.cfg.Log.Log(ctx, level, "graphql: a resolver failed", "path", graphql.GetPath(ctx).String(), "error", err)
	return nil, errInternal
}

// recovered logs a panic and returns the error for the caller.
func (h *Handler) recovered(ctx context.Context, v any) error {
	h.cfg.Log.ErrorContext(ctx, "graphql: panic", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return errInternal
}

// present sets the code of an error of the execution. Resolvers' errors have
// passed hideErrors; the others are arguments that do not match their type,
// which wrap a cause, and violations of the schema, which do not.
func present(ctx context.Context, err error) *gqlerror.Error {
	out := graphql.DefaultErrorPresenter(ctx, err)
	var shown *Error
	switch {
	case errors.As(err, &shown):
	case out.Err != nil:
		shown = Invalid("an argument does not fit its type: %v", out.Err)
	default:
		shown = errInternal
	}
	return &gqlerror.Error{
		Message: shown.Message, Path: out.Path, Locations: out.Locations,
		Extensions: map[string]any{"code": shown.Code},
	}
}

func isInternal(err *errorOnWire) bool { return err.Extensions["code"] == Internal }
