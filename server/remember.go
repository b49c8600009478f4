package server

import (
	"context"
	"errors"

	"github.com/counterfoil/counterfoil/server/store"
)

// clientKey names a client in memory.
type clientKey struct{ realm, id string }

// fresh reads a client from the store and remembers it. A client in memory may
// have been changed since by another process: a request that is refused
// because of it must be decided again with a fresh one, and RecordIssued
// refuses a token that was granted on a stale one. The result must not be
// changed.
func (s *shared) fresh(ctx context.Context, realm, id string) (*store.Client, error) {
	c, err := s.Store.Client(ctx, realm, id)
	if err != nil {
		s.clients.Drop(clientKey{realm, id})
		if errors.Is(err, store.ErrNotFound) {
			s.secrets.forget(clientKey{realm, id})
		}
		return nil, err
	}
	s.clients.Put(clientKey{realm, id}, &c)
	return &c, nil
}

// update keeps the revision at which a client was found unchanged.
func (s *shared) update(c *store.Client, asOf int64) {
	if asOf == c.Revision {
		return
	}
	again := *c
	again.Revision = asOf
	s.clients.Put(clientKey{c.Realm, c.ID}, &again)
}

// sameClient reports whether two reads found the same unchanged client.
// Versions start over when a client is deleted and created again.
func sameClient(c, other *store.Client) bool {
	return c.Version == other.Version && c.Created.Equal(other.Created)
}
