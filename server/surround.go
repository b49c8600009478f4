package server

import (
	"fmt"

	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// setUpNetwork prepares what the server needs from the network: trusted
// proxies, remote key sets, and the nonce key that it shares with other nodes.
func (s *shared) setUpNetwork() error {
	s.peers = &peer.Config{
		TrustedProxies: s.TrustedProxies, AddressHeader: s.AddressHeader,
		CertificateHeader: s.CertificateHeader, CertificateForm: peer.Form(s.CertificateForm),
	}
	if len(s.TrustedProxies) > 0 && s.AddressHeader == "" {
		s.peers.AddressHeader = "X-Forwarded-For"
	}
	if err := s.peers.Validate(); err != nil {
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
