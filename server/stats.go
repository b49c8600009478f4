package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/server/signing"
)

// Stats is the state of a Server, for metrics.
type Stats struct {
	// ClockAhead and ClockBack count the jumps of the wall clock by a second or
	// more since the start, which the log has as well.
	ClockAhead, ClockBack uint64
	// Keys are the states of the signing keys, by realm.
	Keys []signing.State
}

// Stats returns the state.
func (s *Server) Stats() Stats {
	stats := Stats{ClockAhead: s.watch.ahead.Load(), ClockBack: s.watch.back.Load()}
	for _, rl := range *s.realms.Load() {
		stats.Keys = append(stats.Keys, rl.keys.States()...)
	}
	slices.SortFunc(stats.Keys, func(a, b signing.State) int {
		return cmp.Or(cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Algorithm, b.Algorithm))
	})
	return stats
}

// TrySigning signs with the active keys of every realm, and returns the error of
// the first realm whose keys cannot: it issues no tokens. It costs a signature
// for each key.
func (s *Server) TrySigning(ctx context.Context) error {
	for name, rl := range *s.realms.Load() {
		if err := rl.keys.Try(ctx); err != nil {
			return fmt.Errorf("realm %q: %w", name, err)
		}
	}
	return nil
}

// LongestLifetime is that of the tokens that any realm issues.
func (s *Server) LongestLifetime() (longest time.Duration) {
	for _, rl := range *s.realms.Load() {
		longest = max(longest, rl.endpoint.Lifetime)
	}
	return longest
}
