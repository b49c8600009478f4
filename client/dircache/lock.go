package dircache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/gofrs/flock"
)

// locked is a key that this process holds, and the directory that its
// lock is in.
type locked struct {
	key  string
	root *os.Root
	file *flock.Flock
}

// lock waits for the lock of key until ctx ends.
func (d dir) lock(ctx context.Context, key string) (*locked, error) {
	// A wait inside the operating system cannot be canceled, so the lock is
	// polled.
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for ctx.Err() == nil {
		if l, err := d.tryLock(key); l != nil || err != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
	}
	return nil, fmt.Errorf("lock cached token: %w", context.Cause(ctx))
}

// tryLock returns nil if another process holds the lock of key. A lock counts
// only while its file is in the directory: a sweep removes it, and the path of
// the directory may lead elsewhere by then.
func (d dir) tryLock(key string) (*locked, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	name := key + ".lock"
	l := &locked{key, root, flock.New(filepath.Join(string(d), name), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))}
	ok, err := l.file.TryLock()
	if err == nil && ok {
		if ok, err = l.counts(name); err == nil && ok {
			return l, nil
		}
	}
	l.unlock()
	if err != nil {
		return nil, fmt.Errorf("lock cached token: %w", err)
	}
	return nil, nil
}

// counts reports whether the file that is locked is the one in the directory.
func (l *locked) counts(name string) (bool, error) {
	mine, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	there, err := l.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

func (l *locked) unlock() {
	_ = l.file.Close()
	_ = l.root.Close()
}

// write replaces the token.
func (l *locked) write(t counterfoil.Token) error {
	text, err := json.Marshal(stored{t.Value.Reveal(), t.Type, t.Scopes, t.Issued, t.Expires})
	if err != nil {
		return err
	}
	temp := l.key + ".tmp"
	if err := l.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // a killed process may have left one
		return fmt.Errorf("store token: %w", err)
	}
	f, err := l.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("store token: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = l.root.Rename(temp, l.key+".json")
	}
	if err == nil {
		err = syncEntries(l.root)
	}
	if err != nil {
		_ = l.root.Remove(temp)
		return fmt.Errorf("store token: %w", err)
	}
	return nil
}

// syncEntries flushes the entries of the directory to disk: after a power loss,
// what was replaced or removed before does not return.
func syncEntries(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(files.SyncEntries(f), f.Close())
}

// remove removes the files that may hold the token.
func (l *locked) remove() error {
	for _, ext := range []string{".json", ".tmp"} {
		if err := l.root.Remove(l.key + ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cached token: %w", err)
		}
	}
	return nil
}
