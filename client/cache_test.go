package client_test

import (
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
	"github.com/counterfoil/counterfoil/client/dircache"
)

func dirCache(t testing.TB) (client.Cache, string) {
	path := filepath.Join(t.TempDir(), "deep", "cache")
	c, err := dircache.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

var (
	put  = cachetest.Put
	load = cachetest.Load
)

func TestMemory(t *testing.T) {
	cachetest.Run(t, func(*testing.T) client.Cache { return client.Memory() })
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
		c, err := dircache.Open(filepath.Join(dir, "cache"))
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
	if e.Reason != counterfoil.ReasonUnavailable || !strings.Contains(e.Error(), "other users can open it") {
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
		if e := w.fails(s); !errors.Is(e, client.ErrCacheLost) || e.Class() != counterfoil.ClassTransient {
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
