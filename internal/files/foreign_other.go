//go:build !unix

package files

import (
	"io/fs"
	"os"
)

// Foreign lets everything pass: on Windows a file takes the access list of the
// user's own profile, and the mode bits say nothing.
func Foreign(fs.FileInfo) error { return nil }

// Untrusted lets everything pass, as Foreign does.
func Untrusted(fs.FileInfo) error { return nil }

// Writable lets everything pass, as Foreign does.
func Writable(fs.FileInfo) error { return nil }

// Doubts has none, as Foreign does.
func Doubts(fs.FileInfo, bool) []string { return nil }

// Adopt does nothing: files belong to whoever the directory says.
func Adopt(*os.File, fs.FileInfo) error { return nil }

// Anothers is false, as Foreign lets everything pass.
func Anothers(fs.FileInfo) bool { return false }
