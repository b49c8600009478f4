package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// TestTimeFails has a row for each way in which time can be against a client.
func TestTimeFails(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"this machine's clock 10 minutes fast", func(t *testing.T) { clockOff(t, -10*time.Minute) }},
		{"this machine's clock 10 minutes slow", func(t *testing.T) { clockOff(t, 10*time.Minute) }},
		{"10,000 goroutines at expiry", manyAtExpiry},
		{"10,000 goroutines at expiry while the endpoint is down", manyAtExpiryDown},
		{"a suspend of an hour", suspendIdle},
		{"a suspend of an hour while a token is renewed", suspendInFlight},
		{"a suspend of an hour while a caller waits for the last renewal", suspendInLastCall},
		{"the clock is set back an hour", setBack},
		{"a token that ends before its answer arrives", answerTooLate},
	} {
		t.Run(row.name, row.test)
	}
}

// issuing is a token endpoint that keeps when it gave each token, by true time.
type issuing struct {
	f      *ordeal
	lives  time.Duration
	issued map[string]time.Time
	stale  int
}

func newIssuing(f *ordeal, lives time.Duration) *issuing {
	i := &issuing{f: f, lives: lives, issued: map[string]time.Time{}}
	f.asks(func(rw http.ResponseWriter, _ seen, n int) {
		f.mu.Lock()
		i.issued[fmt.Sprintf("Bearer token-%d", n)] = f.clock.Now()
		f.mu.Unlock()
		give(rw, n, fmt.Sprint(lives.Seconds()))
	})
	f.calling(func(rw http.ResponseWriter, r seen, _ int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.clock.Now().Sub(i.issued[r.Header.Get("Authorization")]) >= lives {
			i.stale++
			rw.WriteHeader(401)
		}
	})
	return i
}

// Tokens live by their own lifetime, whatever the clocks say: no call is made
// with one that has ended, and none is renewed early for it.
func clockOff(t *testing.T, ahead time.Duration) {
	f := newOrdeal(t)
	f.ahead = ahead
	api := newIssuing(f, time.Hour)
	s := f.oauth2()
	for range 90 {
		resp := f.get(s.Client(), f.api.URL)
		equal(t, "status", resp.StatusCode, 200)
		resp.Body.Close()
		f.quiet()
		f.clock.Turn(2 * time.Minute)
	}
	equal(t, "calls with a token that had ended", api.stale, 0)
	equal(t, "token requests in 3 hours", f.asked(), 4)
	token, err := s.Token(f.ctx)
	if now := f.clock.Now(); err != nil || token.Issued.After(now) || token.Expires.Before(now) {
		t.Errorf("the token's times are not by this machine's clock: %v to %v at %v, %v", token.Issued, token.Expires, now, err)
	}
}

// joined is the context of callers who share a flight: whoever asks for its end has
// joined, because that is asked for in the select that waits for the flight.
type joined struct {
	context.Context
	n atomic.Int32
}

func (j *joined) Done() <-chan struct{} { j.n.Add(1); return j.Context.Done() }

// herd makes many calls of Token at once and returns how many brought what. No
// answer is given before all of them wait for it: with a clock that is turned, who
// comes late would begin a flight of its own.
func (f *ordeal) herd(s *client.Source, n int) map[string]int {
	ctx := &joined{Context: f.ctx}
	f.mu.Lock()
	answer := f.onToken
	f.mu.Unlock()
	f.asks(func(rw http.ResponseWriter, r seen, i int) {
		for ctx.n.Load() < int32(n) && r.Context().Err() == nil {
			runtime.Gosched()
		}
		if answer == nil {
			give(rw, i, "3600")
			return
		}
		answer(rw, i)
	})
	defer f.asks(nil)
	start, all := make(chan struct{}), sync.WaitGroup{}
	var mu sync.Mutex
	got := map[string]int{}
	for range n {
		all.Go(func() {
			<-start
			token, err := s.Token(ctx)
			what := token.Value.Reveal()
			if err != nil {
				what = string(counterfoilReason(err))
			}
			mu.Lock()
			defer mu.Unlock()
			got[what]++
		})
	}
	close(start)
	f.drive(all.Wait)
	return got
}

func manyAtExpiry(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	for lap := 1; lap <= 3; lap++ {
		got := f.herd(s, many)
		equal(t, "callers with the one token", got[fmt.Sprintf("token-%d", lap)], many)
		equal(t, "token requests", f.asked(), lap)
		f.clock.Turn(time.Hour) // to expiry
	}
}

func manyAtExpiryDown(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.must(s)
	f.answers(status(503, ""))
	f.clock.Turn(time.Hour)
	got := f.herd(s, many)
	equal(t, "callers with an error", got[string(unavailable)], many)
	equal(t, "token requests", f.asked(), 1+4)
}

// suspended is a machine that can be suspended and set: the monotonic clock stands
// still meanwhile.
func suspended(t *testing.T) (*ordeal, *clock.Manual, *client.Source) {
	f := newOrdeal(t)
	c := f.config("oauth2")
	f.clock = clock.NewStepping(theStart)
	c.Clock = f.clock
	machine := f.clock
	return f, machine, f.source(c)
}

func suspendIdle(t *testing.T) {
	f, machine, s := suspended(t)
	equal(t, "token", f.must(s), "token-1")
	f.clock.Turn(time.Second)
	machine.Step(time.Hour)
	got := f.herd(s, 100)
	equal(t, "callers with a new token after waking up", got["token-2"], 100)
	equal(t, "token requests", f.asked(), 2)
	// A refusal is not remembered for longer for it.
	f.answers(status(401, `{"error":"invalid_client"}`))
	machine.Step(time.Hour)
	f.fails(s)
	machine.Step(time.Hour)
	f.clock.Turn(time.Second)
	f.answers(nil)
	equal(t, "token", f.must(s), "token-4")
}

// The answer has waited in the socket for longer than its token lives.
func suspendInFlight(t *testing.T) {
	f, machine, s := suspended(t)
	f.answers(func(rw http.ResponseWriter, n int) {
		if n == 1 {
			machine.Step(time.Hour)
		}
		give(rw, n, "3600")
	})
	f.drive(func() { equal(t, "token", f.must(s), "token-2") })
}

func suspendInLastCall(t *testing.T) {
	f, machine, s := suspended(t)
	f.must(s)
	f.clock.Turn(59*time.Minute + 55*time.Second)
	f.asks(func(rw http.ResponseWriter, r seen, n int) {
		if n == 2 {
			f.hang(r)
			return
		}
		give(rw, n, "3600")
	})
	got := make(chan string)
	go func() {
		token, err := s.Token(f.ctx)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- token.Value.Reveal()
	}()
	f.eventually("the endpoint hangs and the caller waits", func() bool { return f.hanging.Load() > 0 && f.sleepers(2) })
	machine.Step(time.Hour)
	f.clock.Turn(3 * time.Second) // the caller's patience ends
	var what string
	f.drive(func() { what = <-got })
	if what == "token-1" {
		t.Error("the caller got a token that ended an hour ago")
	}
}

// A clock that is set back does not make a token live longer.
func setBack(t *testing.T) {
	f, machine, s := suspended(t)
	api := newIssuing(f, time.Hour)
	for i := range 120 { // two hours, every minute
		if i == 30 {
			machine.Step(-time.Hour)
		}
		resp := f.get(s.Client(), f.api.URL)
		equal(t, "status", resp.StatusCode, 200)
		resp.Body.Close()
		f.quiet()
		f.clock.Turn(time.Minute)
	}
	equal(t, "calls with a token that had ended", api.stale, 0)
	if n := f.asked(); n > 4 {
		t.Errorf("%d token requests in 2 hours", n)
	}
}

func answerTooLate(t *testing.T) {
	f := newOrdeal(t)
	f.answers(func(rw http.ResponseWriter, n int) { f.clock.Turn(2 * time.Second); give(rw, n, "1") })
	e := f.fails(f.oauth2())
	is(t, "error", e, transient, unavailable, 200)
	equal(t, "token requests", f.asked(), 4)
}

// TestCancellation has a row for each point at which a caller can leave. It gets
// its context's error, at once; others get what they wait for.
func TestCancellation(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"before", leaveBefore},
		{"while another's flight is waited for", func(t *testing.T) { leaveFlight(t, false) }},
		{"while the token request it began is sent", func(t *testing.T) { leaveFlight(t, true) }},
		{"during the backoff", leaveBackoff},
		{"in the last call", leaveLastCall},
		{"while the limiter waits", leaveLimiter},
		{"during a call", leaveCall},
		{"during a wait to retry", leaveRetry},
		{"while the body is read", leaveBody},
		{"while a 401 is made good", leave401},
	} {
		t.Run(row.name, row.test)
	}
}

// left wants the error of a caller that has left.
func (f *ordeal) left(err error) {
	f.t.Helper()
	if !errors.Is(err, context.Canceled) {
		f.t.Errorf("the caller that left got %v, want context.Canceled", err)
	}
	if err != nil {
		f.noted(err)
	}
}

func leaveBefore(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	_, err := s.Token(gone())
	f.left(err)
	req, _ := http.NewRequestWithContext(gone(), http.MethodPost, f.api.URL, nil)
	_, err = s.Client().Do(req)
	f.left(err)
	equal(t, "token requests, calls", fmt.Sprint(f.asked(), len(f.calls)), "0 0")
}

// blocking makes token requests wait for release; arrived has one value for each.
func (f *ordeal) blocking() (arrived, release chan struct{}) {
	arrived, release = make(chan struct{}, 10), make(chan struct{})
	f.answers(func(rw http.ResponseWriter, n int) {
		arrived <- struct{}{}
		<-release
		give(rw, n, "3600")
	})
	return arrived, release
}

// tokens begins n callers of Token and returns their answers.
func (f *ordeal) tokens(ctx context.Context, s *client.Source, n int) chan error {
	answers := make(chan error, n)
	for range n {
		go func() {
			token, err := s.Token(ctx)
			if err == nil && token.Value == "" {
				err = errors.New("no token and no error")
			}
			answers <- err
		}()
	}
	return answers
}

func leaveFlight(t *testing.T, first bool) {
	f := newOrdeal(t)
	arrived, release := f.blocking()
	s := f.oauth2()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var leaving, staying chan error
	begin := func(it bool) {
		if it {
			leaving = f.tokens(ctx, s, 10)
		} else {
			staying = f.tokens(f.ctx, s, 10)
		}
	}
	begin(first)
	<-arrived
	begin(!first)
	cancel()
	for range 10 {
		f.left(<-leaving)
	}
	close(release)
	for range 10 {
		if err := <-staying; err != nil {
			t.Errorf("a caller that stayed got %v", err)
		}
	}
	equal(t, "token requests", f.asked(), 1)
}

func leaveBackoff(t *testing.T) {
	f := newOrdeal(t)
	f.answers(func(rw http.ResponseWriter, n int) {
		if n == 1 {
			status(503, "", "Retry-After", "9")(rw, n)
			return
		}
		give(rw, n, "3600")
	})
	s := f.oauth2()
	ctx, cancel := context.WithCancel(f.ctx)
	leaving, staying := f.tokens(ctx, s, 1), f.tokens(f.ctx, s, 1)
	f.eventually("the flight waits", func() bool { return f.sleepers(2) })
	cancel()
	f.left(<-leaving)
	f.drive(func() {
		if err := <-staying; err != nil {
			t.Errorf("the caller that stayed got %v", err)
		}
	})
	equal(t, "token requests", f.asked(), 2)
}

// A caller that leaves in the last seconds of a token has a live one.
func leaveLastCall(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.must(s)
	arrived, release := f.blocking()
	f.clock.Turn(59*time.Minute + 55*time.Second)
	ctx, cancel := context.WithCancel(f.ctx)
	leaving, staying := f.tokens(ctx, s, 1), f.tokens(f.ctx, s, 1)
	<-arrived
	cancel()
	if err := <-leaving; err != nil {
		t.Errorf("the caller that left got %v in place of the old token", err)
	}
	close(release)
	if err := <-staying; err != nil {
		t.Error(err)
	}
	f.eventually("the token is renewed", func() bool { return f.must(s) == "token-2" })
	equal(t, "token requests", f.asked(), 2)
}

func leaveLimiter(t *testing.T) {
	f := newOrdeal(t)
	c := f.config("oauth2")
	c.RequestsPerMinute = 1
	s := f.source(c)
	f.get(s.Client(), f.api.URL)
	ctx, cancel := context.WithCancel(f.ctx)
	leaving := make(chan error)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.api.URL, nil)
		_, err := s.Client().Do(req)
		leaving <- err
	}()
	f.eventually("the call waits for its turn", func() bool { return f.sleepers(1) && ownGoroutines() != "" })
	cancel()
	f.left(<-leaving)
	f.clock.Turn(time.Minute + time.Second)
	f.get(s.Client(), f.api.URL) // the one that left has taken no place
	equal(t, "calls", len(f.calls), 2)
}

// The place of a call that leaves the queue is that of who comes next, also where
// others wait before it.
func TestPlaceOfACallThatLeaves(t *testing.T) {
	f := newOrdeal(t)
	c := f.config("oauth2")
	c.RequestsPerMinute = 3
	s := f.source(c)
	for range 3 { // at 0, 1 and 2 s
		f.get(s.Client(), f.api.URL)
		f.clock.Turn(time.Second)
	}
	begin := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.api.URL, nil)
			resp, err := (&client.Transport{Source: s}).RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			done <- err
		}()
		return done
	}
	stays := begin(f.ctx)
	f.eventually("one waits for its turn", func() bool { return f.sleepers(1) })
	ctx, cancel := context.WithCancel(f.ctx)
	leaving := begin(ctx)
	f.eventually("the next does, too", func() bool { return f.sleepers(2) })
	cancel()
	f.left(<-leaving)
	f.clock.Turn(time.Minute + time.Second)
	if err := <-stays; err != nil {
		t.Error(err)
	}
	for range 2 { // nobody has to wait
		if err := <-begin(f.ctx); err != nil {
			t.Error(err)
		}
	}
	equal(t, "calls", len(f.calls), 6)
}

// leaving makes a call that leaves when the API, which then hangs, has it.
func leaveCall(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	ctx, cancel := context.WithCancel(f.ctx)
	f.calling(func(rw http.ResponseWriter, r seen, n int) {
		if n == 1 {
			cancel()
			abandon(r)
		}
	})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.api.URL, nil)
	_, err := s.Client().Do(req)
	f.left(err)
	equal(t, "calls, retries", fmt.Sprint(len(f.calls), f.count(counterfoil.EventCallRetried)), "1 0")
	equal(t, "status of the next", f.get(s.Client(), f.api.URL).StatusCode, 200)
	equal(t, "token requests", f.asked(), 1)
}

func leaveRetry(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.calling(func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(503) })
	ctx, cancel := context.WithCancel(f.ctx)
	body := &reading{Reader: &slow{[]byte("the body")}}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPut, f.api.URL, body)
	leaving := make(chan error)
	go func() { _, err := s.Client().Do(req); leaving <- err }()
	f.eventually("the call waits", func() bool { return len(f.waits()) == 1 })
	cancel()
	f.left(<-leaving)
	equal(t, "calls", len(f.calls), 1)
	f.eventually("the client is quiet", func() bool { return ownGoroutines() == "" })
	equal(t, "times that the body was closed", body.closed, 1)
}

func leaveBody(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.calling(func(rw http.ResponseWriter, r seen, n int) {
		if n > 1 {
			return
		}
		io.WriteString(rw, "half")
		flush(rw)
		abandon(r)
	})
	ctx, cancel := context.WithCancel(f.ctx)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.api.URL, nil)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	half := make([]byte, 4)
	_, err = io.ReadFull(resp.Body, half)
	equal(t, "first half", fmt.Sprint(string(half), " ", err), "half <nil>")
	cancel()
	_, err = io.ReadAll(resp.Body)
	f.left(err)
	equal(t, "status of the next", f.get(s.Client(), f.api.URL).StatusCode, 200)
	equal(t, "calls, token requests", fmt.Sprint(len(f.calls), f.asked()), "2 1")
}

// A caller leaves while it waits for a token in place of a rejected one: it has
// the 401, and the others have the token.
func leave401(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.must(s)
	f.calling(func(rw http.ResponseWriter, r seen, _ int) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			rw.WriteHeader(401)
		}
	})
	arrived, release := f.blocking()
	ctx, cancel := context.WithCancel(f.ctx)
	answers := make(chan string, 1)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.api.URL, nil)
		resp, err := (&client.Transport{Source: s}).RoundTrip(req)
		if err != nil {
			answers <- err.Error()
			return
		}
		resp.Body.Close()
		answers <- resp.Status
	}()
	<-arrived
	staying := f.tokens(f.ctx, s, 1)
	cancel()
	equal(t, "answer of the caller that left", <-answers, "401 Unauthorized")
	close(release)
	if err := <-staying; err != nil {
		t.Errorf("the caller that stayed got %v", err)
	}
	equal(t, "token", f.must(s), "token-2")
	equal(t, "token requests", f.asked(), 2)
}
