package guard

import (
	"crypto/sha256"
	"sync"
)

// digest identifies a token in the cache, which never holds the token itself. A
// token of usual length is hashed without an allocation.
func digest(token string) [sha256.Size]byte {
	var buf [2 << 10]byte
	return sha256.Sum256(append(buf[:0], token...))
}

// cache remembers a bounded number of verified tokens. It is divided into shards
// so that calls seldom wait for one another. A full shard
// evicts a token that was not used since the shard's hand last passed it (the
// clock algorithm).
type cache struct {
	shards []shard
}

type shard struct {
	mu    sync.Mutex
	index map[[sha256.Size]byte]int // into slots
	slots []slot
	limit int
	hand  int
	Stats
	_ [64]byte // a cache line of its own
}

type slot struct {
	id   [sha256.Size]byte
	v    *verified // nil if dropped
	used bool
}

// newCache returns a cache of size tokens, at least one.
func newCache(size int) *cache {
	n := 64
	for n > 1 && size/n < 16 {
		n /= 2
	}
	c := &cache{shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].index = map[[sha256.Size]byte]int{}
		c.shards[i].limit = max(1, size/n)
	}
	return c
}

// shard returns the shard of id; the number of shards is a power of two.
func (c *cache) shard(id *[sha256.Size]byte) *shard { return &c.shards[int(id[0])&(len(c.shards)-1)] }

func (c *cache) get(id *[sha256.Size]byte) *verified {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[*id]
	if !ok {
		s.Misses++
		return nil
	}
	s.Hits++
	s.slots[i].used = true
	return s.slots[i].v
}

func (c *cache) put(id *[sha256.Size]byte, v *verified) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[*id]
	if !ok {
		i = s.free()
		s.index[*id] = i
	}
	s.slots[i] = slot{id: *id, v: v}
}

// free returns a slot to fill, and evicts the token in it.
func (s *shard) free() int {
	if len(s.slots) < s.limit {
		s.slots = append(s.slots, slot{})
		return len(s.slots) - 1
	}
	for {
		i := s.hand
		s.hand = (s.hand + 1) % len(s.slots)
		switch at := &s.slots[i]; {
		case at.v == nil:
			return i
		case at.used:
			at.used = false
		default:
			delete(s.index, at.id)
			s.Evictions++
			return i
		}
	}
}

func (c *cache) drop(id *[sha256.Size]byte) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[*id]; ok {
		delete(s.index, *id)
		s.slots[i] = slot{}
	}
}

func (c *cache) stats() Stats {
	var sum Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum.Entries += len(s.index)
		sum.Hits += s.Hits
		sum.Misses += s.Misses
		sum.Evictions += s.Evictions
		s.mu.Unlock()
	}
	return sum
}
