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
	n, evictions := c.Len()
	if n > 100 || uint64(n)+evictions != 10_000 {
		t.Errorf("%d values and %d evictions of 10000", n, evictions)
	}
	c.Clear()
	if n, _ := c.Len(); n != 0 {
		t.Errorf("%d values after Clear", n)
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
