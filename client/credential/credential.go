// Package credential gives a client its secrets by reference, so that no
// configuration, command line or image holds one. Use it for the SecretFunc
// fields of a client.Config: [Open] reads "env:NAME" and "file:PATH", packages
// beside this one add keyrings, encrypted files and secret managers, and [Keep]
// holds what is slow to get.
//
// It promises:
//
//   - A secret that was rotated at its source is used without a restart: a file's
//     at the next ask, one that is kept within 30 s.
//   - A source that fails for a while takes nothing down: the last value serves,
//     for a bounded time, and the source is not hammered.
//   - No error holds a secret, nor a reference that is none: somebody may have
//     written out the secret itself.
//   - Nothing runs in the background, so there is nothing to close.
package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/secret"
)

// Opener opens what stands behind the scheme of a reference: the PATH of
// "file:PATH". It refuses what cannot be a reference of its kind; whether there
// is a secret is seen when the SecretFunc is asked. Its errors name no secret.
type Opener func(reference string) (client.SecretFunc, error)

// Schemes are Openers by the scheme that they serve, without the colon.
type Schemes map[string]Opener

// builtIn are the schemes that need nothing.
var builtIn = Schemes{"env": Env(nil), "file": Files{}.Open}

// forms are how references look that need more than their scheme to be told.
var forms = map[string]string{"env": "env:NAME", "file": "file:PATH, file:PATH#KEY (a line of an environment file)"}

// Open opens a reference SCHEME:REST. The schemes env and file are there always
// ([Env], [Files]); more adds others, or replaces these. An unknown scheme is
// refused with a list of those known, and without showing what was given.
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
	return f, nil
}

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

// Env opens names of environment variables, read by getenv at each ask; nil
// means os.Getenv. A variable that is empty counts as not set.
func Env(getenv func(string) string) Opener {
	return func(name string) (client.SecretFunc, error) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, errors.New("it names no environment variable: write env:NAME")
		}
		source := secret.Source{Getenv: getenv}
		if getenv == nil {
			source.Getenv = os.Getenv
		}
		return func(context.Context) (counterfoil.Secret, error) { return source.Get("env:" + name) }, nil
	}
}
