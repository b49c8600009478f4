package limits

import "sync/atomic"

// file is where a Limiter keeps its state.
type file struct{ dirty atomic.Bool }

func (f *file) changed() { f.dirty.Store(true) }
