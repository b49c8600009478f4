//go:build unix

package fleet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// A value that was changed, or put in another's place, is used by nobody.
func TestStrangersValues(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(s *server)
	}{
		{"changed", func(s *server) {
			sealed := []byte(s.field(key, "t"))
			sealed[len(sealed)-1] ^= 1
			s.ask("HSET", "counterfoil:{"+key+"}", "t", string(sealed))
		}},
		{"of another key", func(s *server) {
			s.ask("HSET", "counterfoil:{"+key+"}", "t", s.field("bb-1", "t"), "g", s.field("bb-1", "g"))
		}},
		{"of another generation", func(s *server) { s.ask("HINCRBY", "counterfoil:{"+key+"}", "g", "1") }},
		{"not sealed", func(s *server) { s.ask("HSET", "counterfoil:{"+key+"}", "t", `{"value":"evil"}`) }},
		{"longer than any", func(s *server) { s.ask("HSET", "counterfoil:{"+key+"}", "t", strings.Repeat("x", 300<<10)) }},
		{"another type", func(s *server) { s.ask("SET", "counterfoil:{"+key+"}", "x") }},
		{"no number", func(s *server) { s.ask("HSET", "counterfoil:{"+key+"}", "g", "x") }},
		{"an absurd number", func(s *server) { s.ask("HSET", "counterfoil:{"+key+"}", "g", "9e300") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			one := s.open()
			renewed(t, one, key, give("one"))
			renewed(t, one, "bb-1", give("other"))
			one.Close()
			row.change(s)
			got, err := s.open().Renew(t.Context(), key, give("fresh"))
			if got.Value != "fresh" || err != nil {
				t.Errorf("got %q, %v", got.Value.Reveal(), err)
			}
		})
	}
	t.Run("an end that was moved does not make it live longer", func(t *testing.T) {
		s := start(t)
		renewed(t, s.open(), key, give("one"))
		s.ask("HSET", "counterfoil:{"+key+"}", "e", "99999999999999")
		got, err := s.open().Renew(t.Context(), key, give("fresh"))
		if err != nil || got.Value != "fresh" || got.Expires.After(time.Now().Add(time.Hour)) {
			t.Errorf("%q ends %s, %v", got.Value.Reveal(), got.Expires, err)
		}
	})
}

// A failure that was put in another's place is not taken for one of its own: what is
// stored there is of no use, which is no word of the provider.
func TestFailureOfAnotherKey(t *testing.T) {
	s := start(t)
	s.begin(t, key)
	one := s.open()
	r := rejectingAll()
	r.Fetch = func(context.Context) (counterfoil.Token, error) {
		return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Status: 401, RetryAfter: 50 * time.Second}
	}
	if _, err := one.Renew(t.Context(), "bb-1", r); err == nil {
		t.Fatal("no failure")
	}
	for _, name := range []string{"c", "p", "r", "f"} {
		s.ask("HSET", entryOf(key), name, s.field("bb-1", name))
	}
	_, err := one.Renew(t.Context(), key, neverFetch(t))
	if _, told := errors.AsType[*counterfoil.Error](err); told || !errors.Is(err, client.ErrCacheLost) {
		t.Errorf("got %v", err)
	}
}

const secretToken = "t0ken-that-nobody-may-see"

// The server sees no token: neither its MONITOR, nor what it stores.
func TestServerSeesNoToken(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	monitor, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	fmt.Fprint(monitor, "MONITOR\r\n")
	var mu sync.Mutex
	var seen strings.Builder
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := monitor.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			seen.Write(buf[:n])
			mu.Unlock()
		}
	})
	eventually.True(t, "MONITOR answers", func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(seen.String(), "+OK") })
	renewed(t, one, key, give(secretToken))
	knowsAfterAsking(t, two, secretToken)
	stored := s.ask("DUMP", "counterfoil:{"+key+"}")
	if len(stored) < 100 {
		t.Fatalf("DUMP gave %q", stored)
	}
	noToken(t, "DUMP", stored)
	if err := two.Drop(t.Context(), key, cachetest.Token(secretToken)); err != nil {
		t.Fatal(err)
	}
	_, _ = one.Renew(t.Context(), "bb-1", client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			return counterfoil.Token{}, &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient, Message: secretToken}
		},
	})
	noToken(t, "DUMP of a failure", s.ask("DUMP", "counterfoil:{bb-1}"))
	s.ask("ECHO", "the end")
	eventually.True(t, "all is seen", func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(seen.String(), "the end") })
	monitor.Close()
	reader.Wait()
	if text := seen.String(); !strings.Contains(text, "EVALSHA") || !strings.Contains(text, key) {
		t.Error("MONITOR saw nothing")
	}
	noToken(t, "MONITOR", seen.String())
}

// FuzzEntry: whatever somebody writes into an entry, a renewal ends, with a
// fresh token, the one that was there, a failure that stands, or ErrCacheLost.
func FuzzEntry(f *testing.F) {
	s := start(f)
	f.Add("g", "1", "t", "x", "e", "99999999999999")
	f.Add("g", "-1", "n", "9e300", "u", "99999999999999")
	f.Add("g", "nan", "p", "inf", "f", "cfseal1:0123456789012345678901234567890123456789")
	f.Add("u", "99999999999999", "h", "", "g", "9007199254740993")
	f.Add("g", "0.2", "t", "x", "u", "1e18")
	f.Add("p", "99999999999999", "c", "a", "r", "1e308")
	cache := s.open()
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, f1, v1, f2, v2, f3, v3 string) {
		key := fmt.Sprintf("aa-%d", n.Add(1))
		// Nobody is asked for a lost token any more, so that the rest is reached.
		s.ask("HSET", "counterfoil:{"+key+"}", "a", "1", f1, v1, f2, v2, f3, v3)
		defer s.ask("FLUSHALL")
		// Nothing waits longer than for a lease, or as long as the caller wants.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		got, err := cache.Renew(ctx, key, give("fresh"))
		if got.Value != "fresh" && !errors.Is(err, client.ErrCacheLost) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v", got.Value.Reveal(), err)
		}
	})
}

// A server that answers everything with an error, as one does that still reads
// its data, is away; what it says is not repeated, beyond its code.
func TestServerThatAnswersErrors(t *testing.T) {
	for _, row := range []struct{ name, answer, want string }{
		{"LOADING", "-LOADING the dataset", "answers LOADING"},
		{"no code", "-\x1b[31mevil", "answers an error"},
		{"no protocol", "HTTP/1.1 400 Bad Request", "cannot be reached"},
		{"something else", "+OK", "cannot be reached"},
		{"nothing", "", "cannot be reached"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config(errorServer(t, row.answer))
			c.Timeout, c.Lease = time.Second, 3*time.Second
			_, err := open(t, c).Renew(t.Context(), key, neverFetch(t))
			if !errors.Is(err, client.ErrCacheLost) || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "evil") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// errorServer answers each command with a line, and hangs for "".
func errorServer(t *testing.T, answer string) (socket string) {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "e")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "*") && answer != "" {
						_, _ = io.WriteString(conn, answer+"\r\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	return socket
}
