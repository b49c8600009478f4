package client

import (
	"context"
	"errors"
	"net"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/sent"
)

// secret reads one credential, that of a field of Config.
func (c *Config) secret(
	ctx context.Context, f SecretFunc, name, field string, missing counterfoil.Reason,
) (counterfoil.Secret, *counterfoil.Error) {
	v, err := f(ctx)
	switch {
	case err != nil:
		return "", c.unreadable(name, field, missing, err)
	case v == "":
		return "", &counterfoil.Error{
			Reason:  missing,
			Message: "the " + name + " is empty: check where " + c.field(field) + " reads it from",
		}
	}
	return v, nil
}

// sendable reads a credential that is sent unchanged.
func (c *Config) sendable(
	ctx context.Context, f SecretFunc, name, field string, missing counterfoil.Reason,
) (counterfoil.Secret, *counterfoil.Error) {
	v, failure := c.secret(ctx, f, name, field, missing)
	if failure != nil || !sent.Doubtful(v) {
		return v, failure
	}
	if _, err := f(sent.Checked(ctx)); err != nil {
		return "", c.unreadable(name, field, missing, err)
	}
	if err := sent.Flaw(v); err != nil {
		return "", c.unreadable(name, field, missing, err)
	}
	return v, nil
}

// unreadable makes the error for a credential that cannot be read: because its
// source is unavailable, which is transient, or because it needs attention.
func (c *Config) unreadable(name, field string, missing counterfoil.Reason, err error) *counterfoil.Error {
	told, ok := errors.AsType[*counterfoil.Error](err)
	_, network := errors.AsType[net.Error](err) // context.DeadlineExceeded too
	if ok && told.Class() == counterfoil.ClassTransient || network {
		missing = counterfoil.ReasonUnavailable
	}
	return &counterfoil.Error{
		Reason:  missing,
		Message: "the " + name + " cannot be read from where " + c.field(field) + " says",
		Err:     err,
	}
}
