//go:build !linux

package serveconfig

// mayListen always returns true: the start finds out.
func mayListen(int) bool { return true }
