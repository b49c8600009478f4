// Package resolver opens every kind of reference to a secret that needs no cloud
// library: env, file, stdin, prompt, keyring, age and exec. Use it where a user
// writes the references, as in a configuration; the command line does. A program
// that writes its own uses the packages that it needs, with [credential.Open].
//
// It has the properties of package credential, and no reference runs a program
// unless the caller allows it for its place.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/agefile"
	"github.com/counterfoil/counterfoil/client/credential/command"
	"github.com/counterfoil/counterfoil/client/credential/keyring"
	"github.com/counterfoil/counterfoil/internal/files"
)

// Config says what references may use.
type Config struct {
	// Dir is the base of relative paths, and where programs run; default the
	// working directory.
	Dir string
	// Loose accepts files as [credential.Files] says.
	Loose bool
	// Getenv reads the environment; default os.Getenv.
	Getenv func(string) string
	// Stdin is what stdin: reads; nil refuses it.
	Stdin io.Reader
	// Prompt asks a person; nil if that is not possible.
	Prompt func(ctx context.Context, question string) (string, error)
	// AgeIdentity refers to the identity, or the passphrase, that age: files are
	// decrypted with; empty refuses age:.
	AgeIdentity string
	// Exec returns nil if the references may run programs (exec:), or why not; a
	// nil Exec refuses. [MayExec] checks a configuration file.
	Exec func() error
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// MayExec returns why references of a configuration file may not run programs:
// users other than root and this user own it or can write it.
func MayExec(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("exec: is accepted only in a regular file")
	}
	if err := files.Foreign(info); err != nil {
		return fmt.Errorf("exec: is accepted only in a file that root or you own and nobody else can write: %w", err)
	}
	return nil
}

// New returns a resolver. It is safe for concurrent use after its references are
// opened.
func New(c Config) func(reference string) (client.SecretFunc, error) {
	files := credential.Files{Dir: c.Dir, Loose: c.Loose, Clock: c.Clock}
	schemes := credential.Schemes{
		"env": credential.Env(c.Getenv), "file": files.Open, "keyring": keyring.Opener(c.Clock),
		"stdin":  refused("stdin: there is no input here"),
		"prompt": absent("there is no terminal to prompt at: use another kind of reference"),
		"age":    refused("age: files need an identity: set age_identity to a reference to it"),
		"exec":   c.exec,
	}
	if c.Stdin != nil {
		schemes["stdin"] = credential.Stdin(c.Stdin)
	}
	if c.Prompt != nil {
		schemes["prompt"] = credential.Prompt(c.Prompt)
	}
	if c.AgeIdentity != "" {
		schemes["age"] = func(reference string) (client.SecretFunc, error) {
			without := credential.Schemes{}
			for scheme, open := range schemes {
				without[scheme] = open
			}
			without["age"] = refused("the identity of age: files cannot be in one")
			identity, err := credential.Open(c.AgeIdentity, without)
			if err != nil {
				return nil, fmt.Errorf("age_identity: %w", &unprefixed{err})
			}
			return agefile.OpenerIn(files, identity)(reference)
		}
	}
	return func(reference string) (client.SecretFunc, error) {
		if scheme, _, ok := strings.Cut(reference, ":"); !ok || schemes[scheme] == nil {
			return nil, fmt.Errorf("a secret is given by reference, not written out: use %s", strings.Join(c.forms(), ", "))
		}
		f, err := credential.Open(reference, schemes)
		if err != nil {
			return nil, &unprefixed{err}
		}
		return f, nil
	}
}

// forms are the references that can be used.
func (c Config) forms() []string {
	all := []string{
		"env:NAME", "file:PATH", "file:PATH#KEY (a line of an environment file)", "keyring:SERVICE/NAME",
		"age:PATH or age:PATH#KEY (with age_identity)",
	}
	if c.Stdin != nil {
		all = append(all, "stdin:")
	}
	if c.Prompt != nil {
		all = append(all, "prompt:QUESTION")
	}
	if c.Exec != nil {
		all = append(all, "exec:PROGRAM ARGUMENT…")
	}
	return all
}

// unprefixed is an error without the name of a package, for the author of a
// reference.
type unprefixed struct{ error }

func (e *unprefixed) Error() string { return strings.TrimPrefix(e.error.Error(), "credential: ") }
func (e *unprefixed) Unwrap() error { return e.error }

func (c Config) exec(reference string) (client.SecretFunc, error) {
	err := errors.New("exec: is accepted only in a client configuration")
	if c.Exec != nil {
		err = c.Exec()
	}
	if err != nil {
		return nil, err
	}
	return command.Opener(command.Config{Dir: c.Dir, Clock: c.Clock})(reference)
}

// refused opens nothing.
func refused(why string) credential.Opener {
	return func(string) (client.SecretFunc, error) { return nil, errors.New(why) }
}

// absent opens a secret that never exists.
func absent(why string) credential.Opener {
	return func(string) (client.SecretFunc, error) {
		return func(context.Context) (counterfoil.Secret, error) { return "", errors.New(why) }, nil
	}
}
