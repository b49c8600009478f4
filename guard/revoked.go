package guard

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
)

// revoked holds the revocations of a feed: tokens and clients, each until no token
// that it concerns is in force. Many calls read it while one follower writes.
// Everything about a client is in one shard, so that a call takes one lock, for
// reading.
type revoked struct {
	seed   maphash.Seed
	most   int
	count  atomic.Int64
	shards [64]revokedShard
	// gone is the latest expiry of all revocations that were dropped or left out
	// because they had expired; 0 if there are none.
	gone atomic.Int64

	// Only the follower uses the rest. size is the size of the names in the
	// entries, in bytes. due lists the entries by the minute in which to look at
	// them again, each in one list; swept is the last such minute.
	size  int
	due   map[int64][]subject
	swept int64
}

const (
	// sizeOfNames is how long the names of an entry may be on average, in bytes:
	// long names take as much memory as more entries.
	sizeOfNames = 256
	// setBack is how far a clock may be set back before expired revocations have
	// to be read again. Issuers let revocations expire minutes after the tokens.
	setBack = time.Minute
)

type revokedShard struct {
	mu      sync.RWMutex
	entries map[subject]standing
	_       [64]byte // a cache line of its own
}

// subject is a token, or all tokens of a client: token is "" then.
type subject struct{ client, token string }

// standing is what the feed says of a subject. Times are seconds since 1970.
type standing struct {
	notBefore, expires int64
	disabled           bool
}

func newRevoked(most int) *revoked {
	t := &revoked{seed: maphash.MakeSeed(), most: most, due: map[int64][]subject{}}
	for i := range t.shards {
		t.shards[i].entries = map[subject]standing{}
	}
	return t
}

func (t *revoked) shard(client string) *revokedShard {
	return &t.shards[maphash.String(t.seed, client)&uint64(len(t.shards)-1)]
}

// ended reports whether the principal's token is revoked, individually or with all
// tokens of its client. A token that does not say when it was issued counts as
// older than any revocation.
func (t *revoked) ended(p *counterfoil.Principal) (token, client bool) {
	if t.count.Load() == 0 {
		return false, false
	}
	s := t.shard(p.ClientID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p.TokenID != "" {
		_, token = s.entries[subject{p.ClientID, p.TokenID}]
	}
	all := s.entries[subject{client: p.ClientID}]
	return token, all.disabled || all.notBefore != 0 && p.Issued.Unix() < all.notBefore
}

// incomplete reports whether revocations may be missing that concern tokens in
// force now: the clock was later when they were dropped as expired.
func (t *revoked) incomplete(now time.Time) bool { return now.Add(setBack).Unix() < t.gone.Load() }

// leaveOut notes that a revocation is not kept because it expired then.
func (t *revoked) leaveOut(expires int64) { t.gone.Store(max(t.gone.Load(), expires)) }

// set stores what the feed says of a subject, in place of what it said before. It
// reports false if there is no room.
func (t *revoked) set(of subject, now standing) bool {
	s := t.shard(of.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.entries[of]
	if of.token == "" && !now.disabled && now.notBefore == 0 {
		if known { // its place in due stays
			s.entries[of] = standing{expires: now.expires}
		}
		return true
	}
	if !known {
		size := t.size + len(of.client) + len(of.token)
		if int(t.count.Load()) >= t.most || size > t.most*sizeOfNames {
			return false
		}
		t.count.Add(1)
		t.size = size
		minute := now.expires/60 + 1
		t.due[minute] = append(t.due[minute], of)
	}
	s.entries[of] = now
	return true
}

// forget drops expired revocations. Once a minute it looks at those that may have
// expired.
func (t *revoked) forget(now time.Time) {
	minute := now.Unix() / 60
	if minute == t.swept {
		return
	}
	t.swept = minute
	for at, list := range t.due {
		if at > minute {
			continue
		}
		delete(t.due, at)
		for _, of := range list {
			if later := t.drop(of, now.Unix()); later != 0 {
				t.due[later/60+1] = append(t.due[later/60+1], of)
			}
		}
	}
}

// drop removes a subject that has expired, or returns when it will expire.
func (t *revoked) drop(of subject, now int64) (later int64) {
	s := t.shard(of.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[of].expires
	if e > now {
		return e
	}
	t.leaveOut(e) // before the delete: a call that finds no entry then finds gone
	delete(s.entries, of)
	t.count.Add(-1)
	t.size -= len(of.client) + len(of.token)
	return 0
}
