package credential_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
)

func open(t testing.TB, f credential.Files, reference string) client.SecretFunc {
	t.Helper()
	get, err := f.Open(reference)
	if err != nil {
		t.Fatal(err)
	}
	return get
}

// Whatever the manner of the change, the next ask gives the new secret.
func TestFileRotates(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(t *testing.T, dir string)
	}{
		{"written over", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "secret"), "new-secret") }},
		{"written over, same length", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "secret"), "OLD-secret") }},
		{"renamed over", func(t *testing.T, dir string) {
			if err := files.Write(filepath.Join(dir, "secret"), []byte("new-secret"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"written over, its time set back", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "secret")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, "OLD-secret")
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"made anew", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "secret")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "secret"), "new-secret")
		}},
	} {
		for _, age := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s, file %s old", row.name, age), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "secret")
				write(t, path, "old-secret")
				get := open(t, credential.Files{Clock: clock.NewManual(time.Now().Add(age))}, path)
				if got := must(t, get); got != "old-secret" {
					t.Fatalf("got %q", got)
				}
				row.change(t, dir)
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if got := must(t, get); got != string(want) || got == "old-secret" {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

// Changes that follow each other so closely that the file looks the same from
// outside: same length, same identity, same tick of the file system's clock.
func TestFileRewrittenInOneTick(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	get := open(t, credential.Files{}, path)
	for n := range 500 {
		want := fmt.Sprintf("%04d", n)
		write(t, path, want)
		if got := must(t, get); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// A mount of Kubernetes: the file is a link through ..data, which is swapped by
// a rename, and all of the old directory is removed.
func TestFileFollowsTheSwapOfAMount(t *testing.T) {
	dir := t.TempDir()
	publish := func(n int, secret string) {
		data := fmt.Sprintf("..2026_01_0%d", n)
		if err := os.Mkdir(filepath.Join(dir, data), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, data, "secret"), secret)
		if err := os.Chmod(filepath.Join(dir, data, "secret"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(data, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish(1, "first")
	if err := os.Symlink("..data/secret", filepath.Join(dir, "secret")); err != nil {
		t.Fatal(err)
	}
	get := open(t, credential.Files{Dir: dir, Clock: clock.NewManual(time.Now().Add(time.Hour))}, "secret")
	if got := must(t, get); got != "first" {
		t.Fatalf("got %q", got)
	}
	publish(2, "secnd")
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01_01")); err != nil {
		t.Fatal(err)
	}
	if got := must(t, get); got != "secnd" {
		t.Errorf("got %q, want that of the new mount", got)
	}
}

// While a file is half replaced the last good value serves, for 10 s.
func TestFileIsHalfReplaced(t *testing.T) {
	for _, row := range []struct {
		name, reference string
		halve           func(path string) error
		err             string
	}{
		{"missing", "x", os.Remove, "no such file"},
		{"empty", "x", func(path string) error { return os.Truncate(path, 0) }, "it is empty"},
		{"line gone", "x#KEY", func(path string) error { return os.WriteFile(path, []byte("OTHER=1\n"), 0o600) }, "no line KEY="},
		{"a directory", "x", func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, "not a regular file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, now := t.TempDir(), clock.NewManual(time.Now())
			path := filepath.Join(dir, "x")
			write(t, path, "KEY="+theSecret)
			get := open(t, credential.Files{Dir: dir, Clock: now}, row.reference)
			want := must(t, get)
			if err := row.halve(path); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := must(t, get); got != want {
					t.Fatalf("got %q, want the last good value", got)
				}
				now.Turn(3 * time.Second)
			}
			now.Turn(time.Second)
			v, err := get(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Fatalf("after 10 s: got error %v, want %q", err, row.err)
			}
			shows(t, theSecret, err, v)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "KEY=new")
			if got := must(t, get); !strings.HasSuffix(got, "new") {
				t.Errorf("got %q, want the new secret at once", got)
			}
		})
	}
}

// A file that others can write is refused, also when it is made so later.
func TestFileOthersCanWrite(t *testing.T) {
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o644: false, 0o620: true, 0o660: true, 0o602: true, 0o666: true} {
		t.Run(fmt.Sprintf("%04o", mode), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			write(t, path, theSecret)
			get := open(t, credential.Files{Clock: clock.NewManual(time.Now().Add(time.Hour))}, path)
			must(t, get)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			v, err := get(t.Context())
			if refused != (err != nil) || refused && !strings.Contains(err.Error(), fmt.Sprintf("other users can write it (mode %04o): chmod go-w", mode)) {
				t.Errorf("refused %v: got error %v", refused, err)
			}
			shows(t, theSecret, v, err)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := must(t, get); got != theSecret {
				t.Errorf("after chmod: got %q", got)
			}
		})
	}
}

// Who owns a file can write it, whatever its mode says, so it must be this user or
// root; also when it is given away later.
func TestFileOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		// Only root can give a file away; anybody's view of root's is that of a mount.
		get := open(t, credential.Files{}, "/etc/passwd#root")
		if _, err := get(t.Context()); err != nil && strings.Contains(err.Error(), "another user") {
			t.Errorf("a file of root: %v", err)
		}
		return
	}
	for _, mode := range []os.FileMode{0o600, 0o644, 0o444} {
		t.Run(fmt.Sprintf("%04o", mode), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			write(t, path, theSecret)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			get := open(t, credential.Files{Clock: clock.NewManual(time.Now().Add(time.Hour))}, path)
			must(t, get)
			if err := os.Chown(path, 4711, 4711); err != nil {
				t.Fatal(err)
			}
			v, err := get(t.Context())
			if err == nil || !strings.Contains(err.Error(), "another user can write it (its owner, id 4711): chown it") {
				t.Errorf("got error %v", err)
			}
			shows(t, theSecret, v, err)
			if err := os.Chown(path, 0, 4711); err != nil { // as a mount for the group of a pod
				t.Fatal(err)
			}
			if got := must(t, get); got != theSecret {
				t.Errorf("of root again: got %q", got)
			}
		})
	}
}

// A file of many lines may be longer than a secret.
func TestLineOfALongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	for size, fits := range map[int]bool{64<<10 + 1: true, 1 << 20: true, 1<<20 + 1: false} {
		line := "KEY=" + theSecret + "\n"
		write(t, path, strings.Repeat("#\n", (size-len(line))/2)+"\n"[:(size-len(line))%2]+line)
		v, err := open(t, credential.Files{}, path+"#KEY")(t.Context())
		if (err == nil) != fits || fits && v != theSecret {
			t.Errorf("a file of %d bytes: got %q, %v", size, v.Reveal(), err)
		}
	}
}

// A secret has up to 64 KiB.
func TestLongestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for size, fits := range map[int]bool{64 << 10: true, 64<<10 + 1: false} {
		write(t, path, strings.Repeat("x", size))
		v, err := open(t, credential.Files{}, path)(t.Context())
		if (err == nil) != fits || fits && len(v) != size {
			t.Errorf("a secret of %d bytes: got %d, %v", size, len(v), err)
		}
	}
}

// Whoever asks after a change never gets what was there before it, however many
// ask meanwhile.
func TestFileUnderManyReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "0000")
	get := open(t, credential.Files{}, path)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := ""
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, err := get(t.Context())
				if err != nil || v.Reveal() < last {
					t.Errorf("got %q after %q, %v", v.Reveal(), last, err)
					return
				}
				last = v.Reveal()
			}
		})
	}
	for n := range 200 {
		want := fmt.Sprintf("%04d", n)
		if err := files.Write(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := must(t, get); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	close(stop)
	readers.Wait()
}

func BenchmarkFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "secret")
	write(b, path, theSecret)
	get := open(b, credential.Files{Clock: clock.NewManual(time.Now().Add(time.Hour))}, path)
	for b.Loop() {
		must(b, get)
	}
}
