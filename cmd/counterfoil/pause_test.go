//go:build unix

package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// pause stops a process as a suspended machine or a debugger does, for as long as
// COUNTERFOIL_PAUSE says, and lets f run meanwhile. Nothing but time passes: no
// clock of ours turns that of a process that stands still.
func (p *process) pause(t *testing.T, f func()) {
	t.Helper()
	length := 2 * time.Second
	if text := os.Getenv("COUNTERFOIL_PAUSE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("COUNTERFOIL_PAUSE is %q", text)
		}
	}
	until := time.NewTimer(length)
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f()
	<-until.C
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// times are the iat and exp of a token.
func times(t *testing.T, token string) (issued, expires time.Time) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("no token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Iat, Exp int64 }
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return time.Unix(claims.Iat, 0), time.Unix(claims.Exp, 0)
}

// A server and the guard in it that stand still for a while lose nothing: what
// was asked meanwhile is answered afterwards, dated when it was answered, is in
// the record, and a client that was disabled meanwhile is refused at once.
func TestPaused(t *testing.T) {
	u := start(t, t.TempDir()+"/data", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	a := u.asker(t, "altrata")
	before := a.token(t.Context())
	if a.call(t, before) != http.StatusOK {
		t.Fatal("a good call failed")
	}
	id := u.env(t, "altrata").Get("API_CLIENT_ID")
	answered, scraped := make(chan string, 4), make(chan string, 1)
	var woken time.Time
	u.pause(t, func() {
		for range cap(answered) {
			go func() { answered <- u.asker(t, "a55").token(t.Context()) }()
		}
		go func() { // a scrape waits as well, and is answered
			_, page := plain(t, u.metered(t)+"/metrics")
			scraped <- page
		}()
		// The command line is another process, which works on.
		execute(t, "", nil, binary, "client", "disable", "altrata", id, "--dir", u.dir).good(t)
		woken = time.Now()
	})
	if status := a.call(t, before); status != http.StatusUnauthorized {
		t.Errorf("a token that was ended meanwhile is answered %d", status)
	}
	issued := 1
	for range cap(answered) {
		token := <-answered
		if token == "" {
			t.Error("a request that waited was not answered")
			continue
		}
		issued++
		iat, exp := times(t, token)
		if now := time.Now(); iat.After(now.Add(time.Second)) || iat.Before(woken.Truncate(time.Second)) || !exp.After(now) {
			t.Errorf("a token is dated from %v to %v, answered at %v", iat, exp, now)
		}
	}
	execute(t, "", nil, binary, "client", "enable", "altrata", id, "--dir", u.dir).good(t)
	if after := a.token(t.Context()); after == "" || a.call(t, after) != http.StatusOK {
		t.Error("the client does not recover")
	} else if issued++; a.call(t, before) != http.StatusUnauthorized {
		t.Error("the token of before serves again")
	}
	if page := <-scraped; !strings.Contains(page, "counterfoil_build_info") {
		t.Errorf("a scrape that waited is answered %q", page)
	}
	if status, body := plain(t, u.metered(t)+"/healthz/ready"); status != http.StatusOK {
		t.Errorf("afterwards it is not ready: %s", body)
	}
	record := execute(t, "", nil, binary, "audit", "--dir", u.dir, "-o", "json").good(t).out
	if n := strings.Count(record, `"token.issued"`); n != issued {
		t.Errorf("%d tokens were answered, %d are in the record", issued, n)
	}
	var counted float64
	eventually.True(t, "and as many are counted", func() bool {
		counted = 0
		seen, _ := scrape(t, u.metered(t))
		for series, n := range seen {
			if strings.HasPrefix(series, "counterfoil_token_requests_total") && strings.Contains(series, "outcome=issued") {
				counted += n
			}
		}
		return counted == float64(issued)
	})
	if strings.Contains(u.errors(), "panic") || strings.Contains(u.errors(), "level=ERROR") {
		t.Errorf("it said %s", u.errors())
	}
}

// A guard elsewhere that follows the feed takes a server that stands still for
// cut when nothing was heard for long enough, and asks for what was revoked when
// the server is back; a short pause it does not notice.
func TestPausedServerOfAFeed(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	c := s.http(t)
	creds := s.client(t, "acme", "orders:read")
	f := s.follower(t, s.resourceServer(t, "acme"))
	waitFor(t, func() bool { return !f.feed.Stats().Stale })
	token, other := s.token(t, c, acmeToken, creds), s.token(t, c, acmeToken, creds)
	if f.call(token) != http.StatusOK || f.call(other) != http.StatusOK {
		t.Fatal("a good call failed")
	}
	s.pause(t, func() {
		if status := f.call(token); status != http.StatusOK {
			t.Errorf("within the feed's bound a good call is answered %d", status)
		}
		if os.Getenv("COUNTERFOIL_PAUSE") == "" {
			return // too short for the feed to be cut
		}
		waitFor(t, func() bool { return f.feed.Stats().Stale })
		if status := f.call(token); status != http.StatusServiceUnavailable {
			t.Errorf("while nobody can tell, a call is answered %d", status)
		}
	})
	s.revoke(t, c, creds, token)
	waitFor(t, func() bool { return f.call(token) == http.StatusUnauthorized })
	waitFor(t, func() bool { return !f.feed.Stats().Stale && f.call(other) == http.StatusOK })
	var last counterfoil.Secret
	if last = s.token(t, c, acmeToken, creds); f.call(last) != http.StatusOK {
		t.Error("a new token is refused")
	}
}

// A guard in a process of its own that stands still while a token is revoked
// refuses it within the feed's bound of going on, and within it nothing else: the
// revocation waits for it in the connection, or, when it stood still for longer than
// the bound, it takes the feed for cut and asks about each token.
func TestPausedGuardOfAFeed(t *testing.T) {
	const bound = 15 * time.Second // guard.FeedConfig.StaleAfter
	s := layOut(t, exampleConfig(t)).start(t)
	c := s.http(t)
	creds := s.client(t, "acme", "orders:read")
	g := newGuardProcess(t, s.following(s.resourceServer(t, "acme")))
	waitFor(t, func() bool { return g.stats(t).Connected })
	token, other := s.token(t, c, acmeToken, creds), s.token(t, c, acmeToken, creds)
	if g.call(t, token) != http.StatusOK || g.call(t, other) != http.StatusOK {
		t.Fatal("a good call failed")
	}
	stopped := time.Now()
	g.pause(t, func() { s.revoke(t, c, creds, token) })
	woken := time.Now()
	for first := true; ; first = false {
		status := g.call(t, token)
		if status == http.StatusUnauthorized {
			break
		}
		if status == http.StatusOK && first && woken.Sub(stopped) > bound {
			t.Error("it stood still for longer than the bound, and takes the token without asking")
		}
		if time.Since(woken) > bound {
			t.Fatalf("%v after it went on, the revoked token is answered %d", time.Since(woken), status)
		}
	}
	t.Logf("it stood still for %v and refused the token %v after it went on", woken.Sub(stopped).Round(time.Millisecond), time.Since(woken).Round(time.Millisecond))
	if status := g.call(t, other); status != http.StatusOK {
		t.Errorf("another token is answered %d", status)
	}
	if last := s.token(t, c, acmeToken, creds); g.call(t, last) != http.StatusOK {
		t.Error("a new token is refused")
	}
	waitFor(t, func() bool { stats := g.stats(t); return stats.Connected && !stats.Stale })
	if g.call(t, token) != http.StatusUnauthorized || g.call(t, other) != http.StatusOK {
		t.Error("once the feed has caught up, it is otherwise")
	}
}
