package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Cache holds tokens for the Sources that share it, in one process or many. A
// key is lower-case hexadecimal digits and hyphens, at most 160, and starts
// with [KeyPrefix] of its client.
//
// An implementation is safe for concurrent use and keeps what it holds from
// other users' eyes. It need not outlive a restart. One that depends on
// something that can fail decides for itself whether Renew then calls renew
// without exclusion or returns an error; where a new token ends the old one,
// an error is right.
type Cache interface {
	// Load returns the token under key, and whether there is one. It does not
	// wait for a Renew under way.
	Load(ctx context.Context, key string) (counterfoil.Token, bool, error)
	// Renew waits, no longer than ctx, until no other holder of the cache is in
	// Renew or Drop for key; calls renew with the token that is then under key,
	// or none; and puts what it returns under key. It returns renew's token and
	// error. A token that cannot be stored is returned together with the error.
	Renew(ctx context.Context, key string, renew func(ctx context.Context, current counterfoil.Token) (counterfoil.Token, error)) (counterfoil.Token, error)
	// Drop removes the token under key if it is rejected, in one step.
	Drop(ctx context.Context, key string, rejected counterfoil.Token) error
	// Clear removes every token whose key starts with prefix; all for "".
	Clear(ctx context.Context, prefix string) error
}

// KeyPrefix is how the keys of a client begin: its id's SHA-256, in hexadecimal.
func KeyPrefix(clientID string) string {
	sum := sha256.Sum256([]byte(clientID))
	return hex.EncodeToString(sum[:])
}

// cacheKey returns the key of what c asks for. Sources share a token when they
// name the same endpoint, client, scopes (in any order) and tenant. Where a new
// token ends the old one the tenant does not count: a token of its own for each
// would end the others'. Secrets do not count, so that rotation keeps the token.
func cacheKey(c *Config, tokenURL *url.URL) string {
	parts := []string{tokenURL.String(), strings.Join(slices.Sorted(slices.Values(c.Scopes)), " ")}
	if c.Provider.TokenEndpoint.Policy != provider.Replace {
		parts = append(parts, c.Tenant)
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return KeyPrefix(c.ClientID) + "-" + hex.EncodeToString(h.Sum(nil))
}

// Memory returns a cache in memory, for the Sources of one process.
func Memory() Cache { return &memory{entries: map[string]*entry{}} }

type memory struct {
	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	// turn holds one value while someone renews.
	turn chan struct{}
	// token belongs to memory.mu.
	token counterfoil.Token
}

// entry returns the entry of key and its token.
func (m *memory) entry(key string) (*entry, counterfoil.Token) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		e = &entry{turn: make(chan struct{}, 1)}
		m.entries[key] = e
	}
	return e, e.token
}

func (m *memory) Load(_ context.Context, key string) (counterfoil.Token, bool, error) {
	_, t := m.entry(key)
	return t, t.Value != "", nil
}

func (m *memory) Renew(ctx context.Context, key string, renew func(context.Context, counterfoil.Token) (counterfoil.Token, error)) (counterfoil.Token, error) {
	e, _ := m.entry(key)
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return counterfoil.Token{}, context.Cause(ctx)
	}
	_, current := m.entry(key)
	t, err := renew(ctx, current)
	if err != nil {
		return counterfoil.Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.token = t
	return t, nil
}

func (m *memory) Drop(_ context.Context, key string, rejected counterfoil.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil && e.token.Value == rejected.Value {
		e.token = counterfoil.Token{}
	}
	return nil
}

func (m *memory) Clear(_ context.Context, prefix string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.entries {
		if strings.HasPrefix(key, prefix) {
			e.token = counterfoil.Token{}
		}
	}
	return nil
}
