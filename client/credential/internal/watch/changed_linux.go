package watch

import (
	"io/fs"
	"syscall"
	"time"
)

// changeTime is when the file was last changed in any way. Unlike the
// modification time it cannot be set back, as cp -p and rsync do.
func changeTime(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return time.Time{}
}
