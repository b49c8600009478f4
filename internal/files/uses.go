package files

import (
	"os"
	"path/filepath"
	"strings"
)

// Use is a file that a configuration names.
type Use struct {
	Path string
	// Secret says that the file holds a secret.
	Secret bool
}

// Referred returns the files that references to secrets name, relative to dir.
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

// DoubtsOf returns the Doubts about several files. It skips those that do not
// exist or are refused: reading them reports that.
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
