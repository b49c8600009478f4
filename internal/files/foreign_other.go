//go:build !unix

package files

import (
	"io/fs"
	"os"
)

// Foreign accepts every file: on Windows a file gets the access list of the user's
// own profile, and the mode bits mean nothing.
func Foreign(fs.FileInfo) error { return nil }

// Untrusted accepts every file, as Foreign does.
func Untrusted(fs.FileInfo) error { return nil }

// Writable accepts every file, as Foreign does.
func Writable(fs.FileInfo) error { return nil }

// Doubts returns nothing: Foreign accepts every file.
func Doubts(fs.FileInfo, bool) []string { return nil }

// Adopt does nothing: the directory determines the owner of a file.
func Adopt(*os.File, fs.FileInfo) error { return nil }

// Anothers returns false: Foreign accepts every file.
func Anothers(fs.FileInfo) bool { return false }
