package main

import (
	"os"

	"github.com/counterfoil/counterfoil/internal/files"
)

// openInput opens a file that the command line names, and warns as doctor does.
func (p *program) openInput(path string, secret bool) (*os.File, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	for _, doubt := range files.DoubtsOf(files.Use{Path: path, Secret: secret}) {
		p.warn(doubt)
	}
	return f, nil
}
