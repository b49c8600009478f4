package dpop

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// DefaultMost is how many proofs a Seen remembers when it does not say: 1,500 a
// second for a minute, in 20 MB at most.
const DefaultMost = 100_000

// Seen remembers proofs until they are too old to be taken, so that each is
// taken once (RFC 9449 section 11.1). It is the memory of one process: others
// do not share it and a restart forgets it; a nonce bounds what that is worth.
// The zero value works.
//
// Its room is bounded, and nothing leaves it early: whoever forgets a proof that
// is still good takes it twice. So when room gets scarce, proofs are refused, and
// first those of who takes the most: one owner may hold as many proofs as there
// is room left for. Alone it fills half, however much it sends, and the other
// half is for the others; n who press on leave one part in n+1. Only when as many
// owners as there is room send at once is everybody refused, until the oldest
// proofs expire. Ask Seen last, after the client or the token is verified: then
// strangers take no room at all.
type Seen struct {
	// Clock tells the time; the machine's when nil.
	Clock counterfoil.Clock
	// MaxAge is the longest that any Want has which goes with this memory;
	// DefaultMaxAge when 0.
	MaxAge time.Duration
	// Most bounds the proofs that are remembered; DefaultMost when 0.
	Most int

	mu sync.Mutex
	// known are the proofs, owned how many each owner has, due the same proofs by
	// the second in which they are forgotten.
	known map[proofID]struct{}
	owned map[string]int
	due   map[int64][]remembered
	// past is the last second that was forgotten. A proof due then or earlier is
	// refused: it may have been known, however the clock was turned since.
	past int64
	full uint64
}

// proofID is a hash of the key's thumbprint and the jti.
type proofID [16]byte

type remembered struct {
	id    proofID
	owner string
}

// First reports whether the proof is taken: Verify returned it, it was never
// here before and there is room for it. The owner is the proof's key.
func (s *Seen) First(p Proof) bool { return s.FirstOf(p.Thumbprint, p) }

// FirstOf is First for an owner that the caller knows, such as a client that may
// have many keys.
func (s *Seen) FirstOf(owner string, p Proof) bool {
	var id proofID
	sum := sha256.Sum256([]byte(p.Thumbprint + "\x00" + p.ID))
	copy(id[:], sum[:])
	age, most := s.MaxAge, s.Most
	if age == 0 {
		age = DefaultMaxAge
	}
	if most == 0 {
		most = DefaultMost
	}
	due := p.IssuedAt.Add(age).Unix() + 1 // later than any time at which Verify takes it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.now().Unix())
	if _, known := s.known[id]; known || due <= s.past {
		return false
	}
	if s.owned[owner] >= most-len(s.known) {
		s.full++
		return false
	}
	s.known[id] = struct{}{}
	s.owned[owner]++
	s.due[due] = append(s.due[due], remembered{id, owner})
	return true
}

// Full returns how many proofs were refused because there was no room for them.
func (s *Seen) Full() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *Seen) now() time.Time {
	if s.Clock == nil {
		return clock.System.Now()
	}
	return s.Clock.Now()
}

// forget drops what is due by the second now; the caller holds the lock. There
// are as many lists as seconds in a proof's life, and they are looked through
// once a second.
func (s *Seen) forget(now int64) {
	if s.known == nil {
		s.known, s.owned, s.due = map[proofID]struct{}{}, map[string]int{}, map[int64][]remembered{}
		s.past = now - 1
	}
	if now <= s.past {
		return
	}
	s.past = now
	for second, list := range s.due {
		if second > now {
			continue
		}
		for _, r := range list {
			delete(s.known, r.id)
			if s.owned[r.owner]--; s.owned[r.owner] == 0 {
				delete(s.owned, r.owner)
			}
		}
		delete(s.due, second)
	}
}
