package server

import (
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// OnSlow has f called before each slow verification, with one of them at once
// at most allowed by limit; 0 for the server's own.
func OnSlow(s *Server, limit int, f func(clientID string)) {
	if limit > 0 {
		s.memory.Secrets.Limit(limit, clientauth.MaxJoined)
	}
	s.memory.Secrets.Compute = func(id string, h sechash.Hash, value counterfoil.Secret) bool {
		f(id)
		return h.Verify(value)
	}
}

// Waiting returns how many requests wait for a slow verification.
func Waiting(s *Server) int {
	waiting, _, _ := s.memory.Secrets.Load()
	return waiting
}

// Joined returns how many requests wait for verifications that others have begun.
func Joined(s *Server) int {
	_, joined, _ := s.memory.Secrets.Load()
	return joined
}

// Join has as many more requests count as waiting for each verification, one of
// which runs at once.
func Join(s *Server, more int) { s.memory.Secrets.Limit(1, clientauth.MaxJoined-more) }

// Remembered returns how many clients' verified secrets are in memory.
func Remembered(s *Server) int {
	_, _, remembered := s.memory.Secrets.Load()
	return remembered
}

// NoteUses has n secrets of a client used.
func NoteUses(s *Server, realm, clientID string, n int, at time.Time) {
	c := &store.Client{Realm: realm, ID: clientID}
	for i := range n {
		s.uses.note(c, &store.SecretHash{ID: strconv.Itoa(i)}, at)
	}
}

// PendingUses returns how many uses wait for the store.
func PendingUses(s *Server) int {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	return len(s.uses.pending)
}
