// Package fleet is a client.Cache that processes on many machines share over
// Valkey or Redis (7.0 or newer). Use it where a new token replaces the old one,
// or where hundreds of processes should request one token an hour instead of
// hundreds.
//
// It promises:
//
//   - One process at a time asks for the token of a key, under a lease; the
//     others go on with the old token and are told of the new one. A process that
//     dies with the lease delays the others by no more than its length; one that
//     loses it gives up its request, which may have been sent by then.
//   - What a process that has lost the lease comes back with replaces nothing that
//     is newer, and no process goes back to an older token. Times go by the
//     server's clock; while that runs right no token seems to live longer than it
//     does. A server that has lost its data and its clock is the exception to both.
//   - While the server is away each process keeps the tokens that it has, errors
//     wrap client.ErrCacheLost and come within [Config].Timeout; a server that has
//     lost its data gets the tokens back from those who hold them.
//   - The server, its log and who reads its memory see tokens only encrypted, and
//     bound to their place. Whoever can write there can hide tokens and lend
//     leases, but gives nobody a token that was not got for the same key.
//   - A failure is shared: processes with the same credentials do not repeat it
//     before its pause is over.
//
// docs/fleet.md tells what is stored and what happens when.
package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Config says where the server is and how tokens are kept there. URL and Keys
// are always required.
type Config struct {
	// URL is where the server is, without a password: rediss://user@host:6379/0
	// (valkeys:// is the same), or unix:///run/valkey.sock?db=0. Further nodes of
	// a cluster follow as ?addr=host2:6379&addr=host3:6379; ?master_set=NAME says
	// that the hosts are Sentinels. redis:// and valkey:// are without TLS.
	URL string
	// Plaintext allows a URL without TLS to another machine. Tokens are
	// encrypted nevertheless, but the password is not, and an attacker on the
	// network can change what is stored.
	Plaintext bool
	// TLS is for certificates of your own; default the system's authorities and
	// TLS 1.2 or newer. It must verify the server.
	TLS *tls.Config
	// Password returns the server's password, if it requires one. It is called
	// at each connection, so that a rotated one is used.
	Password client.SecretFunc
	// Prefix begins the names of keys and of the channel on the server; default
	// "counterfoil:". Processes with the same prefix share tokens.
	Prefix string
	// Keys return the master keys: 32 random bytes in base64 each. The first
	// encrypts, all decrypt: to rotate, add the new key as the last everywhere,
	// then make it the first everywhere, then remove the old one. They are
	// called when the cache is opened.
	Keys []client.SecretFunc
	// Lease is how long others wait for a process that has died while it
	// requested a token; default 3 s or three times Timeout, which is also the
	// least, at most a minute. A process that is alive and reaches the server
	// keeps the lease for as long as it needs.
	Lease time.Duration
	// Timeout bounds each step at the server; default 1 s, at most 20 s.
	Timeout time.Duration
	// OnState, if set, is told why the server or what is stored there cannot be
	// used, and nil when it can again. It is called synchronously, one call at a
	// time: it must be quick, and must not call the Cache.
	OnState func(error)
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// maxLifetime is the longest that a token is kept on the server.
const maxLifetime = 366 * 24 * time.Hour

// Cache is a client.Cache on a server. It is safe for concurrent use.
type Cache struct {
	cfg     Config
	ring    ring
	id      string // tells this Cache from others as the holder of leases
	server  *server
	entries *entries

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	told condition
	lost chan string // the key of the command by which the server was lost

	mu      sync.Mutex
	closed  bool
	work    sync.WaitGroup
	pending map[*entry]struct{} // to be compared with the server
	kick    chan struct{}
}

var _ client.Cache = (*Cache)(nil)

// Open returns a Cache, which must be closed. It connects, and waits for that
// until ctx ends; a server that cannot be reached now is tried again, and is no
// error. A server that refuses this client or its subscription, or that presents
// an invalid certificate, is an error, and so is a Config that cannot work.
func Open(ctx context.Context, cfg Config) (*Cache, error) {
	cfg.Prefix = cmp.Or(cfg.Prefix, "counterfoil:")
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.Lease = cmp.Or(cfg.Lease, max(3*time.Second, 3*cfg.Timeout))
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	switch {
	case cfg.Timeout < time.Millisecond:
		return nil, errors.New("fleet: Config.Timeout is less than a millisecond")
	case cfg.Timeout > 20*time.Second:
		return nil, errors.New("fleet: Config.Timeout is more than 20 s: a lease lasts three times as long, and a minute at most")
	case cfg.Lease < 3*cfg.Timeout:
		return nil, errors.New("fleet: Config.Lease is less than three times Config.Timeout: it would expire while it is extended")
	case cfg.Lease > time.Minute:
		return nil, errors.New("fleet: Config.Lease is more than a minute: a process that is alive keeps the lease for as long as it needs")
	case len(cfg.Prefix) > 64 || strings.ContainsFunc(cfg.Prefix, func(r rune) bool {
		return r <= 0x20 || r > 0x7e || strings.ContainsRune(`{}*?[]\^`, r)
	}):
		return nil, errors.New(`fleet: Config.Prefix must be at most 64 printable characters without {}*?[]\^ and spaces`)
	}
	option, err := serverOption(cfg)
	if err != nil {
		return nil, err
	}
	keys, err := openRing(ctx, cfg.Keys)
	if err != nil {
		return nil, err
	}
	c := &Cache{
		cfg:     cfg,
		ring:    keys,
		id:      rand.Text(),
		entries: newEntries(),
		pending: map[*entry]struct{}{},
		kick:    make(chan struct{}, 1),
		lost:    make(chan string, 1),
	}
	c.server = &server{
		option:  option,
		channel: cfg.Prefix + "changes",
		prefix:  cfg.Prefix,
		timeout: cfg.Timeout,
		clock:   cfg.Clock,
		turned:  c.turned,
	}
	c.server.option.DialCtxFn = c.server.noting(option.DialCtxFn)
	c.ctx, c.stop = context.WithCancel(context.Background())
	if err := c.begin(ctx); err != nil {
		c.end() // connections being dialled end by themselves
		return nil, err
	}
	return c, nil
}

// begin starts the background work, which lasts until Close, and waits until it
// is known whether the server can be listened to.
func (c *Cache) begin(ctx context.Context) error {
	first := make(chan error, 1)
	c.background(func() { c.follow(first) })
	c.background(c.reconcile)
	c.background(c.find)
	c.background(c.compare)
	limited, cancel := context.WithTimeout(ctx, 2*c.cfg.Timeout) // to connect, and to subscribe
	defer cancel()
	select {
	case err := <-first:
		if isRefusal(err) {
			return fmt.Errorf("fleet: connect: %w: check Config.URL, Password, TLS and the permissions of the user", plain(err))
		}
	case <-limited.Done():
		if ctx.Err() != nil {
			return fmt.Errorf("fleet: connect: %w", context.Cause(ctx))
		}
		c.server.met(errNotYet, "") // for now
	}
	return nil
}

// Close ends the connections. Tokens in use remain valid; a token that is being
// fetched is no longer shared.
func (c *Cache) Close() error {
	c.end()
	c.work.Wait()
	return nil
}

func (c *Cache) end() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.server.close()
}

// background runs f until Close, which waits for it.
func (c *Cache) background(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(f)
	}
}

// Load returns the token under key as this process knows it, without a network
// request.
func (c *Cache) Load(_ context.Context, key string) (counterfoil.Token, bool, error) {
	e, err := c.entries.get(key)
	if err != nil {
		return counterfoil.Token{}, false, err
	}
	t, _, _ := e.current(c.cfg.Clock.Now())
	return t, t.Value != "", nil
}

// Changes returns the counter of key, which is incremented whenever the token
// under it has changed or was removed, by any process.
func (c *Cache) Changes(key string) *atomic.Uint64 {
	e, err := c.entries.get(key)
	if err != nil {
		return new(atomic.Uint64)
	}
	return &e.changes
}

// Drop removes the token under key if it equals rejected, everywhere. While the
// server is away it removes it here, and there later.
func (c *Cache) Drop(ctx context.Context, key string, rejected counterfoil.Token) error {
	e, err := c.entries.get(key)
	if err != nil || rejected.Value == "" {
		return err
	}
	e.drop(rejected.Value)
	st, err := c.server.run(ctx, drop, e.key, c.ring.digests("token", []byte(rejected.Value.Reveal())))
	if err == nil {
		err = c.merge(e, st)
	}
	if err != nil {
		c.later(e)
		return fmt.Errorf("fleet: drop the rejected token: %w", err)
	}
	return nil
}
