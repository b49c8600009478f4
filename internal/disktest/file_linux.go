package disktest

import (
	"context"
	"slices"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// sector is the size of what a disk writes entirely or not at all, in bytes.
const sector = 512

// file is a regular file: its content as programs see it, its content on the
// disk, and the changes between the two.
type file struct {
	fusefs.Inode
	*disk
	mode      uint32
	now, kept []byte
	pending   []change
}

// change is a write or, without data, a new size.
type change struct {
	at   int64
	data []byte
}

var (
	_ fusefs.NodeOpener    = (*file)(nil)
	_ fusefs.NodeReader    = (*file)(nil)
	_ fusefs.NodeWriter    = (*file)(nil)
	_ fusefs.NodeFsyncer   = (*file)(nil)
	_ fusefs.NodeFlusher   = (*file)(nil)
	_ fusefs.NodeGetattrer = (*file)(nil)
	_ fusefs.NodeSetattrer = (*file)(nil)
)

// apply makes the change to a content.
func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, int(c.at))
	}
	b = resize(b, max(len(b), int(c.at)+len(c.data)))
	copy(b[c.at:], c.data)
	return b
}

// resize cuts a content or adds zeros to it.
func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	before := len(b)
	b = slices.Grow(b, size-before)[:size]
	clear(b[before:])
	return b
}

func (f *file) changed(c change) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	errno := f.change()
	if errno == 0 {
		f.now = c.apply(f.now)
		f.pending = append(f.pending, c)
	}
	return errno
}

func (f *file) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *file) Read(_ context.Context, _ fusefs.FileHandle, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	if at < int64(len(f.now)) {
		n = copy(into, f.now[at:])
	}
	return fuse.ReadResultData(into[:n]), 0
}

func (f *file) Write(_ context.Context, _ fusefs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	return uint32(len(data)), f.changed(change{at, append([]byte{}, data...)})
}

// Fsync is fsync and fdatasync.
func (f *file) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errno := f.change(); errno != 0 {
		return errno
	}
	f.keep()
	return 0
}

// keep puts all changes on the disk.
func (f *file) keep() {
	for _, c := range f.pending {
		f.kept = c.apply(f.kept)
	}
	f.pending = nil
}

// Flush is what close does.
func (f *file) Flush(context.Context, fusefs.FileHandle) syscall.Errno { return 0 }

func (f *file) attr(out *fuse.Attr) {
	out.Mode, out.Size = f.mode|syscall.S_IFREG, uint64(len(f.now))
}

func (f *file) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attr(&out.Attr)
	return 0
}

func (f *file) Setattr(_ context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := f.changed(change{at: int64(size)}); errno != 0 {
			return errno
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		f.mode = mode & 0o7777
	}
	f.attr(&out.Attr)
	return 0
}

// survives returns the content after a loss of power: the synced content and, of
// the changes since, none, all, the first ones, or any of their sectors.
func (f *file) survives(by *fate) []byte {
	b := slices.Clone(f.kept)
	if by.seed > 1 && by.IntN(2) == 0 {
		for _, c := range f.pending {
			for _, part := range c.sectors() {
				if by.IntN(2) == 0 {
					b = part.apply(b)
				}
			}
		}
		return b
	}
	n := by.some(len(f.pending))
	for _, c := range f.pending[:n] {
		b = c.apply(b)
	}
	return b
}

// sectors returns the parts of a change that a disk writes atomically.
func (c change) sectors() (parts []change) {
	if c.data == nil {
		return []change{c}
	}
	for at, data := c.at, c.data; len(data) > 0; {
		n := min(len(data), int(sector-at%sector))
		parts = append(parts, change{at, data[:n]})
		at, data = at+int64(n), data[n:]
	}
	return parts
}
