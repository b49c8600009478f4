package guard_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// waiting begins to wait and returns where the end is told.
func waiting(ctx context.Context, wait func(context.Context) error) <-chan error {
	end := make(chan error, 1)
	go func() { end <- wait(ctx) }()
	return end
}

// ended returns how the waiting ended.
func ended(t *testing.T, end <-chan error) error {
	t.Helper()
	select {
	case err := <-end:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("it waits still")
		return nil
	}
}

// A guard that serves before its feed has caught up answers 503.
func TestWaitForTheFeed(t *testing.T) {
	s := newTeller(t, false)
	s.refuse(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	f := s.follow(nil)
	s.lost(1)
	ctx, cancel := context.WithCancel(t.Context())
	end := waiting(ctx, f.Wait)
	cancel()
	if err := ended(t, end); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "is not a resource server") {
		t.Errorf("it gave up with %v", err)
	}
	first, second := waiting(t.Context(), f.Wait), waiting(t.Context(), f.Wait)
	s.refuse(nil)
	s.again(1)
	c := s.next().say(hello, ofToken(1, "one"))
	at(t, f, "w.1")
	select {
	case err := <-first:
		t.Fatalf("it waited for no position: %v", err)
	default:
	}
	c.say(position(1))
	if one, two := ended(t, first), ended(t, second); one != nil || two != nil {
		t.Errorf("the feed has caught up: %v, %v", one, two)
	}
	r := s.behind(f)
	if got := r.reason(r.token(nil)); got != "" {
		t.Errorf("%q after Wait", got)
	}
	if err := f.Wait(t.Context()); err != nil {
		t.Errorf("once more: %v", err)
	}
	s.clock.Turn(15 * time.Second)
	end = waiting(t.Context(), f.Wait)
	select {
	case err := <-end:
		t.Fatalf("it did not wait for a feed that is stale: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	f.Close()
	if err := ended(t, end); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}

// The log tells that the feed is stale when it becomes so, even if nobody calls.
func TestStaleIsLoggedWithoutACall(t *testing.T) {
	for name, interrupt := range map[string]bool{"silent": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			s := newTeller(t, false)
			f := s.follow(nil)
			c := s.next().say(hello, position(0))
			caughtUp(t, f, "w.0")
			if interrupt {
				s.refuse(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
				c.close()
				for n := 1; !f.Stats().Stale; n++ {
					s.again(n)
				}
			} else {
				s.clock.Turn(14 * time.Second)
				c.say("other||{}") // it is no heartbeat
				if got := s.log.count("revocation feed: stale"); got != 0 {
					t.Errorf("too early: %q", s.log.lines)
				}
				s.clock.Turn(time.Second)
			}
			eventually.True(t, "the log says stale", func() bool { return s.log.count("ERROR revocation feed: stale") == 1 })
		})
	}
}

func TestWaitForTheKeys(t *testing.T) {
	p := newPublisher(t)
	p.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	r := p.remote(nil)
	ctx, cancel := context.WithCancel(t.Context())
	end := waiting(ctx, r.Wait)
	eventually.True(t, "the first fetch", func() bool { return p.count() == 1 })
	p.settle(1)
	cancel()
	if err := ended(t, end); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the answer is 502") {
		t.Errorf("it gave up with %v", err)
	}
	end = waiting(t.Context(), r.Wait)
	p.settle(2) // the background refresh and Wait
	p.publish("k1")
	p.clock.Turn(10 * time.Second)
	if err := ended(t, end); err != nil {
		t.Errorf("the keys are there: %v", err)
	}
	p.expect(r, "k1", "")
	if p.count() != 2 {
		t.Errorf("%d fetches", p.count())
	}

	p.serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	hanging := p.remote(func(c *guard.RemoteKeySetConfig) { c.URL += "/hanging" })
	end = waiting(t.Context(), hanging.Wait)
	eventually.True(t, "the fetch", func() bool { return p.count() == 3 })
	hanging.Close()
	if err := ended(t, end); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}
