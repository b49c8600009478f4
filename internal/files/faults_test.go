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
func (o owned) IsDir() bool        { return o.mode.IsDir() }

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

// The modes of files that deployments have are taken, with doubts where they are
// doubtful; what anybody can write is refused.
func TestUntrusted(t *testing.T) {
	me := uint32(os.Geteuid())
	foreign := "another user can write it (its owner"
	if me == 0 {
		foreign = ""
	}
	doubted := foreign
	if me == 0 {
		doubted = "" // root uses what the service's user has
	}
	for name, tt := range map[string]struct {
		mode             fs.FileMode
		owner            uint32
		secret           bool
		refused, doubted string
	}{
		"mine":                            {0o600, me, true, "", ""},
		"a secret of Kubernetes":          {0o644, 0, true, "", "others can read it (mode 0644)"},
		"a secret of Kubernetes, fsGroup": {0o640, 0, true, "", ""},
		"a secret of Docker":              {0o444, 0, true, "", "others can read it (mode 0444)"},
		"a credential of systemd":         {0o440, 0, true, "", ""},
		"no secret, for all to read":      {0o644, 0, false, "", ""},
		"made under umask 002":            {0o664, me, false, "", "its group can write it (mode 0664)"},
		"for anybody to write":            {0o666, me, false, "anybody can write it (mode 0666): chmod o-w", "its group"},
		"for others to write":             {0o602, 0, true, "anybody can write it (mode 0602)", ""},
		"another user's":                  {0o600, me + 1000, true, foreign, doubted},
		"a pipe for all":                  {fs.ModeNamedPipe | 0o666, me, false, "", ""},
	} {
		info := owned{mode: tt.mode, sys: &syscall.Stat_t{Uid: tt.owner}}
		err := files.Untrusted(info)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: %v", name, err)
		}
		doubts := strings.Join(files.Doubts(info, tt.secret), "; ")
		if (doubts == "") != (tt.doubted == "") || !strings.Contains(doubts, tt.doubted) {
			t.Errorf("%s: doubts %q", name, doubts)
		}
	}
}

// No reader reads a file that everyone can write.
func TestReadWhatAnybodyCanWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.env")
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := files.Read(path, 4); err != nil || string(b) != "A=1\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := files.Read(path, 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	_, read := files.Read(path, 10)
	_, env := files.ReadEnv(path)
	for _, err := range []error{read, env} {
		if err == nil || !strings.Contains(err.Error(), path+": anybody can write it (mode 0606)") {
			t.Errorf("%v", err)
		}
	}
}
