package guard_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// lie is what a feed server says on its nth connection, before it is found out or
// hangs up.
type lie func(c *telling, n int)

// lies are kinds of feed servers that are broken, or not the issuer's.
func lies() map[string]lie {
	hangUp := func(c *telling) {
		select {
		case <-c.gone:
		case <-c.finished:
		default:
			close(c.end)
		}
	}
	say := func(events ...string) lie { return func(c *telling, _ int) { c.say(events...); hangUp(c) } }
	endless := func(event func(i int) string) lie {
		var text strings.Builder
		for i := range 500 {
			text.WriteString(written(event(i + 2)))
		}
		return func(c *telling, _ int) { c.say(hello).raw(text.String()); hangUp(c) }
	}
	return map[string]lie{
		"a position that goes back":         say(hello, position(5), position(4)),
		"events out of order":               say(hello, ofToken(9, "a"), ofToken(8, "b")),
		"another feed each time":            func(c *telling, n int) { c.say(fmt.Sprintf(`feed||{"feed":"v%d"}`, n), position(n)); hangUp(c) },
		"another feed each time, and reset": func(c *telling, n int) { restart(c, fmt.Sprint("v", n)); hangUp(c) },
		"the last position there is":        say(hello, `position|w.9223372036854775807|{}`),
		"a revocation after the year 9999":  say(hello, `revocation|w.9|{"client_id":"a","expires":253402300800}`),
		"an expiry beyond 63 bits":          say(hello, `revocation|w.9|{"client_id":"a","expires":9223372036854775808}`),
		"what has expired, without end":     endless(func(i int) string { return revocation(i, fmt.Sprint(i), start.Add(-time.Hour)) }),
		"the distant future, without end": endless(func(i int) string {
			return fmt.Sprintf(`revocation|w.%d|{"client_id":"c%d","disabled":true,"expires":253402300799}`, i, i)
		}),
		"names of kilobytes, without end": endless(func(i int) string {
			return fmt.Sprintf(`revocation|w.%d|{"client_id":"%d%s","expires":%d}`, i, i, strings.Repeat("a", 7000), later)
		}),
		"resets without end":           endless(func(int) string { return `reset||{"feed":"w"}` }),
		"a huge event":                 func(c *telling, _ int) { c.raw("data: " + strings.Repeat("x", 64<<10) + "\n\n"); hangUp(c) },
		"an event of many small lines": func(c *telling, _ int) { c.raw(strings.Repeat("data: x\n", 10_000)); hangUp(c) },
		"no UTF-8":                     say(hello, "revocation|w.9|{\"client_id\":\"client-\xff\",\"expires\":4000000000}"),
		"no JSON":                      say(hello, `revocation|w.9|{"client_id":`),
		"a list":                       say(hello, `revocation|w.9|[]`),
		"a feed and nothing else":      say(hello),
		"a connection that ends well":  say(hello, position(9)),
	}
}

// restart is an honest start at the beginning.
func restart(c *telling, feed string) {
	c.say(fmt.Sprintf(`feed||{"feed":%q}`, feed), fmt.Sprintf(`reset||{"feed":%q}`, feed),
		strings.Replace(ofToken(1, "revoked"), "w.1", feed+".1", 1), fmt.Sprintf(`position|%s.1|{}`, feed))
}

// A server that lies costs little memory, few requests and a line of the log a
// minute; calls get what the policy says; and when it is honest again, all is
// well.
func TestFeedOfALiar(t *testing.T) {
	const most, connections = 300, 30
	for name, lie := range lies() {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(func(c *guard.FeedConfig) { c.MaxEntries = most })
			r := s.behind(f)
			began := s.clock.Now()
			used := heap()
			for n := range connections {
				lie(s.next(), n)
				s.lost(n + 1)
				if got := f.Stats(); got.Entries > most || got.Connected {
					t.Fatalf("%+v", got)
				}
				if n < connections-1 {
					s.again(n + 1)
				}
			}
			took := s.clock.Now().Sub(began)
			if took < 30*time.Second {
				t.Errorf("%d connections within %v", connections, took)
			}
			if now := heap(); now > used+20<<20 {
				t.Errorf("%d bytes more than before", now-used)
			}
			if n := s.log.count("WARN"); n < 1 || n > int(took/time.Minute)+1 {
				t.Errorf("%d warnings in %v", n, took)
			}
			s.clock.Turn(15 * time.Second)
			for range 3 {
				if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
					t.Errorf("%q", got)
				}
			}
			if n := s.log.count("ERROR"); n != 1 {
				t.Errorf("the log tells %d times that the feed is cut", n)
			}
			s.again(connections)
			restart(s.next(), "honest")
			caughtUp(t, f, "honest.1")
			if a, b := r.reason(r.claim("jti", "revoked")), r.reason(r.token(nil)); a != counterfoil.ReasonTokenRevoked || b != "" {
				t.Errorf("when it is honest again: %q, %q", a, b)
			}
			if n := s.log.count("caught up"); n != 1 {
				t.Errorf("the log tells %d times that all is well", n)
			}
		})
	}
}

// A connection whose feed is reset again before it is complete is ended at once:
// each reset costs memory and drops what came after the last one.
func TestFeedThatStartsAnewTwice(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	c := s.next().say(hello, position(1))
	caughtUp(t, f, "w.1")
	restart(c, "v") // complete
	caughtUp(t, f, "v.1")
	c.say(`reset||{"feed":"u"}`, `reset||{"feed":"u"}`)
	s.again(1)
	restart(s.next(), "u")
	caughtUp(t, f, "u.1")
}

// Long names are as much of the memory as more of them, and give it back when
// they are forgotten: those of clients and those of tokens.
func TestFeedCountsLongNames(t *testing.T) {
	const most = 10 // ten times 256 bytes of names
	for what, form := range map[string]string{
		"clients": `{"client_id":"%d%s","disabled":true,"expires":%d}`,
		"tokens":  `{"client_id":"%d","token_id":"%s","expires":%d}`,
	} {
		t.Run(what, func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(func(c *guard.FeedConfig) { c.MaxEntries = most })
			long := func(seq, size int) string {
				return fmt.Sprintf("revocation|w.%d|"+form, seq, seq%10, strings.Repeat("a", size-1), s.clock.Now().Unix()+30)
			}
			c := s.next().say(hello, long(1, 2000), long(2, 560), position(2))
			caughtUp(t, f, "w.2")
			for range 12 { // until they are forgotten
				s.clock.Turn(10 * time.Second)
				c.say(position(2))
				eventually.True(t, "the word arrives", func() bool { return f.Stats().LastHeartbeat.Equal(s.clock.Now()) })
			}
			eventually.True(t, "they are forgotten", func() bool { return f.Stats().Entries == 0 })
			c.say(long(3, 2000), long(4, 560), position(4))
			caughtUp(t, f, "w.4")
			if got := f.Stats(); got.Entries != 2 || got.Full {
				t.Errorf("%+v", got)
			}
			c.say(long(5, 2))
			s.lost(1)
			if got := f.Stats(); got.Entries != 2 || !got.Full || !got.Stale {
				t.Errorf("%+v", got)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// counter counts requests.
type counter struct{ n atomic.Int64 }

// server starts one that only counts, and returns its URL.
func (c *counter) server(t *testing.T) string {
	ts := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { c.n.Add(1) }))
	t.Cleanup(ts.Close)
	return ts.URL
}

// bomb is a line of 8 MB, compressed.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	return b.Bytes()
})

// The server's clock is its own business: nothing here goes by it.
func TestFeedOfAServerWhoseClockIsOff(t *testing.T) {
	for _, off := range []time.Duration{2 * time.Hour, -2 * time.Hour, 100 * 365 * 24 * time.Hour} {
		s := newTeller(t, false)
		f := s.follow(nil)
		r := s.behind(f)
		word := func(seq int) string {
			return fmt.Sprintf(`position|w.%d|{"time":%d}`, seq, s.clock.Now().Add(off).Unix())
		}
		c := s.next().say(hello, ofToken(1, "revoked"), word(1))
		caughtUp(t, f, "w.1")
		for range 30 {
			s.clock.Turn(5 * time.Second)
			c.say(word(1))
			eventually.True(t, "the word arrives", func() bool { return f.Stats().LastHeartbeat.Equal(s.clock.Now()) })
			if a, b := r.reason(r.claim("jti", "revoked")), r.reason(r.token(nil)); a != counterfoil.ReasonTokenRevoked || b != "" {
				t.Fatalf("%v off: %q, %q", off, a, b)
			}
		}
		s.clock.Turn(15 * time.Second)
		if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
			t.Errorf("%v off, and silent: %q", off, got)
		}
	}
}

// A server whose answer is not a feed is asked every few seconds, and the log has a
// line a minute. No other server gets the credentials.
func TestNoFeedAtAll(t *testing.T) {
	var elsewhere counter
	other := elsewhere.server(t)
	for name, answer := range map[string]http.HandlerFunc{
		"a page": answerSet("<html>"),
		"a page that calls itself one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "<html>")
		},
		"a redirect to another host": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusTemporaryRedirect) },
		"an error":                   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"a cut connection":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, false)
			var asked counter
			s.refuse(func(w http.ResponseWriter, r *http.Request) { asked.n.Add(1); answer(w, r) })
			f := s.follow(nil)
			r := s.behind(f)
			began := s.clock.Now()
			const connections = 30
			for n := range connections {
				s.again(n + 1)
				if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
					t.Fatalf("%q", got)
				}
			}
			took := s.clock.Now().Sub(began)
			if took < 30*time.Second || asked.n.Load() > connections+1 {
				t.Errorf("asked %d times in %v", asked.n.Load(), took)
			}
			if n := s.log.count("WARN"); n < 1 || n > int(took/time.Minute)+1 {
				t.Errorf("%d warnings in %v", n, took)
			}
			if n := s.log.count("ERROR"); n != 1 {
				t.Errorf("the log tells %d times that the feed is cut", n)
			}
		})
	}
	if n := elsewhere.n.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}
