// Package files writes files so that a reader, or a crash, never meets half of
// one. It is a foundation without promises to importers.
package files

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path, or makes it, with the given permissions,
// whatever they were before. After Write returns, the content survives a crash;
// during it, readers see the old content or the new.
func Write(path string, content []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	err = func() error {
		defer tmp.Close()
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
	return syncDir(dir)
}

// syncDir makes a rename durable; not every system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}
