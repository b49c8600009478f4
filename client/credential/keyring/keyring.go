// Package keyring gives secrets from the keyring of the operating system: the
// Secret Service of a Linux or BSD desktop (GNOME Keyring, KWallet), the
// Keychain of macOS, the Credential Manager of Windows. Use it for programs that
// people run; a service seldom has a keyring. It is the scheme "keyring" of
// credential.Open:
//
//	secret, err := credential.Open("keyring:acme/client-secret", credential.Schemes{"keyring": keyring.Opener(nil)})
//
// It promises that a keyring that hangs, because it is locked and asks somebody
// who is not there, costs a caller 3 s and one goroutine at most; that values are
// kept as by [credential.Keep]; and that no error holds a secret.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	library "github.com/zalando/go-keyring"
)

const (
	// limit bounds the wait for the keyring.
	limit = 3 * time.Second
	// maxName bounds a service's and an entry's name, in bytes.
	maxName = 512
)

// Opener opens SERVICE/NAME: the secret that the keyring has for the service and
// that name, which has what keyrings call account, user or username in it. The
// service ends at the first slash. In a Secret Service the entry is one of the
// login collection, or else of the default one, with the attributes service and
// username.
//
// A value is fresh for 30 s and then read again; while the keyring fails the last
// one serves for an hour. Clock is for tests; nil means the machine's.
func Opener(clock counterfoil.Clock) credential.Opener {
	turn := make(chan struct{}, 1)
	return func(reference string) (client.SecretFunc, error) {
		service, name, ok := strings.Cut(reference, "/")
		if !ok || !isName(service) || !isName(name) {
			return nil, errors.New("it names no entry: write keyring:SERVICE/NAME")
		}
		return credential.Keep(func(ctx context.Context) (counterfoil.Secret, error) {
			value, err := read(ctx, turn, service, name)
			if err != nil {
				return "", fmt.Errorf("secret keyring:%s: %w", reference, err)
			}
			return value, nil
		}, credential.KeepOptions{Limit: limit, Clock: clock}), nil
	}
}

func isName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// answer is what the library gave.
type answer struct {
	value string
	err   error
}

// read asks the library, which knows no context and may wait for somebody to
// unlock the keyring for ever. Whoever holds turn is asking; a question that was
// given up keeps it until it is answered, so that there is never a second one.
func read(ctx context.Context, turn chan struct{}, service, name string) (counterfoil.Secret, error) {
	silent := fmt.Errorf("the keyring gave no answer in %s: see whether it is locked, and asks for its password", limit)
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return "", silent
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-turn }()
		answers <- ask(service, name)
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return "", a.err
		}
		return content.Secret(a.value)
	case <-ctx.Done():
		return "", silent
	}
}

// ask says in its own words what is wrong: those of the library hold whatever
// some program on the bus answered.
func ask(service, name string) (a answer) {
	defer func() {
		if recover() != nil { // the library trusts the types of what it is answered
			a = answer{err: errors.New("what answers is no keyring: use file: or env: instead")}
		}
	}()
	if err := reachable(); err != nil {
		return answer{err: err}
	}
	value, err := library.Get(service, name)
	switch {
	case err == nil:
		return answer{value: value}
	case errors.Is(err, library.ErrNotFound):
		return answer{err: errors.New("there is no such entry: store the secret for this service and name")}
	case errors.Is(err, library.ErrUnsupportedPlatform):
		return answer{err: errNoKeyring}
	}
	return answer{err: inWords(err)}
}

var (
	errNoKeyring = errors.New("there is no keyring here: use file: or env: instead, or start one")
	errUnread    = errors.New("the keyring does not give it: see whether it is locked")
)
