// Package conns bounds what callers without credentials can occupy of a server
// by connecting to it: connections in all and from one network, and the memory
// that each connection holds. 'up' and 'serve' use it for every listener. It is
// internal and makes no compatibility promise.
//
// When connections run out, one that is idle is closed for a new one; if none is,
// the new one is closed. Of those that could go, the network with the most
// connections gives one first, so that a stranger who opens many closes its own.
package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/peer"
)

// Limits are how many connections may be open at a time.
type Limits struct {
	// Total is the number in all; 0 is DefaultTotal.
	Total int
	// PerPrefix is the number from one network: an IPv4 /24 or an IPv6 /48; 0 is
	// DefaultPerPrefix.
	PerPrefix int
}

// The defaults of Limits.
const (
	DefaultTotal     = 1024
	DefaultPerPrefix = 128
)

// Config is the configuration of a Limiter.
type Config struct {
	Limits Limits
	// Exempt are networks that only Limits.Total holds for: the trusted proxies,
	// which connect for everybody.
	Exempt []netip.Prefix
	// Clock limits the rate of log lines. Required.
	Clock counterfoil.Clock
	// Logger receives what is refused, at most one line a second of a kind.
	// Required.
	Logger *slog.Logger
}

// local are the addresses by which programs and proxies of this machine connect:
// like trusted proxies, they may connect for everybody.
var local = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24"), netip.MustParsePrefix("::1/128")}

// Limiter bounds the connections of all listeners that it wraps together. Its
// methods are safe for concurrent use.
type Limiter struct {
	exempt []netip.Prefix
	clock  counterfoil.Clock
	log    *slog.Logger

	failures, full, crowded, tooLarge lograte.Limiter

	mu     sync.Mutex
	limits Limits
	open   map[*conn]bool
	sizes  map[netip.Prefix]int // open connections by network
	turns  uint64               // counts changes of state: the order of what is idle
	stats  Stats
}

// Stats counts the connections of a Limiter.
type Stats struct {
	// Open are those that are open; Total is how many may be.
	Open, Total int
	// Accepted are all that were admitted. Full and Crowded are those that were
	// refused because of Limits.Total and of Limits.PerPrefix, Dropped those that
	// were closed for others.
	Accepted, Full, Crowded, Dropped uint64
}

// Stats returns the counts.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Open, s.Total = len(l.open), l.limits.Total
	return s
}

// New returns a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{
		exempt: slices.Concat(local, c.Exempt), clock: c.Clock, log: c.Logger,
		open: map[*conn]bool{}, sizes: map[netip.Prefix]int{},
	}
	l.Set(c.Limits)
	return l
}

// filesBeside is how many files a server has open beside its connections, at
// most: the database of each of its connections, logs, keys, requests of its own.
const filesBeside = 128

// Set replaces the limits, for connections that come. If the process may not open
// as many files as Total needs, the total is lower and a warning says so: without
// files, the database would fail before connections did.
func (l *Limiter) Set(limits Limits) {
	if limits.Total == 0 {
		limits.Total = DefaultTotal
	}
	if limits.PerPrefix == 0 {
		limits.PerPrefix = DefaultPerPrefix
	}
	if files := maxFiles(); files < limits.Total+filesBeside {
		lower := max(files-filesBeside, files/4)
		l.log.Warn("the process may not open enough files for limits.connections.total: raise its limit (LimitNOFILE of systemd, ulimit -n)",
			"files", files, "total", limits.Total, "used", lower)
		limits.Total = lower
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

// The states of a connection. One that has not sent a request yet is new.
const (
	busy = iota
	idle
	fresh
)

// conn is an open connection.
type conn struct {
	net.Conn
	limiter *Limiter
	prefix  netip.Prefix
	exempt  bool
	// state and since, the turn when it began, are guarded by limiter.mu.
	state int
	since uint64
	held  held
}

// Close closes the connection and makes room for another.
func (c *conn) Close() error {
	c.limiter.release(c)
	return c.Conn.Close()
}

func (l *Limiter) release(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open[c] {
		return
	}
	delete(l.open, c)
	if l.sizes[c.prefix]--; l.sizes[c.prefix] == 0 {
		delete(l.sizes, c.prefix)
	}
}

// Listener returns a listener for the connections of inner that are admitted.
func (l *Limiter) Listener(inner net.Listener) net.Listener { return &listener{inner, l} }

type listener struct {
	net.Listener
	limiter *Limiter
}

// Accept waits for a connection that is admitted.
func (ln *listener) Accept() (net.Conn, error) {
	l := ln.limiter
	for {
		inner, err := ln.Listener.Accept()
		if err == nil {
			if c := l.admit(inner); c != nil {
				return c, nil
			}
			inner.Close()
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		l.failures.Error(context.Background(), l.clock, l.log, "connections cannot be accepted", "error", err, "open", l.count())
		if !exhausted(err) || !l.makeRoom() {
			return nil, err // net/http tries again if that makes sense, after a while
		}
	}
}

// exhausted reports whether closing a connection can help.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (l *Limiter) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// makeRoom closes a connection that is not busy, if there is one.
func (l *Limiter) makeRoom() bool {
	l.mu.Lock()
	victim := l.dispensable(netip.Prefix{})
	if victim != nil {
		l.stats.Dropped++
	}
	l.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
	return victim != nil
}

// admit returns the connection if there is room for it, or can be made.
func (l *Limiter) admit(inner net.Conn) *conn {
	c := &conn{Conn: inner, limiter: l, state: fresh}
	c.prefix, c.exempt = l.place(inner.RemoteAddr())
	l.mu.Lock()
	var victim *conn
	crowded := !c.exempt && l.sizes[c.prefix] >= l.limits.PerPrefix
	full := len(l.open) >= l.limits.Total
	switch {
	case crowded:
		victim = l.dispensable(c.prefix)
	case full:
		victim = l.dispensable(netip.Prefix{})
	}
	refused := (crowded || full) && victim == nil
	switch {
	case refused && crowded:
		l.stats.Crowded++
	case refused:
		l.stats.Full++
	default:
		if l.stats.Accepted++; victim != nil {
			l.stats.Dropped++
		}
		l.turns++
		c.since = l.turns
		l.open[c] = true
		l.sizes[c.prefix]++
	}
	l.mu.Unlock()
	if victim != nil {
		victim.Close() // the raw connection: nothing is under way on it
	}
	switch {
	case !refused:
		return c
	case crowded:
		l.crowded.Warn(context.Background(), l.clock, l.log,
			"connection refused: its network has all that one may have (limits.connections.per_prefix);"+
				" name a proxy that connects for others in trusted_proxies", "network", c.prefix.String())
	default:
		l.full.Warn(context.Background(), l.clock, l.log, "connection refused: all connections are in use (limits.connections.total)",
			"network", c.prefix.String())
	}
	return nil
}

// place returns the network of an address and whether only the total holds for
// it: then the network is the address alone, and does not count with others.
func (l *Limiter) place(a net.Addr) (prefix netip.Prefix, exempt bool) {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}, true // not a network: a Unix socket
	}
	address := at.Addr().Unmap().WithZone("")
	if slices.ContainsFunc(l.exempt, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return netip.PrefixFrom(address, address.BitLen()), true
	}
	_, prefix = peer.NetworksOf(address)
	return prefix, false
}

// dispensable returns the connection that can go first, of a network or of all;
// nil if every one is busy. l.mu is held.
func (l *Limiter) dispensable(of netip.Prefix) (first *conn) {
	crowd := func(c *conn) int {
		if c.exempt {
			return 0
		}
		return l.sizes[c.prefix]
	}
	before := func(a, b *conn) bool {
		if a.state != b.state {
			return a.state == idle
		}
		if m, n := crowd(a), crowd(b); m != n {
			return m > n
		}
		return a.since < b.since
	}
	for c := range l.open {
		if c.state != busy && (!of.IsValid() || c.prefix == of) && (first == nil || before(c, first)) {
			first = c
		}
	}
	return first
}

// observe is the http.Server's ConnState.
func (l *Limiter) observe(outer net.Conn, state http.ConnState) {
	c := inside(outer)
	if c == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateActive:
		c.state = busy
	case http.StateIdle:
		c.state = idle
	default:
		return
	}
	l.turns++
	c.since = l.turns
}

// inside returns the connection below TLS; nil for one that a Limiter has not
// accepted.
func inside(outer net.Conn) *conn {
	if secure, ok := outer.(*tls.Conn); ok {
		outer = secure.NetConn()
	}
	c, _ := outer.(*conn)
	return c
}
