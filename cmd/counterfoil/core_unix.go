//go:build unix

package main

import "syscall"

// noCoreFiles keeps secrets and tokens in memory from being written to disk
// when the program crashes.
func noCoreFiles() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
