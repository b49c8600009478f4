//go:build !unix

package files

import "os"

// SyncEntries does nothing: the system itself writes the entries.
func SyncEntries(*os.File) error { return nil }
