package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
)

// Cache holds tokens for the Sources that share it, in one process or many. A
// key is lower-case hexadecimal digits and hyphens, at most 160, and starts
// with [KeyPrefix] of its client.
// An implementation is safe for concurrent use and hides what it holds from
// other users. It need not outlive a restart. If it depends on something that
// can fail, it reports that with [ErrCacheLost]; the Source decides what to do
// then.
type Cache interface {
	// Load returns the token under key, and whether there is one. It is quick:
	// it waits neither for a Renew under way nor for a network.
	Load(ctx context.Context, key string) (counterfoil.Token, bool, error)
	// Renew returns a token under key that r accepts: at once if there is one,
	// even while another holder of the cache renews; one that another holder has
	// stored meanwhile; or, if it is alone in Renew for key, the one that r
	// fetches, which it stores under key. It does not wait beyond ctx. It
	// returns the error of r.Fetch unchanged. A token that cannot be stored is
	// returned together with the error.
	Renew(ctx context.Context, key string, r Renewal) (counterfoil.Token, error)
	// Drop removes the token under key if it equals rejected, in one step. It
	// does not wait beyond ctx.
	Drop(ctx context.Context, key string, rejected counterfoil.Token) error
	// Clear removes every token whose key starts with prefix; all for "". A
	// Renew under way may store one afterwards.
	Clear(ctx context.Context, prefix string) error
	// Changes returns the counter of key. The cache increments it after each
	// change of the token under key, by any holder, so that Sources load it
	// again. A cache that cannot observe changes never increments it.
	Changes(key string) *atomic.Uint64
}

// Renewal is what a Source passes to [Cache.Renew].
type Renewal struct {
	// Accept reports whether the token under the key is acceptable, so that none
	// is fetched. It is quick and may be called often; the zero Token is for
	// none.
	Accept func(current counterfoil.Token) bool
	// Fetch gets a token from the provider. It is called at most once.
	Fetch func(ctx context.Context) (counterfoil.Token, error)
	// Credentials identifies what Fetch authenticates with, without holding it.
	// A cache that shares the failures of Fetch shares them among equal values.
	Credentials [32]byte
}

// ErrCacheLost is wrapped by the errors of a Cache that cannot exclude other
// holders, because a service that it depends on is unavailable; Fetch has then
// not been called, or was canceled. A Source fetches nevertheless where tokens
// are independent. Where a new token replaces the old one it keeps the token
// that it has, unless [Config.FetchWithoutCache] is set.
var ErrCacheLost = errors.New("the shared token cache cannot be reached")

// KeyPrefix is the beginning of the keys of a client: its id's SHA-256, in
// hexadecimal.
func KeyPrefix(clientID string) string {
	sum := sha256.Sum256([]byte(clientID))
	return hex.EncodeToString(sum[:])
}

// Memory returns a cache in memory, for the Sources of one process.
func Memory() Cache { return &memory{entries: map[string]*slot{}} }

type memory struct {
	mu      sync.Mutex
	entries map[string]*slot
}

type slot struct {
	changes atomic.Uint64
	// turn holds one value while someone renews.
	turn chan struct{}
	// token is guarded by memory.mu.
	token counterfoil.Token
}

// slot returns the entry of key and its token.
func (m *memory) slot(key string) (*slot, counterfoil.Token) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		e = &slot{turn: make(chan struct{}, 1)}
		m.entries[key] = e
	}
	return e, e.token
}

func (m *memory) put(e *slot, t counterfoil.Token) {
	m.mu.Lock()
	e.token = t
	m.mu.Unlock()
	e.changes.Add(1)
}

func (m *memory) Load(_ context.Context, key string) (counterfoil.Token, bool, error) {
	_, t := m.slot(key)
	return t, t.Value != "", nil
}

func (m *memory) Renew(ctx context.Context, key string, r Renewal) (counterfoil.Token, error) {
	e, current := m.slot(key)
	if r.Accept(current) {
		return current, nil
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return counterfoil.Token{}, context.Cause(ctx)
	}
	if _, current = m.slot(key); r.Accept(current) {
		return current, nil
	}
	t, err := r.Fetch(ctx)
	if err == nil {
		m.put(e, t)
	}
	return t, err
}

func (m *memory) Drop(_ context.Context, key string, rejected counterfoil.Token) error {
	e, _ := m.slot(key)
	m.mu.Lock()
	dropped := e.token.Value != "" && e.token.Value == rejected.Value
	if dropped {
		e.token = counterfoil.Token{}
	}
	m.mu.Unlock()
	if dropped {
		e.changes.Add(1)
	}
	return nil
}

func (m *memory) Clear(_ context.Context, prefix string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.entries {
		if strings.HasPrefix(key, prefix) {
			e.token = counterfoil.Token{}
			e.changes.Add(1)
		}
	}
	return nil
}

func (m *memory) Changes(key string) *atomic.Uint64 {
	e, _ := m.slot(key)
	return &e.changes
}
