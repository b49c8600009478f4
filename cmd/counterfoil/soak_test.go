package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// What a server under steady load may grow by between two halves of it.
const (
	moreFiles  = 32
	moreMemory = 64 << 20 // bytes
)

// Steady load from all sides, good and bad requests mixed: each gets the answer
// that it deserves, and neither memory nor open files grow with their number.
// 'make soak' asks for more of them.
func TestSoak(t *testing.T) {
	requests := soakRequests(t)
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	u.soak(t, requests/4) // fills caches and pools
	files, memory := u.openFiles(t), u.memory(t)
	u.soak(t, requests)
	if got := u.openFiles(t); got > files+moreFiles {
		t.Errorf("%d files were open, now %d", files, got)
	}
	if got := u.memory(t); got > memory+moreMemory {
		t.Errorf("%d MB were in use, now %d", memory>>20, got>>20)
	}
	t.Logf("%d requests: open files %d to %d, memory %d to %d MB", requests, files, u.openFiles(t), memory>>20, u.memory(t)>>20)
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// soakRequests is how many requests a soak makes: 'make soak' asks for more.
func soakRequests(t *testing.T) int {
	t.Helper()
	asked := os.Getenv("COUNTERFOIL_SOAK_REQUESTS")
	if asked == "" {
		return 800
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < 10 {
		t.Fatalf("COUNTERFOIL_SOAK_REQUESTS is %q", asked)
	}
	return n
}

// soak makes so many rounds of a good token, a bad one and a call.
func (u *upProcess) soak(t *testing.T, rounds int) {
	t.Helper()
	var wg sync.WaitGroup
	var left, plain atomic.Int64
	// Ten wrong secrets may be sent at once, and then ten an hour; those that are
	// under way when the limit is reached are looked at too.
	const most = 10 + 8 + 20
	left.Store(int64(rounds))
	a55, altrata := u.asker(t, "a55"), u.asker(t, "altrata")
	held := altrata.token(t.Context())
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 && t.Context().Err() == nil {
				if a55.token(t.Context()) == "" {
					t.Error("a good token request failed")
					return
				}
				if status := a55.bad(t); status == http.StatusBadRequest && plain.Add(1) > most {
					t.Errorf("%d wrong secrets are looked at", most+1)
					return
				} else if status != http.StatusBadRequest && status != http.StatusTooManyRequests {
					t.Errorf("a bad token request is answered %d", status)
					return
				}
				if status := altrata.call(t, held); status != http.StatusOK {
					t.Errorf("a good call is answered %d", status)
					return
				}
			}
		})
	}
	wg.Wait()
}

// bad asks for a token with a wrong secret.
func (a *asker) bad(t *testing.T) int {
	t.Helper()
	resp, err := a.http.Post(a.env.Get("AUTH_URL"), "application/x-www-form-urlencoded",
		strings.NewReader("grant_type=client_credentials&client_id="+a.env.Get("API_CLIENT_ID")+"&client_secret=wrong"))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (u *upProcess) openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", u.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// memory is what the process holds in memory, in bytes.
func (u *upProcess) memory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", u.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
