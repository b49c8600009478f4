package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/counterfoil/counterfoil/internal/files"
)

// openInput opens the FILE of a command line, with the same warnings as doctor.
func (c *console) openInput(path string, secret bool) (*os.File, error) {
	f, err := files.Open(path)
	if err != nil {
		if _, unopened := errors.AsType[*fs.PathError](err); unopened {
			err = withHint(fmt.Errorf("FILE: %w", err), "name a file, or - for standard input")
		}
		return nil, err
	}
	for _, doubt := range files.DoubtsOf(files.Use{Path: path, Secret: secret}) {
		c.warn(doubt)
	}
	return f, nil
}
