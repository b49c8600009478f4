package dpop_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/dpop"
)

func TestNonces(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	c := clock.NewManual(time.Unix(1_800_000_000, 0)) // a multiple of 5 minutes
	n := must(dpop.NewNonces(key, c, 0))
	other := must(dpop.NewNonces(bytes.Clone(key), c, 5*time.Minute))
	stranger := must(dpop.NewNonces(bytes.Repeat([]byte{8}, 32), c, 0))
	shorter := must(dpop.NewNonces(key, c, time.Minute))
	nonce := n.Issue()
	if len(nonce) != 43 {
		t.Errorf("nonce %q", nonce)
	}
	if !n.Valid(nonce) || !other.Valid(nonce) {
		t.Error("a nonce is not known at its own or another node")
	}
	for name, bad := range map[string]string{"empty": "", "another key": stranger.Issue(), "another life": shorter.Issue(), "cut": nonce[:42], "more": nonce + "A", "long": strings.Repeat("A", 1<<16)} {
		if n.Valid(bad) {
			t.Errorf("%s: valid", name)
		}
	}
	clear(key)
	if n.Issue() != nonce {
		t.Error("the caller's key is still the nonces' key")
	}
	for _, tt := range []struct {
		at    time.Duration
		valid bool
	}{{5*time.Minute - 1, true}, {5 * time.Minute, true}, {10*time.Minute - 1, true}, {10 * time.Minute, false}} {
		c.Turn(time.Unix(1_800_000_000, 0).Add(tt.at).Sub(c.Now()))
		if n.Valid(nonce) != tt.valid {
			t.Errorf("after %s: valid is %t", tt.at, !tt.valid)
		}
	}
	if n.Issue() == nonce {
		t.Error("the nonce never changes")
	}
}

// A node whose clock is a little ahead answers with a nonce that the others know.
func TestNoncesOfANodeThatIsAhead(t *testing.T) {
	key := make([]byte, 32)
	here := must(dpop.NewNonces(key, clock.NewManual(epoch.Add(5*time.Minute-5*time.Second)), 0))
	ahead := must(dpop.NewNonces(key, clock.NewManual(epoch.Add(5*time.Minute)), 0))
	far := must(dpop.NewNonces(key, clock.NewManual(epoch.Add(10*time.Minute)), 0))
	before := must(dpop.NewNonces(key, clock.NewManual(epoch.Add(5*time.Minute-6*time.Second)), 0))
	if before.Valid(ahead.Issue()) {
		t.Error("a nonce of 6 seconds ahead is valid")
	}
	if !here.Valid(ahead.Issue()) {
		t.Error("a nonce of 5 seconds ahead is not valid")
	}
	if here.Valid(far.Issue()) {
		t.Error("a nonce of minutes ahead is valid")
	}
}

func TestNewNoncesRefuses(t *testing.T) {
	if _, err := dpop.NewNonces(make([]byte, 31), nil, 0); err == nil {
		t.Error("took a key of 31 bytes")
	}
	for _, life := range []time.Duration{-1, time.Millisecond} {
		if _, err := dpop.NewNonces(make([]byte, 32), nil, life); err == nil {
			t.Errorf("took a life of %s", life)
		}
	}
	n := must(dpop.NewNonces(make([]byte, 32), nil, 0))
	if !n.Valid(n.Issue()) {
		t.Error("without a clock nothing is valid")
	}
}

func proof(key, id string, at time.Time) dpop.Proof {
	return dpop.Proof{Thumbprint: key, ID: id, IssuedAt: at}
}

func TestSeen(t *testing.T) {
	c := clock.NewManual(epoch)
	s := &dpop.Seen{Clock: c}
	for _, tt := range []struct {
		name  string
		proof dpop.Proof
		first bool
	}{
		{"new", proof("a", "1", epoch), true},
		{"again", proof("a", "1", epoch), false},
		{"again with another time", proof("a", "1", epoch.Add(time.Second)), false},
		{"another id", proof("a", "2", epoch), true},
		{"another key", proof("b", "1", epoch), true},
		{"key and id do not run together", proof("a1", "", epoch), true},
		{"too old to know", proof("a", "3", epoch.Add(-2*time.Minute)), false},
		{"just too old to know", proof("a", "3", epoch.Add(-time.Minute-time.Second)), false},
	} {
		if got := s.First(tt.proof); got != tt.first {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	c.Turn(time.Minute)
	if s.First(proof("a", "1", epoch)) {
		t.Error("forgotten at the last moment at which Verify takes it")
	}
	if !s.First(proof("a", "4", epoch)) {
		t.Error("refused at the last moment at which Verify takes it")
	}
	c.Turn(time.Second)
	if !s.First(proof("a", "1", c.Now())) {
		t.Error("a proof that has expired is still remembered")
	}
	if s.Full() != 0 {
		t.Errorf("%d refused for lack of room", s.Full())
	}
}

// The zero value is ready.
func TestSeenWithoutConfiguration(t *testing.T) {
	var s dpop.Seen
	if p := proof("a", "1", time.Now()); !s.First(p) || s.First(p) {
		t.Error("the zero value takes a proof never, or twice")
	}
}

// A proof that was forgotten is not taken again when the clock is set back.
func TestSeenSurvivesAClockSetBack(t *testing.T) {
	c := clock.NewManual(epoch)
	s := &dpop.Seen{Clock: c}
	p := proof("a", "1", epoch)
	if !s.First(p) {
		t.Fatal("not taken")
	}
	c.Turn(2 * time.Minute)
	if !s.First(proof("a", "2", c.Now())) {
		t.Fatal("not taken")
	}
	c.Turn(-2 * time.Minute)
	if s.First(p) {
		t.Error("taken twice")
	}
}

// One owner who sends without end fills half of the room; the others go on.
// Everything is free again when the proofs have expired.
func TestSeenWhenOneOwnerFloods(t *testing.T) {
	const most = 1000
	c := clock.NewManual(epoch)
	s := &dpop.Seen{Clock: c, Most: most}
	taken := 0
	for i := range 10 * most {
		if s.First(proof("flood", fmt.Sprint(i), epoch)) {
			taken++
		}
	}
	if taken != most/2 || s.Full() != 10*most-most/2 {
		t.Errorf("%d taken, %d refused", taken, s.Full())
	}
	if s.First(proof("flood", "0", epoch)) {
		t.Error("flooding made room for a replay")
	}
	for i := range 100 {
		if !s.First(proof(fmt.Sprint("calm", i%5), fmt.Sprint(i), epoch)) {
			t.Fatalf("another owner's proof %d was refused", i)
		}
	}
	for i := range most { // one client, a new key for each proof
		s.FirstOf("client", proof(fmt.Sprint("key", i), "1", epoch))
	}
	if !s.First(proof("calm0", "last", epoch)) {
		t.Error("no room beside a client with many keys")
	}
	c.Turn(time.Minute + time.Second)
	for i := range most / 2 {
		if !s.First(proof("flood", fmt.Sprint("again", i), c.Now())) {
			t.Fatalf("proof %d was refused although everything has expired", i)
		}
	}
}

// What an owner holds is counted on when a part of it has expired.
func TestSeenCountsWhatIsLeft(t *testing.T) {
	const most = 1000
	c := clock.NewManual(epoch)
	s := &dpop.Seen{Clock: c, Most: most}
	send := func(n int) (taken int) {
		for i := range n {
			if s.First(proof("owner", fmt.Sprint(c.Now().Unix(), "-", i), c.Now())) {
				taken++
			}
		}
		return taken
	}
	if n := send(100); n != 100 {
		t.Fatalf("%d taken", n)
	}
	c.Turn(30 * time.Second)
	if n := send(400); n != 400 {
		t.Fatalf("%d taken", n)
	}
	c.Turn(31 * time.Second)
	if n := send(most); n != 100 {
		t.Errorf("%d taken beside 400 that are left of %d, want half of the room in all", n, most)
	}
}

// Full to the last place, it forgets nothing: no proof is taken twice.
func TestSeenFullRefuses(t *testing.T) {
	const most = 100
	s := &dpop.Seen{Clock: clock.NewManual(epoch), Most: most}
	for i := range 3 * most {
		if got := s.First(proof(fmt.Sprint("key", i), "1", epoch)); got != (i < most) {
			t.Fatalf("proof %d: %t", i, got)
		}
	}
	for i := range most {
		if s.First(proof(fmt.Sprint("key", i), "1", epoch)) {
			t.Fatalf("proof %d was taken twice", i)
		}
	}
}

// Many at once with the same proofs: each proof is taken once.
func TestSeenTakesOnceAmongMany(t *testing.T) {
	s := &dpop.Seen{Clock: clock.NewManual(epoch)}
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2000 {
				if s.First(proof(fmt.Sprint("key", i%10), fmt.Sprint(i), epoch)) {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() != 2000 {
		t.Errorf("%d of 2000 taken", taken.Load())
	}
}

// BenchmarkSeen turns the clock so that 1,000 proofs come a second: what is
// remembered stays at a minute's worth.
func BenchmarkSeen(b *testing.B) {
	c := clock.NewManual(epoch)
	s := &dpop.Seen{Clock: c}
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = fmt.Sprint("key", i%100)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i++; i%1000 == 0 {
			c.Turn(time.Second)
		}
		if !s.First(proof(ids[i%len(ids)], fmt.Sprint(i), c.Now())) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkSeenFull is the flood: no room, refused.
func BenchmarkSeenFull(b *testing.B) {
	s := &dpop.Seen{Clock: clock.NewManual(epoch)}
	for i := range 2 * dpop.DefaultMost {
		s.First(proof(fmt.Sprint("key", i), "1", epoch))
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if s.First(proof("another", fmt.Sprint(i), epoch)) {
			b.Fatal("taken")
		}
	}
}

func BenchmarkNonces(b *testing.B) {
	n := must(dpop.NewNonces(make([]byte, 32), nil, 0))
	nonce := n.Issue()
	b.ReportAllocs()
	for b.Loop() {
		if !n.Valid(nonce) {
			b.Fatal("not valid")
		}
	}
}
