package disktest

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// folder is a directory.
type folder struct {
	fusefs.Inode
	*disk
	mode    uint32
	kept    entries
	pending []func(entries)
}

// entries are those of a directory: folders and files.
type entries map[string]any

var (
	_ fusefs.NodeCreater   = (*folder)(nil)
	_ fusefs.NodeMkdirer   = (*folder)(nil)
	_ fusefs.NodeUnlinker  = (*folder)(nil)
	_ fusefs.NodeRmdirer   = (*folder)(nil)
	_ fusefs.NodeRenamer   = (*folder)(nil)
	_ fusefs.NodeFsyncer   = (*folder)(nil)
	_ fusefs.NodeGetattrer = (*folder)(nil)
	_ fusefs.NodeSetattrer = (*folder)(nil)
)

func (d *disk) newFolder(mode uint32) *folder {
	return &folder{disk: d, mode: mode & 0o7777, kept: entries{}}
}

// changed records a change of the entries.
func (f *folder) changed(c func(entries)) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	errno := f.change()
	if errno == 0 {
		f.pending = append(f.pending, c)
	}
	return errno
}

func (f *folder) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (
	*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno,
) {
	child := &file{disk: f.disk, mode: mode & 0o7777}
	if errno := f.changed(func(e entries) { e[name] = child }); errno != 0 {
		return nil, nil, 0, errno
	}
	child.attr(&out.Attr)
	return f.NewPersistentInode(ctx, child, fusefs.StableAttr{Mode: syscall.S_IFREG}), nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *folder) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	child := f.newFolder(mode)
	if errno := f.changed(func(e entries) { e[name] = child }); errno != 0 {
		return nil, errno
	}
	out.Mode = child.mode | syscall.S_IFDIR
	return f.NewPersistentInode(ctx, child, fusefs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

func (f *folder) Unlink(_ context.Context, name string) syscall.Errno {
	return f.changed(func(e entries) { delete(e, name) })
}

func (f *folder) Rmdir(_ context.Context, name string) syscall.Errno {
	if len(f.GetChild(name).Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return f.changed(func(e entries) { delete(e, name) })
}

// Rename supports only renaming within one directory, without flags.
func (f *folder) Rename(_ context.Context, from string, parent fusefs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if parent.EmbeddedInode() != f.EmbeddedInode() || flags != 0 {
		return syscall.EXDEV
	}
	child := f.GetChild(from).Operations()
	return f.changed(func(e entries) {
		delete(e, from)
		e[to] = child
	})
}

func (f *folder) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errno := f.change(); errno != 0 {
		return errno
	}
	f.keep(len(f.pending))
	return 0
}

// keep puts the first n changes on the disk.
func (f *folder) keep(n int) {
	for _, c := range f.pending[:n] {
		c(f.kept)
	}
	f.pending = slices.Delete(f.pending, 0, n)
}

// sync puts everything below the folder on the disk.
func (f *folder) sync() {
	f.keep(len(f.pending))
	for _, child := range f.kept {
		switch child := child.(type) {
		case *folder:
			child.sync()
		case *file:
			child.keep()
		}
	}
}

func (f *folder) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Mode = f.mode | syscall.S_IFDIR
	return 0
}

func (f *folder) Setattr(_ context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		f.mode = mode & 0o7777
	}
	out.Mode = f.mode | syscall.S_IFDIR
	return 0
}

// save writes the disk's content below the folder into a directory.
func (f *folder) save(by *fate, dir string) error {
	there := maps.Clone(f.kept)
	for _, c := range f.pending[:by.some(len(f.pending))] {
		c(there)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(there)) {
		path := filepath.Join(dir, name)
		switch child := there[name].(type) {
		case *folder:
			errs = append(errs, os.Mkdir(path, os.FileMode(child.mode)), child.save(by, path))
		case *file:
			errs = append(errs, os.WriteFile(path, child.survives(by), os.FileMode(child.mode)))
		}
	}
	return errors.Join(errs...)
}
