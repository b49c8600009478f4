package trail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
)

// File is a Sink that appends events to a file, one JSON object a line (see
// counterfoil.Event), and syncs it to the disk. A file that was moved away or
// removed, as logrotate does, is made anew. Several processes may append to one
// file. It is safe for concurrent use.
type File struct {
	path string

	mu   sync.Mutex
	file *os.File
	// partial says that the last write ended within a line.
	partial bool
}

// Open opens a file, or makes it with mode 0600.
func Open(path string) (*File, error) {
	f := &File{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the record of decisions: %w", err)
	}
	// A program that was killed may have left a part of a line.
	last := []byte{'\n'}
	info, err := file.Stat()
	if err == nil && info.Size() > 0 {
		_, err = file.ReadAt(last, info.Size()-1)
	}
	if err = errors.Join(err, files.SyncDir(filepath.Dir(f.path))); err != nil {
		return errors.Join(fmt.Errorf("open the record of decisions: %w", err), file.Close())
	}
	f.file, f.partial = file, last[0] != '\n'
	return nil
}

// RecordEvents implements Sink. When the disk is full, the last line may be
// written in part: then the next one begins a line of its own.
func (f *File) RecordEvents(_ context.Context, events ...counterfoil.Event) error {
	var lines bytes.Buffer
	for i := range events {
		if err := json.NewEncoder(&lines).Encode(&events[i]); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.follow(); err != nil {
		return err
	}
	text := lines.Bytes()
	if f.partial {
		text = append([]byte{'\n'}, text...)
	}
	n, err := f.file.Write(text)
	if n > 0 {
		f.partial = text[n-1] != '\n'
	}
	if err != nil {
		return fmt.Errorf("record decisions: %w", err)
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("record decisions: %w", err)
	}
	return nil
}

// follow makes the file anew when its path names another one, or none.
func (f *File) follow() error {
	if f.file == nil {
		return os.ErrClosed
	}
	mine, err := f.file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(f.path); err == nil && os.SameFile(mine, there) {
		return nil
	}
	old := f.file
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
