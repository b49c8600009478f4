package dircache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/internal/disktest"
)

func TestMain(m *testing.M) {
	disktest.Main()
	os.Exit(m.Run())
}

func open(t testing.TB) (client.Cache, string) {
	path := filepath.Join(t.TempDir(), "deep", "cache")
	c, err := dircache.Open(path)
	must(t, err)
	return c, path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// namesIn lists a directory, in order.
func namesIn(t testing.TB, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestCache(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) client.Cache { c, _ := open(t); return c })
}

// putUntil puts a token under key that was got at now and lives until then.
func putUntil(t testing.TB, c client.Cache, key string, now, then time.Time) {
	t.Helper()
	_, err := c.Renew(t.Context(), key, cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
		return counterfoil.Token{Value: "a", Type: "Bearer", Issued: now, Expires: then}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// What is at the path may change after Dir has looked at it.
func TestIsReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mode bits say nothing there
	}
	for _, row := range []struct {
		name    string
		replace func(path string) error
		want    string
	}{
		{"by one that others can write", func(path string) error {
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
			return os.Chmod(path, 0o777)
		}, "other users can open it (mode 0777): run chmod 700"},
		{"by a link to one", func(path string) error {
			return os.Symlink(filepath.Dir(path), path)
		}, "is not a directory"},
		{"by a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, "not a directory"},
		{"by nothing", func(string) error { return nil }, ""},
		{"by a good one", func(path string) error { return os.Mkdir(path, 0o700) }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, path := open(t)
			cachetest.Put(t, c, "aa-1", "one")
			must(t, os.Rename(path, path+"-before"))
			must(t, row.replace(path))
			token, err := c.Renew(t.Context(), "aa-1", cachetest.Fetch(func(context.Context) (counterfoil.Token, error) { return cachetest.Token("two"), nil }))
			if row.want == "" {
				if err != nil || cachetest.Load(t, c, "aa-1") != "two" {
					t.Errorf("got %v, %v", token, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("renew: got %v", err)
			}
			if _, _, err = c.Load(t.Context(), "aa-1"); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("load: got %v", err)
			}
			if err = c.Clear(t.Context(), ""); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("clear: got %v", err)
			}
			if files, _ := filepath.Glob(filepath.Join(path, "*.json")); len(files) > 0 {
				t.Errorf("there is %q", files)
			}
		})
	}
}

// Storing a token removes what is left of keys that have ended: each run of a
// program that makes its key has one of its own.
func TestIsSwept(t *testing.T) {
	c, path := open(t)
	start := time.Now().Add(-24 * time.Hour)
	until := func(key string, now, life time.Duration) {
		putUntil(t, c, key, start.Add(now), start.Add(now+life))
	}
	until("aa-1", 0, time.Hour)
	until("aa-2", 0, 3*time.Hour)
	must(t, os.WriteFile(filepath.Join(path, "aa-3.tmp"), []byte("left by a killed process"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "aa-4.lock"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(path, "aa-5.json"), []byte("damaged"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "somebody's.json"), []byte("{}"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "README"), nil, 0o600))
	until("aa-9", time.Hour-1, time.Hour)
	equal(t, "while both live", namesIn(t, path), "README aa-1.json aa-1.lock aa-2.json aa-2.lock aa-9.json aa-9.lock somebody's.json")
	until("aa-9", time.Hour, time.Hour)
	equal(t, "when one has ended", namesIn(t, path), "README aa-2.json aa-2.lock aa-9.json aa-9.lock somebody's.json")

	// One that is being renewed is its holder's.
	_, err := c.Renew(t.Context(), "aa-2", cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
		until("aa-9", 3*time.Hour, time.Hour)
		equal(t, "while it is renewed", namesIn(t, path), "README aa-2.json aa-2.lock aa-9.json aa-9.lock somebody's.json")
		return counterfoil.Token{Value: "b", Issued: start.Add(3 * time.Hour), Expires: start.Add(4 * time.Hour)}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "token", cachetest.Load(t, c, "aa-2"), "b")
}

// However many have ended, storing one token looks at some; in the end none is left.
func TestIsSweptByAndBy(t *testing.T) {
	c, path := open(t)
	start := time.Now().Add(-24 * time.Hour)
	for i := range 100 {
		must(t, os.WriteFile(filepath.Join(path, fmt.Sprintf("aa-%d.json", i)), nil, 0o600))
	}
	left := 100
	for range 1000 {
		putUntil(t, c, "bb", start, start.Add(time.Hour))
		files, _ := filepath.Glob(filepath.Join(path, "aa-*"))
		if len(files) < left-16 {
			t.Fatalf("%d files were removed at once", left-len(files))
		}
		if left = len(files); left == 0 {
			break
		}
	}
	equal(t, "left", left, 0)
}

// A lock counts only while its file is the one in the directory. Between opening
// and locking it another process may have removed it; here a link stands for that,
// because it stays so.
func TestLockOfAnotherFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links are for administrators there
	}
	c, path := open(t)
	cachetest.Put(t, c, "aa-1", "one")
	lock := filepath.Join(path, "aa-1.lock")
	must(t, os.Rename(lock, lock+"-before"))
	must(t, os.Symlink(lock+"-before", lock))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	left := errors.New("left")
	asked := 0
	_, err := c.Renew(ctx, "aa-1", client.Renewal{
		Accept: func(counterfoil.Token) bool {
			if asked++; asked == 1 { // before the lock
				time.AfterFunc(50*time.Millisecond, func() { cancel(left) })
			}
			return false
		},
		Fetch: func(context.Context) (counterfoil.Token, error) { return cachetest.Token("two"), nil },
	})
	if !errors.Is(err, left) || asked != 1 {
		t.Errorf("held a lock that is none: %v", err)
	}
	must(t, os.Remove(lock))
	cachetest.Put(t, c, "aa-1", "three")
}

func TestRefusesWhatOthersCanRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mode bits say nothing there
	}
	c, path := open(t)
	cachetest.Put(t, c, "aa-1", "one")
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, _ := e.Info()
		equal(t, "mode of "+e.Name(), info.Mode().Perm(), 0o600)
	}
	info, _ := os.Stat(path)
	equal(t, "mode of the directory", info.Mode().Perm(), 0o700)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o666} {
		if err := os.Chmod(filepath.Join(path, "aa-1.json"), mode); err != nil {
			t.Fatal(err)
		}
		_, _, err = c.Load(t.Context(), "aa-1")
		if err == nil || !strings.Contains(err.Error(), "other users can open it (mode "+"0") || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("mode %o: got %v", mode, err)
		}
		if _, err := c.Renew(t.Context(), "aa-1", cachetest.Fetch(nil)); err == nil {
			t.Errorf("mode %o: a renewal used the file", mode)
		}
	}
	if err := os.Chmod(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := dircache.Open(path); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that others can open: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	_ = os.WriteFile(file, nil, 0o600)
	if _, err := dircache.Open(file); err == nil {
		t.Error("a file was taken for a directory")
	}
	if os.Geteuid() != 0 {
		return // only root can give files away
	}
	must(t, os.Chmod(path, 0o700))
	must(t, os.Chmod(filepath.Join(path, "aa-1.json"), 0o600))
	must(t, os.Chown(filepath.Join(path, "aa-1.json"), 65534, 65534))
	if _, _, err := c.Load(t.Context(), "aa-1"); err == nil || !strings.Contains(err.Error(), "belongs to another user (id 65534)") {
		t.Errorf("another user's file: %v", err)
	}
}

// A damaged file is an empty one, and is replaced.
func TestDamaged(t *testing.T) {
	c, path := open(t)
	cachetest.Put(t, c, "aa-1", "one")
	file := filepath.Join(path, "aa-1.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		equal(t, "token", cachetest.Load(t, c, "aa-1"), "")
	}
	for _, text := range []string{"\x00\x00\x00", "[]", `{"access_token":1}`, `{"access_token":"a","expires":"soon"}`, strings.Repeat(" ", 1<<20) + "{}"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		equal(t, "token", cachetest.Load(t, c, "aa-1"), "")
	}
	if err := os.WriteFile(filepath.Join(path, "aa-1.tmp"), []byte("left by a killed process"), 0o644); err != nil {
		t.Fatal(err)
	}
	cachetest.Put(t, c, "aa-1", "two")
	equal(t, "token", cachetest.Load(t, c, "aa-1"), "two")
	var fields map[string]any
	text, _ := os.ReadFile(file)
	if err := json.Unmarshal(text, &fields); err != nil || fields["access_token"] != "two" {
		t.Errorf("the file is %s", text)
	}
}

func TestKeyIsNoPath(t *testing.T) {
	c, _ := open(t)
	for _, key := range []string{"", "../aa", "aa/bb", `aa\bb`, "aa.bb", strings.Repeat("a", 161)} {
		if _, _, err := c.Load(t.Context(), key); err == nil {
			t.Errorf("the key %q was taken", key)
		}
	}
}

// TestTakesNoSuchToken has a row for each thing that no token can be.
func TestTakesNoSuchToken(t *testing.T) {
	c, path := open(t)
	now := time.Now()
	for _, row := range []struct {
		name            string
		value           string
		issued, expires time.Duration
		good            bool
	}{
		{"a good one", "a", -time.Minute, time.Hour, true},
		{"30 days", "a", -time.Minute, 30*24*time.Hour - time.Minute, true},
		{"more than 30 days", "a", -time.Minute, 30*24*time.Hour - time.Minute + time.Second, false},
		{"no value", "", -time.Minute, time.Hour, false},
		{"got in a minute", "a", time.Minute, time.Hour, false},
		{"no life", "a", -time.Minute, -time.Minute, false},
		{"ended before it was got", "a", -time.Minute, -time.Hour, false},
	} {
		text := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","issued":%q,"expires":%q}`, row.value,
			now.Add(row.issued).Format(time.RFC3339Nano), now.Add(row.expires).Format(time.RFC3339Nano))
		must(t, os.WriteFile(filepath.Join(path, "aa-1.json"), []byte(text), 0o600))
		_, ok, err := c.Load(t.Context(), "aa-1")
		must(t, err)
		equal(t, row.name, ok, row.good)
	}
	long := strings.Repeat("a", 160)
	cachetest.Put(t, c, long, "one")
	equal(t, "under the longest key", cachetest.Load(t, c, long), "one")
}

// What else is in the directory is left alone.
func TestLeavesStrangersFilesAlone(t *testing.T) {
	c, path := open(t)
	cachetest.Put(t, c, "aa-1", "one")
	for _, name := range []string{"README.json", "aa-9.txt", "notes"} {
		must(t, os.WriteFile(filepath.Join(path, name), []byte("x"), 0o600))
	}
	must(t, c.Clear(t.Context(), ""))
	equal(t, "files", namesIn(t, path), "README.json aa-1.lock aa-9.txt notes")
}

// A token that cannot be stored is returned with the error, and leaves nothing.
func TestThatCannotStore(t *testing.T) {
	c, path := open(t)
	must(t, os.MkdirAll(filepath.Join(path, "aa-1.json", "x"), 0o700))
	got, err := c.Renew(t.Context(), "aa-1", cachetest.Fetch(func(context.Context) (counterfoil.Token, error) { return cachetest.Token("one"), nil }))
	equal(t, "token", got.Value.Reveal(), "one")
	if err == nil {
		t.Error("no error")
	}
	equal(t, "files", namesIn(t, path), "aa-1.json aa-1.lock")
}

// A cache that is used for long keeps no files open.
func TestKeepsNoFilesOpen(t *testing.T) {
	const own = "/proc/self/fd"
	if _, err := os.Stat(own); err != nil {
		t.Skip("this system does not list a process's open files: ", err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close them
	c, path := open(t)
	count := func() int { return len(strings.Fields(namesIn(t, own))) }
	use := func() {
		for i := range 3 {
			key := fmt.Sprint("aa-", i)
			cachetest.Put(t, c, key, "one")
			equal(t, "token", cachetest.Load(t, c, key), "one")
			must(t, c.Drop(t.Context(), key, counterfoil.Token{Value: "two"}))
			must(t, c.Drop(t.Context(), key, counterfoil.Token{Value: "one"}))
			cachetest.Put(t, c, key, "two") // and sweeps the others, of which some have none
		}
		must(t, c.Clear(t.Context(), "aa"))
		if _, err := dircache.Open(path); err != nil {
			t.Fatal(err)
		}
		_, _ = dircache.Open(filepath.Join(path, "aa-0.lock"))
	}
	use()
	before := count()
	for range 10 {
		use()
	}
	if after := count(); after > before+3 {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}
