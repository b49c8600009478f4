// Package backupfile is the form of a backup: a database, then a manifest, an
// HMAC-SHA-256 of both and an end. Use [Finish] on a file that has the database,
// and [Open] on one that may have a backup.
//
// The HMAC is under a key that is derived from the master key, which a backup
// does not have. So a backup that was cut off or changed is refused, also one
// that somebody changed who can write where backups are kept.
package backupfile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/seal"
)

// Manifest says what is in a backup.
type Manifest struct {
	// Made is when the backup was begun, Program the version that made it.
	Made    time.Time `json:"made"`
	Program string    `json:"program"`
	// Schema is how many migrations the database has, Size its size in bytes.
	Schema int   `json:"schema"`
	Size   int64 `json:"size"`
	// Records is the sequence number of the last audit record, Checkpoint the latest
	// checkpoint of the audit log.
	Records    int64  `json:"records"`
	Checkpoint string `json:"checkpoint,omitempty"`
	// MasterKey is the ID of the key that the HMAC is derived from.
	MasterKey string `json:"master_key"`
}

const (
	// end is what a backup ends with. The number is that of the form.
	end = "counterfoil backup 1\n"
	// family is what the end of every form begins with.
	family = "counterfoil backup "
	// tail is the size of what follows the manifest: the HMAC, the manifest's size
	// in four bytes, the end.
	tail        = sha256.Size + 4 + len(end)
	maxManifest = 64 << 10
	purpose     = "backup"
	// A SQLite database begins with sqlite, and has the ID of its program, here that
	// of a backup, at byte 68 ("Database File Format" section 1.3).
	sqlite, id, idAt = "SQLite format 3\x00", "CFOB", 68
)

// Errors of Open. Each says what the file is.
var (
	errOther   = errors.New("it is no backup of Counterfoil")
	errCut     = errors.New("it is a part of a backup: its end is missing, as when the disk was full or the copy was interrupted")
	errNewer   = errors.New("a newer program has made the backup: restore it with that one")
	errChanged = errors.New("the backup is damaged or was changed after it was made: use another one")
)

// Finish makes the file, which has a database of m.Size bytes, a backup. The
// caller syncs it.
func Finish(f *os.File, m *Manifest, key *seal.Key) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m.Size, m.MasterKey = info.Size(), key.ID()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(text) > maxManifest {
		return fmt.Errorf("the manifest of the backup has %d bytes", len(text))
	}
	sum := hmac.New(sha256.New, key.Derive(purpose))
	if err := read(f, m.Size, sum); err != nil {
		return err
	}
	sum.Write(text)
	out := sum.Sum(text)
	out = binary.BigEndian.AppendUint32(out, uint32(len(text)))
	_, err = f.WriteAt(append(out, end...), m.Size)
	return err
}

// Open reads a whole backup and returns its manifest. keys are the master keys
// that there are. The errors say what the file is and what to do.
func Open(f io.ReaderAt, size int64, keys []*seal.Key) (m Manifest, err error) {
	text, mac, err := manifest(f, size)
	if err != nil {
		return m, err
	}
	if json.Unmarshal(text, &m) != nil || m.Size != size-int64(len(text)+tail) {
		return m, errChanged
	}
	for _, key := range keys {
		if key.ID() != m.MasterKey {
			continue
		}
		sum := hmac.New(sha256.New, key.Derive(purpose))
		if err := read(f, m.Size, sum); err != nil {
			return m, err
		}
		sum.Write(text)
		if !hmac.Equal(sum.Sum(nil), mac) {
			return m, errChanged
		}
		return m, nil
	}
	return m, fmt.Errorf("the backup needs the master key %s, and that is not the one here: give it as the master key, "+
		"or as a previous one", event.Clean(m.MasterKey, 16))
}

// manifest returns the text of the manifest and the HMAC.
func manifest(f io.ReaderAt, size int64) (text, mac []byte, err error) {
	if size < int64(tail) {
		return nil, nil, unfinished(f)
	}
	last := make([]byte, tail)
	if _, err := f.ReadAt(last, size-int64(tail)); err != nil {
		return nil, nil, err
	}
	if found := string(last[sha256.Size+4:]); found != end {
		if found[:len(family)] == family {
			return nil, nil, errNewer
		}
		return nil, nil, unfinished(f)
	}
	n := int64(binary.BigEndian.Uint32(last[sha256.Size:]))
	if n > maxManifest || n > size-int64(tail) {
		return nil, nil, errChanged
	}
	text = make([]byte, n)
	_, err = f.ReadAt(text, size-int64(tail)-n)
	return text, last[:sha256.Size], err
}

// unfinished says what a file is that does not end as a backup does.
func unfinished(f io.ReaderAt) error {
	var first [idAt + len(id)]byte
	n, _ := f.ReadAt(first[:], 0)
	if n == len(first) && string(first[:len(sqlite)]) == sqlite && string(first[idAt:]) == id {
		return errCut
	}
	return errOther
}

// Is reports whether a file is a backup, or a part of one.
func Is(f io.ReaderAt, size int64) bool {
	_, _, err := manifest(f, size)
	return !errors.Is(err, errOther)
}

func read(f io.ReaderAt, size int64, sum hash.Hash) error {
	n, err := io.CopyBuffer(sum, io.NewSectionReader(f, 0, size), make([]byte, 1<<20))
	if err == nil && n < size {
		err = errCut
	}
	return err
}
