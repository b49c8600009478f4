package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
)

func dirCache(t testing.TB) (client.Cache, string) {
	path := filepath.Join(t.TempDir(), "deep", "cache")
	c, err := client.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

var (
	put  = cachetest.Put
	load = cachetest.Load
)

func TestCache(t *testing.T) {
	t.Run("memory", func(t *testing.T) { cachetest.Run(t, func(*testing.T) client.Cache { return client.Memory() }) })
	t.Run("dir", func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) client.Cache { c, _ := dirCache(t); return c })
	})
}

func TestDirRefusesWhatOthersCanRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mode bits say nothing there
	}
	c, path := dirCache(t)
	put(t, c, "aa-1", "one")
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
	if _, err := client.Dir(path); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that others can open: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	_ = os.WriteFile(file, nil, 0o600)
	if _, err := client.Dir(file); err == nil {
		t.Error("a file was taken for a directory")
	}
	if os.Geteuid() != 0 {
		return // only root can give files away
	}
	must(os.Chmod(path, 0o700))
	must(os.Chmod(filepath.Join(path, "aa-1.json"), 0o600))
	must(os.Chown(filepath.Join(path, "aa-1.json"), 65534, 65534))
	if _, _, err := c.Load(t.Context(), "aa-1"); err == nil || !strings.Contains(err.Error(), "belongs to another user (id 65534)") {
		t.Errorf("another user's file: %v", err)
	}
}

// A damaged file is an empty one, and is replaced.
func TestDirDamaged(t *testing.T) {
	c, path := dirCache(t)
	put(t, c, "aa-1", "one")
	file := filepath.Join(path, "aa-1.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		equal(t, "token", load(t, c, "aa-1"), "")
	}
	for _, text := range []string{"\x00\x00\x00", "[]", `{"access_token":1}`, `{"access_token":"a","expires":"soon"}`, strings.Repeat(" ", 1<<20) + "{}"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		equal(t, "token", load(t, c, "aa-1"), "")
	}
	if err := os.WriteFile(filepath.Join(path, "aa-1.tmp"), []byte("left by a killed process"), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, c, "aa-1", "two")
	equal(t, "token", load(t, c, "aa-1"), "two")
	var fields map[string]any
	text, _ := os.ReadFile(file)
	if err := json.Unmarshal(text, &fields); err != nil || fields["access_token"] != "two" {
		t.Errorf("the file is %s", text)
	}
}

func TestDirKeyIsNoPath(t *testing.T) {
	c, _ := dirCache(t)
	for _, key := range []string{"", "../aa", "aa/bb", `aa\bb`, "aa.bb", strings.Repeat("a", 161)} {
		if _, _, err := c.Load(t.Context(), key); err == nil {
			t.Errorf("the key %q was taken", key)
		}
	}
}

// A process that is killed while it writes leaves a whole token and no lock.
func TestDirKilled(t *testing.T) {
	w := newWorld(t)
	for lap := range 5 {
		dir := t.TempDir()
		cmd := w.child("write", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		next := lines(out)
		for range 5 + 7*lap {
			next()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		c, err := client.Dir(filepath.Join(dir, "cache"))
		if err != nil {
			t.Fatal(err)
		}
		got := load(t, c, aKey)
		if len(got) != 48000 || got != strings.Repeat(got[:8], 6000) {
			t.Errorf("the token is damaged: %d bytes, %.20q", len(got), got)
		}
		put(t, c, aKey, "after")
	}
}

// Processes that share a directory ask once for the token, and once when it has
// been rejected.
func TestDirProcessesRenewOnce(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	var values []string
	var mu sync.Mutex
	var started, all sync.WaitGroup
	release := make(chan struct{})
	for range 4 {
		started.Add(1)
		all.Go(func() {
			cmd := w.child("token", dir)
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Error(err)
			}
			next := lines(out)
			equal(t, "child says", next(), "ready")
			started.Done()
			<-release
			_ = in.Close()
			value := next()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			values = append(values, value)
		})
	}
	started.Wait()
	close(release)
	all.Wait()
	equal(t, "tokens", strings.Join(values, " "), "token-1 token-1 token-1 token-1")
	equal(t, "token requests", w.asked(), 1)
}

// A Source whose cache fails says so, and one that cannot store the token uses
// it all the same.
func TestSourceWithFailingCache(t *testing.T) {
	if runtime.GOOS == "windows" {
		return
	}
	w := newWorld(t)
	c := w.config("oauth2")
	cache, path := dirCache(t)
	c.Cache = cache
	s := w.source(c)
	w.must(s)
	files, _ := filepath.Glob(filepath.Join(path, "*.json"))
	must(os.Chmod(files[0], 0o644))
	e := w.fails(w.source(c))
	if e.Reason != counterfoil.Unavailable || !strings.Contains(e.Error(), "other users can open it") {
		t.Errorf("got %v", e)
	}
	must(os.Remove(files[0]))
	must(os.Mkdir(strings.TrimSuffix(files[0], "json")+"tmp", 0o700)) // where the token is to be written
	must(os.WriteFile(filepath.Join(strings.TrimSuffix(files[0], "json")+"tmp", "x"), nil, 0o600))
	equal(t, "token", w.must(w.source(c)), "token-2")
	events := w.seenEvents()
	// That was token.failed, right after token.obtained.
	if last := events[len(events)-1]; last.Type != counterfoil.EventTokenNotCached || !strings.Contains(last.Detail, "not kept in the cache") {
		t.Errorf("got event %+v", last)
	}
}

// A directory that can neither be used nor made anew does not stop those whose
// tokens are independent.
func TestDirIsLost(t *testing.T) {
	for name, fails := range map[string]bool{"oauth2": false, "altrata": true} {
		w := newWorld(t)
		c := w.config(name)
		cache, path := dirCache(t)
		c.Cache = cache
		s := w.source(c)
		w.must(s)
		parent := filepath.Dir(path)
		if err := errors.Join(os.RemoveAll(parent), os.WriteFile(parent, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		w.clock.Turn(9 * time.Hour)
		if !fails {
			equal(t, "token without the cache", w.must(s), "token-2")
			continue
		}
		if e := w.fails(s); !errors.Is(e, client.ErrCacheLost) || e.Class() != counterfoil.Transient {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

// What two ask for is told apart also where the parts of it, one after another,
// read the same.
func TestPartsOfAnEntryAreKeptApart(t *testing.T) {
	for _, between := range []string{"", " ", ":", ",", "|", "&", "-", "0:", "1:"} {
		w := newWorld(t)
		shared := client.Memory()
		for i, row := range []struct {
			scope, tenant, resource, audience string
		}{
			{"a", "b" + between + "c", "", ""},
			{"a" + between + "b", "c", "", ""},
			{"a" + between + "b" + between + "c", "", "", ""},
			{"", "a" + between + "b" + between + "c", "", ""},
			{"", "", "urn:a" + between + "urn:b", ""},
			{"", "urn:a", "urn:b", ""},
			{"", "urn:a" + between + "urn:b", "", ""},
			{"", "audience=a", "", ""},
			{"", "", "", "a"},
		} {
			c := w.config("oauth2")
			c.Cache, c.Tenant, c.Scopes, c.Resources = shared, row.tenant, strings.Fields(row.scope), strings.Fields(row.resource)
			if row.audience != "" {
				c.Parameters = map[string][]string{"audience": {row.audience}}
			}
			equal(t, fmt.Sprintf("token of %q with %q between", row, between), w.must(w.source(c)), fmt.Sprint("token-", i+1))
		}
	}
}
