package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/store"
)

// sender does what do says, and passes on what has arrived.
type sender struct {
	name string
	do   func(context.Context, alerts.Alert) error
	got  chan alerts.Alert
}

func newSender(name string, do func(context.Context, alerts.Alert) error) *sender {
	return &sender{name, do, make(chan alerts.Alert, 1000)}
}

func (s *sender) Name() string { return s.name }

func (s *sender) Send(ctx context.Context, a alerts.Alert) error {
	if s.do != nil {
		if err := s.do(ctx, a); err != nil {
			return err
		}
	}
	s.got <- a
	return nil
}

// run runs the watch until the test, or stop, ends it.
func (s *scene) run() (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	ended, w := make(chan struct{}), s.watch
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	s.Cleanup(stop)
	return stop
}

// until turns the clock by steps until a sender has something.
func (s *scene) until(by time.Duration, x *sender) alerts.Alert {
	s.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; {
		select {
		case a := <-x.got:
			return a
		case <-time.After(time.Millisecond):
			s.clock.Turn(by)
		}
	}
	s.Fatalf("nothing arrives; the log is %s", s.log)
	return alerts.Alert{}
}

func senders(all ...*sender) func(*watch.Config) {
	return func(c *watch.Config) {
		for _, s := range all {
			c.Senders = append(c.Senders, s)
		}
	}
}

// TestLater: an attempt is not made before the time that the receiver has asked for.
func TestLater(t *testing.T) {
	var times []time.Time
	var s *scene
	asks := newSender("asks", nil)
	asks.do = func(context.Context, alerts.Alert) error {
		if times = append(times, s.clock.Now()); len(times) == 1 {
			return &alerts.LaterError{Err: errors.New("busy"), After: 45 * time.Minute}
		}
		return nil
	}
	s = newScene(t, senders(asks))
	stop := s.run()
	s.block()
	s.until(10*time.Second, asks)
	stop()
	if waited := times[1].Sub(times[0]); len(times) != 2 || waited < 45*time.Minute {
		t.Errorf("%d attempts, the second after %v", len(times), waited)
	}
}

func (s *scene) block() {
	s.record(1, counterfoil.Event{Type: counterfoil.EventBlockBegan, Address: "192.0.2.1", Detail: "the address"})
}

// TestOthersGoOn: a sender that hangs for ever, one that panics and one that always
// fails delay no other, and each is tried again.
func TestOthersGoOn(t *testing.T) {
	forever := make(chan struct{})
	defer close(forever)
	var mu sync.Mutex
	tried := map[string]int{}
	count := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		tried[name]++
	}
	hangs := newSender("hangs", func(context.Context, alerts.Alert) error { count("hangs"); <-forever; return nil })
	waits := newSender("waits", func(ctx context.Context, _ alerts.Alert) error { count("waits"); <-ctx.Done(); return ctx.Err() })
	panics := newSender("panics", func(context.Context, alerts.Alert) error { count("panics"); panic("of the sender") })
	fails := newSender("fails", func(context.Context, alerts.Alert) error { count("fails"); return errors.New("away") })
	works := newSender("works", nil)
	s := newScene(t, senders(hangs, waits, panics, fails, works))
	stop := s.run()
	s.block()
	if a := s.until(time.Second, works); a.Kind != alerts.KindBlocked || a.ID != 1 {
		t.Errorf("%+v", a)
	}
	more := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return tried["waits"] > 1 && tried["panics"] > 2 && tried["fails"] > 2
	}
	for began := time.Now(); !more() && time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		s.clock.Turn(time.Second)
	}
	if !more() || tried["hangs"] != 1 {
		t.Errorf("attempts: %v", tried)
	}
	if len(works.got) != 0 {
		t.Errorf("sent twice: %+v", <-works.got)
	}
	finished := make(chan struct{})
	go func() { stop(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(time.Minute):
		t.Error("a sender that hangs keeps the process from ending")
	}
	if !strings.Contains(s.log.String(), "of the sender") {
		t.Errorf("the log is %s", s.log)
	}
}

// TestAwayIsOneLine: many alerts that wait for a receiver that is away are one line of
// the log a second.
func TestAwayIsOneLine(t *testing.T) {
	var mu sync.Mutex
	tried := map[int64]bool{}
	x := newSender("x", func(_ context.Context, a alerts.Alert) error {
		mu.Lock()
		defer mu.Unlock()
		tried[a.ID] = true
		return errors.New("away")
	})
	s := newScene(t, senders(x))
	for i := range 50 {
		s.record(1, counterfoil.Event{Type: counterfoil.EventBlockBegan, Address: fmt.Sprintf("192.0.%d.1", i), Detail: "the address"})
	}
	s.look()
	stop := s.run()
	all := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(tried) == 50
	}
	for began := time.Now(); !all() && time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
	}
	stop()
	if n := strings.Count(s.log.String(), "an alert was not sent"); !all() || n != 1 {
		t.Errorf("%d lines of %d alerts:\n%s", n, len(tried), s.log)
	}
}

// TestADayAway: a sender that fails for a day gets the alert once it works, with
// waits that grow up to an hour.
func TestADayAway(t *testing.T) {
	var mu sync.Mutex
	var at []time.Time
	var s *scene
	x := newSender("x", func(context.Context, alerts.Alert) error {
		mu.Lock()
		defer mu.Unlock()
		now := s.clock.Now()
		at = append(at, now)
		if now.Sub(start) < 24*time.Hour {
			return errors.New("500")
		}
		return nil
	})
	s = newScene(t, senders(x))
	s.block()
	s.look()
	s.run()
	a := s.until(time.Minute, x)
	mu.Lock()
	defer mu.Unlock()
	if a.Count != 1 || len(at) < 9 || len(at) > 35 {
		t.Fatalf("%d attempts, %+v", len(at), a)
	}
	for i, least := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		if d := at[i+1].Sub(at[i]); d < least {
			t.Errorf("attempt %d comes %v after the one before, want at least %v", i+2, d, least)
		}
	}
}

// TestGivenUp: after three days, or at once when that is for good.
func TestGivenUp(t *testing.T) {
	for name, err := range map[string]error{"for good": &alerts.PermanentError{Err: errors.New("410")}, "for days": errors.New("500")} {
		t.Run(name, func(t *testing.T) {
			x := newSender("x", func(context.Context, alerts.Alert) error { return err })
			s := newScene(t, senders(x))
			s.block()
			s.look()
			stop := s.run()
			dropped := func() int64 {
				state, err := s.store.AlertState(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return state.Dropped
			}
			for began := time.Now(); dropped() == 0 && time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
				s.clock.Turn(5 * time.Minute)
			}
			took := s.clock.Now().Sub(start)
			if dropped() != 1 || (took > 3*day) != (name == "for days") {
				t.Errorf("%d dropped after %v", dropped(), took)
			}
			stop()
			if !strings.Contains(s.log.String(), "not tried again") || len(s.opened(alerts.KindBlocked)) != 1 {
				t.Errorf("the log is %s", s.log)
			}
		})
	}
}

// TestSentAfterARestart: what waits is sent by the next process, also when the one
// before died while it was sending.
func TestSentAfterARestart(t *testing.T) {
	s := newScene(t, senders(newSender("x", nil)))
	s.block()
	s.look()
	if _, err := s.store.ClaimDelivery(t.Context(), "x", s.clock.Now(), 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	x := newSender("x", nil)
	s.watch = s.another(s.open(), senders(x))
	s.run()
	s.until(time.Second, x)
	if passed := s.clock.Now().Sub(start); passed < 2*time.Minute {
		t.Errorf("sent twice at the same time, after %v", passed)
	}
}

// TestSilenced: what is silenced is listed and counted, and sent when the silence
// ends, unless somebody has acknowledged it.
func TestSilenced(t *testing.T) {
	x := newSender("x", nil)
	s := newScene(t, senders(x))
	until := start.Add(2 * time.Hour)
	if _, err := s.store.CreateSilence(t.Context(), alerts.Silence{Kind: alerts.KindBlocked, Until: until}, counterfoil.Event{Time: start}); err != nil {
		t.Fatal(err)
	}
	s.block()
	s.record(20, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	s.run()
	if a := s.until(time.Second, x); a.Kind != alerts.KindFailures {
		t.Errorf("%+v", a)
	}
	s.block()
	if a := s.until(30*time.Second, x); a.Kind != alerts.KindBlocked || a.Count != 2 || s.clock.Now().Before(until) {
		t.Errorf("at %v: %+v", s.clock.Now(), a)
	}
	if all, err := s.store.Alerts(t.Context(), store.AlertQuery{Limit: 10}); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}
