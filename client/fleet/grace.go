package fleet

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// grace is the time after a break in which this process takes no new lease. The
// others come back within it: they take their leases again, put back what the
// server may have lost, and listen again. A token that is asked for earlier ends
// one that they go on to use, or is a second one.
type grace struct {
	mu sync.Mutex
	// first is when the first of a row of breaks was over, and until when the grace
	// period ends.
	first, until time.Time
}

// gracePeriod is longer than a process that is alive waits until it tries again to
// connect, which is one and a half times maxPause at most.
const gracePeriod = 2 * maxPause

// begin notes that the server was found. Breaks in a row make the grace period
// twice as long and no longer: a connection that never lasts must not keep tokens
// from being renewed.
func (g *grace) begin(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first.IsZero() || now.Sub(g.until) > gracePeriod {
		g.first = now
	}
	g.until = now.Add(min(gracePeriod, 2*gracePeriod-now.Sub(g.first)))
}

// left is how long it lasts.
func (g *grace) left(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first.IsZero() {
		return 0
	}
	return min(g.until.Sub(now), gracePeriod)
}

type dialFunc = func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error)

// noting is dial, or the usual way for nil, and notes each connection before
// anything goes through it. Sentinels lead to another server without an error. A
// cluster's client connects to a node when it first needs it.
func (s *server) noting(dial dialFunc) dialFunc {
	if dial == nil {
		dial = func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
			if config == nil {
				return d.DialContext(ctx, "tcp", address)
			}
			return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", address)
		}
	}
	return func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, config)
		if err == nil && !s.cluster.Load() {
			s.dialled.Store(true)
		}
		return conn, err
	}
}

// listens notes that changes are listened for.
func (s *server) listens() {
	if s.listened.Swap(true) || s.circuit.lost() != nil {
		s.grace.begin(s.clock.Now())
	}
	s.dialled.Store(false)
	s.met(nil, "")
}

// answered notes that the server has taken a step at key.
func (s *server) answered(key string) {
	if s.away() { // the grace period begins before anybody is told that there is a server
		s.grace.begin(s.clock.Now())
	}
	s.dialled.Store(false)
	s.met(nil, key)
}

// away reports whether there was a break, and no answer since.
func (s *server) away() bool { return s.dialled.Load() || s.circuit.lost() != nil }
