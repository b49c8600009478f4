package clientauth

import (
	"context"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// rememberedClients is how many clients are kept in memory.
const rememberedClients = 10_000

// Store reads clients.
type Store interface {
	Client(ctx context.Context, realm, id string) (store.Client, error)
	ClientVersion(ctx context.Context, realm, id string) (version int64, created time.Time, err error)
}

// Memory is what the realms of a server remember of their clients. It is safe
// for concurrent use.
type Memory struct {
	Secrets *Secrets
	store   Store
	clients *bounded.Cache[clientKey, *store.Client]
}

// NewMemory returns an empty memory of the clients in a store.
func NewMemory(db Store, c counterfoil.Clock) *Memory {
	return &Memory{Secrets: newSecrets(c), store: db, clients: bounded.New[clientKey, *store.Client](rememberedClients)}
}

// dummyClient stands in for a client that does not exist, so that a guess of
// an id takes as long as a guess of a secret: its credentials are verified, too.
var dummyClient = &store.Client{Secrets: []store.SecretHash{{Value: sechash.Own(cfsecret.New()).String()}}}

// recall returns the client in memory, and whether there is one.
func (m *Memory) recall(realm, id string) (*store.Client, bool) {
	return m.clients.Get(clientKey{realm, id})
}

// unchanged reports whether the client in memory is still that of the store. The
// store need not read all of it, so that this takes as long as to find that a
// client does not exist, whatever settings it has.
func (m *Memory) unchanged(ctx context.Context, c *store.Client) (bool, error) {
	version, created, err := m.store.ClientVersion(ctx, c.Realm, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return version == c.Version && created.Equal(c.Created), err
}

// Client reads a client from the store and remembers it. A client in memory
// may have been changed since by another process: a request that is refused
// because of it must be decided again with a fresh one, and RecordIssued
// refuses a token that was granted on a stale one. The result must not be
// changed.
func (m *Memory) Client(ctx context.Context, realm, id string) (*store.Client, error) {
	c, err := m.store.Client(ctx, realm, id)
	if err != nil {
		m.Forget(realm, id)
		if errors.Is(err, store.ErrNotFound) {
			m.Secrets.forget(clientKey{realm, id})
		}
		return nil, err
	}
	m.clients.Put(clientKey{realm, id}, &c)
	return &c, nil
}

// Forget has the next request read the client from the store.
func (m *Memory) Forget(realm, id string) { m.clients.Drop(clientKey{realm, id}) }

// ForgetAll is Forget of every client.
func (m *Memory) ForgetAll() { m.clients.Clear() }

// Update keeps the revision at which a client was found unchanged.
func (m *Memory) Update(c *store.Client, revision int64) {
	if revision == c.Revision {
		return
	}
	again := *c
	again.Revision = revision
	m.clients.Put(clientKey{c.Realm, c.ID}, &again)
}
