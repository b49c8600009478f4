//go:build !linux

package disktest

// Main does nothing: a Disk needs Linux.
func Main() {}
