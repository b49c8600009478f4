//go:build unix

package fleet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/seal"
)

// states collects what OnState is told.
type states struct {
	mu  sync.Mutex
	all []error
}

func (s *states) told(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, err)
}

// last is the state now: nil too while nothing was told.
func (s *states) last() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return nil
	}
	return s.all[len(s.all)-1]
}

func (s *states) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.all)
}

// TestServerIsAway: whatever is wrong with the server, what is known serves on,
// nothing is fetched, and the error says so before the time is over; afterwards
// it works again.
func TestServerIsAway(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(*server, *proxy)
		undo func(*server, *proxy)
	}{
		{"refuses", func(s *server, _ *proxy) { s.kill() }, func(s *server, _ *proxy) { s.run() }},
		{"hangs", func(s *server, _ *proxy) { s.signal(syscall.SIGSTOP) }, func(s *server, _ *proxy) { s.signal(syscall.SIGCONT) }},
		{"the network hangs", func(_ *server, p *proxy) { p.stall() }, func(_ *server, p *proxy) { p.resume() }},
		{"resets", func(s *server, p *proxy) { p.leads(s.socket + "-none") }, func(s *server, p *proxy) { p.leads(s.socket) }},
		{"READONLY", func(s *server, _ *proxy) { s.ask("REPLICAOF", "127.0.0.1", "1") }, func(s *server, _ *proxy) { s.ask("REPLICAOF", "NO", "ONE") }},
		{"OOM", func(s *server, _ *proxy) { s.ask("CONFIG", "SET", "maxmemory", "1") }, func(s *server, _ *proxy) { s.ask("CONFIG", "SET", "maxmemory", "0") }},
		{"MISCONF", func(s *server, _ *proxy) {
			s.ask("CONFIG", "SET", "save", "1 1")
			s.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
			_ = os.RemoveAll(filepath.Join(s.dir, "dump.rdb"))
			_ = os.Mkdir(filepath.Join(s.dir, "dump.rdb"), 0o700) // in its place nothing can be written
			s.ask("SET", "x", "y")
			s.ask("SAVE")
			s.ask("BGSAVE")
			eventually.True(s.t, "it cannot write", func() bool { return strings.HasPrefix(s.ask("SET", "x", "y"), "-MISCONF") })
		}, func(s *server, _ *proxy) { s.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") }},
		{"no permission", func(s *server, _ *proxy) { s.ask("ACL", "SETUSER", "default", "-evalsha", "-eval") }, func(s *server, _ *proxy) { s.ask("ACL", "SETUSER", "default", "+@all") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			p := s.proxy()
			c := config(p.socket)
			c.Timeout, c.Lease = 2*time.Second, 6*time.Second
			var told states
			c.OnState = told.told
			cache := open(t, c)
			renewed(t, cache, key, give("one"))
			row.do(s, p)
			began := time.Now()
			_, err := cache.Renew(t.Context(), key, neverFetchNothingAccepted(t))
			if !errors.Is(err, client.ErrCacheLost) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > c.Timeout+slowMachine {
				t.Errorf("took %s", took)
			}
			equal(t, "what is here", cachetest.Load(t, cache, key), "one")
			if !errors.Is(told.last(), client.ErrCacheLost) {
				t.Errorf("told %v", told.last())
			}
			row.undo(s, p)
			r := rejecting("one", fetches("two"))
			eventually.True(t, "it works again", func() bool {
				got, err := cache.Renew(t.Context(), key, r)
				return err == nil && got.Value == "two"
			})
			eventually.True(t, "and says so", func() bool { return told.last() == nil })
			noToken(t, "what is told", told.text())
		})
	}
}

func noToken(t testing.TB, where, text string) {
	t.Helper()
	for _, secret := range []string{secretToken, masterKey.Reveal(), "passw0rd-of-the-server"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows a secret", where)
		}
	}
}

// While it is known that the server is away nobody waits to find out.
func TestNobodyWaitsForAServerKnownToBeAway(t *testing.T) {
	s := start(t)
	p := s.proxy()
	c := config(p.socket)
	c.Timeout, c.Lease, c.Clock = 20*time.Second, time.Minute, clock.NewManual(time.Now())
	cache := open(t, c)
	s.begin(t, key)
	p.leads(s.socket + "-none")
	var refused atomic.Int32
	var all sync.WaitGroup
	defer all.Wait()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	renew := func() {
		if _, err := cache.Renew(ctx, key, neverFetchNothingAccepted(t)); errors.Is(err, client.ErrCacheLost) {
			refused.Add(1)
		}
	}
	renew()
	p.stall()
	p.leads(s.socket) // whoever tries waits for 20 s
	all.Go(func() {
		for range 500 {
			renew()
		}
	})
	eventually.True(t, "all are refused", func() bool { return refused.Load() == 501 })
}

// One in a while finds out whether the server is back; the others wait neither for
// the server nor for that one.
func TestOneFindsOutWhetherTheServerIsBack(t *testing.T) {
	s := start(t)
	p := s.proxy()
	c, now := config(p.socket), clock.NewManual(time.Now())
	c.Timeout, c.Lease, c.Clock = 20*time.Second, time.Minute, now // longer than the test waits
	cache := open(t, c)
	s.begin(t, key)
	p.leads(s.socket + "-none")
	if _, err := cache.Renew(t.Context(), key, neverFetch(t)); !errors.Is(err, client.ErrCacheLost) {
		t.Fatalf("got %v", err)
	}
	p.stall()
	p.leads(s.socket)
	now.Turn(2 * time.Second)
	ctx, leave := context.WithTimeout(t.Context(), 10*time.Second) // before the server counts as lost again
	var all sync.WaitGroup
	var refused atomic.Int32
	for i := range 10 {
		all.Go(func() {
			if _, err := cache.Renew(ctx, fmt.Sprintf("aa-%d", i), neverFetch(t)); errors.Is(err, client.ErrCacheLost) {
				refused.Add(1)
			}
		})
	}
	defer all.Wait()
	defer leave()
	eventually.True(t, "all but one are refused", func() bool { return refused.Load() == 9 })
}

// A server that comes back without its data gets the token from who has it.
func TestRestartWithoutDataCostsNothing(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	renewed(t, one, key, give("one"))
	knowsAfterAsking(t, two, "one")
	_ = one.Drop(t.Context(), "aa-2", cachetest.Token(renewed(t, one, "aa-2", give("other"))))
	counter := two.Changes(key).Load()
	s.kill()
	s.run()
	equal(t, "here all the time", cachetest.Load(t, one, key)+cachetest.Load(t, two, key), "oneone")
	eventually.True(t, "it is there again", func() bool { return s.field(key, "t") != "$-1" && s.field(key, "t") != "" })
	knowsAfterAsking(t, s.open(), "one")
	equal(t, "nobody had to look again", two.Changes(key).Load(), counter)
	eventually.True(t, "it is renewed", func() bool { // once it is known that the server is back
		got, err := two.Renew(t.Context(), key, rejecting("one", fetches("two")))
		return err == nil && got.Value == "two"
	})
	knows(t, one, key, "two")
}

func TestRestartWithData(t *testing.T) {
	s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	one := s.open()
	renewed(t, one, key, give("one"))
	generation := s.field(key, "g")
	one.Close()
	s.kill()
	s.run()
	knowsAfterAsking(t, s.open(), "one")
	equal(t, "the generation", s.field(key, "g"), generation)
}

// A token dropped while the server was away is not served to anybody later.
func TestDropWhileTheServerIsAway(t *testing.T) {
	s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	one := s.open()
	renewed(t, one, key, give("one"))
	s.kill()
	if err := one.Drop(t.Context(), key, cachetest.Token("one")); !errors.Is(err, client.ErrCacheLost) {
		t.Errorf("got %v", err)
	}
	equal(t, "here", cachetest.Load(t, one, key), "")
	s.run()
	eventually.True(t, "it is dropped there too", func() bool { return s.field(key, "t") == "$-1" })
}

// The server goes away while the token is fetched: the token serves, and is
// shared later.
func TestServerGoesAwayDuringFetch(t *testing.T) {
	s := start(t)
	one := s.open()
	got, err := one.Renew(t.Context(), key, client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value != "" },
		Fetch: func(context.Context) (counterfoil.Token, error) {
			s.kill()
			return cachetest.Token("one"), nil
		},
	})
	if got.Value != "one" || !errors.Is(err, client.ErrCacheLost) {
		t.Errorf("got %v, %v", got, err)
	}
	equal(t, "here", cachetest.Load(t, one, key), "one")
	s.run()
	eventually.True(t, "it is there", func() bool { return len(s.field(key, "t")) > 8 })
	knowsAfterAsking(t, s.open(), "one")
}

// One entry that the server evicts is lost, not dropped.
func TestLostIsNotDropped(t *testing.T) {
	s := start(t)
	one := s.open()
	renewed(t, one, key, give("one"))
	s.ask("FLUSHALL")
	s.ask("PUBLISH", "counterfoil:changes", key)
	eventually.True(t, "it is there again", func() bool { return len(s.field(key, "t")) > 8 })
	equal(t, "here", cachetest.Load(t, one, key), "one")
}

func TestKeysAreRotated(t *testing.T) {
	s := start(t)
	old, fresh := client.Static(masterKey), client.Static(seal.NewKey())
	with := func(keys ...client.SecretFunc) *fleet.Cache {
		c := s.config()
		c.Keys = keys
		return open(t, c)
	}
	renewed(t, with(old), key, give("one"))
	both := with(old, fresh)
	knowsAfterAsking(t, both, "one")
	turned := with(fresh, old)
	knowsAfterAsking(t, turned, "one")
	if err := turned.Drop(t.Context(), key, cachetest.Token("one")); err != nil {
		t.Fatal(err)
	}
	knows(t, both, key, "")
	renewed(t, turned, key, give("two"))
	knows(t, both, key, "two")
	knowsAfterAsking(t, with(fresh), "two")
}

// While keys are rotated some processes seal with the new one, and others, whose
// first is the old one, can take their tokens out of use.
func TestDropOfATokenSealedWithAnotherKey(t *testing.T) {
	s := start(t)
	old, fresh := client.Static(masterKey), client.Static(seal.NewKey())
	with := func(keys ...client.SecretFunc) *fleet.Cache {
		c := s.config()
		c.Keys = keys
		return open(t, c)
	}
	one, two := with(old, fresh), with(fresh, old)
	renewed(t, one, key, give("one")) // so that it does not seal the next anew
	renewed(t, two, key, rejecting("one", fetches("two")))
	knows(t, one, key, "two")
	if err := one.Drop(t.Context(), key, cachetest.Token("two")); err != nil {
		t.Fatal(err)
	}
	equal(t, "bytes on the server", s.ask("HSTRLEN", entryOf(key), "t"), ":0")
	knows(t, two, key, "")
}

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	s := start(t)
	renewed(t, s.open(), key, give("one"))
	c := s.config()
	c.Keys = []client.SecretFunc{client.Static(seal.NewKey())}
	var told states
	c.OnState = told.told
	_, err := open(t, c).Renew(t.Context(), key, neverFetch(t))
	if !errors.Is(err, client.ErrCacheLost) || !strings.Contains(err.Error(), "sealed under another master key") || !strings.Contains(err.Error(), "name it in Config.Keys") {
		t.Errorf("got %v", err)
	}
	if told.last() == nil {
		t.Error("nothing was told")
	}
	knowsAfterAsking(t, s.open(), "one")
}

// user is the command that makes the user with the few rights that docs/fleet.md
// names.
func user(password string, more ...string) []string {
	return append(strings.Fields("ACL SETUSER fleet reset on >"+password+
		" ~counterfoil:* &counterfoil:* +eval +evalsha +hget +hset +hdel +hexists +hstrlen +del +pexpire +publish +time +subscribe +unsubscribe +scan +ping +hello +client"), more...)
}

// Over TLS, with a user and a password that is rotated.
func TestTLSAndPassword(t *testing.T) {
	plain := start(t) // its socket is asked by the test itself
	https := httptest.NewTLSServer(nil)
	defer https.Close()
	pair := https.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(plain.dir, "cert.pem"), filepath.Join(plain.dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", pair.Certificate[0])
	writePEM(t, key, "PRIVATE KEY", der)
	port := freePort(t)
	s := start(t, "--tls-port", port, "--bind", "127.0.0.1", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	equal(t, "ACL SETUSER", s.ask(user("passw0rd-of-the-server")...), "+OK")
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	c := config("")
	c.URL = "rediss://fleet@127.0.0.1:" + port
	c.TLS = &tls.Config{RootCAs: roots}
	c.Password = client.Static("wrong")
	if _, err := fleet.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("with a wrong password: %v", err)
	}
	c.Password = client.Static("passw0rd-of-the-server")
	cache := open(t, c)
	renewed(t, cache, "aa-1", give("one"))
	if err := cache.Clear(t.Context(), ""); err != nil {
		t.Errorf("clear: %v", err)
	}
	equal(t, "cleared", s.field("aa-1", "t"), "$-1")
	c.TLS = nil
	if _, err := fleet.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an unknown authority: %v", err)
	}
}

// A password that is rotated at the server, which ends the connections, is asked
// for when they are made again; until the program has it too, the server is lost.
func TestPasswordIsRotated(t *testing.T) {
	port := freePort(t)
	s := start(t, "--port", port, "--bind", "127.0.0.1")
	rotate := func(password string) {
		equal(t, "ACL SETUSER", s.ask(user(password)...), "+OK")
		if killed := s.ask("CLIENT", "KILL", "USER", "fleet"); !strings.HasPrefix(killed, ":") {
			t.Fatal(killed)
		}
	}
	rotate("passw0rd-of-the-server-1")
	var password atomic.Value
	password.Store(counterfoil.Secret("passw0rd-of-the-server-1"))
	c := config("")
	c.URL = "redis://fleet@127.0.0.1:" + port
	c.Password = func(context.Context) (counterfoil.Secret, error) { return password.Load().(counterfoil.Secret), nil }
	var told states
	c.OnState = told.told
	cache := open(t, c)
	renewed(t, cache, key, give("one"))

	rotate("passw0rd-of-the-server-2")
	if _, err := cache.Renew(t.Context(), key, neverFetchNothingAccepted(t)); !errors.Is(err, client.ErrCacheLost) {
		t.Errorf("with the old password: %v", err)
	}
	equal(t, "what is here", cachetest.Load(t, cache, key), "one")
	password.Store(counterfoil.Secret("passw0rd-of-the-server-2"))
	r := rejecting("one", fetches("two"))
	eventually.True(t, "it works with the new one", func() bool {
		got, err := cache.Renew(t.Context(), key, r)
		return err == nil && got.Value == "two"
	})
	eventually.True(t, "and says so", func() bool { return told.last() == nil })
	noToken(t, "what is told", told.text())

	password.Store(counterfoil.Secret("passw0rd-of-the-server-3")) // before the server has it
	rotate("passw0rd-of-the-server-3")
	r = rejecting("two", fetches("three"))
	eventually.True(t, "it works with the next one", func() bool {
		got, err := cache.Renew(t.Context(), key, r)
		return err == nil && got.Value == "three"
	})
	renewed(t, s.open(), key, rejecting("three", fetches("four")))
	knows(t, cache, key, "four") // the connection that listens has it, too
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freePort is one that nobody listens on, of those that the system gives to no
// connection of its own accord.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(15000 + rand.IntN(15000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

func TestConfigThatCannotWork(t *testing.T) {
	for _, row := range []struct {
		name string
		c    func(*fleet.Config)
		want string
	}{
		{"no URL", func(c *fleet.Config) { c.URL = "" }, "Config.URL is missing"},
		{"no scheme of a server", func(c *fleet.Config) { c.URL = "https://host" }, "must be like rediss://"},
		{"a password in the URL", func(c *fleet.Config) { c.URL = "rediss://u:passw0rd-of-the-server@host" }, "holds a password"},
		{"a parameter", func(c *fleet.Config) { c.URL = "rediss://host?skip_verify=true" }, "parameter other than"},
		{"plain to another machine", func(c *fleet.Config) { c.URL = "redis://192.0.2.1:6379" }, "without TLS"},
		{"one plain node of many", func(c *fleet.Config) { c.URL = "redis://127.0.0.1:6379?addr=192.0.2.1:6379" }, "without TLS"},
		{"unverified", func(c *fleet.Config) { c.URL, c.TLS = "rediss://host", &tls.Config{InsecureSkipVerify: true} }, "does not verify"},
		{"no key", func(c *fleet.Config) { c.Keys = nil }, "Config.Keys is missing"},
		{"a key that is none", func(c *fleet.Config) { c.Keys = []client.SecretFunc{client.Static("passw0rd-of-the-server")} }, "32 random bytes"},
		{"a lease shorter than three steps", func(c *fleet.Config) { c.Lease = 14 * time.Second }, "Config.Lease is less"},
		{"a lease that nobody would wait for", func(c *fleet.Config) { c.Lease = time.Hour }, "more than a minute"},
		{"steps too long for a lease", func(c *fleet.Config) { c.Timeout = 21 * time.Second }, "more than 20 s"},
		{"no time", func(c *fleet.Config) { c.Timeout = -1 }, "Config.Timeout"},
		{"a prefix with a space", func(c *fleet.Config) { c.Prefix = "a b" }, "Config.Prefix"},
		{"a prefix with a control character", func(c *fleet.Config) { c.Prefix = "a\x7f" }, "Config.Prefix"},
		{"a prefix that is too long", func(c *fleet.Config) { c.Prefix = strings.Repeat("a", 65) }, "Config.Prefix"},
		{"a prefix with a brace", func(c *fleet.Config) { c.Prefix = "a{b" }, "Config.Prefix"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config("/nowhere")
			row.c(&c)
			_, err := fleet.Open(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			noToken(t, "the error", fmt.Sprint(err))
		})
	}
}

// The longest and the shortest of what works does.
func TestConfigAtItsBounds(t *testing.T) {
	s := start(t)
	for name, change := range map[string]func(*fleet.Config){
		"the shortest steps":          func(c *fleet.Config) { c.Timeout, c.Lease = time.Millisecond, 3*time.Millisecond },
		"the longest":                 func(c *fleet.Config) { c.Timeout, c.Lease = 20*time.Second, time.Minute },
		"a lease that fits them":      func(c *fleet.Config) { c.Timeout, c.Lease = 10*time.Second, 0 },
		"the longest prefix":          func(c *fleet.Config) { c.Prefix = strings.Repeat("a", 64) },
		"a prefix of all that it may": func(c *fleet.Config) { c.Prefix = "!~" },
	} {
		t.Run(name, func(t *testing.T) {
			c := s.config()
			change(&c)
			open(t, c)
		})
	}
}

// The longest key is shared like any other.
func TestLongestKey(t *testing.T) {
	s := start(t)
	one, two := s.open(), s.open()
	longest := strings.Repeat("a", 160)
	renewed(t, one, longest, give("one"))
	knowsKeyAfterAsking(t, two, longest, "one")
	renewed(t, one, longest, rejecting("one", fetches("two")))
	knows(t, two, longest, "two")
	if _, err := one.Renew(t.Context(), longest+"a", neverFetch(t)); err == nil {
		t.Error("a longer one is shared")
	}
}

// A Sentinel here that leads to another machine does not lead there without TLS.
func TestSentinelLeadsNowhereWithoutTLS(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte("port "+port+"\nbind 127.0.0.1\ndir "+dir+"\nsentinel monitor theset 192.0.2.1 6379 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), file, "--sentinel")
	tied(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	eventually.True(t, "the Sentinel answers", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	c := config("")
	c.URL = "redis://127.0.0.1:" + port + "?master_set=theset"
	if _, err := fleet.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("got %v", err)
	}
}

// A process can start while the server is away.
func TestOpenWhileTheServerIsAway(t *testing.T) {
	s := start(t)
	s.kill()
	cache := s.open()
	if _, err := cache.Renew(t.Context(), key, neverFetch(t)); !errors.Is(err, client.ErrCacheLost) {
		t.Errorf("got %v", err)
	}
	s.run()
	eventually.True(t, "it works", func() bool {
		got, err := cache.Renew(t.Context(), key, give("one"))
		return err == nil && got.Value == "one"
	})
}
