//go:build !linux

package main

// mayListen always returns true: the start finds out.
func mayListen(int) bool { return true }
