package backupfile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/backupfile"
	"github.com/counterfoil/counterfoil/internal/seal"
)

func newKey(t testing.TB) *seal.Key {
	t.Helper()
	key, err := seal.ParseKey(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// made makes a backup of what begins as the database of one does.
func made(t testing.TB, key *seal.Key) []byte {
	t.Helper()
	database := make([]byte, 200)
	copy(database, "SQLite format 3\x00")
	copy(database[68:], "CFOB")
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, database, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := backupfile.Finish(f, &backupfile.Manifest{Made: time.Unix(1, 0).UTC(), Program: "v1", Schema: 3, Records: 7}, key); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func read(b []byte, keys ...*seal.Key) (backupfile.Manifest, error) {
	return backupfile.Open(bytes.NewReader(b), int64(len(b)), keys)
}

func TestOpen(t *testing.T) {
	key := newKey(t)
	b := made(t, key)
	m, err := read(b, newKey(t), key)
	if err != nil || m.Size != 200 || m.Schema != 3 || m.Records != 7 || m.Program != "v1" || m.MasterKey != key.ID() || !m.Made.Equal(time.Unix(1, 0)) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestOpenRefuses: whatever is not the backup that was made is refused, in a
// sentence that says what it is.
func TestOpenRefuses(t *testing.T) {
	key := newKey(t)
	b := made(t, key)
	refused := func(name string, b []byte, keys []*seal.Key, want ...string) {
		t.Helper()
		_, err := read(b, keys...)
		for _, w := range want {
			if err != nil && strings.Contains(err.Error(), w) {
				return
			}
		}
		t.Errorf("%s: %v, want %q", name, err, want)
	}
	for n := range b {
		want := "a part of a backup"
		if n < 72 {
			want = "no backup"
		}
		refused("cut off", b[:n], []*seal.Key{key}, want)
		changed := bytes.Clone(b)
		changed[n] ^= 1
		refused("changed", changed, []*seal.Key{key}, "was changed", "part of a backup", "newer program", "needs the master key")
	}
	refused("longer", append(bytes.Clone(b), '\n'), []*seal.Key{key}, "part of a backup")
	refused("longer within", append(bytes.Clone(b[:100]), b[99:]...), []*seal.Key{key}, "was changed")
	refused("another key", b, []*seal.Key{newKey(t)}, "needs the master key "+key.ID())
	refused("no key", b, nil, "needs the master key "+key.ID())
	refused("another form", append(bytes.Clone(b[:len(b)-2]), "2\n"...), []*seal.Key{key}, "newer program")
	refused("another file", []byte(strings.Repeat("text", 100)), []*seal.Key{key}, "no backup")
}

func FuzzOpen(f *testing.F) {
	key := newKey(f)
	b := made(f, key)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, other []byte) {
		if m, err := read(other, key); err == nil && !bytes.Equal(other, b) {
			t.Errorf("accepted: %+v", m)
		}
		_ = backupfile.Is(bytes.NewReader(other), int64(len(other)))
	})
}
