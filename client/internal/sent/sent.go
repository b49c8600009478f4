// Package sent detects text that cannot be sent as a client secret or an API
// key, so that it is refused with the reference that it came from, before a
// provider refuses it without a reason. Its API may change.
package sent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/counterfoil/counterfoil"
)

// Flaw returns why v cannot be sent, or nil.
func Flaw(v counterfoil.Secret) error {
	for _, r := range v.Reveal() {
		what := ""
		switch {
		case r == '\n' || r == '\r':
			what = "a line end inside"
		case r == 0:
			what = "a NUL character"
		case r == '\ufeff':
			what = "a byte order mark inside"
		case unicode.IsControl(r):
			what = fmt.Sprintf("a control character (%U)", r)
		default:
			continue
		}
		return fmt.Errorf("it has %s: write the secret alone, as one line of UTF-8", what)
	}
	return nil
}

// Doubtful reports whether Check should examine v.
func Doubtful(v counterfoil.Secret) bool { return Flaw(v) != nil || spaced(v) }

func spaced(v counterfoil.Secret) bool {
	return strings.HasPrefix(v.Reveal(), " ") || strings.HasSuffix(v.Reveal(), " ")
}

type asked struct{}

// Checked returns a context in which references Check their values.
func Checked(ctx context.Context) context.Context { return context.WithValue(ctx, asked{}, true) }

// Check returns why the value of a reference cannot be sent, if ctx is one of
// Checked. Bare says that the value is all of a text, where a trailing space is
// invisible.
func Check(ctx context.Context, reference string, v counterfoil.Secret, bare bool) error {
	if ctx.Value(asked{}) == nil {
		return nil
	}
	flaw := Flaw(v)
	if flaw == nil && bare && spaced(v) {
		flaw = errors.New("it begins or ends with a space: remove it, or quote it in an environment file")
	}
	if flaw != nil {
		return fmt.Errorf("secret %s: %w", reference, flaw)
	}
	return nil
}
