package conns_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.out.Reset()
	return l.out.String()
}

// queue is a listener that accepts what a test puts in it: connections from
// addresses that this machine does not have, and faults.
type queue struct{ next []any }

func (q *queue) Accept() (net.Conn, error) {
	if len(q.next) == 0 {
		return nil, net.ErrClosed
	}
	first := q.next[0]
	q.next = q.next[1:]
	if err, ok := first.(error); ok {
		return nil, err
	}
	return first.(net.Conn), nil
}
func (*queue) Close() error   { return nil }
func (*queue) Addr() net.Addr { return nil }

type from struct {
	net.Conn
	address string
	closed  bool
}

func (c *from) Close() error { c.closed = true; return nil }

func (c *from) RemoteAddr() net.Addr {
	if at, err := netip.ParseAddrPort(c.address); err == nil {
		return net.TCPAddrFromAddrPort(at)
	}
	return &net.UnixAddr{Name: c.address, Net: "unix"}
}

func newLimiter(limits conns.Limits) (*conns.Limiter, *lines, *clock.Manual) {
	var log lines
	now := clock.NewStepping(time.Now())
	return conns.New(conns.Config{
		Limits: limits, Exempt: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Clock: now, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}), &log, now
}

func TestNetworks(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, next string
		together    bool
	}{
		{"one IPv4 /24", "192.0.2.1:1", "192.0.2.254:2", true},
		{"two of them", "192.0.2.1:1", "192.0.3.1:2", false},
		{"one IPv6 /48", "[2001:db8:1:1::1]:1", "[2001:db8:1:ffff::2]:2", true},
		{"two of them", "[2001:db8:1::1]:1", "[2001:db8:2::1]:2", false},
		{"IPv4 in IPv6", "192.0.2.1:1", "[::ffff:192.0.2.9]:2", true},
		{"IPv4 in IPv6 is not one network", "[::ffff:192.0.2.1]:1", "[::ffff:198.51.100.1]:2", false},
		{"a zone is not a network", "[fe80::1%eth0]:1", "[fe80::2%eth1]:2", true},
		{"a trusted proxy", "10.1.0.1:1", "10.1.0.1:2", false},
		{"beside a trusted proxy", "10.2.0.1:1", "10.2.0.1:2", true},
		{"this machine", "127.0.0.1:1", "127.0.0.1:2", false},
		{"this machine by IPv6", "[::1]:1", "[::1]:2", false},
		{"a socket", "@", "@", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, log, _ := newLimiter(conns.Limits{PerPrefix: 1, Total: 16})
			first, next := &from{address: tt.first}, &from{address: tt.next}
			ln := l.Listener(&queue{next: []any{first, next}})
			for range 2 {
				if _, err := ln.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			// The first has sent nothing yet: it goes for one of its network.
			if first.closed != tt.together || next.closed {
				t.Errorf("closed %v and %v: %s", first.closed, next.closed, log.take())
			}
			want := conns.Stats{Open: 2, Total: 16, Accepted: 2}
			if tt.together {
				want.Open, want.Dropped = 1, 1
			}
			if s := l.Stats(); s != want {
				t.Errorf("it says %+v", s)
			}
		})
	}
}

// One network opens many connections, others one each: of those that have sent
// nothing, the many go.
func TestTheLargestNetworkGivesFirst(t *testing.T) {
	l, _, _ := newLimiter(conns.Limits{Total: 6})
	var all []*from
	q := &queue{}
	for _, address := range []string{
		"198.51.100.1:1", "10.1.0.1:1", "10.1.0.1:2", "10.1.0.1:3", "192.0.2.1:1", "192.0.2.2:1",
		"203.0.113.1:1", "203.0.114.1:1",
	} {
		c := &from{address: address}
		all = append(all, c)
		q.next = append(q.next, c)
	}
	ln := l.Listener(q)
	for range all {
		if _, err := ln.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, false, false, false, true, false, false, false} {
		if all[i].closed != want {
			t.Errorf("the connection from %s: closed is %v", all[i].address, all[i].closed)
		}
	}
}

// "accept: too many open files" was logged for debugging only: the server fell
// silent.
func TestFilesRunOut(t *testing.T) {
	l, log, now := newLimiter(conns.Limits{})
	fault := &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	old, next := &from{address: "192.0.2.1:1"}, &from{address: "192.0.2.2:1"}
	q := &queue{next: []any{old, fault, next}}
	ln := l.Listener(q)
	for range 2 {
		if _, err := ln.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if !old.closed || next.closed {
		t.Errorf("closed %v and %v", old.closed, next.closed)
	}
	if got := log.take(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "too many open files") || !strings.Contains(got, "open=1") {
		t.Errorf("the log has %q", got)
	}
	// With nothing left to close, net/http waits and tries again.
	q.next = []any{fault, fault, fault}
	if _, err := ln.Accept(); !errors.Is(err, syscall.EMFILE) || !next.closed {
		t.Errorf("%v, closed %v", err, next.closed)
	}
	if got := log.take(); got != "" {
		t.Errorf("more than a line in a second: %q", got)
	}
	now.Turn(time.Second)
	if _, err := ln.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Error(err)
	}
	if got := log.take(); !strings.Contains(got, "repeated=2") {
		t.Errorf("the log has %q", got)
	}
	// The end of a server is no fault.
	now.Turn(time.Second)
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if got := log.take(); got != "" {
		t.Errorf("the log has %q", got)
	}
}
