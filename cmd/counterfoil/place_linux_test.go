package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// readOnly shows a directory at a place where nothing can be written.
func readOnly(t *testing.T, dir string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs a read-only mount, which root alone can make")
	}
	place := t.TempDir()
	if err := syscall.Mount(dir, place, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(place, syscall.MNT_DETACH) })
	if err := syscall.Mount("", place, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return place
}

// On a read-only file system the commands that only read go on, whether or not
// somebody serves from the same files elsewhere, and those that write say what
// is wrong.
func TestReadOnlyFileSystem(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	place := readOnly(t, u.dir)
	id := u.env(t, "a55").Get("API_CLIENT_ID")
	a := u.asker(t, "a55")
	here := func(args ...string) ran { return execute(t, "", nil, binary, append(args, "--dir", place)...) }
	look := func(when string, issued int) {
		t.Helper()
		for _, form := range []string{"text", "json"} {
			if got := here("audit", "-o", form).good(t); strings.Count(got.out, "token.issued") != issued || got.err != "" {
				t.Errorf("%s: %d tokens are in the record, want %d; said %q", when, strings.Count(got.out, "token.issued"), issued, got.err)
			}
			for _, args := range [][]string{{"client", "list", "a55"}, {"client", "show", "a55", id}} {
				if got := here(append(args, "-o", form)...).good(t); !strings.Contains(got.out, id) {
					t.Errorf("%s: %v printed %s", when, args, got.out)
				}
			}
			if got := here("key", "list", "a55", "-o", form).good(t); !strings.Contains(got.out, "active") {
				t.Errorf("%s: key list printed %s", when, got.out)
			}
		}
		for _, args := range [][]string{{"client", "disable", "a55", id}, {"client", "create", "a55"}, {"key", "rotate", "a55"}, {"client", "import", "a55", "/dev/null", "--format", "plain"}} {
			got := here(args...)
			if got.code != exitLocal || !strings.Contains(got.err, "read-only") || !strings.Contains(got.err, "counterfoil.db") || strings.Count(got.err, "\n") != 2 {
				t.Errorf("%s: %v: exit %d, said %q", when, args, got.code, got.err)
			}
		}
	}
	for i := range 3 {
		if a.token(t.Context()) == "" {
			t.Fatal("no token")
		}
		if i != 1 {
			look("while it is served elsewhere", i+1)
		}
	}
	if err := u.stop(syscall.SIGKILL); err == nil {
		t.Error("it ended well")
	}
	look("after it was killed", 3)
	second := start(t, u.dir, "127.0.0.1:0")
	if err := second.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	look("after it has ended", 3)
	up := execute(t, "", nil, binary, "up", "--dir", place, "--listen", "127.0.0.1:0")
	if up.code != exitLocal || !strings.Contains(up.err, "read-only") || strings.Count(up.err, "\n") != 2 {
		t.Errorf("up: exit %d, said %q", up.code, up.err)
	}
}

// The same of the database of 'serve'.
func TestReadOnlyServe(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds := s.client(t, "acme", "orders:read")
	s.token(t, s.http(t), acmeToken, creds)
	place := readOnly(t, s.dir)
	file := filepath.Join(place, "serve.yaml")
	for _, when := range []string{"while it serves", "after it has ended"} {
		for _, args := range [][]string{{"audit"}, {"client", "list", "acme"}, {"client", "show", "acme", creds.ClientID}, {"key", "list", "acme"}} {
			if got := execute(t, "", nil, binary, append(args, "--serve-config", file)...).good(t); !strings.Contains(got.out, creds.ClientID) && args[0] != "key" {
				t.Errorf("%s: %v printed %s", when, args, got.out)
			}
		}
		if got := execute(t, "", nil, binary, "client", "disable", "acme", creds.ClientID, "--serve-config", file); got.code != exitLocal || !strings.Contains(got.err, "read-only") {
			t.Errorf("%s: exit %d, said %q", when, got.code, got.err)
		}
		if when == "while it serves" {
			if err := s.stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
	if got := execute(t, "", nil, binary, "serve", "--config", file); got.code != exitLocal || !strings.Contains(got.err, "read-only") {
		t.Errorf("serve: exit %d, said %q", got.code, got.err)
	}
}

// Where a database is served from an overlay, as in a container without a
// volume, the start and the check say so; from a local disk they say nothing.
func TestOverlayIsTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs an overlay, which root alone can mount")
	}
	base := t.TempDir()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(base, "merged")
	options := "lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skipf("mount an overlay over %s, which its file system may not take: %v", base, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(merged, syscall.MNT_DETACH) })
	const warning = "is on an overlay, as the files of a container are"
	u := start(t, filepath.Join(merged, "data"), "127.0.0.1:0")
	if said := u.errors(); strings.Count(said, warning) != 1 {
		t.Errorf("up said %q", said)
	}
	if u.asker(t, "a55").token(t.Context()) == "" {
		t.Error("no token")
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if said := shared.errors(); strings.Contains(said, "is on ") {
		t.Errorf("on a local disk up said %q", said)
	}
	s := layOut(t, exampleConfig(t))
	if got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check").good(t); strings.Contains(got.out+got.err, "is on an overlay") {
		t.Errorf("on a local disk the check said %q", got.out+got.err)
	}
	s.write(t, "serve.yaml", strings.Replace(exampleConfig(t), "database: counterfoil.db", "database: "+merged+"/serve.db", 1))
	if got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check").good(t); !strings.Contains(got.out+got.err, warning) {
		t.Errorf("the check said %q", got.out+got.err)
	}
	if s.start(t); strings.Count(s.errors(), warning) != 1 {
		t.Errorf("serve said %q", s.errors())
	}
	if s.hangUp(t); strings.Count(s.errors(), warning) != 1 {
		t.Errorf("after a reload serve said %q", s.errors())
	}
}
