package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/fold"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
)

// shared is the state that all realms of a server share and that outlives a
// reload.
type shared struct {
	Config
	memory *clientauth.Memory
	limits *limits.Limiter
	reuse  *bounded.Cache[string, *reusable]
	feeds  *feeds
	uses   *uses
	sealer *signing.Sealer
	rsa    *signing.RSABackend
	watch  *clockWatch
	folder *fold.Folder
	ended  *ended
	// storeTrouble limits the log of a store that fails every request.
	storeTrouble lograte.Limiter

	// peers finds the caller behind a proxy; keySets are those of clients and of
	// federated issuers; nonceKey is the key of DPoP nonces.
	peers    *peer.Config
	keySets  *outbound.KeySets
	nonceKey []byte

	// tasks run in the background until Close ends ctx.
	tasks sync.WaitGroup
	ctx   context.Context
	end   context.CancelFunc
}

// every calls do in the background at each interval until the server is
// closed.
func (s *shared) every(interval time.Duration, do func(context.Context)) {
	s.tasks.Go(func() {
		for s.Clock.Sleep(s.ctx, interval) == nil {
			do(s.ctx)
		}
	})
}

// setUpNetwork prepares what the server needs from the network: trusted
// proxies, remote key sets, and the nonce key that it shares with other nodes.
func (s *shared) setUpNetwork() error {
	var err error
	if s.peers, err = peer.New(s.Proxies); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	fetcher, err := outbound.New(outbound.Config{
		AllowedHosts: s.Outbound.Hosts, AllowPrivate: s.Outbound.Private, RootCAs: s.Outbound.RootCAs, Clock: s.Clock,
	})
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.keySets = outbound.NewKeySets(fetcher, s.Clock, s.Logger)
	// Nodes with the same master key accept one another's nonces.
	s.nonceKey = sechash.Random(32)
	if key := s.sealer.Derive("dpop nonce"); key != nil {
		s.nonceKey = key
	}
	return nil
}
