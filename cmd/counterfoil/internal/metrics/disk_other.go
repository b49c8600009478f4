//go:build !linux && !darwin

package metrics

// freeSpace is known on Unix only.
func freeSpace(string) (bytes float64, ok bool) { return 0, false }
