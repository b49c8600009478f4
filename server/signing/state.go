package signing

import (
	"context"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// State is the state of a realm's keys of one algorithm.
type State struct {
	Realm     string
	Algorithm provider.Algorithm
	// Activated is when the active key began to sign; zero if no key is active.
	Activated time.Time
	// Rotates is when the next key begins to sign: the one that is published, or
	// the one that will be made; zero if the realm's keys do not rotate by age.
	Rotates time.Time
}

// States returns the states of the realm's keys as they were last read.
func (r *Ring) States() []State {
	ring, now := r.ring.Load(), r.cfg.Clock.Now()
	var all []State
	for _, algorithm := range r.cfg.algorithms() {
		s := State{Realm: r.cfg.Name, Algorithm: algorithm}
		active := ring.active(string(algorithm), now)
		if active != nil {
			s.Activated = active.activates
			if r.cfg.RotationInterval > 0 {
				s.Rotates = active.activates.Add(r.cfg.RotationInterval)
			}
		}
		for i := range ring.signing { // newest first
			if k := &ring.signing[i]; k.Algorithm == string(algorithm) && active != nil && k.activates.After(active.activates) {
				s.Rotates = k.activates
			}
		}
		all = append(all, s)
	}
	return all
}

// Try signs with the active key of each algorithm and verifies the signatures.
// It returns the first error: then the realm issues no such tokens.
func (r *Ring) Try(ctx context.Context) error {
	for _, algorithm := range r.cfg.algorithms() {
		if err := ctx.Err(); err != nil {
			return err
		}
		key, err := r.Active(ctx, algorithm, r.cfg.Clock.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", algorithm, err)
		}
		signed, err := jose.Sign(key.Signer, key.Algorithm, key.Protected, []byte("{}")) // no token: it says nothing, and goes nowhere
		if err != nil {
			return fmt.Errorf("sign with the key %q: %w", key.ID, err)
		}
		parsed, err := jose.Parse(signed, key.Algorithm)
		if err == nil {
			_, err = parsed.Verify(key.Signer.Public())
		}
		if err != nil {
			return fmt.Errorf("sign with the key %q: the signature is wrong: %w", key.ID, err)
		}
	}
	return nil
}
