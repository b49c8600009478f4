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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/seal"
)

// server is a real Valkey or Redis on a socket of its own.
type server struct {
	t      testing.TB
	dir    string
	socket string
	args   []string
	env    []string // besides the test's own
	cmd    *exec.Cmd
}

// binary is valkey-server, or redis-server where there is none.
func binary(t testing.TB) string {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("neither valkey-server nor redis-server is here: run needs.sh")
	return ""
}

// start starts a server that keeps nothing on disk unless args say so.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, socket: filepath.Join(dir, "s"), args: args}
	t.Cleanup(func() { s.kill(); os.RemoveAll(dir) })
	s.run()
	return s
}

func (s *server) run() {
	s.t.Helper()
	args := append([]string{"--port", "0", "--unixsocket", s.socket, "--dir", s.dir, "--save", "", "--appendonly", "no"}, s.args...)
	s.cmd = exec.Command(binary(s.t), args...)
	s.cmd.Env = append(os.Environ(), s.env...)
	tied(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually.True(s.t, "the server answers", func() bool { return s.ask("PING") == "+PONG" })
}

// kill ends the server as a fault does.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
	_ = os.Remove(s.socket)
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends a command as it is and returns the first line of the answer; for a
// bulk string its value.
func (s *server) ask(command ...string) string {
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	line = strings.TrimSpace(line)
	var size int
	if n, _ := fmt.Sscanf(line, "$%d", &size); n == 1 && size >= 0 {
		text := make([]byte, size)
		_, _ = io.ReadFull(in, text)
		return string(text)
	}
	return line
}

// field returns a field of the entry of key.
func (s *server) field(key, name string) string {
	return s.ask("HGET", "counterfoil:{"+key+"}", name)
}

// leaseLeft is how long the lease of key lasts by the server's clock.
func (s *server) leaseLeft(t testing.TB, key string) time.Duration {
	t.Helper()
	left := s.ask("EVAL", "local at = redis.call('TIME'); return tonumber(redis.call('HGET', KEYS[1], 'u') or 0) - at[1] * 1000 - math.floor(at[2] / 1000)", "1", "counterfoil:{"+key+"}")
	ms, err := strconv.Atoi(strings.TrimPrefix(left, ":"))
	if err != nil {
		t.Fatalf("the lease lasts %q", left)
	}
	return time.Duration(ms) * time.Millisecond
}

var masterKey = seal.NewKey()

// config is one of a Cache at s.
func (s *server) config() fleet.Config { return config(s.socket) }

func config(socket string) fleet.Config {
	return fleet.Config{URL: "unix://" + socket, Keys: []client.SecretFunc{client.Static(masterKey)}, Timeout: 5 * time.Second, Lease: 15 * time.Second}
}

// open opens a Cache, which the test closes at its end.
func open(t testing.TB, c fleet.Config) *fleet.Cache {
	t.Helper()
	cache, err := fleet.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

func (s *server) open() *fleet.Cache { s.t.Helper(); return open(s.t, s.config()) }

// begin has there be an entry without a token, so that nobody is asked for a lost
// one, which a clock that stands still would wait for.
func (s *server) begin(t testing.TB, key string) {
	t.Helper()
	c := s.open()
	if err := c.Drop(t.Context(), key, cachetest.Token(renewed(t, c, key, give("before")))); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// knows waits until a Cache has that value under key without asking for it.
func knows(t testing.TB, c client.Cache, key, value string) {
	t.Helper()
	eventually.True(t, "the cache knows "+value, func() bool { return cachetest.Load(t, c, key) == value })
}

// give is a renewal that takes what is there, or fetches value.
func give(value string) client.Renewal {
	return client.Renewal{
		Accept: func(current counterfoil.Token) bool { return current.Value != "" },
		Fetch:  func(context.Context) (counterfoil.Token, error) { return cachetest.Token(value), nil },
	}
}

// neverFetch is a renewal for what must be there already.
func neverFetch(t testing.TB) client.Renewal {
	r := give("")
	r.Fetch = func(context.Context) (counterfoil.Token, error) {
		t.Error("a token was fetched")
		return counterfoil.Token{}, errors.New("fetched")
	}
	return r
}

// renewed renews and returns the value.
func renewed(t testing.TB, c client.Cache, key string, r client.Renewal) string {
	t.Helper()
	got, err := c.Renew(t.Context(), key, r)
	if err != nil {
		t.Fatal(err)
	}
	return got.Value.Reveal()
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// proxy stands between a Cache and the server and makes faults.
type proxy struct {
	socket string
	to     string

	mu      sync.Mutex
	stalled chan struct{} // not nil while nothing goes through
	// answersOnly: what is said to the server goes through all the same.
	answersOnly bool
	conns       map[net.Conn]struct{}
	// word is that of the command at which connections break, and then where they
	// end from then on.
	word, then string
}

func (s *server) proxy() *proxy {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		s.t.Fatal(err)
	}
	p := &proxy{socket: filepath.Join(dir, "p"), to: s.socket, conns: map[net.Conn]struct{}{}}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			end := p.to
			p.mu.Unlock()
			to, err := net.Dial("unix", end)
			if err != nil {
				from.Close()
				continue
			}
			p.mu.Lock()
			p.conns[from], p.conns[to] = struct{}{}, struct{}{}
			p.mu.Unlock()
			all.Go(func() { p.copy(to, from, false) })
			all.Go(func() { p.copy(from, to, true) })
		}
	})
	s.t.Cleanup(func() { l.Close(); p.resume(); p.reset(); all.Wait(); os.RemoveAll(dir) })
	return p
}

func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		stalled := p.stalled
		if !answers && p.answersOnly {
			stalled = nil
		}
		broken := !answers && p.word != "" && strings.Contains(string(buf[:n]), p.word)
		then := p.then
		if broken {
			p.word = ""
		}
		p.mu.Unlock()
		if broken {
			p.leads(then)
			return
		}
		if stalled != nil {
			<-stalled
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// leads has connections end at socket from now on.
func (p *proxy) leads(socket string) {
	p.mu.Lock()
	p.to = socket
	p.mu.Unlock()
	p.reset()
}

// breaksAt breaks all connections at the next command that has that word, and has
// them end at socket from then on.
func (p *proxy) breaksAt(word, socket string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.word, p.then = word, socket
}

// stall holds back everything from now on.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// stallAnswers holds back what the server says.
func (p *proxy) stallAnswers() {
	p.mu.Lock()
	p.answersOnly = true
	p.mu.Unlock()
	p.stall()
}

// resume lets through what was held back.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// reset breaks all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}
