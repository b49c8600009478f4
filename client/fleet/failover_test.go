//go:build unix

package fleet_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// shifted is the machine's clock, ahead by what a test lets pass at once.
type shifted struct {
	counterfoil.Clock
	by *atomic.Int64
}

func (s shifted) Now() time.Time { return s.Clock.Now().Add(time.Duration(s.by.Load())) }

// callers is a fleet that calls an API all the time, which accepts the latest
// token only.
type callers struct {
	t      *testing.T
	api    *httptest.Server
	clock  shifted
	all    sync.WaitGroup
	stop   context.CancelFunc
	ctx    context.Context // until stop
	states []*states

	mu       sync.Mutex
	held     chan struct{} // not nil while no token request is answered
	issued   int           // tokens
	calls    []int         // that succeeded, of each process
	outcomes map[string]int
}

func newCallers(t *testing.T) *callers {
	t.Helper()
	c := &callers{t: t, clock: shifted{clock.System, new(atomic.Int64)}, outcomes: map[string]int{}}
	c.ctx, c.stop = context.WithCancel(t.Context())
	c.api = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	c.api.Config.ErrorLog = log.New(io.Discard, "", 0) // of those who call when the test ends
	t.Cleanup(func() { c.end(); c.api.Close() })
	return c
}

// serve is the token endpoint and the API.
func (c *callers) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r.URL.Path == "/token":
		c.issued++
		if held := c.held; held != nil {
			c.mu.Unlock()
			<-held
			c.mu.Lock()
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":1000}`, c.issued)
	case r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", c.issued):
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// add adds a process with such a cache, and goroutines that call.
func (c *callers) add(config fleet.Config) {
	c.t.Helper()
	told := &states{}
	config.OnState, config.Clock = told.told, c.clock
	p, err := provider.Builtin("oauth2")
	if err == nil {
		p, err = p.Override(provider.Overrides{Policy: provider.PolicyReplace})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider: p, TokenURL: c.api.URL + "/token", APIURL: c.api.URL, ClientID: "the-client", ClientSecret: client.Static("right"),
		Cache: open(c.t, config), HTTP: c.api.Client().Transport, Clock: c.clock,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	n := len(c.calls)
	c.calls = append(c.calls, 0)
	c.mu.Unlock()
	c.states = append(c.states, told)
	for range 2 {
		c.all.Go(func() {
			for clock.System.Sleep(c.ctx, 5*time.Millisecond) == nil { // the load, not a wait for anything
				c.call(n, source)
			}
		})
	}
}

func (c *callers) call(n int, source *client.Source) {
	outcome := ""
	resp, err := source.Client().Get(c.api.URL + "/api")
	if err != nil {
		outcome = reason(err)
	} else {
		resp.Body.Close()
		outcome = resp.Status
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[outcome]++
	if outcome == "200 OK" {
		c.calls[n]++
	}
}

// requests is how many tokens were asked for.
func (c *callers) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issued
}

// hold has token requests wait until the function is called that it returns.
func (c *callers) hold() (answer func()) {
	held := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held = nil
		close(held)
	})
}

// due has the token be one that is to be renewed, and lives on.
func (c *callers) due() { c.clock.by.Store(int64(850 * time.Second)) }

// goOn waits until every process has made calls that succeeded, and knows of no
// trouble.
func (c *callers) goOn() {
	c.t.Helper()
	c.mu.Lock()
	before := append([]int(nil), c.calls...)
	c.mu.Unlock()
	eventually.True(c.t, "all processes call", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, told := range c.states {
			if told.last() != nil || c.calls[i] < before[i]+10 {
				return false
			}
		}
		return true
	})
}

// askOnce waits until the token is renewed and everybody goes on, and looks
// whether more than that was needed.
func (c *callers) askOnce() {
	c.t.Helper()
	eventually.True(c.t, "the token is renewed", func() bool { return c.requests() > 1 })
	c.goOn()
	c.end()
	equal(c.t, "token requests", c.requests(), 2)
	for outcome, n := range c.outcomes {
		if outcome != "200 OK" {
			c.t.Errorf("%d calls failed: %s", n, outcome)
		}
	}
}

func (c *callers) end() {
	c.stop()
	c.all.Wait()
}

// sentinelSet is a real master with a replica, and a Sentinel that watches both.
type sentinelSet struct {
	t        *testing.T
	servers  [2]*server
	ports    [2]string
	sentinel *server
	url      string
}

func startSentinel(t *testing.T) *sentinelSet {
	t.Helper()
	s := &sentinelSet{t: t}
	for i := range s.servers {
		s.ports[i] = freePort(t)
		s.servers[i] = start(t, "--port", s.ports[i], "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
	}
	s.servers[1].follows(s.ports[0])
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nunixsocket %s\ndir %s\nsentinel monitor theset 127.0.0.1 %s 1\n", port, filepath.Join(dir, "s"), dir, s.ports[0])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sentinel = &server{t: t, dir: dir, socket: filepath.Join(dir, "s"), cmd: exec.Command(binary(t), file, "--sentinel")}
	tied(s.sentinel.cmd)
	if err := s.sentinel.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.sentinel.kill(); os.RemoveAll(dir) })
	eventually.True(t, "the Sentinel knows the replica", func() bool {
		return strings.Contains(s.sentinel.ask("INFO", "sentinel"), "status=ok") && strings.Contains(s.sentinel.ask("INFO", "sentinel"), "slaves=1")
	})
	s.url = "redis://127.0.0.1:" + port + "?master_set=theset"
	return s
}

// follows makes s a replica of the server at that port, which has what that has.
func (s *server) follows(port string) {
	s.t.Helper()
	equal(s.t, "REPLICAOF", s.ask("REPLICAOF", "127.0.0.1", port), "+OK")
	eventually.True(s.t, "the replica is up to date", func() bool {
		return strings.Contains(s.ask("INFO", "replication"), "master_link_status:up")
	})
}

// leads reports whether the Sentinel leads to that server.
func (s *sentinelSet) leads(to int) bool {
	return strings.Contains(s.sentinel.ask("INFO", "sentinel"), "address="+net.JoinHostPort("127.0.0.1", s.ports[to]))
}

func (s *sentinelSet) config() fleet.Config {
	c := config("")
	c.URL, c.Timeout, c.Lease = s.url, time.Second, 3*time.Second
	return c
}

func (s *server) isMaster() bool {
	return strings.Contains(s.ask("INFO", "replication"), "role:master")
}

// listeners is how many processes listen for changes at s.
func (s *server) listeners() string {
	return s.ask("EVAL", "return redis.call('PUBSUB', 'NUMSUB', 'counterfoil:changes')[2]", "0")
}

// A planned fail-over loses what the old master takes after the new one has begun,
// and moves the processes one after another: a renewal meanwhile takes one token
// request, whenever it begins, and no call fails.
func TestPlannedFailoverAsksOnce(t *testing.T) {
	for _, row := range []struct {
		name    string
		due     func(s *sentinelSet) bool
		renewal func(c *callers, s *sentinelSet) // what is waited for while the token is asked for
	}{
		{"before it", func(*sentinelSet) bool { return true }, nil},
		{"while the old master loses what it takes", func(s *sentinelSet) bool { return s.servers[1].isMaster() }, nil},
		{"when the processes move", func(s *sentinelSet) bool { return s.leads(1) }, nil},
		{"over all of it", func(s *sentinelSet) bool { return s.servers[1].isMaster() }, func(c *callers, s *sentinelSet) {
			eventually.True(t, "a token is asked for", func() bool { return c.requests() > 1 })
			eventually.True(t, "all have moved", func() bool { return s.servers[1].listeners() == ":10" })
			eventually.True(t, "the lease is there, too", func() bool { return strings.Contains(s.servers[1].ask("EVAL", leases, "0"), "1") })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, c := startSentinel(t), newCallers(t)
			for range 10 {
				c.add(s.config())
			}
			c.goOn()
			equal(t, "token requests before", c.requests(), 1)
			answer := func() {}
			if row.renewal != nil {
				answer = c.hold()
				defer answer()
			}
			equal(t, "SENTINEL FAILOVER", s.sentinel.ask("SENTINEL", "FAILOVER", "theset"), "+OK")
			eventually.True(t, "the time has come", func() bool { return row.due(s) })
			c.due()
			if row.renewal != nil {
				row.renewal(c, s)
			}
			answer()
			eventually.True(t, "all have moved", func() bool { return s.servers[1].listeners() == ":10" })
			c.askOnce()
		})
	}
}

// leases counts the entries that somebody has the lease of.
const leases = "local n = 0; for _, name in ipairs(redis.call('KEYS', '*')) do n = n + redis.call('HEXISTS', name, 'h') end; return n"

// Processes whose user was switched off for a while come back one after another:
// the first of them asks for no token that ends the one the others go on to use.
func TestUserSwitchedOffAsksOnce(t *testing.T) {
	port := freePort(t)
	s, c := start(t, "--port", port, "--bind", "127.0.0.1"), newCallers(t)
	equal(t, "ACL SETUSER", s.ask(user("passw0rd-of-the-server")...), "+OK")
	var tries, before [10]atomic.Int32
	for i := range tries {
		f := config("")
		f.URL, f.Timeout, f.Lease = "redis://fleet@127.0.0.1:"+port, time.Second, 3*time.Second
		f.Password = func(context.Context) (counterfoil.Secret, error) {
			tries[i].Add(1)
			return "passw0rd-of-the-server", nil
		}
		c.add(f)
	}
	c.goOn()
	equal(t, "token requests before", c.requests(), 1)
	equal(t, "ACL SETUSER", s.ask("ACL", "SETUSER", "fleet", "off"), "+OK")
	for i := range tries {
		before[i].Store(tries[i].Load())
	}
	equal(t, "CLIENT KILL", s.ask("CLIENT", "KILL", "USER", "fleet"), ":10")
	for i := range tries { // by then each tries about once a second
		eventually.True(t, "all have tried again", func() bool { return tries[i].Load() >= before[i].Load()+6 })
	}
	c.due()
	equal(t, "ACL SETUSER", s.ask("ACL", "SETUSER", "fleet", "on"), "+OK")
	c.askOnce()
}

// A connection that is broken again and again, each time for a moment, keeps
// nobody from renewing.
func TestConnectionThatNeverLasts(t *testing.T) {
	s := start(t)
	p := s.proxy()
	c := config(p.socket)
	c.Timeout, c.Lease = time.Second, 3*time.Second
	cache := open(t, c)
	renewed(t, cache, key, give("one"))
	ctx, cancel := context.WithCancel(t.Context())
	var breaks atomic.Int32
	var all sync.WaitGroup
	all.Go(func() {
		for clock.System.Sleep(ctx, 500*time.Millisecond) == nil { // the fault, not a wait for anything
			p.reset()
			breaks.Add(1)
		}
	})
	defer all.Wait()
	defer cancel()
	eventually.True(t, "it is broken", func() bool { return breaks.Load() > 1 })
	r := rejecting("one", fetches("two"))
	eventually.True(t, "it is renewed", func() bool {
		got, err := cache.Renew(t.Context(), key, r)
		return err == nil && got.Value == "two"
	})
}

// A process that is moved to another server by the very step that takes the lease
// gives it back: the others may be on their way with a newer token.
func TestLeaseTakenByABreakIsGivenBack(t *testing.T) {
	port := freePort(t)
	old, fresh := start(t, "--port", port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"), start(t)
	p := old.proxy()
	c := config(p.socket)
	c.Timeout, c.Lease = time.Second, 3*time.Second
	mover := open(t, c)
	renewed(t, mover, key, give("one"))
	fresh.follows(port)
	fresh.ask("REPLICAOF", "NO", "ONE")
	other := fresh.open()
	knowsAfterAsking(t, other, "one")
	before := fresh.field(key, "n")
	p.breaksAt("\r\n200\r\n", fresh.socket) // the time that others are asked for is an argument of that step alone
	took := make(chan string, 1)
	go func() {
		r := neverFetch(t)
		r.Accept = func(current counterfoil.Token) bool { return current.Value == "two" }
		got, err := mover.Renew(t.Context(), key, r)
		took <- got.Value.Reveal() + errText(err)
	}()
	eventually.True(t, "the lease is taken at the other server", func() bool { return fresh.field(key, "n") != before })
	equal(t, "the other renews", renewed(t, other, key, rejecting("one", fetches("two"))), "two")
	equal(t, "the one that moved takes", <-took, "two")
}
