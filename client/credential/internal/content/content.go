// Package content makes a secret of what was found where a reference points, in
// the same way for each kind of reference. It is a foundation without promises
// to importers.
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

// Secret is text without the line's end that editors and echo leave behind it.
// It refuses what is empty or longer than MaxSecret.
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
		return Place{}, errors.New("it names no file: write PATH or PATH#KEY")
	case isEnv && key == "":
		return Place{}, errors.New("it names no line: write PATH#KEY, or PATH without # for the whole file")
	}
	return Place{Path: path, Key: key}, nil
}

// Secret is what b, the bytes of the file, holds there.
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
