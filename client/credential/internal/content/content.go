// Package content makes a secret of the content that a reference names, in the
// same way for each kind of reference. Its API may change.
package content

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
)

const (
	// MaxSecret bounds a secret, in bytes.
	MaxSecret = 64 << 10
	// MaxFile bounds a file that holds secrets, in bytes.
	MaxFile = 1 << 20
)

// Secret is text without the trailing line end that editors and echo add. It
// refuses text that is empty or longer than MaxSecret.
func Secret(text string) (counterfoil.Secret, error) {
	switch text = strings.TrimRight(text, "\r\n"); {
	case text == "":
		return "", errors.New("it is empty")
	case len(text) > MaxSecret:
		return "", fmt.Errorf("it is longer than %d bytes", MaxSecret)
	}
	return counterfoil.Secret(text), nil
}

// Place is where in the file system a secret is: a file, or a line of one.
type Place struct {
	Path string
	// Key names a line of an environment file; "" means the whole file.
	Key string
}

// ParsePlace reads PATH or PATH#KEY.
func ParsePlace(reference string) (Place, error) {
	path, key, isEnv := strings.Cut(reference, "#")
	switch {
	case path == "":
		return Place{}, errors.New("it does not name a file: write PATH or PATH#KEY")
	case isEnv && key == "":
		return Place{}, errors.New("it does not name a line: write PATH#KEY, or PATH without # for the whole file")
	}
	return Place{Path: path, Key: key}, nil
}

// Secret is the secret in b, the bytes of the file.
func (p Place) Secret(b []byte) (counterfoil.Secret, error) {
	if p.Key == "" {
		text, err := files.Text(b)
		if err != nil {
			return "", err
		}
		return Secret(string(text))
	}
	env, err := files.ParseEnv(bytes.NewReader(b), p.Path)
	if err != nil {
		return "", err
	}
	value, err := env.Lookup(p.Key)
	switch {
	case err != nil:
		return "", err
	case value == "":
		return "", fmt.Errorf("the file has no line %s=…", p.Key)
	}
	return Secret(value)
}
