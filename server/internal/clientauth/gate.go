package clientauth

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
)

// Bounds of the gate.
const (
	// maxOwnWaiting is how many requests for one client wait from one network, and
	// as many again where it is known.
	maxOwnWaiting = 2
	// slowWait is how long a request waits for its turn.
	slowWait = 5 * time.Second
	// suspectFor is how long requests for a client from a network wait behind the
	// others after a wrong secret; keptSuspects is how many such pairs are
	// remembered.
	suspectFor   = time.Minute
	keptSuspects = 10_000
)

// The lanes in the order in which they move: known clients, those that no wrong
// secret came for from the same network, suspects. most is how many requests wait
// in each, mostOfOne how many of one client.
const (
	laneKnown = iota
	laneFresh
	laneSuspects
	lanes
)

var (
	most      = [lanes]int{64, 64, 16}
	mostOfOne = [lanes]int{4, 8, 2}
)

// clientKey names a client in memory.
type clientKey struct{ realm, id string }

// Origin is where a request for a slow verification is from; Known says that its
// client authenticated from there before.
type Origin struct {
	Prefix netip.Prefix
	Known  bool
}

// pair is a client and a network.
type pair struct {
	clientKey
	prefix netip.Prefix
}

// gate lets few slow verifications run at once, one per client; the others
// queue. Requests for a client from a network that recently sent a wrong secret
// for it wait in the lane of suspects, which moves when the other lanes are
// empty; a client that is known where it calls from has a lane of its own. So a
// flood of guesses for some imported clients delays only those clients, and not
// their owners.
type gate struct {
	clock counterfoil.Clock

	mu      sync.Mutex
	limit   int // of running
	running map[clientKey]bool
	lanes   [lanes][]*waiter
	// suspects holds until when a pair is one.
	suspects *bounded.Cache[pair, time.Time]
}

type waiter struct {
	pair
	turn chan struct{}
}

func newGate(c counterfoil.Clock, limit int) *gate {
	return &gate{
		clock: c, limit: limit, running: map[clientKey]bool{}, suspects: bounded.New[pair, time.Time](keptSuspects),
	}
}

// enter waits for a turn and reports whether it came; leave gives it back.
func (g *gate) enter(ctx context.Context, key clientKey, from Origin) bool {
	w := g.line(pair{key, from.Prefix}, from.Known)
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
func (g *gate) line(p pair, known bool) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	lane := laneFresh
	if known {
		lane = laneKnown
	} else if until, ok := g.suspects.Get(p); ok && g.clock.Now().Before(until) {
		lane = laneSuspects
	}
	ofClient, ofPair := 0, 0
	for i := range g.lanes {
		for _, w := range g.lanes[i] {
			if i == lane && w.clientKey == p.clientKey {
				ofClient++
			}
			// Strangers of a network do not take the place of a client that is known.
			if (i == laneKnown) == known && w.pair == p {
				ofPair++
			}
		}
	}
	if len(g.lanes[lane]) >= most[lane] || ofClient >= mostOfOne[lane] || ofPair >= maxOwnWaiting {
		return nil
	}
	w := &waiter{pair: p, turn: make(chan struct{})}
	g.lanes[lane] = append(g.lanes[lane], w)
	g.move()
	return w
}

// move gives out the available turns; the caller holds the lock.
func (g *gate) move() {
	for lane := range g.lanes {
		for i := 0; i < len(g.lanes[lane]) && len(g.running) < g.limit; {
			w := g.lanes[lane][i]
			if g.running[w.clientKey] {
				i++
				continue
			}
			g.running[w.clientKey] = true
			g.lanes[lane] = slices.Delete(g.lanes[lane], i, i+1)
			close(w.turn)
		}
	}
}

// length returns how many requests wait for a turn.
func (g *gate) length() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for lane := range g.lanes {
		n += len(g.lanes[lane])
	}
	return n
}

// giveUp leaves the queue, and reports false when the turn came at the same
// time.
func (g *gate) giveUp(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for lane := range g.lanes {
		if i := slices.Index(g.lanes[lane], w); i >= 0 {
			g.lanes[lane] = slices.Delete(g.lanes[lane], i, i+1)
			return true
		}
	}
	return false
}

// leave ends a turn; wrong says that the secret was wrong.
func (g *gate) leave(key clientKey, from Origin, wrong bool) {
	if wrong {
		g.suspects.Put(pair{key, from.Prefix}, g.clock.Now().Add(suspectFor))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.running, key)
	g.move()
}
