//go:build unix

package fleet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv("COUNTERFOIL_TEST_CHILD"); socket != "" {
		child(socket)
		return
	}
	os.Exit(m.Run())
}

const (
	childTimeout = time.Second
	childLease   = 3 * childTimeout
	// slowMachine is what a busy machine may add to a wait.
	slowMachine = 30 * time.Second
)

// process is a child: this test binary as another process with a Cache.
type process struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// process starts a child whose Cache is at socket.
func startProcess(t *testing.T, socket, mode string, env ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe)}
	p.cmd.Env = append(append(os.Environ(), "COUNTERFOIL_TEST_CHILD="+socket, "CHILD_MODE="+mode, "CHILD_KEY="+masterKey.Reveal()), env...)
	p.cmd.Stderr = os.Stderr
	tied(p.cmd)
	p.in, err = p.cmd.StdinPipe()
	out, failed := p.cmd.StdoutPipe()
	if err = errors.Join(err, failed, p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// says waits for a line of the child.
func (p *process) says(t *testing.T, want string) {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if strings.TrimSpace(line) != want {
		t.Fatalf("the child says %q (%v), not %q", line, err, want)
	}
}

func (p *process) goOn() { fmt.Fprintln(p.in) }

// child is the other process.
func child(socket string) {
	c := fleet.Config{URL: "unix://" + socket, Keys: []client.SecretFunc{client.Static(counterfoil.Secret(os.Getenv("CHILD_KEY")))}, Timeout: childTimeout, Lease: childLease}
	if lease := os.Getenv("CHILD_LEASE"); lease != "" {
		var err error
		c.Lease, err = time.ParseDuration(lease)
		must(err)
		c.Timeout = c.Lease / 3
	}
	cache, err := fleet.Open(context.Background(), c)
	must(err)
	in := bufio.NewReader(os.Stdin)
	pause := func(where string) { fmt.Println(where); _, _ = in.ReadString('\n') }
	switch os.Getenv("CHILD_MODE") {
	case "watch":
		watch(cache, pause)
		return
	case "work":
		work(cache)
		return
	}
	asked, paused := 0, false
	got, err := cache.Renew(context.Background(), key, client.Renewal{
		Accept: func(current counterfoil.Token) bool {
			if asked++; asked > 1 && current.Value == "one" && !paused { // it knows what is there
				paused = true
				pause("before the lease")
			}
			return current.Value == "two"
		},
		Fetch: func(context.Context) (counterfoil.Token, error) {
			pause("with the lease")
			return cachetest.Token("two"), nil
		},
	})
	pause(fmt.Sprint(got.Value.Reveal(), err))
}

// watch says each change of the token.
func watch(cache *fleet.Cache, pause func(string)) {
	counter := cache.Changes(key)
	seen := uint64(0)
	said := "-"
	for asked := false; !asked; { // a busy machine may take longer than a step
		_, err := cache.Renew(context.Background(), key, give("none"))
		asked = err == nil
	}
	for {
		for seen == counter.Load() && said != "-" {
			runtime.Gosched()
		}
		seen = counter.Load()
		t, _, _ := cache.Load(context.Background(), key)
		if t.Value.Reveal() != said {
			said = t.Value.Reveal()
			pause("has:" + said)
		}
	}
}

// A process that is killed at any point of a renewal delays the others by no
// more than the lease, and loses nothing that was shared.
func TestKilledAtEachPoint(t *testing.T) {
	for _, row := range []struct {
		name    string
		at      func(t *testing.T, s *server, p *proxy, c *process)
		fetches bool // the others have to
	}{
		{"before it has the lease", func(t *testing.T, _ *server, _ *proxy, c *process) { c.says(t, "before the lease") }, true},
		{"while it takes the lease", func(t *testing.T, s *server, p *proxy, c *process) {
			c.says(t, "before the lease")
			p.stallAnswers()
			c.goOn()
			eventually.True(t, "the server has lent it", func() bool { return len(s.field(key, "h")) > 8 })
		}, true},
		{"while it fetches", func(t *testing.T, _ *server, _ *proxy, c *process) {
			c.says(t, "before the lease")
			c.goOn()
			c.says(t, "with the lease")
		}, true},
		{"before the token is stored", func(t *testing.T, _ *server, p *proxy, c *process) {
			c.says(t, "before the lease")
			c.goOn()
			c.says(t, "with the lease")
			p.stall()
			c.goOn()
		}, true},
		{"before it knows that the token is stored", func(t *testing.T, s *server, p *proxy, c *process) {
			c.says(t, "before the lease")
			c.goOn()
			c.says(t, "with the lease")
			p.stallAnswers()
			before := s.field(key, "g")
			c.goOn()
			eventually.True(t, "the server has it", func() bool { return s.field(key, "g") != before })
		}, false},
		{"afterwards", func(t *testing.T, _ *server, _ *proxy, c *process) {
			c.says(t, "before the lease")
			c.goOn()
			c.says(t, "with the lease")
			c.goOn()
			c.says(t, "two<nil>")
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			p := s.proxy()
			other := s.open()
			renewed(t, other, key, give("one"))
			c := startProcess(t, p.socket, "renew")
			row.at(t, s, p, c)
			equal(t, "the old one is there", len(s.field(key, "t")) > 8, true)
			c.kill()
			if left := s.leaseLeft(t, key); left > childLease {
				t.Errorf("the dead one's lease lasts %s more", left)
			}
			began, fetched := time.Now(), false
			got := renewed(t, other, key, rejecting("one", func(context.Context) (counterfoil.Token, error) {
				fetched = true
				return cachetest.Token("three"), nil
			}))
			equal(t, "fetched", fetched, row.fetches)
			if want := map[bool]string{true: "three", false: "two"}[row.fetches]; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if took := time.Since(began); took > childLease+slowMachine {
				t.Errorf("the other waited %s", took)
			}
			// What the dead one had sent may still come: it replaces nothing.
			p.resume()
			knowsAfterAsking(t, s.open(), got)
		})
	}
}

func TestChangesArePushedToOtherProcesses(t *testing.T) {
	s := start(t)
	one := s.open()
	renewed(t, one, key, give("one"))
	watchers := make([]*process, 3)
	for i := range watchers {
		watchers[i] = startProcess(t, s.socket, "watch")
		watchers[i].says(t, "has:one")
		watchers[i].goOn()
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"renewed", func() { renewed(t, one, key, rejecting("one", fetches("two"))) }, "has:two"},
		{"dropped", func() { _ = one.Drop(t.Context(), key, cachetest.Token("two")) }, "has:"},
		{"again", func() { renewed(t, one, key, give("three")) }, "has:three"},
		{"cleared", func() { _ = one.Clear(t.Context(), "") }, "has:"},
	} {
		step.do()
		for _, w := range watchers {
			w.says(t, step.want)
			w.goOn()
		}
	}
}
