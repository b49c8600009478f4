package files

import (
	"os"
	"path/filepath"
	"strings"
)

// Use is a file that a configuration names.
type Use struct {
	Path string
	// Secret says that what it holds is one.
	Secret bool
}

// Referred returns the files that references to secrets lead to, relative to dir.
func Referred(dir string, references ...string) (uses []Use) {
	for _, reference := range references {
		scheme, path, _ := strings.Cut(reference, ":")
		path, _, _ = strings.Cut(path, "#")
		if path == "" || scheme != "file" && scheme != "age" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		uses = append(uses, Use{Path: path, Secret: scheme == "file"})
	}
	return uses
}

// DoubtsOf are what an operator perhaps did not mean about the modes and owners of
// files. What cannot be looked at, or is refused, is said where it is read.
func DoubtsOf(uses ...Use) (all []string) {
	seen := map[string]bool{}
	for _, use := range uses {
		info, err := os.Stat(use.Path)
		if err != nil || seen[use.Path] || Writable(info) != nil {
			continue
		}
		seen[use.Path] = true
		for _, doubt := range Doubts(info, use.Secret) {
			all = append(all, use.Path+": "+doubt)
		}
	}
	return all
}
