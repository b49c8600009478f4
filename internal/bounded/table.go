package bounded

import (
	"hash/maphash"
	"sync"
)

// State is what a Table keeps of a key: a small value that after a time says no
// more than its zero value.
type State interface {
	comparable
	// End is that time, on any scale that all states of a Table share.
	End() int64
}

// Table is a map of states that never grows beyond its size. A full one drops,
// of the few states that its hand passes next, the one that ends first; if that
// is the new one, the table stays as it is. So somebody who makes many small
// states cannot displace a large one. It is safe for concurrent use.
type Table[K comparable, S State] struct {
	seed   maphash.Seed
	shards []tableShard[K, S]
}

type tableShard[K comparable, S State] struct {
	mu      sync.Mutex
	index   map[K]int // into slots
	slots   []tableSlot[K, S]
	limit   int
	hand    int
	dropped uint64
	_       [40]byte // keeps shards on separate cache lines
}

type tableSlot[K comparable, S State] struct {
	key   K
	state S
}

// passed is how many states the hand passes.
const passed = 16

// NewTable returns a table of size states, at least one.
func NewTable[K comparable, S State](size int) *Table[K, S] {
	n, limit := divide(size)
	t := &Table[K, S]{seed: maphash.MakeSeed(), shards: make([]tableShard[K, S], n)}
	for i := range t.shards {
		t.shards[i].index, t.shards[i].limit = map[K]int{}, limit
	}
	return t
}

func (t *Table[K, S]) shard(key K) *tableShard[K, S] {
	return &t.shards[maphash.Comparable(t.seed, key)&uint64(len(t.shards)-1)]
}

// Get returns the state of key; the zero value if the key has no state.
func (t *Table[K, S]) Get(key K) (state S) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[key]; ok {
		state = s.slots[i].state
	}
	return state
}

// Update replaces the state of key by what change returns for it, atomically. The
// zero value stands for no state, before and after. change must return soon.
func (t *Table[K, S]) Update(key K, change func(S) S) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	var none S
	i, ok := s.index[key]
	switch {
	case !ok:
		if now := change(none); now != none {
			s.add(key, now)
		}
	default:
		if s.slots[i].state = change(s.slots[i].state); s.slots[i].state == none {
			s.remove(i)
		}
	}
}

// Each calls visit with every state, in no order; the table may change meanwhile.
func (t *Table[K, S]) Each(visit func(K, S)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		slots := append([]tableSlot[K, S](nil), s.slots...)
		s.mu.Unlock()
		for _, at := range slots {
			visit(at.key, at.state)
		}
	}
}

// Len returns the number of states, and how many were dropped.
func (t *Table[K, S]) Len() (n int, dropped uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.slots)
		dropped += s.dropped
		s.mu.Unlock()
	}
	return n, dropped
}

// add stores a new state; the caller holds the lock.
func (s *tableShard[K, S]) add(key K, state S) {
	if len(s.slots) < s.limit {
		s.index[key] = len(s.slots)
		s.slots = append(s.slots, tableSlot[K, S]{key, state})
		return
	}
	s.dropped++
	first := s.hand
	for i := range min(passed, len(s.slots)) {
		at := (s.hand + i) % len(s.slots)
		if s.slots[at].state.End() < s.slots[first].state.End() {
			first = at
		}
	}
	s.hand = (s.hand + passed) % len(s.slots)
	if s.slots[first].state.End() > state.End() {
		return
	}
	delete(s.index, s.slots[first].key)
	s.index[key] = first
	s.slots[first] = tableSlot[K, S]{key, state}
}

// remove fills the gap with the last state; the caller holds the lock.
func (s *tableShard[K, S]) remove(i int) {
	delete(s.index, s.slots[i].key)
	last := len(s.slots) - 1
	if i != last {
		s.slots[i] = s.slots[last]
		s.index[s.slots[i].key] = i
	}
	s.slots[last] = tableSlot[K, S]{}
	s.slots = s.slots[:last]
}
