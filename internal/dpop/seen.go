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
//
// A wall clock that is set ahead and back again neither takes a proof twice nor
// refuses new ones. Set back by more than MaxAge, it makes proofs good again that
// were forgotten, as a restart does.
type Seen struct {
	// Clock tells the time; the machine's when nil.
	Clock counterfoil.Clock
	// MaxAge is the longest that any Want has which goes with this memory;
	// DefaultMaxAge when 0.
	MaxAge time.Duration
	// Most bounds the proofs that are remembered; DefaultMost when 0.
	Most int

	mu sync.Mutex
	// known are the proofs that take room, owned how many each owner has. ahead
	// are those of a time that the clock will show again only long after it was
	// set back, with their due second: they take no room, and are Most at most.
	known map[proofID]struct{}
	owned map[string]int
	ahead map[proofID]int64
	// again are the proofs in known by the second, counted from began by the
	// monotonic clock, in which they are looked at again. swept is the last such
	// second that was.
	again map[int64][]remembered
	began time.Time
	swept int64
	// Proofs that were due from low to high were forgotten. One of them that is
	// good again, because the clock was set back, may have been known.
	low, high int64
	full      uint64
}

// proofID is a hash of the key's thumbprint and the jti.
type proofID [16]byte

// remembered is a proof in known. From the second due on Verify does not take it.
type remembered struct {
	id    proofID
	owner string
	due   int64
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

// second returns that of the monotonic clock.
func (s *Seen) second(now time.Time) int64 { return int64(now.Sub(s.began) / time.Second) }

// keep has a proof looked at again when it is due; the caller holds the lock.
// However the wall clock is set meanwhile, as much time has passed then.
func (s *Seen) keep(r remembered, now time.Time) {
	at := s.second(now) + r.due - now.Unix()
	s.again[at] = append(s.again[at], r)
}

// forget drops what is due by now; the caller holds the lock. There are as many
// lists as seconds in a proof's life, and they are looked through once a second.
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

// look forgets a proof that is due by the wall clock, too; the caller holds the
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

// forgot notes when a proof that is forgotten was due: what was due within MaxAge
// of the last one counts as known for good. The caller holds the lock.
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
