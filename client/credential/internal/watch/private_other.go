//go:build !unix

package watch

import "io/fs"

// othersWrite cannot be told from a mode here.
func othersWrite(fs.FileInfo) bool { return false }
