package dpop

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// DefaultMost is the default number of proofs that a Seen remembers: 1,500 a
// second for a minute, in at most 20 MB.
const DefaultMost = 100_000

// Seen remembers proofs until they expire, so that each is accepted once (RFC 9449
// section 11.1). It is the memory of one process: it is not shared with others and
// does not survive a restart; a nonce limits the effect. The zero value works.
//
// Its room is bounded, and no proof leaves it early: a valid proof that is
// forgotten could be used twice. So when room runs out, proofs are refused, first
// those of the owner that has the most: one owner may hold as many proofs as there
// is room left. A single owner fills at most half, however many proofs it sends,
// and the other half is for the others; n busy owners leave one part in n+1. All
// owners are refused, until the oldest proofs expire, only if as many owners send
// at once as there is room for. Call Seen last, after the client or the token is
// verified: unauthenticated senders then take no room.
//
// If a wall clock is set ahead and back again, no proof is accepted twice and new
// ones are not refused. If it is set back by more than MaxAge, forgotten proofs
// are valid again, as after a restart.
type Seen struct {
	// Clock tells the time; the system clock if nil.
	Clock counterfoil.Clock
	// MaxAge is the longest MaxAge of any Want that is used with this memory;
	// DefaultMaxAge if 0.
	MaxAge time.Duration
	// Most bounds the proofs that are remembered; DefaultMost if 0.
	Most int

	mu sync.Mutex
	// known are the proofs that take room, owned counts them by owner. ahead are
	// proofs, with their due second, of a time that the clock will show again only
	// long after it was set back: they take no room, and there are at most Most.
	known map[proofID]struct{}
	owned map[string]int
	ahead map[proofID]int64
	// again lists the proofs in known by the second in which to look at them
	// again, counted from began by the monotonic clock. swept is the last such
	// second.
	again map[int64][]remembered
	began time.Time
	swept int64
	// Proofs that were due from low to high were forgotten. One of them that is
	// valid again, because the clock was set back, may have been known.
	low, high int64
	full      uint64
}

// proofID is a hash of the key's thumbprint and the jti.
type proofID [16]byte

// remembered is a proof in known. From the second due on, Verify refuses it.
type remembered struct {
	id    proofID
	owner string
	due   int64
}

// First reports whether to accept a proof that Verify returned: it was not used
// before and there is room for it. The owner is the proof's key.
func (s *Seen) First(p Proof) bool { return s.FirstOf(p.Thumbprint, p) }

// FirstOf is First for an owner that the caller names, such as a client, which may
// have many keys.
func (s *Seen) FirstOf(owner string, p Proof) bool {
	var id proofID
	sum := sha256.Sum256([]byte(p.Thumbprint + "\x00" + p.ID))
	copy(id[:], sum[:])
	r := remembered{id, owner, p.IssuedAt.Add(s.maxAge()).Unix() + 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.forget(now)
	_, known := s.known[id]
	_, ahead := s.ahead[id]
	if known || ahead || r.due <= now.Unix() || s.low <= r.due && r.due <= s.high {
		return false
	}
	if s.owned[owner] >= s.most()-len(s.known) {
		s.full++
		return false
	}
	s.known[id] = struct{}{}
	s.owned[owner]++
	s.keep(r, now)
	return true
}

func (s *Seen) maxAge() time.Duration {
	if s.MaxAge == 0 {
		return DefaultMaxAge
	}
	return s.MaxAge
}

func (s *Seen) most() int {
	if s.Most == 0 {
		return DefaultMost
	}
	return s.Most
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

// second returns the second of the monotonic clock, counted from began.
func (s *Seen) second(now time.Time) int64 { return int64(now.Sub(s.began) / time.Second) }

// keep schedules the next look at a proof for when it is due; the caller holds the
// lock. It counts by the monotonic clock, whatever the wall clock is set to.
func (s *Seen) keep(r remembered, now time.Time) {
	at := s.second(now) + r.due - now.Unix()
	s.again[at] = append(s.again[at], r)
}

// forget drops the proofs that are due by now; the caller holds the lock. There are
// as many lists as seconds in a proof's lifetime, and they are searched once a
// second.
func (s *Seen) forget(now time.Time) {
	if s.known == nil {
		s.known, s.owned, s.ahead, s.again = map[proofID]struct{}{}, map[string]int{}, map[proofID]int64{}, map[int64][]remembered{}
		s.began = now
	}
	second := s.second(now)
	if second <= s.swept {
		return
	}
	s.swept = second
	for at, list := range s.again {
		if at > second {
			continue
		}
		delete(s.again, at)
		for _, r := range list {
			s.look(r, now)
		}
	}
	for id, due := range s.ahead {
		if due <= now.Unix() {
			delete(s.ahead, id)
			s.forgot(due)
		}
	}
}

// look forgets a proof if it is due by the wall clock, too; the caller holds the
// lock.
func (s *Seen) look(r remembered, now time.Time) {
	switch left := time.Duration(r.due-now.Unix()) * time.Second; {
	case left <= 0:
		s.forgot(r.due)
	case left <= s.maxAge()+DefaultSkew+time.Second:
		s.keep(r, now)
		return
	case len(s.ahead) < s.most():
		s.ahead[r.id] = r.due
	}
	delete(s.known, r.id)
	if s.owned[r.owner]--; s.owned[r.owner] == 0 {
		delete(s.owned, r.owner)
	}
}

// forgot records when a forgotten proof was due: proofs that were due within MaxAge
// before it count as known from then on. The caller holds the lock.
func (s *Seen) forgot(due int64) {
	age := int64(s.maxAge() / time.Second)
	switch {
	case due > s.high:
		s.low, s.high = max(s.low, due-age), due
	case due < s.low-age:
		s.low, s.high = due, due
	default:
		s.low = min(s.low, due)
	}
}
