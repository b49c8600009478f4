package clientauth

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
)

// Bounds of the gate.
const (
	// maxWaiting and maxSuspects are how many requests wait in each lane,
	// maxOwnWaiting how many of one client.
	maxWaiting    = 64
	maxSuspects   = 16
	maxOwnWaiting = 2
	// slowWait is how long a request waits for its turn.
	slowWait = 5 * time.Second
	// suspectFor is how long a client waits behind the others after a wrong
	// secret; keptSuspects is how many such clients are remembered.
	suspectFor   = time.Minute
	keptSuspects = 10_000
)

// clientKey names a client in memory.
type clientKey struct{ realm, id string }

// gate lets few slow verifications run at once, one per client; the others
// queue. A client that recently failed with a wrong secret waits in the lane
// of suspects, which moves when the other lane is empty: a flood of guesses
// for some imported clients delays only those clients.
type gate struct {
	clock counterfoil.Clock

	mu      sync.Mutex
	limit   int // of running
	running map[clientKey]bool
	lanes   [2][]*waiter // good ones, suspects
	waiting map[clientKey]int
	// suspects holds until when a client is one.
	suspects *bounded.Cache[clientKey, time.Time]
}

type waiter struct {
	key  clientKey
	turn chan struct{}
}

func newGate(c counterfoil.Clock, limit int) *gate {
	return &gate{
		clock: c, limit: limit, running: map[clientKey]bool{}, waiting: map[clientKey]int{},
		suspects: bounded.New[clientKey, time.Time](keptSuspects),
	}
}

// enter waits for a turn and reports whether it came; leave gives it back.
func (g *gate) enter(ctx context.Context, key clientKey) bool {
	w := g.line(key)
	if w == nil {
		return false
	}
	select {
	case <-w.turn:
		return true
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := make(chan struct{})
	go func() {
		defer close(late)
		_ = g.clock.Sleep(ctx, slowWait) // the wait is over in any case
	}()
	select {
	case <-w.turn:
		return true
	case <-late:
		return !g.giveUp(w)
	}
}

// line queues a request, and may give it its turn at once. It returns nil when
// the queue is full.
func (g *gate) line(key clientKey) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	lane, most := 0, maxWaiting
	if until, ok := g.suspects.Get(key); ok && g.clock.Now().Before(until) {
		lane, most = 1, maxSuspects
	}
	if len(g.lanes[lane]) >= most || g.waiting[key] >= maxOwnWaiting {
		return nil
	}
	w := &waiter{key: key, turn: make(chan struct{})}
	g.lanes[lane] = append(g.lanes[lane], w)
	g.waiting[key]++
	g.move()
	return w
}

// move gives out the available turns; the caller holds the lock.
func (g *gate) move() {
	for lane := range g.lanes {
		for i := 0; i < len(g.lanes[lane]) && len(g.running) < g.limit; {
			w := g.lanes[lane][i]
			if g.running[w.key] {
				i++
				continue
			}
			g.running[w.key] = true
			g.remove(lane, i)
			close(w.turn)
		}
	}
}

// length returns how many requests wait for a turn.
func (g *gate) length() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lanes[0]) + len(g.lanes[1])
}

func (g *gate) remove(lane, i int) {
	key := g.lanes[lane][i].key
	g.lanes[lane] = slices.Delete(g.lanes[lane], i, i+1)
	if g.waiting[key]--; g.waiting[key] == 0 {
		delete(g.waiting, key)
	}
}

// giveUp leaves the queue, and reports false when the turn came at the same
// time.
func (g *gate) giveUp(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for lane := range g.lanes {
		if i := slices.Index(g.lanes[lane], w); i >= 0 {
			g.remove(lane, i)
			return true
		}
	}
	return false
}

// leave ends a turn; wrong says that the secret was wrong.
func (g *gate) leave(key clientKey, wrong bool) {
	if wrong {
		g.suspects.Put(key, g.clock.Now().Add(suspectFor))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.running, key)
	g.move()
}
