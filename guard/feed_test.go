package guard_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// teller is an issuer's revocation feed on a TLS listener: the test says what
// it tells.
type teller struct {
	t           testing.TB
	clock       *clock.Manual
	server      *httptest.Server
	connections chan *telling
	log         *waits

	mu      sync.Mutex
	refusal http.HandlerFunc // in place of the feed
}

// telling is one connection of a follower.
type telling struct {
	t        testing.TB
	after    string
	header   http.Header
	out      chan string   // what the handler writes
	end      chan struct{} // closed to end it
	gone     <-chan struct{}
	finished chan struct{}
}

func newTeller(t testing.TB, http2 bool) *teller {
	s := &teller{t: t, clock: clock.NewManual(start), connections: make(chan *telling, 100), log: &waits{}}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		refusal := s.refusal
		s.mu.Unlock()
		if refusal != nil {
			refusal(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		c := &telling{t, r.Header.Get("Last-Event-ID"), r.Header, make(chan string), make(chan struct{}), r.Context().Done(), make(chan struct{})}
		defer close(c.finished)
		s.connections <- c
		for {
			select {
			case text := <-c.out:
				_, _ = io.WriteString(w, text)
				w.(http.Flusher).Flush()
			case <-c.end:
				return
			case <-c.gone:
				return
			}
		}
	}))
	s.server.EnableHTTP2 = http2
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

func (s *teller) refuse(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = h
}

// waits collects how long a follower waits between connections, and what it
// logged.
type waits struct {
	slog.Handler
	mu    sync.Mutex
	all   []time.Duration
	lines []string
}

func (l *waits) Enabled(context.Context, slog.Level) bool { return true }

func (l *waits) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "again_in" {
			l.all = append(l.all, a.Value.Duration())
		}
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.lines = append(l.lines, line)
	return nil
}

// count returns how many lines have a text in them.
func (l *waits) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// follow begins to follow.
func (s *teller) follow(change func(*guard.FeedConfig)) *guard.Feed {
	s.t.Helper()
	cfg := guard.FeedConfig{URL: s.server.URL + "/revocations", Client: s.server.Client(), Clock: s.clock, Logger: slog.New(s.log)}
	if change != nil {
		change(&cfg)
	}
	f := must(guard.FollowRevocations(cfg))
	s.t.Cleanup(f.Close)
	return f
}

// next returns the next connection.
func (s *teller) next() *telling {
	s.t.Helper()
	var c *telling
	eventually.True(s.t, "somebody connects", func() bool {
		select {
		case c = <-s.connections:
			return true
		default:
			return false
		}
	})
	return c
}

// again waits for the follower to lose its nth connection, and lets it connect
// again.
func (s *teller) again(n int) time.Duration {
	s.t.Helper()
	wait := s.lost(n)
	s.clock.Turn(wait)
	return wait
}

// lost waits until the follower has lost its nth connection and waits.
func (s *teller) lost(n int) time.Duration {
	s.t.Helper()
	var wait time.Duration
	eventually.True(s.t, fmt.Sprintf("connection %d is lost", n), func() bool {
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		if len(s.log.all) < n {
			return false
		}
		wait = s.log.all[n-1]
		times := func(all []time.Duration) (n int) { // it may have waited as long before
			for _, d := range all {
				if d == wait {
					n++
				}
			}
			return n
		}
		return times(s.clock.Slept()) >= times(s.log.all[:n])
	})
	return wait
}

// say sends events, each as "type|id|data".
func (c *telling) say(events ...string) *telling {
	for _, e := range events {
		c.raw(written(e))
	}
	return c
}

// written returns an event as it stands in a stream.
func written(event string) string {
	parts := strings.SplitN(event, "|", 3)
	text := "event: " + parts[0] + "\n"
	if parts[1] != "" {
		text += "id: " + parts[1] + "\n"
	}
	return text + "data: " + parts[2] + "\n\n"
}

func (c *telling) raw(text string) {
	select {
	case c.out <- text:
	case <-c.finished:
	}
}

func (c *telling) close() {
	close(c.end)
	<-c.finished
}

// later is after every token here has expired.
var later = start.Add(2 * time.Hour).Unix()

func ofToken(seq int, id string) string {
	return fmt.Sprintf(`revocation|w.%d|{"client_id":%q,"token_id":%q,"expires":%d}`, seq, client, id, later)
}

const hello = `feed||{"feed":"w"}`

func position(seq int) string { return fmt.Sprintf(`position|w.%d|{"time":1}`, seq) }

// behind returns a guard that follows the feed.
func (s *teller) behind(f *guard.Feed, changes ...func(*guard.Config)) *rig {
	return newRigFor(s.t, must(provider.Builtin("oauth2")), dialects()["oauth2"], append([]func(*guard.Config){func(c *guard.Config) {
		c.Clock, c.Liveness, c.Directory = s.clock, f, nil
	}}, changes...)...)
}

// reason returns why a token is refused; "" when it is not.
func (r *rig) reason(token string) counterfoil.Reason {
	r.t.Helper()
	return r.send(r.call(token)).event.Reason
}

// at waits until the feed was followed to a position.
func at(t testing.TB, f *guard.Feed, position string) {
	t.Helper()
	eventually.True(t, "the position is "+position, func() bool { return f.Stats().Position == position })
}

// caughtUp waits until the feed is connected at a position.
func caughtUp(t testing.TB, f *guard.Feed, position string) {
	t.Helper()
	eventually.True(t, "caught up at "+position, func() bool {
		s := f.Stats()
		return s.Position == position && s.Connected && !s.Stale
	})
}

func TestFeed(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, http2)
			f := s.follow(nil)
			r := s.behind(f)
			first, second := r.claim("jti", "first"), r.claim("jti", "second")
			c := s.next()
			if c.after != "" || c.header.Get("Accept") != "text/event-stream" {
				t.Errorf("connects with %v", c.header)
			}
			want := func(token string, reason counterfoil.Reason) {
				t.Helper()
				if got := r.reason(token); got != reason {
					t.Errorf("refused for %q, want %q", got, reason)
				}
			}
			c.say(hello, ofToken(3, "first"))
			at(t, f, "w.3")
			want(first, counterfoil.ReasonTokenRevoked) // what is known is known
			want(second, counterfoil.ReasonUnavailable) // the rest is not caught up yet
			c.say(position(5))
			caughtUp(t, f, "w.5")
			want(first, counterfoil.ReasonTokenRevoked)
			want(second, "")

			all := func(seq int, members string) {
				t.Helper()
				c.say(fmt.Sprintf(`revocation|w.%d|{"client_id":%q%s,"expires":%d}`, seq, client, members, later))
				at(t, f, fmt.Sprint("w.", seq))
			}
			all(6, fmt.Sprintf(`,"not_before":%d`, start.Unix()))
			want(second, "")
			want(r.token(func(_, c members) { c["jti"], c["iat"] = "third", start.Unix()-1 }), counterfoil.ReasonTokenRevoked)
			want(first, counterfoil.ReasonTokenRevoked)
			all(7, `,"disabled":true`)
			want(second, counterfoil.ReasonTokenRevoked)
			all(8, "") // enabled again
			want(second, "")
			want(first, counterfoil.ReasonTokenRevoked)
			c.say(`revocation|w.9|{"client_id":"client-2","disabled":true,"expires":253402300799}`, `news||{"of":"a later version"}`, position(9))
			at(t, f, "w.9")
			want(second, "")
			if s := f.Stats(); s != (guard.FeedStats{Entries: 3, Position: "w.9", Connected: true, LastHeartbeat: start}) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFeedResumes(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	r := s.behind(f)
	c := s.next().say(hello, ofToken(1, "first"), position(2))
	caughtUp(t, f, "w.2")
	for i := range 3 {
		c.close()
		if wait := s.again(i + 1); wait < 50*time.Millisecond || wait > 100*time.Millisecond {
			t.Errorf("it waits %v, though it had caught up", wait)
		}
		c = s.next()
		if want := fmt.Sprint("w.", i+2); c.after != want {
			t.Errorf("it comes back after %q, want %q", c.after, want)
		}
		if got := r.reason(r.token(nil)); got != "" {
			t.Errorf("%s while it is not connected, for a moment", got)
		}
		c.say(hello, ofToken(i+3, fmt.Sprint(i)), position(i+3))
		caughtUp(t, f, fmt.Sprint("w.", i+3))
	}
	for _, id := range []string{"first", "0", "1", "2"} {
		if got := r.reason(r.claim("jti", id)); got != counterfoil.ReasonTokenRevoked {
			t.Errorf("%s: %q", id, got)
		}
	}
	if got := f.Stats().Reconnects; got != 3 {
		t.Errorf("%d reconnects", got)
	}
}

// The issuer has another database: the guard reads everything again, and forgets
// nothing until that is complete.
func TestFeedStartsAnew(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	r := s.behind(f)
	c := s.next().say(hello, ofToken(7, "old"), position(7))
	caughtUp(t, f, "w.7")
	c.close()
	s.again(1)
	c = s.next().say(`feed||{"feed":"v"}`, `reset||{"feed":"v"}`, strings.Replace(ofToken(1, "new"), "w.1", "v.1", 1))
	at(t, f, "v.1")
	old, fresh, other := r.claim("jti", "old"), r.claim("jti", "new"), r.token(nil)
	if a, b, c := r.reason(old), r.reason(fresh), r.reason(other); a != counterfoil.ReasonTokenRevoked || b != "" || c != "" {
		t.Errorf("before it is complete: %q, %q, %q", a, b, c)
	}
	c.close() // half way
	s.again(2)
	c = s.next()
	if c.after != "v.1" {
		t.Errorf("it comes back after %q", c.after)
	}
	c.say(`feed||{"feed":"v"}`, `position|v.2|{}`)
	caughtUp(t, f, "v.2")
	if a, b, c := r.reason(old), r.reason(fresh), r.reason(other); a != "" || b != counterfoil.ReasonTokenRevoked || c != "" {
		t.Errorf("when it is complete: %q, %q, %q", a, b, c)
	}
	// The same feed, and an older state of the database.
	c.say(`reset||{"feed":"v"}`, `position|v.1|{}`)
	caughtUp(t, f, "v.1")
	if got := f.Stats().Entries; got != 0 {
		t.Errorf("%d entries", got)
	}
}

// TestFeedFaults: an invalid event ends the connection. Nothing that is known is
// lost, and the next connection recovers.
func TestFeedFaults(t *testing.T) {
	raw := func(text string) func(*telling) { return func(c *telling) { c.raw(text) } }
	say := func(events ...string) func(*telling) { return func(c *telling) { c.say(events...) } }
	for name, fault := range map[string]func(*telling){
		"cut":                                 func(c *telling) { close(c.end) },
		"cut within an event":                 func(c *telling) { c.raw("event: revocation\nid: w.9\ndata: {"); close(c.end) },
		"no greeting":                         say(ofToken(9, "x")),
		"reset without a greeting":            say(`reset||{"feed":"v"}`),
		"another feed, no reset":              say(`feed||{"feed":"v"}`, `revocation|v.9|{"client_id":"a","expires":4000000000}`),
		"another feed, and the old one's ids": say(`feed||{"feed":"v"}`, ofToken(9, "x")),
		"another feed's position":             say(hello, `position|v.9|{}`),
		"a greeting without a word":           say(`feed||{}`),
		"a word with a line feed":             say(`feed||{"feed":"a\nb"}`),
		"a long word":                         say(`feed||{"feed":"` + strings.Repeat("a", 200) + `"}`),
		"the same again":                      say(hello, ofToken(2, "x")),
		"an earlier one":                      say(hello, ofToken(1, "x")),
		"an earlier position":                 say(hello, position(1)),
		"no id":                               say(hello, `revocation||{"client_id":"a","expires":4000000000}`),
		"an id without a number":              say(hello, `revocation|w.x|{"client_id":"a","expires":4000000000}`),
		"a negative id":                       say(hello, `revocation|w.-9|{"client_id":"a","expires":4000000000}`),
		"an id beyond 63 bits":                say(hello, `revocation|w.9223372036854775808|{"client_id":"a","expires":4000000000}`),
		"no JSON":                             say(hello, `revocation|w.9|client-1`),
		"no UTF-8":                            say(hello, "revocation|w.9|{\"client_id\":\"client-\xff\",\"expires\":4000000000}"),
		"no client":                           say(hello, `revocation|w.9|{"expires":4000000000}`),
		"no expiry":                           say(hello, `revocation|w.9|{"client_id":"a"}`),
		"an expiry beyond the year 9999":      say(hello, `revocation|w.9|{"client_id":"a","expires":253402300800}`),
		"a member of another type":            say(hello, `revocation|w.9|{"client_id":"a","expires":"4000000000"}`),
		"a line without an end":               raw(strings.Repeat("x", 20_000)),
		"an event without an end":             raw(strings.Repeat("data: "+strings.Repeat("x", 4000)+"\n", 5)),
	} {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(nil)
			r := s.behind(f)
			c := s.next().say(hello, ofToken(1, "first"), position(2))
			caughtUp(t, f, "w.2")
			c.close()
			s.again(1)
			fault(s.next())
			s.again(2)
			c = s.next()
			if c.after != "w.2" {
				t.Errorf("it comes back after %q", c.after)
			}
			c.say(hello, position(3))
			caughtUp(t, f, "w.3")
			if a, b := r.reason(r.claim("jti", "first")), r.reason(r.token(nil)); a != counterfoil.ReasonTokenRevoked || b != "" {
				t.Errorf("%q, %q", a, b)
			}
		})
	}
}

func TestFeedAnswers(t *testing.T) {
	var elsewhere sync.Map
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere.Store("asked", r.URL.Path) }))
	defer other.Close()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"503":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "the answer is 503"},
		"401":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "check the credentials"},
		"403":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "is not a resource server"},
		"204":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "the answer is 204"},
		"a page":     {answerSet("<html>"), "not text/event-stream"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, "the answer is 302"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, false)
			s.refuse(tt.answer)
			f := s.follow(nil)
			r := s.behind(f)
			longest := time.Duration(0)
			for i := range 9 {
				longest = max(longest, s.again(i+1))
			}
			if longest > 5*time.Second || longest < 2*time.Second {
				t.Errorf("it waits %v at most", longest)
			}
			if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
				t.Errorf("%q", got)
			}
			if s.log.count(tt.want) == 0 {
				t.Errorf("the log says %q", s.log.lines)
			}
			s.lost(10)
			s.refuse(nil)
			s.again(10)
			s.next().say(hello, position(0))
			caughtUp(t, f, "w.0")
		})
	}
	if path, asked := elsewhere.Load("asked"); asked {
		t.Errorf("the redirect was followed to %v", path)
	}
}

// The longest wait between connections is a third of StaleAfter, whatever interrupts
// the feed: there are three attempts before calls notice.
func TestFeedWaitsForAThirdOfItsSilence(t *testing.T) {
	for after, most := range map[time.Duration]time.Duration{3 * time.Second: time.Second, 600 * time.Millisecond: 200 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			s := newTeller(t, false)
			s.refuse(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
			s.follow(func(c *guard.FeedConfig) { c.StaleAfter = after })
			longest := time.Duration(0)
			for i := range 9 {
				longest = max(longest, s.again(i+1))
			}
			if longest > most || longest < most/2 {
				t.Errorf("it waits %v at most, want %v", longest, most)
			}
		})
	}
}

// A connection that lasted for five seconds does not count as one that ended early,
// however many there are.
func TestFeedOfShortConnections(t *testing.T) {
	for lasted, patient := range map[time.Duration]bool{5 * time.Second: true, 5*time.Second - 1: false} {
		t.Run(lasted.String(), func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(nil)
			longest := time.Duration(0)
			for n := range 12 {
				c := s.next().say(hello, position(0))
				caughtUp(t, f, "w.0")
				s.clock.Turn(lasted)
				c.close()
				longest = max(longest, s.again(n+1))
			}
			if (longest <= 100*time.Millisecond) != patient {
				t.Errorf("it waits %v at most", longest)
			}
		})
	}
}

// A silent connection is given up after 15 seconds, and the feed is stale.
func TestSilence(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	r := s.behind(f)
	c := s.next().say(hello, position(1))
	caughtUp(t, f, "w.1")
	s.clock.Turn(15*time.Second - 1)
	if got := r.reason(r.token(nil)); got != "" {
		t.Errorf("after less than 15 seconds: %q", got)
	}
	s.clock.Turn(1)
	a := r.send(r.call(r.token(nil)))
	if a.status != 503 || a.event.Reason != counterfoil.ReasonUnavailable || a.event.Detail != "the revocation feed is stale" || a.event.ClientID != client {
		t.Errorf("%d, %+v", a.status, a.event)
	}
	<-c.gone
	s.again(1)
	c = s.next()
	c.raw(": nothing but comments\n\n")
	if s := f.Stats(); !s.Stale || s.Connected {
		t.Errorf("%+v", s)
	}
	c.say(hello, position(1))
	caughtUp(t, f, "w.1")
	if got := r.reason(r.token(nil)); got != "" {
		t.Errorf("afterwards: %q", got)
	}
	for range 3 { // words keep it alive
		s.clock.Turn(10 * time.Second)
		c.say(position(1))
		eventually.True(t, "the word arrives", func() bool { return f.Stats().LastHeartbeat.Equal(s.clock.Now()) })
	}
	if got := f.Stats(); got.Reconnects != 1 || got.Stale {
		t.Errorf("%+v", got)
	}
}

// A server that sends revocations and never says that this is all of them.
func TestNeverCaughtUp(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	c := s.next().say(hello)
	for i := range 10 {
		s.clock.Turn(5 * time.Second)
		c.say(ofToken(i+1, fmt.Sprint(i)))
		at(t, f, fmt.Sprint("w.", i+1))
	}
	if got := f.Stats(); !got.Stale || got.Connected || got.Reconnects != 0 || got.Entries != 10 {
		t.Errorf("%+v", got)
	}
}

func TestStalePolicies(t *testing.T) {
	i := newIntrospector(t)
	for _, tt := range []struct {
		policy string
		change func(*guard.FeedConfig)
		want   map[string]counterfoil.Reason // by token
	}{
		{"refuse", nil, map[string]counterfoil.Reason{"known": counterfoil.ReasonTokenRevoked, "unknown": counterfoil.ReasonUnavailable, "good": counterfoil.ReasonUnavailable}},
		{"accept", func(c *guard.FeedConfig) { c.OnStale = guard.Unchecked{} },
			map[string]counterfoil.Reason{"known": counterfoil.ReasonTokenRevoked, "unknown": "", "good": ""}},
		{"introspect", func(c *guard.FeedConfig) { c.OnStale = i.introspection(nil) },
			map[string]counterfoil.Reason{"known": counterfoil.ReasonTokenRevoked, "unknown": counterfoil.ReasonTokenRevoked, "good": ""}},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(tt.change)
			r := s.behind(f)
			s.next().say(hello, ofToken(1, "known"), position(1))
			caughtUp(t, f, "w.1")
			tokens := map[string]string{}
			for id := range tt.want {
				tokens[id] = r.claim("jti", id)
			}
			i.end(tokens["unknown"])
			for _, id := range []string{"unknown", "good"} {
				if got := r.reason(tokens[id]); got != "" {
					t.Errorf("%s while the feed is current: %q", id, got)
				}
			}
			if i.count() != 0 {
				t.Errorf("%d questions while the feed is current", i.count())
			}
			s.clock.Turn(15 * time.Second)
			for range 3 {
				for id, want := range tt.want {
					if got := r.reason(tokens[id]); got != want {
						t.Errorf("%s while the feed is cut: %q, want %q", id, got, want)
					}
				}
			}
			if got := s.log.count("ERROR revocation feed: stale"); got != 1 || s.log.count("policy="+tt.policy) != 1 {
				t.Errorf("logged %d times: %q", got, s.log.lines)
			}
			i.restart()
		})
	}
}

func TestFeedIsBounded(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(func(c *guard.FeedConfig) { c.MaxEntries = 3 })
	r := s.behind(f)
	c := s.next().say(hello, ofToken(1, "1"), ofToken(2, "2"), ofToken(3, "3"), position(3))
	caughtUp(t, f, "w.3")
	c.say(ofToken(4, "3"), position(4)) // one that is known takes no more room
	caughtUp(t, f, "w.4")
	c.say(ofToken(5, "4"))
	s.lost(1)
	if got := f.Stats(); !got.Full || !got.Stale || got.Entries != 3 {
		t.Errorf("%+v", got)
	}
	if a, b := r.reason(r.claim("jti", "2")), r.reason(r.claim("jti", "4")); a != counterfoil.ReasonTokenRevoked || b != counterfoil.ReasonUnavailable {
		t.Errorf("%q, %q", a, b)
	}
	if wait := s.again(1); wait != time.Minute {
		t.Errorf("it restarts after %v", wait)
	}
	c = s.next()
	if c.after != "" || s.log.count("MaxEntries") == 0 {
		t.Errorf("after %q, log %q", c.after, s.log.lines)
	}
	c.say(hello, ofToken(1, "1"), ofToken(2, "2"), ofToken(4, "3"), ofToken(5, "4")) // and it is too much again
	s.again(2)
	c = s.next().say(hello, ofToken(1, "1"), ofToken(5, "4"), position(6))
	caughtUp(t, f, "w.6")
	if a, b := r.reason(r.claim("jti", "2")), r.reason(r.claim("jti", "4")); a != "" || b != counterfoil.ReasonTokenRevoked {
		t.Errorf("when they fit: %q, %q", a, b)
	}
	if got := f.Stats(); got.Full || got.Entries != 2 {
		t.Errorf("%+v", got)
	}
	c.close()
}

func TestFeedForgets(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	until := func(seq int, token string, minutes int64) string {
		return fmt.Sprintf(`revocation|w.%d|{"client_id":"a","token_id":%q,"disabled":%v,"expires":%d}`, seq, token, token == "", start.Unix()+minutes*60)
	}
	c := s.next().say(hello, until(1, "past", -1), until(2, "soon", 1), until(3, "", 1), until(4, "late", 3), until(5, "", 5), until(6, "with it", 5), position(6))
	caughtUp(t, f, "w.6")
	for minute, want := range []int{4, 4, 3, 3, 2, 2, 0} {
		if got := f.Stats().Entries; got != want {
			t.Errorf("%d entries in minute %d, want %d", got, minute, want)
		}
		for range 6 {
			s.clock.Turn(10 * time.Second)
			c.say(position(6))
			eventually.True(t, "the word arrives", func() bool { return f.Stats().LastHeartbeat.Equal(s.clock.Now()) })
		}
	}
}

// Under the policy "replace", a feed can be used instead of a registry: a replaced
// token is among the revoked.
func TestFeedInPlaceOfARegistry(t *testing.T) {
	const replace = "extends: oauth2\nname: replacing\ntoken_endpoint: {policy: replace}\n"
	s := newTeller(t, false)
	f := s.follow(nil)
	if _, err := guard.New(guard.Config{Provider: parse(t, "replacing", replace), Issuer: issuer, Keys: &keyring{}}); err == nil {
		t.Fatal("nobody knows which token was replaced")
	}
	r := newRigFor(t, parse(t, "replacing", replace), dialects()["oauth2"], func(c *guard.Config) { c.Liveness, c.Directory = f, nil })
	s.next().say(hello, ofToken(1, "first"), position(1))
	caughtUp(t, f, "w.1")
	if a, b := r.reason(r.claim("jti", "first")), r.reason(r.claim("jti", "second")); a != counterfoil.ReasonTokenReplaced || b != "" {
		t.Errorf("%q, %q", a, b)
	}
}

// With both, both are asked.
func TestFeedBesideARegistry(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	known := &registry{dead: map[string]bool{"dead": true}}
	r := s.behind(f, func(c *guard.Config) { c.Liveness = guard.AllOf(f, known) })
	s.next().say(hello, ofToken(1, "revoked"), position(1))
	caughtUp(t, f, "w.1")
	for id, want := range map[string]counterfoil.Reason{"dead": counterfoil.ReasonTokenRevoked, "revoked": counterfoil.ReasonTokenRevoked, "good": ""} {
		if got := r.reason(r.claim("jti", id)); got != want {
			t.Errorf("%s: %q", id, got)
		}
	}
}

// A token that does not say when it was issued counts as older than any revocation.
func TestTokensWithoutAnIssueTime(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	p := must(provider.Builtin("oauth2"))
	r := newRigFor(t, without(p, provider.FromIssuedAt), dialects()["oauth2"], func(c *guard.Config) { c.Liveness, c.Directory = f, nil })
	c := s.next().say(hello, position(1))
	caughtUp(t, f, "w.1")
	if got := r.reason(r.token(nil)); got != "" {
		t.Errorf("%q", got)
	}
	c.say(fmt.Sprintf(`revocation|w.2|{"client_id":%q,"not_before":1,"expires":%d}`, client, later))
	at(t, f, "w.2")
	if got := r.reason(r.token(nil)); got != counterfoil.ReasonTokenRevoked {
		t.Errorf("%q", got)
	}
}

func TestCloseEndsTheFeed(t *testing.T) {
	eventually.NoGoroutineIsLeft(t)
	for name, state := range map[string]func(s *teller, f *guard.Feed){
		"caught up": func(s *teller, f *guard.Feed) { s.next().say(hello, position(1)); caughtUp(t, f, "w.1") },
		"hanging":   func(s *teller, _ *guard.Feed) { s.next() },
		"waiting": func(s *teller, _ *guard.Feed) {
			s.next().close()
			eventually.True(t, "it waits", func() bool { return s.log.count("interrupted") == 1 })
		},
		"at once":    func(*teller, *guard.Feed) {},
		"not served": func(s *teller, _ *guard.Feed) { s.server.Close() },
	} {
		s := newTeller(t, false)
		f := s.follow(nil)
		state(s, f)
		f.Close()
		f.Close()
		if got := f.Stats(); !got.Stale || got.Connected {
			t.Errorf("%s: %+v", name, got)
		}
		s.server.Client().CloseIdleConnections()
		s.server.Close()
	}
}

func TestFollowRevocationsSaysWhatIsMissing(t *testing.T) {
	c := &http.Client{}
	const u = "https://auth.example/revocations"
	for name, tt := range map[string]struct {
		cfg  guard.FeedConfig
		want string
	}{
		"nothing":    {guard.FeedConfig{}, "FeedConfig.URL must be an https URL"},
		"plain HTTP": {guard.FeedConfig{URL: "http://auth.example/revocations", Client: c}, "FeedConfig.URL must be an https URL"},
		"no client":  {guard.FeedConfig{URL: u}, "FeedConfig.Client is missing"},
		"negative":   {guard.FeedConfig{URL: u, Client: c, StaleAfter: -1}, "must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := guard.FollowRevocations(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// Calls look while the feed writes.
func TestManyCallsWhileTheFeedTells(t *testing.T) {
	s := newTeller(t, false)
	f := s.follow(nil)
	r := s.behind(f)
	c := s.next().say(hello, position(0))
	caughtUp(t, f, "w.0")
	const tokens = 30
	var all []string
	for i := range tokens {
		all = append(all, r.claim("jti", fmt.Sprint(i)))
	}
	h := r.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	var wg sync.WaitGroup
	told := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			ended := map[int]bool{}
			for done := false; !done; {
				select {
				case <-told:
					done = true // once more, and all have ended
				default:
				}
				for i, token := range all {
					req := httptest.NewRequest("GET", "/", nil)
					req.Header.Set("Authorization", "Bearer "+token)
					w := httptest.NewRecorder()
					h.ServeHTTP(w, req)
					if refused := w.Code == 401; refused != ended[i] {
						if ended[i] || w.Code != 401 {
							t.Errorf("token %d: %d after it had ended: %v", i, w.Code, ended[i])
						}
						ended[i] = true
					}
				}
			}
			if len(ended) != tokens {
				t.Errorf("%d of %d tokens ended", len(ended), tokens)
			}
		})
	}
	for i := range tokens {
		c.say(ofToken(i+1, fmt.Sprint(i)))
	}
	at(t, f, fmt.Sprint("w.", tokens))
	close(told)
	wg.Wait()
}

// canned answers every request with the same text.
type canned string

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}

// FuzzFeed follows whatever a server sends: it must end, and stay within its
// bounds.
func FuzzFeed(f *testing.F) {
	for _, seed := range []string{
		"event: feed\ndata: {\"feed\":\"w\"}\n\nevent: revocation\nid: w.1\ndata: {\"client_id\":\"a\",\"token_id\":\"b\",\"expires\":4000000000}\n\nevent: position\nid: w.1\ndata: {}\n\n",
		"event: feed\ndata: {\"feed\":\"w\"}\n\nevent: reset\ndata: {\"feed\":\"w\"}\n\nevent: position\nid: w.0\ndata: {}\n\n",
		"event: feed\ndata: {\"feed\":\"w\"}\n\nevent: revocation\nid: w.1\ndata: {\"client_id\":\"a\",\"not_before\":5,\"expires\":1800000060}\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		log, manual := &waits{}, clock.NewManual(start)
		feed := must(guard.FollowRevocations(guard.FeedConfig{URL: "https://auth.example/revocations", Client: &http.Client{Transport: canned(text)}, Clock: manual, Logger: slog.New(log), MaxEntries: 2}))
		defer feed.Close()
		for i := range 2 {
			eventually.True(t, "the connection ends", func() bool {
				log.mu.Lock()
				defer log.mu.Unlock()
				return len(log.all) > i && slices.Contains(manual.Slept(), log.all[i])
			})
			if s := feed.Stats(); s.Entries > 2 || s.Entries < 0 || s.Connected || len(s.Position) > 200 {
				t.Fatalf("%+v", s)
			}
			manual.Turn(time.Minute)
		}
	})
}
