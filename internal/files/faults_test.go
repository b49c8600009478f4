//go:build unix

package files_test

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
)

// What cannot be written whole does not take the place of what was there.
func TestWriteFailsWhole(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := files.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := before
	limit.Cur = 64 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	err := files.Write(path, make([]byte, 128<<10), 0o600)
	if again := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); again != nil {
		t.Fatal(again)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), path) {
		t.Errorf("writing more than there is room for: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("%d bytes are left, %v", len(got), err)
	}
	alone(t, dir)
}

func TestWriteOverADirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := files.Write(path, []byte("new"), 0o600); err == nil {
		t.Error("a file took the place of a directory, or nobody was told that it did not")
	}
	alone(t, dir)
	if err := files.Write(filepath.Join(dir, "missing", "secret"), []byte("new"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
}

// alone checks that a directory has one entry.
func alone(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// owned is a file as the system describes it.
type owned struct {
	fs.FileInfo
	mode fs.FileMode
	sys  any
}

func (o owned) Mode() fs.FileMode  { return o.mode }
func (o owned) Sys() any           { return o.sys }
func (o owned) ModTime() time.Time { return time.Time{} }

// A file is foreign when others can write it, and not when they can only read it.
func TestForeign(t *testing.T) {
	me := uint32(os.Geteuid())
	for name, tt := range map[string]struct {
		mode    fs.FileMode
		owner   uint32
		foreign string
	}{
		"mine":                       {0o600, me, ""},
		"mine, for all to read":      {0o755, me, ""},
		"root's":                     {0o644, 0, ""},
		"mine, for the group":        {0o620, me, "mode 0620"},
		"mine, for others":           {0o602, me, "mode 0602"},
		"root's, for all":            {0o666, 0, "mode 0666"},
		"another's":                  {0o600, me + 1000, "its owner"},
		"another's, for all to read": {0o444, me + 1000, "its owner"},
		"a directory, sticky or not": {fs.ModeDir | fs.ModeSticky | 0o777, me, "mode 0777"},
	} {
		err := files.Foreign(owned{mode: tt.mode, sys: &syscall.Stat_t{Uid: tt.owner}})
		if (err == nil) != (tt.foreign == "") || err != nil && !strings.Contains(err.Error(), tt.foreign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := files.Foreign(owned{mode: 0o600}); err != nil {
		t.Errorf("a file of which the system does not say whose it is: %v", err)
	}
}

// Values stand bare, in single quotes or in double ones; what is none of it is
// taken as it stands.
func TestQuotes(t *testing.T) {
	for text, want := range map[string]string{
		`'a b'`: "a b", `"a b"`: "a b", `''`: "", `""`: "", `'`: "'", `"`: `"`, `'a`: "'a", `a'`: "a'", `"a`: `"a`, `a"`: `a"`, `'a"`: `'a"`, `"a'`: `"a'`,
		`'it'\''s'`: "it's", `a=b`: "a=b", ``: "", `"it'\''s"`: `it'\''s`,
	} {
		env, err := files.ParseEnv(strings.NewReader("# a comment\n\nexport KEY="+text+"\n"), "x.env")
		if err != nil || len(env) != 1 || env.Get("KEY") != want || env.Get("OTHER") != "" {
			t.Errorf("%s: %q, %v", text, env, err)
		}
	}
	if _, err := files.ParseEnv(strings.NewReader("A=1\n\n# b\nnot a setting\n"), "x.env"); err == nil || err.Error() != "x.env:4: this line is not KEY=value" {
		t.Errorf("%v", err)
	}
	if _, err := files.ReadEnv(filepath.Join(t.TempDir(), "x.env")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
