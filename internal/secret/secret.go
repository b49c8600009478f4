// Package secret fetches secrets by reference, so that configurations and
// command lines never hold one. It is a foundation without promises to
// importers.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// Forms describes the references that Source understands, for error messages.
const Forms = "env:NAME, file:PATH, file:PATH#KEY (a line of an environment file), stdin: or prompt:QUESTION"

// errNoReference does not show what was given: it may be the secret itself.
var errNoReference = errors.New("a secret is given by reference, not written out: use " + Forms)

// Source fetches secrets.
type Source struct {
	// Dir is what relative paths are relative to.
	Dir string
	// Getenv reads the environment.
	Getenv func(string) string
	// Stdin is read whole by "stdin:".
	Stdin io.Reader
	// Prompt asks a person, without echo; nil where there is none to ask.
	Prompt func(question string) (string, error)
}

// Get fetches the secret that ref names. The error names the reference, never
// what was found there.
func (s Source) Get(ref string) (counterfoil.Secret, error) {
	kind, rest, ok := strings.Cut(ref, ":")
	if !ok {
		return "", errNoReference
	}
	var value string
	var err error
	switch kind {
	case "env":
		if value = s.Getenv(rest); value == "" {
			err = errors.New("the environment variable is not set")
		}
	case "file":
		value, err = s.file(rest)
	case "stdin":
		var b []byte
		b, err = io.ReadAll(io.LimitReader(s.Stdin, maxSecret+1))
		value = strings.TrimRight(string(b), "\r\n")
	case "prompt":
		if s.Prompt == nil {
			return "", errors.New("prompt: there is no terminal to ask at: use " + Forms)
		}
		value, err = s.Prompt(rest)
	default:
		return "", errNoReference
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("secret %s: %w", ref, err)
	case value == "":
		return "", fmt.Errorf("secret %s: it is empty", ref)
	case len(value) > maxSecret:
		return "", fmt.Errorf("secret %s: it is longer than %d bytes", ref, maxSecret)
	}
	return counterfoil.Secret(value), nil
}

func (s Source) file(ref string) (string, error) {
	path, key, isEnv := strings.Cut(ref, "#")
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	if isEnv {
		env, err := files.ReadEnv(path)
		if err != nil {
			return "", err
		}
		value, err := env.Lookup(key)
		if err == nil && value == "" {
			err = fmt.Errorf("the file has no line %s=…", key)
		}
		return value, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	return strings.TrimRight(string(b), "\r\n"), err
}
