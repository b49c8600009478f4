package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// namesIn lists a directory, in order.
func namesIn(t testing.TB, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// A program that changes its working directory keeps the cache that was looked at.
func TestDirStaysWhereItWas(t *testing.T) {
	w := newWorld(t)
	t.Chdir(t.TempDir())
	c := w.config("oauth2")
	var err error
	if c.Cache, err = client.Dir("cache"); err != nil {
		t.Fatal(err)
	}
	first, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	must(os.Mkdir(filepath.Join(other, "cache"), 0o700))
	t.Chdir(other)
	w.must(w.source(c))
	equal(t, "files in the other directory", namesIn(t, "cache"), "")
	if files, _ := filepath.Glob(filepath.Join(first, "cache", "*.json")); len(files) != 1 {
		t.Errorf("the token is in %q", files)
	}
}

// What is at the path may change after Dir has looked at it.
func TestDirIsReplaced(t *testing.T) {
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
			c, path := dirCache(t)
			put(t, c, "aa-1", "one")
			must(os.Rename(path, path+"-before"))
			must(row.replace(path))
			token, err := c.Renew(t.Context(), "aa-1", cachetest.Fetch(func(context.Context) (counterfoil.Token, error) { return cachetest.Token("two"), nil }))
			if row.want == "" {
				if err != nil || load(t, c, "aa-1") != "two" {
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

// A file may be damaged so that it is whole and yet holds what no token is; a
// Source must fetch another and not compute with it.
func TestDirTimesOfNoToken(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		name            string
		issued, expires time.Time
		serves          bool
	}{
		{"an hour", now.Add(-time.Minute), now.Add(time.Hour), true},
		{"30 days", now, now.Add(30 * 24 * time.Hour), true},
		{"more than 30 days", now, now.Add(30*24*time.Hour + time.Second), false},
		{"for ever", now, now.AddDate(7000, 0, 0).UTC().Truncate(time.Second), false},
		{"no times", time.Time{}, time.Time{}, false},
		{"never got", time.Time{}, now.Add(time.Hour), false},
		{"never ending", now, time.Time{}, false},
		{"ended when it was got", now, now, false},
		{"ended before it was got", now, now.Add(-time.Hour), false},
		{"got a second ahead", now.Add(time.Second), now.Add(time.Hour), true},
		{"got an hour ahead", now.Add(time.Hour), now.Add(2 * time.Hour), false},
		{"got ahead, ended before", now.Add(48 * time.Hour), now.Add(time.Hour), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.config("oauth2")
			cache, path := dirCache(t)
			c.Cache, c.Clock = cache, nil
			w.must(w.source(c))
			files, _ := filepath.Glob(filepath.Join(path, "*.json"))
			text, err := json.Marshal(map[string]any{"access_token": "of-the-file", "token_type": "Bearer", "issued": row.issued, "expires": row.expires})
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			must(os.WriteFile(files[0], text, 0o600))
			got, err := w.source(c).Token(w.ctx)
			if err != nil || (got.Value == "of-the-file") != row.serves {
				t.Errorf("got %q, %v", got.Value.Reveal(), err)
			}
		})
	}
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

// Storing a token removes what is left of keys that have ended: each run of a
// program that makes its key has one of its own.
func TestDirIsSwept(t *testing.T) {
	c, path := dirCache(t)
	start := time.Now().Add(-24 * time.Hour)
	until := func(key string, now, life time.Duration) {
		putUntil(t, c, key, start.Add(now), start.Add(now+life))
	}
	until("aa-1", 0, time.Hour)
	until("aa-2", 0, 3*time.Hour)
	must(os.WriteFile(filepath.Join(path, "aa-3.tmp"), []byte("left by a killed process"), 0o600))
	must(os.WriteFile(filepath.Join(path, "aa-4.lock"), nil, 0o600))
	must(os.WriteFile(filepath.Join(path, "aa-5.json"), []byte("damaged"), 0o600))
	must(os.WriteFile(filepath.Join(path, "somebody's.json"), []byte("{}"), 0o600))
	must(os.WriteFile(filepath.Join(path, "README"), nil, 0o600))
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
	equal(t, "token", load(t, c, "aa-2"), "b")
}

// However many have ended, storing one token looks at some; in the end none is left.
func TestDirIsSweptByAndBy(t *testing.T) {
	c, path := dirCache(t)
	start := time.Now().Add(-24 * time.Hour)
	for i := range 100 {
		must(os.WriteFile(filepath.Join(path, fmt.Sprintf("aa-%d.json", i)), nil, 0o600))
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

// Clients that make a key for each run, over days.
func TestDirOfManyKeys(t *testing.T) {
	w := newWorld(t)
	cache, path := dirCache(t)
	for range 20 {
		c := w.config("oauth2")
		c.Cache, c.DPoP = cache, newKey(t, jose.ES256)
		w.onAsk = func(rw http.ResponseWriter, _ seen, n int) { giveBound(rw, n, "60") }
		w.must(w.source(c))
		w.clock.Turn(time.Hour)
	}
	if files := strings.Fields(namesIn(t, path)); len(files) != 2 {
		t.Errorf("there are %q", files)
	}
}

// A lock counts only while its file is the one in the directory. Between opening
// and locking it another process may have removed it; here a link stands for that,
// because it stays so.
func TestDirLockOfAnotherFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links are for administrators there
	}
	c, path := dirCache(t)
	put(t, c, "aa-1", "one")
	lock := filepath.Join(path, "aa-1.lock")
	must(os.Rename(lock, lock+"-before"))
	must(os.Symlink(lock+"-before", lock))
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
	must(os.Remove(lock))
	put(t, c, "aa-1", "three")
}
