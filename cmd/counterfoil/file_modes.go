package main

import (
	"os"
	"strings"

	"github.com/counterfoil/counterfoil/internal/files"
)

// fileUse is a file that a configuration names.
type fileUse struct {
	path string
	// secret says that what it holds is one.
	secret bool
}

// referred returns the files that references to secrets lead to.
func referred(dir string, references ...string) (uses []fileUse) {
	for _, reference := range references {
		scheme, path, _ := strings.Cut(reference, ":")
		path, _, _ = strings.Cut(path, "#")
		if path != "" && (scheme == "file" || scheme == "age") {
			uses = append(uses, fileUse{within(dir, path), scheme == "file"})
		}
	}
	return uses
}

// doubts are what an operator perhaps did not mean about the modes and owners of
// files. What cannot be looked at, or is refused, is said where it is read.
func doubts(uses ...fileUse) (all []string) {
	seen := map[string]bool{}
	for _, use := range uses {
		info, err := os.Stat(use.path)
		if err != nil || seen[use.path] || files.Writable(info) != nil {
			continue
		}
		seen[use.path] = true
		for _, doubt := range files.Doubts(info, use.secret) {
			all = append(all, use.path+": "+doubt)
		}
	}
	return all
}

// openInput opens a file that the command line names, and warns as doubts does.
func (p *program) openInput(path string, secret bool) (*os.File, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	for _, doubt := range doubts(fileUse{path, secret}) {
		p.warn(doubt)
	}
	return f, nil
}
