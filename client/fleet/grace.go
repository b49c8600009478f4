package fleet

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// grace is the time after a break in which this process takes no new lease. The
// others return within it: they take their leases again, put back what the
// server may have lost, and listen again. A token that is requested earlier
// would replace one that they still use, or be a second one.
type grace struct {
	mu sync.Mutex
	// first is when the first of a row of breaks was over, and until when the
	// grace period ends.
	first, until time.Time
}

// gracePeriod is longer than the longest wait of a live process before it tries
// again to connect, which is one and a half times maxPause.
const gracePeriod = 2 * maxPause

// begin records that the server was found. Breaks in a row double the grace
// period once: a connection that keeps breaking must not prevent renewals.
func (g *grace) begin(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first.IsZero() || now.Sub(g.until) > gracePeriod {
		g.first = now
	}
	g.until = now.Add(min(gracePeriod, 2*gracePeriod-now.Sub(g.first)))
}

// left is how much of it remains.
func (g *grace) left(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first.IsZero() {
		return 0
	}
	return min(g.until.Sub(now), gracePeriod)
}

type dialFunc = func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error)

// noting is dial, or the default for nil, and records each connection before it
// is used. Sentinels lead to another server without an error. A cluster's client
// connects to a node when it first needs it.
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

// listens records that changes are listened for.
func (s *server) listens() {
	if s.listened.Swap(true) || s.circuit.lost() != nil {
		s.grace.begin(s.clock.Now())
	}
	s.dialled.Store(false)
	s.met(nil, "")
}

// answered records that the server has taken a step at key.
func (s *server) answered(key string) {
	if s.away() { // the grace period begins before the server is reported as found
		s.grace.begin(s.clock.Now())
	}
	s.dialled.Store(false)
	s.met(nil, key)
}

// away reports whether there was a break, and no answer since.
func (s *server) away() bool { return s.dialled.Load() || s.circuit.lost() != nil }
