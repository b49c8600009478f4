// Package secretscan finds secrets of a server's form where they do not belong: in
// the files below a directory, and in the history of the git repositories there. Use
// it for text of any origin and size: it reads everything once, keeps little of it,
// and runs nothing but git, without what a repository configures to be run.
package secretscan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

// Finding is a place with a secret.
type Finding struct {
	// Path is the file, in a tree as its caller named the tree, in a history as the
	// repository names it; empty for what is in no file.
	Path string
	// Repository is that of a history. Commit is the oldest of its commits with the
	// secret in that file, or whose message has it; Object is a git object that no
	// commit has, such as a tag.
	Repository, Commit, Object string
	// Line counts from 1; it is 0 in a message.
	Line   int
	Secret counterfoil.Secret
}

// MaxFindings is how many findings a Result has at most.
const MaxFindings = 10_000

// Result is what a scan found.
type Result struct {
	Findings []Finding
	// Unread are the files and histories that could not be read, and why.
	Unread []error
}

// errFull means that there are MaxFindings.
var errFull = fmt.Errorf("there are more than %d places: these are the first", MaxFindings)

// Scan scans a file, or a directory with everything below it and the history of each
// git repository there. It follows no links. The error is that of the path itself or
// of the context.
func Scan(ctx context.Context, path string) (*Result, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	r := new(Result)
	var repositories []string
	if isRepository(path) {
		repositories = append(repositories, path)
	}
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.Unread = append(r.Unread, err)
			return nil
		case entry.Name() == ".git":
			if !entry.Type().IsRegular() || !slices.Contains(repositories, directoryOf(name)) {
				repositories = append(repositories, filepath.Dir(name))
			}
		case entry.IsDir() && entry.Name() == "objects" && isRepository(filepath.Dir(name)):
			if dir := filepath.Dir(name); dir != path && filepath.Base(dir) != ".git" {
				repositories = append(repositories, dir) // a bare one, or that of a submodule
			}
			return fs.SkipDir // compressed: git reads them
		}
		if entry.Type().IsRegular() || name == path && !entry.IsDir() {
			return r.file(name)
		}
		return nil
	})
	for _, repository := range repositories {
		if err == nil {
			err = r.history(ctx, repository)
		}
	}
	if errors.Is(err, errFull) {
		r.Unread, err = append(r.Unread, err), nil
	}
	return r, err
}

// Read scans a text that is called name.
func Read(text io.Reader, name string) (*Result, error) {
	r := new(Result)
	err := r.read(text, Finding{Path: name})
	if errors.Is(err, errFull) {
		r.Unread, err = append(r.Unread, err), nil
	}
	return r, err
}

// file scans a file.
func (r *Result) file(name string) error {
	f, err := os.Open(name)
	if err == nil {
		defer f.Close()
		err = r.read(f, Finding{Path: name})
	}
	if err != nil && !errors.Is(err, errFull) {
		r.Unread, err = append(r.Unread, err), nil
	}
	return err
}

// read scans a text at a place.
func (r *Result) read(text io.Reader, at Finding) error {
	return cfsecret.Scan(text, func(s counterfoil.Secret, line int) error {
		at.Secret, at.Line = s, line
		return r.add(at)
	})
}

func (r *Result) add(f Finding) error {
	if len(r.Findings) >= MaxFindings {
		return errFull
	}
	r.Findings = append(r.Findings, f)
	return nil
}

// directoryOf returns the repository that a file .git of a working tree names; "" for
// none.
func directoryOf(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 4<<10))
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
	switch {
	case !ok:
		return ""
	case filepath.IsAbs(dir):
		return filepath.Clean(dir)
	}
	return filepath.Join(filepath.Dir(name), dir)
}

// isRepository reports whether a directory looks like that of a git repository: .git,
// or a bare one.
func isRepository(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}
