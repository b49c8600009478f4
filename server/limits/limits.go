// Package limits decides which requests to a server are too many: those of
// somebody who guesses credentials, and those that are more than a rate allows.
//
// Failed authentications are counted by the caller's address and network, and by
// client ID together with one of these, never by client ID alone: nobody can lock
// out a client from elsewhere. A client that authenticated from an address within
// the last 30 days is known there. What others do never stops it: its requests
// are always authenticated, and the right secret always succeeds. If its
// credentials are wrong, the answer is that which a stranger gets.
//
// Token requests are counted by address before authentication, except for known
// clients, and by client, tenant and realm after it, so that nobody can use up
// the limit of another.
//
// The package promises that no request waits, that memory is bounded and a flood
// of small counts does not displace a block, that steps of the wall clock neither
// end a block nor prolong it, and that client IDs which exist are treated as those
// which do not. A Limiter counts in its own memory; each counter is behind a
// Store, which nodes can share.
package limits

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/gcra"
	"github.com/counterfoil/counterfoil/internal/lograte"
)

// Mode says what a limit does.
type Mode string

// The modes.
const (
	// Enforce refuses requests. It is the default.
	Enforce Mode = "enforce"
	// Monitor counts, and logs what Enforce would refuse.
	Monitor Mode = "monitor"
	// Off does not count.
	Off Mode = "off"
)

// WaitDetail is what the Detail of the record of a request has that was refused
// without a look at its credentials, after failed authentications.
const WaitDetail = "failed authentications from "

// Config configures New. Its zero value is what docs/limits.md recommends.
type Config struct {
	Guesses  GuessLimits
	Requests RequestLimits
	// Direct says that callers reach the server without a proxy that is not
	// named. Otherwise a forwarding header from an unknown peer is taken for a
	// sign of such a proxy, and its address, which would be everybody's, is not
	// blocked.
	Direct bool
	// File keeps blocks and known clients over a restart; "" for none. It is
	// written by Close and within seconds of a change, by Maintain. Operators'
	// requests are beside it, in files whose names begin with its own.
	File string
}

// GuessLimits are how many failed authentications an hour are answered as such.
// For each one more, the caller has to wait: 1 s, twice as long each time up to
// 64 s, then for Block. A field that is 0 has its default.
type GuessLimits struct {
	Mode Mode
	// ClientAddress is for one client ID from one address, an IPv4 address or an
	// IPv6 /64; default 10. ClientNetwork is for one client ID from one network,
	// an IPv4 /24 or an IPv6 /48; default 30.
	ClientAddress, ClientNetwork int
	// Address and Network are for all client IDs together; defaults 30 and 100.
	Address, Network int
	// Block is how long a block lasts; default 15 minutes, at most 24 hours.
	Block time.Duration
	// KnownFor is how long a client is known where it authenticated; default 30
	// days.
	KnownFor time.Duration
}

// RequestLimits are how many token requests a minute are allowed, which may come
// all at once. A field that is 0 has its default; a negative one is no limit.
type RequestLimits struct {
	Mode Mode
	// Client is for one client, default 30,000; Tenant for all clients of a tenant
	// of a realm, default 60,000; Realm for all clients of a realm, default
	// 120,000.
	Client, Tenant, Realm int
	// Address is for one IPv4 address or IPv6 /64, default 60,000.
	Address int
}

// complete sets the defaults.
func (c Config) complete() Config {
	g, r := &c.Guesses, &c.Requests
	g.Mode, r.Mode = cmp.Or(g.Mode, Enforce), cmp.Or(r.Mode, Enforce)
	g.ClientAddress, g.ClientNetwork = cmp.Or(g.ClientAddress, 10), cmp.Or(g.ClientNetwork, 30)
	g.Address, g.Network = cmp.Or(g.Address, 30), cmp.Or(g.Network, 100)
	g.Block, g.KnownFor = cmp.Or(g.Block, 15*time.Minute), cmp.Or(g.KnownFor, 30*24*time.Hour)
	r.Client, r.Tenant, r.Realm = cmp.Or(r.Client, 30_000), cmp.Or(r.Tenant, 60_000), cmp.Or(r.Realm, 120_000)
	r.Address = cmp.Or(r.Address, 60_000)
	return c
}

// Bounds of a configuration.
const (
	// MaxCount is the largest limit.
	MaxCount = 1_000_000
	// MinBlock and MaxBlock bound GuessLimits.Block, MinKnown and MaxKnown
	// GuessLimits.KnownFor.
	MinBlock = time.Second
	MaxBlock = 24 * time.Hour
	MinKnown = time.Hour
	MaxKnown = 366 * 24 * time.Hour
)

// Validate returns an error that names the first field that is invalid.
func (c Config) Validate() error {
	g, r := &c.Guesses, &c.Requests
	for name, mode := range map[string]Mode{"Guesses.Mode": g.Mode, "Requests.Mode": r.Mode} {
		switch mode {
		case "", Enforce, Monitor, Off:
		default:
			return fmt.Errorf("limits: %s %q is not one of %q", name, mode, []Mode{Enforce, Monitor, Off})
		}
	}
	for _, f := range []struct {
		name      string
		count, of int
	}{
		{"Guesses.ClientAddress", g.ClientAddress, 0}, {"Guesses.ClientNetwork", g.ClientNetwork, 0},
		{"Guesses.Address", g.Address, 0}, {"Guesses.Network", g.Network, 0},
		{"Requests.Client", r.Client, -1}, {"Requests.Tenant", r.Tenant, -1},
		{"Requests.Realm", r.Realm, -1}, {"Requests.Address", r.Address, -1},
	} {
		if f.count < f.of || f.count > MaxCount {
			return fmt.Errorf("limits: %s is %d: it must be from %d to %d", f.name, f.count, f.of, MaxCount)
		}
	}
	if g.Block != 0 && (g.Block < MinBlock || g.Block > MaxBlock) {
		return fmt.Errorf("limits: Guesses.Block is %v: it must be from %v to %v", g.Block, MinBlock, MaxBlock)
	}
	if g.KnownFor != 0 && (g.KnownFor < MinKnown || g.KnownFor > MaxKnown) {
		return fmt.Errorf("limits: Guesses.KnownFor is %v: it must be from %v to %v", g.KnownFor, MinKnown, MaxKnown)
	}
	return nil
}

// Store keeps the states of a kind of counter; the zero value of S is no state.
// Nodes that share a Store count together.
type Store[S any] interface {
	// Get returns the state of a key.
	Get(Key) S
	// Update replaces the state of a key by what change returns for it,
	// atomically. change may be called more than once.
	Update(key Key, change func(S) S)
	// Each calls visit with every state.
	Each(visit func(Key, S))
	// Len returns the number of states, and how many were dropped for others.
	Len() (kept int, dropped uint64)
}

// Key is what is counted: failed authentications from a prefix, with Realm and
// ClientID those of one client.
type Key struct {
	Realm, ClientID string
	Prefix          netip.Prefix
}

// How many states are kept of each kind. A Key of a client takes some 300 bytes.
const (
	keptPrefixes = 65_536
	keptPairs    = 65_536
	keptKnown    = 131_072
)

// Limiter applies the limits of a server. It is safe for concurrent use.
type Limiter struct {
	// OnBlock, when set, is called when a block begins that is enforced, with the
	// attempt that led to it. It must be set before the first request.
	OnBlock func(a *Attempt, b Block)

	config Config
	clock  counterfoil.Clock
	log    *slog.Logger
	start  time.Time

	prefixes, pairs Store[failures]
	known           Store[known]
	// places bounds where clients become known.
	places   *gcra.Limiter[tenantKey]
	requests requests

	// These limit what is logged.
	blocked, monitored, monitoredGuess, forwarded, failed lograte.Limiter

	file file
	// begun counts blocks.
	begun atomic.Uint64
}

// New returns a Limiter with what Config.File has kept. A file that cannot be
// read is logged and then replaced; what is wrong in the configuration is an
// error.
func New(c Config, clock counterfoil.Clock, log *slog.Logger) (*Limiter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &Limiter{
		config: c.complete(), clock: clock, log: log, start: clock.Now(),
		prefixes: bounded.NewTable[Key, failures](keptPrefixes),
		pairs:    bounded.NewTable[Key, failures](keptPairs),
		known:    bounded.NewTable[Key, known](keptKnown),
	}
	l.places = gcra.New[tenantKey](gcra.Limit{Count: newPlaces, Period: 24 * time.Hour}, clock)
	l.forwarded.Every = time.Hour
	l.requests = newRequests(&l.config.Requests, clock)
	if c.File == "" {
		return l, nil
	}
	err := l.load()
	if err == nil {
		err = l.takeLifts()
	}
	if err != nil {
		log.Warn("the state of limits is not complete: failed authentications and known clients are counted from now on", "error", err)
	}
	return l, nil
}

// tick is the time since the start, by the monotonic clock if there is one: at
// least 1 ns.
func (l *Limiter) tick() int64 { return int64(l.clock.Now().Sub(l.start)) + 1 }

// Stats counts what a Limiter keeps.
type Stats struct {
	// Prefixes and Pairs are the states of failed authentications, by prefix and by
	// client ID and prefix; Known are the pairs of known clients.
	Prefixes, Pairs, Known int
	// Dropped is how many of these were dropped for others: if it grows, there are
	// more attackers or clients than are counted.
	Dropped uint64
	// Waiting is how many prefixes and pairs have to wait now; Blocked counts the
	// blocks that began since the start.
	Waiting int
	Blocked uint64
}

// Stats returns the counts.
func (l *Limiter) Stats() Stats {
	var s Stats
	var a, b, c uint64
	s.Prefixes, a = l.prefixes.Len()
	s.Pairs, b = l.pairs.Len()
	s.Known, c = l.known.Len()
	s.Dropped, s.Blocked = a+b+c, l.begun.Load()
	now := l.tick()
	for _, store := range []Store[failures]{l.prefixes, l.pairs} {
		store.Each(func(_ Key, f failures) {
			if f.until > now {
				s.Waiting++
			}
		})
	}
	return s
}

// seconds is a duration in whole seconds, for a log.
func seconds(d time.Duration) string { return (time.Duration(gcra.Seconds(d)) * time.Second).String() }
