//go:build !unix

package conns

import "math"

// maxFiles returns how many files the process may have open: this system does not
// limit them.
func maxFiles() int { return math.MaxInt32 }
