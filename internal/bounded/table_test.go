package bounded_test

import (
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/bounded"
)

// until is a state that ends at its value.
type until int64

func (u until) End() int64 { return int64(u) }

func set(u until) func(until) until { return func(until) until { return u } }

func TestTableKeepsStates(t *testing.T) {
	table := bounded.NewTable[string, until](100)
	table.Update("a", set(5))
	table.Update("a", func(u until) until { return u + 2 })
	table.Update("b", set(0)) // the zero value is no state
	if got := table.Get("a"); got != 7 {
		t.Errorf("a is %d, want 7", got)
	}
	if n, dropped := table.Len(); n != 1 || dropped != 0 {
		t.Errorf("%d states, %d dropped", n, dropped)
	}
	for _, key := range []string{"c", "d", "e"} {
		table.Update(key, set(1))
	}
	table.Update("a", set(0))
	found := map[string]until{}
	table.Each(func(key string, u until) { found[key] = u })
	if len(found) != 3 || found["a"] != 0 || found["c"] != 1 || found["e"] != 1 || table.Get("d") != 1 {
		t.Errorf("after the first was removed: %v", found)
	}
}

// Whoever makes many small states displaces no large one.
func TestTableDropsWhatEndsFirst(t *testing.T) {
	const size = 512
	table := bounded.NewTable[int, until](size)
	for i := range size / 4 {
		table.Update(i, set(1000))
	}
	for i := range 100 * size {
		table.Update(size+i, set(until(1+i%10)))
	}
	for i := range size / 4 {
		if table.Get(i) != 1000 {
			t.Fatalf("the state %d was displaced by smaller ones", i)
		}
	}
	n, dropped := table.Len()
	if n > size || n+int(dropped) != size/4+100*size {
		t.Errorf("%d states, %d dropped", n, dropped)
	}
	// A larger one is kept, and takes the place of a small one.
	before := n
	table.Update(-1, set(2000))
	if n, _ := table.Len(); table.Get(-1) != 2000 || n > max(before, size) {
		t.Errorf("a larger state is not kept, or in addition: %d states", n)
	}
}

// Of those that its hand passes, a full table drops the one that ends first, and
// the new one if that is it.
func TestTableDropsInOrder(t *testing.T) {
	const size = 16 // one shard, and one round of its hand
	table := bounded.NewTable[int, until](size)
	for i := range size {
		table.Update(i, set(until(100+(i*7)%size)))
	}
	for i := range 50 {
		table.Update(1000+i, set(99))
	}
	for i := range size {
		if table.Get(i) == 0 {
			t.Errorf("%d was displaced by one that ends before it", i)
		}
	}
	for n := range size {
		table.Update(2000+n, set(1000))
		for i := range size {
			if want := (i*7)%size > n; (table.Get(i) != 0) != want {
				t.Fatalf("after %d larger ones %d is kept: %t", n+1, (i*7)%size, !want)
			}
		}
	}
}

func TestTableOfOne(t *testing.T) {
	table := bounded.NewTable[int, until](0)
	for i := range 10 {
		table.Update(i, set(until(i+1)))
	}
	if n, dropped := table.Len(); n != 1 || dropped != 9 || table.Get(9) != 10 {
		t.Errorf("%d states, %d dropped, the last is %d", n, dropped, table.Get(9))
	}
}

// Updates at once lose nothing.
func TestTableAtOnce(t *testing.T) {
	table := bounded.NewTable[int, until](100)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				table.Update(i%10, func(u until) until { return u + 1 })
				table.Each(func(int, until) {})
			}
		})
	}
	all.Wait()
	for i := range 10 {
		if got := table.Get(i); got != 800 {
			t.Errorf("%d is %d, want 800", i, got)
		}
	}
}
