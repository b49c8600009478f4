package client

import (
	"context"
	"errors"
	"io/fs"
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
	advice := fileAdvice(err)
	if ok && told.Class() == counterfoil.ClassTransient || network && advice == "" {
		missing = counterfoil.ReasonUnavailable
	}
	return &counterfoil.Error{
		Reason:  missing,
		Message: "the " + name + " cannot be read from where " + c.field(field) + " says" + advice,
		Err:     err,
	}
}

// fileAdvice says what to do about a file that does not exist or must not be
// read; "" about any other error. As errors of the operating system both also
// implement net.Error.
func fileAdvice(err error) string {
	_, file := errors.AsType[*fs.PathError](err)
	_, socket := errors.AsType[*net.OpError](err)
	switch {
	case !file || socket:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return ", because there is no such file: create it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return ", because this user must not read the file: change its owner or mode"
	}
	return ""
}
