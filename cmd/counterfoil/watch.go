package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"golang.org/x/term"
)

// tellAfter is how long a command waits before it says at a terminal what it
// waits for.
const tellAfter = time.Second

// proof is a credential of a connection.
type proof struct {
	get func(context.Context) error
	// asks: it comes from a prompt or standard input.
	asks bool
}

// watch reports everything that happens to a connection, if requested, and
// records what it waits for.
func (p *program) watch(l *link, c *client.Config, from consumer.Connection) {
	c.ClientSecret = watched(p, l, "client_secret", from.ClientSecret, c.ClientSecret)
	c.APIKey = watched(p, l, "api_key", from.APIKey, c.APIKey)
	c.Key = watched(p, l, "private_key", from.PrivateKey, c.Key)
	c.OnEvent = func(_ context.Context, e counterfoil.Event) { p.event(l, e) }
	p.step("config", "connection %s", p.place.key(""))
	p.step("provider", "%s", c.Provider.Name)
	t, ok := c.HTTP.(*http.Transport)
	if !ok || !p.verbose {
		return
	}
	if through := t.Proxy; through != nil {
		t.Proxy = func(req *http.Request) (*url.URL, error) {
			proxy, err := through(req)
			if proxy != nil {
				p.step("proxy", "%s is to connect to %s", proxy.Host, req.URL.Host)
			}
			return proxy, err
		}
	}
	if dial := t.DialContext; dial != nil {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				p.step("connect", "%s is %s", address, conn.RemoteAddr())
			}
			return conn, err
		}
	}
	t.TLSClientConfig.VerifyConnection = func(cs tls.ConnectionState) error {
		leaf := cs.PeerCertificates[0]
		p.step("TLS", "%s, certificate of %s until %s", tls.VersionName(cs.Version), subject(leaf), leaf.NotAfter.Format(time.DateOnly))
		return nil
	}
}

// watched is get, which reads the reference at a key: while it does, the command
// does not wait for the provider.
func watched[T any, F ~func(context.Context) (T, error)](p *program, l *link, key, reference string, get F) F {
	if get == nil {
		return nil
	}
	kind, _, _ := strings.Cut(reference, ":") // the rest may be secret
	var once sync.Once
	told := func(ctx context.Context) (T, error) {
		l.asking.Add(1)
		defer l.asking.Add(-1)
		v, err := get(ctx)
		if err == nil {
			once.Do(func() { p.step("secret", "%s comes from %s:", p.place.key(key), kind) })
		}
		if s, ok := any(v).(counterfoil.Secret); ok && err == nil && cfsecret.Damage(s) != "" {
			p.place.damaged.Store(&damage{key, cfsecret.Damage(s)})
		}
		return v, err
	}
	l.proofs = append(l.proofs, proof{
		get: func(ctx context.Context) error {
			_, err := told(ctx)
			if err != nil {
				return withHint(fmt.Errorf("%s: %w", p.place.key(key), err), "fix the reference, or what it leads to")
			}
			return nil
		},
		asks: kind == "prompt" || kind == "stdin",
	})
	return told
}

// event reports an event, and records one that says what is waited for.
func (p *program) event(l *link, e counterfoil.Event) {
	took := e.Duration.Round(time.Millisecond)
	switch {
	case e.Type == counterfoil.EventTokenRequested && e.Success:
		p.step("token", "POST %s: answered %d in %s", l.tokenURL, e.Status, took)
	case e.Type == counterfoil.EventTokenRequested:
		p.step("token", "POST %s: attempt %d failed in %s: %s", l.tokenURL, e.Attempt, took, e.Detail)
		l.last.Store(&e.Detail)
	case e.Type == counterfoil.EventCallRetried:
		p.step("call", "%s", e.Detail)
		l.last.Store(&e.Detail)
	case e.Type == counterfoil.EventTokenDropped, e.Type == counterfoil.EventTokenNotCached:
		p.step("token", "%s %s", e.Type, e.Detail)
	}
}

// step prints one step with --verbose. Callers pass it no secrets.
func (c *console) step(name, format string, args ...any) {
	if !c.verbose {
		return
	}
	detail := oneLine(fmt.Sprintf(format, args...))
	if c.output == jsonForm {
		_ = json.NewEncoder(c.Err).Encode(map[string]string{"step": name, "detail": detail})
		return
	}
	fmt.Fprintf(c.Err, "* %-8s %s\n", name, detail)
}

// tellWaiting tells a person at a terminal what the command waits for if it
// takes longer than a second. The caller ends it before it prints.
func (p *program) tellWaiting(ctx context.Context, l *link) (end func()) {
	f, ok := p.Err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || p.output == jsonForm || p.verbose {
		return func() {}
	}
	began := p.clock.Now()
	t := &progress{w: p.Err, terminal: true, clock: p.clock, waiting: func() string { return l.waiting(p.clock.Now().Sub(began)) }}
	t.start(ctx)
	return t.end
}

// waiting says what is waited for; "" while a person is prompted, or for short
// waits.
func (l *link) waiting(since time.Duration) string {
	if since < tellAfter || l.asking.Load() > 0 {
		return ""
	}
	host := l.tokenURL
	if u, err := url.Parse(l.tokenURL); err == nil {
		host = u.Host
	}
	words := fmt.Sprintf("waiting for %s for %s", host, since.Round(time.Second))
	if last := l.last.Load(); last != nil {
		words += ": " + *last
	}
	return oneLine(words)
}

// refusedHere reports whether err is of a connection that this machine refuses:
// there, waiting helps nobody.
func refusedHere(err error) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	op := new(net.OpError)
	for errors.As(err, &op) {
		if to, ok := op.Addr.(*net.TCPAddr); ok {
			return to.IP.IsLoopback() || ofThisMachine(to.IP)
		}
		err = op.Err
	}
	return false
}

func ofThisMachine(ip net.IP) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if own, ok := a.(*net.IPNet); ok && own.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// watching is what a link records of its activity.
type watching struct {
	proofs []proof
	// asking counts the references that are being read.
	asking atomic.Int32
	// last is the last failure that is followed by another attempt.
	last atomic.Pointer[string]
}
