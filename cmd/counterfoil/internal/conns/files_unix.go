//go:build unix

package conns

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxFiles returns how many files the process may have open. Package os has
// raised the limit to what the process may raise it to.
func maxFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || uint64(limit.Cur) > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
