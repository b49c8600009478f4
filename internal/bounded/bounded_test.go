package bounded_test

import (
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/bounded"
)

func TestNeverGrowsBeyondItsSize(t *testing.T) {
	c := bounded.New[int, int](100)
	for i := range 10_000 {
		c.Put(i, i)
		if v, ok := c.Get(i); !ok || v != i {
			t.Fatalf("%d came back as %d, %v", i, v, ok)
		}
	}
	s := c.Stats()
	if s.Entries > 100 || uint64(s.Entries)+s.Evictions != 10_000 || s.Hits != 10_000 || s.Misses != 0 {
		t.Errorf("of 10000: %+v", s)
	}
	c.Clear()
	if s := c.Stats(); s.Entries != 0 {
		t.Errorf("after Clear: %+v", s)
	}
}

func TestKeepsWhatIsUsed(t *testing.T) {
	c := bounded.New[string, int](4)
	c.Put("used", 1)
	for i := range 100 {
		if _, ok := c.Get("used"); !ok {
			t.Fatalf("gone after %d others", i)
		}
		c.Put(string(rune('a'+i)), i)
	}
	c.Drop("used")
	if _, ok := c.Get("used"); ok {
		t.Error("there after Drop")
	}
	c.GetOrPut("used", func() int { return 2 })
	c.GetOrPut("used", func() int { return 3 })
	if s := c.Stats(); s.Hits != 101 || s.Misses != 2 {
		t.Errorf("%+v, want 101 hits and 2 misses", s)
	}
}

func TestOneMaker(t *testing.T) {
	c := bounded.New[string, *int](8)
	var wg sync.WaitGroup
	got := make([]*int, 50)
	for i := range got {
		wg.Go(func() { got[i] = c.GetOrPut("k", func() *int { return new(int) }) })
	}
	wg.Wait()
	for _, p := range got {
		if p != got[0] {
			t.Fatal("two were made")
		}
	}
}
