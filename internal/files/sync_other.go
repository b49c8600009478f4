//go:build !unix

package files

import "os"

// SyncEntries does nothing: the system writes entries by itself.
func SyncEntries(*os.File) error { return nil }
