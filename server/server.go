// Package server implements the issuing side of the OAuth 2.0 client
// credentials grant: a token endpoint that speaks each provider's dialect, its
// signing keys, and the clients that may use it.
//
// Use it to run realms inside your own program: open a Store (package sqlite
// has one), give New a provider description for each realm, mount
// Server.Handler where the realm is reached, and create clients with Clients.
// Serve over TLS with read timeouts: this package bounds the size of a
// request, and the http.Server bounds the time that it takes to arrive.
//
// The package promises that a token is returned only after its audit record is
// durable, that every request to the token endpoint leaves such a record
// unless the store itself fails, and that under the policy "replace" a client
// has at most one live token, also under concurrency. Secrets and tokens reach
// no log, error or record. Answers follow the description byte for byte.
// Exported names stay compatible within a major version.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/fold"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
)

// Server issues tokens for its realms. It is safe for concurrent use.
type Server struct {
	shared
	realms atomic.Pointer[map[string]*realm]
	reload sync.Mutex
}

// rememberedTokens is how many reusable tokens are kept in memory.
const rememberedTokens = 10_000

// New checks the configuration, makes the signing keys that are missing, and
// returns a server that is ready. The caller must close it.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Store == nil {
		return nil, fmt.Errorf("server: Config.Store is missing: open one, for example with sqlite.Open")
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.OnEvent == nil {
		c.OnEvent = func(context.Context, counterfoil.Event) {}
	}
	all := &feeds{store: c.Store, clock: c.Clock, of: map[string]*feed{}}
	c.Store = notifyingStore{c.Store, all}
	sealer, err := signing.NewSealer(c.MasterKey, c.PreviousMasterKeys)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	rsa, err := signing.NewRSABackend(c.Signer)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	limiter, err := limits.New(c.Limits, c.Clock, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{shared: shared{
		Config: c,
		feeds:  all,
		memory: clientauth.NewMemory(c.Store, c.Clock),
		limits: limiter,
		reuse:  bounded.New[string, *reusable](rememberedTokens),
		uses:   startUses(c.Store, c.Clock, c.Logger),
		sealer: sealer,
		rsa:    rsa,
		watch:  &clockWatch{start: c.Clock.Now()},
		folder: fold.New(c.Clock, c.Store.RecordEvents),
	}}
	s.ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	limiter.OnBlock = s.blocked
	s.ended = newEnded(&s.shared)
	s.tasks.Go(s.ended.run)
	err = s.setUpNetwork()
	if err == nil {
		err = s.Reload(ctx, c.Realms)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.Logger.InfoContext(ctx, s.Signing())
	s.every(signing.ReadEvery, s.maintain)
	if c.Limits.File != "" {
		s.every(limits.MaintainEvery, s.limits.Maintain)
	}
	return s, nil
}

// Signing describes the implementation that signs with RSA, as in "RS256 and
// PS256 signatures by OpenSSL 3.0.17 1 Jul 2025", with the reason where it is
// crypto/rsa.
func (s *Server) Signing() string { return s.rsa.String() }

// Limits returns what decides who guesses or sends too much.
func (s *Server) Limits() *limits.Limiter { return s.limits }

// Keys returns the service of this server's signing keys, whose changes the
// server sees at once.
func (s *Server) Keys() *signing.Keys {
	return signing.NewKeysOf(s.Store, s.Clock, s.sealer, func(ctx context.Context, realm string) {
		if rl := s.realm(realm); rl != nil {
			rl.keys.Refresh(ctx)
		}
	})
}

// RecordRepeated records a decision that something else than the server has made,
// such as the guard of an API beside it. proven says that the client was
// authenticated. Repeats are counted and recorded together, as those of refusals
// of the server's own endpoints.
func (s *Server) RecordRepeated(ctx context.Context, e counterfoil.Event, proven bool) error {
	return s.folder.Record(ctx, e, proven)
}

// Clients returns the service on the server's own store. Its changes reach the
// followers of this server's revocation feeds at once; changes through another
// service reach them within 50 ms.
func (s *Server) Clients() *clients.Service {
	return clients.New(s.Store, s.Clock, func(realm string) (clients.Rules, bool) {
		rl := s.realm(realm)
		if rl == nil {
			return clients.Rules{}, false
		}
		rules := rl.Rules()
		rules.Fetchable = s.Outbound.Fetchable
		return rules, true
	})
}

// maintain checks the clock, records the numbers of refusals that repeat, and
// checks the keys of all realms.
func (s *Server) maintain(ctx context.Context) {
	s.watch.look(ctx, s.Clock.Now(), s.Logger)
	if err := s.folder.Flush(ctx); err != nil {
		s.storeTrouble.Error(ctx, s.Clock, s.Logger, "repeated refusals not recorded yet",
			alerts.Trouble(alerts.KindStore), "error", err)
	}
	for _, rl := range *s.realms.Load() {
		rl.keys.Maintain(ctx)
	}
}

// Reload replaces the realms: all of them or, with an error, none. A request
// in flight finishes in the realm that it began in. An unchanged realm keeps
// its state in memory.
func (s *Server) Reload(ctx context.Context, realms []Realm) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	all := make(map[string]*realm, len(realms))
	for _, r := range realms {
		if _, twice := all[r.Name]; twice {
			return fmt.Errorf("server: two realms are named %q", r.Name)
		}
		r.Issuer = cmp.Or(r.Issuer, r.BaseURL)
		old := s.realm(r.Name)
		if old != nil && old.same(&r) {
			all[r.Name] = old
			continue
		}
		rl, err := newRealm(&s.shared, r, old)
		if err != nil {
			return fmt.Errorf("server: realm %q: %w", r.Name, err)
		}
		all[r.Name] = rl
	}
	// Nothing is written before the whole configuration is valid.
	rings := make([]*signing.Ring, 0, len(all))
	for _, rl := range all {
		rings = append(rings, rl.keys)
	}
	if err := signing.Open(ctx, rings); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.realms.Store(&all)
	s.memory.ForgetAll() // under another policy, their MinIssuedAt must be the present one
	s.feeds.keep(slices.Collect(maps.Keys(all)))
	return nil
}

// Drain closes all connections of the revocation feed and refuses new ones. A
// program calls it when it stops listening and waits for requests in flight.
func (s *Server) Drain() { s.feeds.close() }

// Close stops the server's background tasks and writes what is still pending.
// Requests may still arrive and are served as before, but keys are no longer
// rotated.
func (s *Server) Close() error {
	s.end()
	s.tasks.Wait()
	s.feeds.close()
	return errors.Join(s.uses.close(), s.limits.Close(), s.folder.Close(context.Background()))
}

// realm returns the realm of that name, or nil.
func (s *Server) realm(name string) *realm {
	all := s.realms.Load()
	if all == nil {
		return nil
	}
	return (*all)[name]
}
