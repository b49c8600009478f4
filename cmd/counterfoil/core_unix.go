//go:build unix

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// noCoreFiles keeps secrets and tokens in memory from being written to disk
// when the program crashes.
func noCoreFiles() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }

// closedOutput reports whether the program was started with its standard output
// closed. Go opens the null device in its place, for reading and writing.
func closedOutput() bool {
	flags, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_GETFL, 0)
	out, failed := os.Stdout.Stat()
	null, missing := os.Stat(os.DevNull)
	return err == nil && failed == nil && missing == nil && flags&unix.O_ACCMODE == unix.O_RDWR && os.SameFile(out, null)
}
