package clientauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of the cost of slow hashes.
const (
	// rememberedSecrets is how many clients' verified secrets are remembered.
	rememberedSecrets = 200_000
	// keptMarks is how many right and how many wrong secrets of each client are
	// remembered.
	keptMarks = 4
	// MaxJoined is how many requests wait for one computation.
	MaxJoined = 1000
)

// Secrets verifies client secrets and API keys. Those that the server made are
// fast to verify. An imported one may be stored under a deliberately slow
// hash: it is computed once per process, few at a time, and remembered under a
// keyed hash.
//
// The time of an answer reveals which clients were imported with such a hash.
// That is accepted: a client_id is not a secret (RFC 6749 section 2.2), and
// computing a slow hash for every invented id would use up the turns of those
// clients.
type Secrets struct {
	// Compute is the slow part. It may be replaced before the first request.
	Compute func(clientID string, h sechash.Hash, value counterfoil.Secret) bool

	gate *gate
	// key is random and private to this process: what is remembered is useless
	// outside of it.
	key        []byte
	remembered *bounded.Cache[clientKey, *marks]

	mu      sync.Mutex
	joined  int // how many requests wait for one flight
	flights map[mark]*flight
}

// mark stands for a hash and a secret.
type mark [sha256.Size]byte

// marks are the results for a client's secrets. They are never changed, only
// replaced.
type marks struct {
	version      int64
	right, wrong []mark // newest first
}

// flight is a computation in progress. All requests with the same secret share
// it: a fleet that starts at once is one client with one secret.
type flight struct {
	done   chan struct{}
	joined int
	// found is the index of the hash; negative when the secret is wrong.
	found int
	busy  bool
}

func newSecrets(c counterfoil.Clock) *Secrets {
	return &Secrets{
		Compute:    func(_ string, h sechash.Hash, value counterfoil.Secret) bool { return h.Verify(value) },
		gate:       newGate(c, max(1, runtime.GOMAXPROCS(0)/2)),
		key:        sechash.Random(32),
		remembered: bounded.New[clientKey, *marks](rememberedSecrets),
		joined:     MaxJoined,
		flights:    map[mark]*flight{},
	}
}

// Limit replaces how many slow verifications run at once and how many requests
// wait for one of them.
func (s *Secrets) Limit(atOnce, joined int) {
	s.mu.Lock()
	s.joined = joined
	s.mu.Unlock()
	s.gate.mu.Lock()
	s.gate.limit = atOnce
	s.gate.mu.Unlock()
}

// Load returns how many requests wait for a turn to verify a slow hash, how
// many for a verification that another one has begun, and how many clients'
// results are remembered.
func (s *Secrets) Load() (waiting, joined, remembered int) {
	s.mu.Lock()
	for _, f := range s.flights {
		joined += f.joined
	}
	s.mu.Unlock()
	return s.gate.length(), joined, s.remembered.Stats().Entries
}

// Verify returns the one of the client's hashes that matches value and is
// accepted at the given time, or nil. It refuses with ReasonSecretsBusy when a slow
// one would have to wait too long. No slow hash is computed for a client that
// is not fresh: the caller must retry with a fresh one, whose secret may
// differ.
func (s *Secrets) Verify(
	ctx context.Context, from Origin, c *store.Client, hashes []store.SecretHash, value counterfoil.Secret, at time.Time, fresh bool,
) (*store.SecretHash, *Refusal) {
	if found := sechash.FindFast(hashes, value, at); found != nil || value == "" {
		return found, nil
	}
	var slow []*store.SecretHash
	for i := range hashes {
		if h := &hashes[i]; sechash.IsSlow(h.Value) && h.AcceptedAt(at) {
			slow = append(slow, h)
		}
	}
	if len(slow) == 0 {
		return nil, nil
	}
	found, busy := s.verifySlow(ctx, from, c, slow, value, fresh)
	switch {
	case busy:
		return nil, Refused(counterfoil.ReasonSecretsBusy, "slow secrets are being verified")
	case found < 0:
		return nil, nil
	}
	return slow[found], nil
}

// slowly reports whether a client has a secret or an API key under a slow hash.
func slowly(c *store.Client) bool {
	slow := func(h store.SecretHash) bool { return sechash.IsSlow(h.Value) }
	return slices.ContainsFunc(c.Secrets, slow) || slices.ContainsFunc(c.APIKeys, slow)
}

// verifySlow returns the index of the hash that matches value, or -1.
func (s *Secrets) verifySlow(
	ctx context.Context, from Origin, c *store.Client, hashes []*store.SecretHash, value counterfoil.Secret, fresh bool,
) (found int, busy bool) {
	key := clientKey{c.Realm, c.ID}
	own := make([]mark, len(hashes))
	all := sha256.New()
	for i, h := range hashes {
		own[i] = s.mark(key, h.Value, value)
		all.Write(own[i][:])
	}
	if found, known := s.recall(key, c.Version, own); known || !fresh {
		return found, false
	}
	name := mark(all.Sum(nil))
	s.mu.Lock()
	f, under := s.flights[name]
	if !under {
		f = &flight{done: make(chan struct{}), found: -1}
		s.flights[name] = f
	} else if f.joined++; f.joined > s.joined {
		s.mu.Unlock()
		return -1, true
	}
	s.mu.Unlock()
	if under {
		// The wait is bounded: the request that computes waits for at most
		// slowWait and then computes for as long as the costliest hash takes.
		<-f.done
		return f.found, f.busy
	}
	defer func() {
		s.mu.Lock()
		delete(s.flights, name)
		s.mu.Unlock()
		close(f.done)
	}()
	s.fly(ctx, f, from, c, hashes, own, value)
	return f.found, f.busy
}

// fly waits for a turn, computes, and remembers the result.
func (s *Secrets) fly(
	ctx context.Context, f *flight, from Origin, c *store.Client, hashes []*store.SecretHash, own []mark, value counterfoil.Secret,
) {
	key := clientKey{c.Realm, c.ID}
	if !s.gate.enter(ctx, key, from) {
		f.busy = true
		return
	}
	defer func() { s.gate.leave(key, from, f.found < 0) }()
	// An earlier flight may have ended in the meantime.
	if found, known := s.recall(key, c.Version, own); known {
		f.found = found
		return
	}
	for i, h := range hashes {
		parsed, err := sechash.Parse(h.Value)
		if err == nil && s.Compute(c.ID, parsed, value) {
			f.found = i
			s.remember(key, c.Version, own[i:i+1], nil)
			return
		}
	}
	s.remember(key, c.Version, nil, own)
}

// mark returns the keyed hash of a stored hash and a secret of a client.
func (s *Secrets) mark(c clientKey, text string, value counterfoil.Secret) mark {
	h := hmac.New(sha256.New, s.key)
	var size [8]byte
	for _, part := range []string{c.realm, c.id, text, value.Reveal()} {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return mark(h.Sum(nil))
}

// recall returns a result that was computed before: the index of the matching
// hash, or -1 when none matches.
//
// A wrong secret is remembered without expiry: it stays wrong for that hash.
// That saves the turns of a client that keeps sending an old secret, and can
// never lock the right one out, whose mark differs.
func (s *Secrets) recall(key clientKey, version int64, own []mark) (found int, known bool) {
	m, ok := s.remembered.Get(key)
	if !ok {
		return -1, false
	}
	if m.version != version {
		// Rotated, disabled or changed. A caller may also hold a client that is
		// older than the remembered results, which then stay.
		if m.version < version {
			s.remembered.Drop(key)
		}
		return -1, false
	}
	wrong := 0
	for i := range own {
		if among(m.right, own[i]) {
			return i, true
		}
		if among(m.wrong, own[i]) {
			wrong++
		}
	}
	return -1, wrong == len(own)
}

func among(list []mark, m mark) bool {
	found := 0
	for i := range list {
		found |= subtle.ConstantTimeCompare(list[i][:], m[:])
	}
	return found == 1
}

// remember stores the result; of two concurrent results one may be lost and
// computed again.
func (s *Secrets) remember(key clientKey, version int64, right, wrong []mark) {
	var now marks
	if m, ok := s.remembered.Get(key); ok && m.version == version {
		now = *m
	}
	now.version = version
	now.right, now.wrong = newest(right, now.right), newest(wrong, now.wrong)
	s.remembered.Put(key, &now)
}

func newest(first, then []mark) []mark {
	list := slices.Concat(first, then)
	return list[:min(len(list), keptMarks)]
}

// forget drops the results of a deleted client.
func (s *Secrets) forget(key clientKey) { s.remembered.Drop(key) }
