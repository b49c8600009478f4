// Package credential gives a client its secrets by reference, so that no
// configuration, command line or image holds one. Use it for the SecretFunc
// fields of a client.Config: [Open] reads "env:NAME" and "file:PATH", packages
// below this one add keyrings, encrypted files, programs and secret managers, and
// [Keep] holds what is slow to get. Package resolver below it opens all that the
// command line does.
//
// It promises:
//
//   - A secret that was rotated at its source is used without a restart: a file's
//     at the next read, a cached one within 30 s.
//   - A transient failure of a source stops nothing: the last value is used for a
//     bounded time, and the source is not overloaded.
//   - No error holds a secret or an invalid reference, which may be the secret
//     itself.
//   - A value that cannot be sent, because it has a control character or a byte
//     order mark, is refused before it is sent, with its reference.
//   - Nothing runs in the background, so there is nothing to close.
package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	"github.com/counterfoil/counterfoil/client/internal/sent"
	"github.com/counterfoil/counterfoil/internal/files"
)

// Opener opens the part of a reference after its scheme: the PATH of
// "file:PATH". It refuses text that cannot be a reference of its kind; whether
// the secret exists is known when the SecretFunc is called. Its errors contain
// no secret.
type Opener func(reference string) (client.SecretFunc, error)

// Schemes are Openers by their scheme, without the colon.
type Schemes map[string]Opener

// builtIn are the schemes without dependencies.
var builtIn = Schemes{"env": Env(nil), "file": Files{}.Open}

// forms are the reference forms that need more than their scheme to explain.
var forms = map[string]string{"env": "env:NAME", "file": "file:PATH, file:PATH#KEY (a line of an environment file)"}

// Open opens a reference SCHEME:REST. The schemes env and file are always
// available ([Env], [Files]); more adds others, or replaces these. An unknown
// scheme is refused with a list of the known ones. The error does not show the
// reference.
func Open(reference string, more Schemes) (client.SecretFunc, error) {
	scheme, rest, ok := strings.Cut(reference, ":")
	if !ok {
		return nil, unknown(more)
	}
	open, ok := more[scheme]
	if !ok {
		open, ok = builtIn[scheme]
	}
	switch {
	case !ok:
		return nil, unknown(more)
	case open == nil:
		return nil, fmt.Errorf("credential: the opener of %s is nil: give Schemes a function", scheme)
	}
	f, err := open(rest)
	if err != nil {
		return nil, fmt.Errorf("credential: a reference to %s is wrong: %w", scheme, err)
	}
	_, _, line := strings.Cut(rest, "#")
	bare := slices.Contains(texts, scheme) && !line
	return func(ctx context.Context) (counterfoil.Secret, error) {
		v, err := f(ctx)
		if err == nil {
			err = sent.Check(ctx, reference, v, bare)
		}
		return v, err
	}, nil
}

// texts are the schemes whose content is one secret, unless a line is named.
var texts = []string{"file", "age", "stdin"}

func unknown(more Schemes) error {
	all := maps.Clone(builtIn)
	maps.Copy(all, more)
	known := slices.Sorted(maps.Keys(all))
	for i, scheme := range known {
		known[i] = scheme + ":…"
		if form, ok := forms[scheme]; ok {
			known[i] = form
		}
	}
	return fmt.Errorf("credential: a secret is given by reference, not written out: use %s", strings.Join(known, ", "))
}

// Env opens names of environment variables, read by getenv at each call; nil
// means os.Getenv. An empty variable counts as not set; trailing line ends are
// removed.
func Env(getenv func(string) string) Opener {
	if getenv == nil {
		getenv = os.Getenv
	}
	return func(name string) (client.SecretFunc, error) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, errors.New("it does not name an environment variable: write env:NAME")
		}
		return func(context.Context) (counterfoil.Secret, error) {
			value := getenv(name)
			if value == "" {
				return "", fmt.Errorf("secret env:%s: the environment variable is not set", name)
			}
			v, err := content.Secret(value)
			if err != nil {
				err = fmt.Errorf("secret env:%s: %w", name, err)
			}
			return v, err
		}, nil
	}
}

// Stdin opens standard input, or in: all of it, read at the first call and kept.
// Only one reference can name it, because it can be read once.
func Stdin(in io.Reader) Opener {
	taken := false
	return func(rest string) (client.SecretFunc, error) {
		if rest != "" {
			return nil, errors.New("nothing may follow the scheme stdin")
		}
		if taken {
			return nil, errors.New("standard input can be read once, and another reference reads it: use another source for one of them")
		}
		taken = true
		get := sync.OnceValues(func() (counterfoil.Secret, error) {
			b, err := io.ReadAll(io.LimitReader(in, content.MaxFile))
			if err == nil {
				b, err = files.Text(b)
			}
			var v counterfoil.Secret
			if err == nil {
				v, err = content.Secret(string(b))
			}
			if err != nil {
				err = fmt.Errorf("secret stdin:: %w", err)
			}
			return v, err
		})
		return func(context.Context) (counterfoil.Secret, error) { return get() }, nil
	}
}

// Prompt opens questions to a person, which are asked once: the answer is kept.
// Ask asks the question, which may be empty, and must not echo the answer.
func Prompt(ask func(ctx context.Context, question string) (string, error)) Opener {
	return func(question string) (client.SecretFunc, error) {
		turn := make(chan struct{}, 1) // not a mutex: waiting ends with a context
		var kept counterfoil.Secret
		return func(ctx context.Context) (counterfoil.Secret, error) {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return "", fmt.Errorf("secret prompt:%s: gave up waiting: %w", question, context.Cause(ctx))
			}
			if kept != "" {
				return kept, nil
			}
			answer, err := ask(ctx, question)
			var v counterfoil.Secret
			if err == nil {
				v, err = content.Secret(answer)
			}
			if err != nil {
				return "", fmt.Errorf("secret prompt:%s: %w", question, err)
			}
			kept = v
			return v, nil
		}, nil
	}
}
