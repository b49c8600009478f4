// Package bounded keeps a bounded number of values by key. Use it where requests
// of unknown callers could fill the memory. It is internal and makes no
// compatibility promise.
package bounded

import (
	"hash/maphash"
	"sync"
)

// Cache is a map that never grows beyond its size. It is divided into shards so
// that its users seldom wait for one another. A full shard evicts a value that was
// not used since the shard's hand last passed it (the clock algorithm).
// It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	seed   maphash.Seed
	shards []shard[K, V]
}

type shard[K comparable, V any] struct {
	mu    sync.Mutex
	index map[K]int // into slots
	slots []slot[K, V]
	limit int
	hand  int
	stats Stats    // without Entries
	_     [40]byte // keeps shards on separate cache lines
}

// Stats counts what a Cache has done.
type Stats struct {
	// Entries is how many values there are.
	Entries int
	// Hits and Misses count the calls of Get and GetOrPut that found a value, and
	// those that did not.
	Hits, Misses uint64
	// Evictions counts the values that were dropped for others.
	Evictions uint64
}

type slot[K comparable, V any] struct {
	key          K
	value        V
	filled, used bool
}

// New returns a cache of size values, at least one.
func New[K comparable, V any](size int) *Cache[K, V] {
	n, limit := divide(size)
	c := &Cache[K, V]{seed: maphash.MakeSeed(), shards: make([]shard[K, V], n)}
	for i := range c.shards {
		c.shards[i].index, c.shards[i].limit = map[K]int{}, limit
	}
	return c
}

// divide returns how many shards hold size values, a power of two, and how many
// each holds at most.
func divide(size int) (shards, limit int) {
	shards = 64
	for shards > 1 && size/shards < 16 {
		shards /= 2
	}
	return shards, max(1, size/shards)
}

// shard returns the shard of key; the number of shards is a power of two.
func (c *Cache[K, V]) shard(key K) *shard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)&uint64(len(c.shards)-1)]
}

// Get returns the value of key, and whether there is one.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[key]
	if !ok {
		s.stats.Misses++
		var none V
		return none, false
	}
	s.stats.Hits++
	s.slots[i].used = true
	return s.slots[i].value, true
}

// Put stores the value of key and replaces any earlier one.
func (c *Cache[K, V]) Put(key K, value V) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[key]
	if !ok {
		i = s.free()
		s.index[key] = i
	}
	s.slots[i] = slot[K, V]{key: key, value: value, filled: true}
}

// GetOrPut returns the value of key. If key has no value, it stores and returns the
// result of make. Of several concurrent callers, one calls make, which must return
// soon.
func (c *Cache[K, V]) GetOrPut(key K, make func() V) V {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[key]; ok {
		s.stats.Hits++
		s.slots[i].used = true
		return s.slots[i].value
	}
	s.stats.Misses++
	i := s.free()
	s.index[key] = i
	s.slots[i] = slot[K, V]{key: key, value: make(), filled: true}
	return s.slots[i].value
}

// Drop removes key.
func (c *Cache[K, V]) Drop(key K) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[key]; ok {
		delete(s.index, key)
		s.slots[i] = slot[K, V]{}
	}
}

// Clear removes all keys.
func (c *Cache[K, V]) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.index)
		s.slots, s.hand = nil, 0
		s.mu.Unlock()
	}
}

// Stats returns the counts since New.
func (c *Cache[K, V]) Stats() (sum Stats) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum.Entries += len(s.index)
		sum.Hits += s.stats.Hits
		sum.Misses += s.stats.Misses
		sum.Evictions += s.stats.Evictions
		s.mu.Unlock()
	}
	return sum
}

// free returns a slot to fill, and evicts the value in it.
func (s *shard[K, V]) free() int {
	if len(s.slots) < s.limit {
		s.slots = append(s.slots, slot[K, V]{})
		return len(s.slots) - 1
	}
	for {
		i := s.hand
		s.hand = (s.hand + 1) % len(s.slots)
		switch at := &s.slots[i]; {
		case !at.filled:
			return i
		case at.used:
			at.used = false
		default:
			delete(s.index, at.key)
			s.stats.Evictions++
			return i
		}
	}
}
