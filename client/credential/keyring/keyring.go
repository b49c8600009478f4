// Package keyring gives secrets from the keyring of the operating system: the
// Secret Service of a Linux or BSD desktop (GNOME Keyring, KWallet), the
// Keychain of macOS, the Credential Manager of Windows. Use it for programs that
// people run; a service seldom has a keyring. It is the scheme "keyring" of
// credential.Open:
//
//	secret, err := credential.Open("keyring:acme/client-secret", credential.Schemes{"keyring": keyring.Opener(nil)})
//
// A keyring that hangs, because it is locked and prompts while nobody is there,
// costs a caller 3 s and at most one goroutine. Values are cached by
// [credential.Keep], and no error holds a secret.
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
// that name, which is what keyrings call account, user or username. The service
// ends at the first slash. In a Secret Service the entry is one of the login
// collection, or else of the default one, with the attributes service and
// username.
//
// A value is fresh for 30 s and then read again; while the keyring fails the
// last one is used for an hour. Clock is for tests; nil means the machine's.
func Opener(clock counterfoil.Clock) credential.Opener {
	turn := make(chan struct{}, 1)
	return func(reference string) (client.SecretFunc, error) {
		service, name, ok := strings.Cut(reference, "/")
		if !ok || !isName(service) || !isName(name) {
			return nil, errors.New("it does not name an entry: write keyring:SERVICE/NAME")
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

// answer is the result of the library.
type answer struct {
	value string
	err   error
}

// read calls the library, which takes no context and may wait forever for the
// keyring to be unlocked. The holder of turn is calling; an abandoned call keeps
// it until it returns, so that there is never a second one.
func read(ctx context.Context, turn chan struct{}, service, name string) (counterfoil.Secret, error) {
	silent := fmt.Errorf("the keyring gave no answer in %s: check whether it is locked and prompts for its password", limit)
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

// ask returns errors in its own words: those of the library hold whatever a
// program on the bus answered.
func ask(service, name string) (a answer) {
	defer func() {
		if recover() != nil { // the library trusts the types of its answers
			a = answer{err: errors.New("the service that answers is not a keyring: use file: or env: instead")}
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
	errUnread    = errors.New("the keyring does not return it: check whether it is locked")
)
