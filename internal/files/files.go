// Package files writes files so that neither a reader nor a crash ever finds half
// of one. It is internal and makes no compatibility promise.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Write replaces or creates the file at path, with the given permissions, whatever
// they were before. If root writes it, it belongs to the owner of the old file, or
// of the directory. After Write returns, the content survives a crash and a loss of
// power; until then, readers see the old content or the new.
func Write(path string, content []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	err = func() error {
		defer tmp.Close()
		like, err := os.Lstat(path)
		if err != nil || !like.Mode().IsRegular() {
			if like, err = os.Stat(dir); err != nil {
				return err
			}
		}
		if err := Adopt(tmp, like); err != nil {
			return err
		}
		if err := tmp.Chmod(perm); err != nil {
			return err
		}
		if _, err := tmp.Write(content); err != nil {
			return err
		}
		if err := tmp.Sync(); err != nil {
			return err
		}
		return tmp.Close()
	}()
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Open opens a file of a configuration; it refuses one that everyone can write.
func Open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = Writable(info)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Read reads a file of a configuration, of at most limit bytes, as Text. It refuses
// one that everyone can write.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	if b, err = Text(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// MkdirAll is os.MkdirAll, but the directories that it makes survive a crash.
func MkdirAll(path string, perm os.FileMode) error { return mkdirAll(path, perm, false) }

// MkdirAllFor is MkdirAll, but directories that root makes belong to the owner of
// their parent directory.
func MkdirAllFor(path string, perm os.FileMode) error { return mkdirAll(path, perm, true) }

func mkdirAll(path string, perm os.FileMode, adopt bool) error {
	var made []string
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := os.MkdirAll(path, perm); err != nil {
		return err
	}
	for _, dir := range slices.Backward(made) {
		if !adopt {
			break
		}
		if err := adoptDir(dir); err != nil {
			return err
		}
	}
	for _, dir := range made {
		if err := SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

func adoptDir(path string) error {
	like, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return Adopt(d, like)
}

// SyncDir puts the entries of a directory on the disk: the sync of a file does not
// include its name.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return SyncEntries(d)
}
