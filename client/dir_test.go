package client_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client/dircache"
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
	if c.Cache, err = dircache.Open("cache"); err != nil {
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
