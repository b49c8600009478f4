package client_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// machine is a world whose servers have the true time, and whose client's wall
// clock is set while the monotonic one goes on.
type machine struct {
	*ordeal
	// lives is how long the tokens do, and issued when each was, by true time.
	lives  time.Duration
	issued map[string]time.Time
	// after is called by the token endpoint when it has issued the n-th token, and
	// judge may refuse a request with a status and a body.
	after func(n int)
	judge func(r *http.Request, form seen) (int, string)
}

func newMachine(t *testing.T) *machine {
	m := &machine{ordeal: newOrdeal(t), lives: time.Hour, issued: map[string]time.Time{}}
	m.clock = clock.NewStepping(theStart)
	m.asks(func(rw http.ResponseWriter, r seen, n int) {
		if m.judge != nil {
			if code, body := m.judge(r.Request, r); code != 0 {
				status(code, body)(rw, n)
				return
			}
		}
		m.mu.Lock()
		m.issued[fmt.Sprintf("token-%d", n)] = m.clock.Now()
		m.mu.Unlock()
		if m.after != nil {
			m.after(n)
		}
		kind := "Bearer"
		if r.Header.Get("DPoP") != "" {
			kind = "DPoP"
		}
		fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":%q,"expires_in":%d}`, n, kind, int(m.lives.Seconds()))
	})
	return m
}

// step sets the client's clock by d; the servers' stay as they are.
func (m *machine) step(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock.Step(d)
	m.ahead -= d
}

// truth is the time by the servers' clock.
func (m *machine) truth() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clock.Now().Round(0).Add(m.ahead)
}

func (m *machine) source(change func(*client.Config)) *client.Source {
	m.t.Helper()
	c := m.config("oauth2")
	c.Clock = m.clock
	if change != nil {
		change(&c)
	}
	return m.world.source(c)
}

// minutes uses the token every fifth minute.
func (m *machine) minutes(s *client.Source, n int) {
	m.t.Helper()
	for range n / 5 {
		m.uses(s)
		m.clock.Turn(5 * time.Minute)
	}
}

// uses takes the token, which must be there and live by true time when it is asked
// for, and lets what that has begun come to its end.
func (m *machine) uses(s *client.Source) {
	m.t.Helper()
	var token counterfoil.Token
	var asked time.Time // the clock is driven on while the call waits
	m.drive(func() { asked = m.clock.Now(); token = m.tokenOf(s) })
	m.mu.Lock()
	at, known := m.issued[token.Value.Reveal()]
	if age := asked.Sub(at); !known || age >= m.lives {
		m.t.Errorf("%s is used %v after it was issued", token.Value.Reveal(), age)
	}
	m.mu.Unlock()
	m.quiet()
}

// calls1 makes one call that is answered 200.
func (m *machine) calls1(s *client.Source) {
	m.t.Helper()
	m.drive(func() {
		resp, err := s.Client().Get(m.api.URL)
		if err != nil {
			m.t.Error(err)
			return
		}
		resp.Body.Close()
		equal(m.t, "status", resp.StatusCode, 200)
	})
	m.quiet()
}

// steps are ways in which a clock is set. Use is called while it is wrong.
var steps = []struct {
	name string
	// ahead and back are the one step and the one after half a second.
	ahead, back time.Duration
}{
	{"two hours forward", 2 * time.Hour, 0},
	{"two hours back", -2 * time.Hour, 0},
	{"half an hour forward", 30 * time.Minute, 0},
	{"half an hour back", -30 * time.Minute, 0},
	{"half a second two hours ahead, then corrected", 2 * time.Hour, -2 * time.Hour},
	{"half a second two hours behind, then corrected", -2 * time.Hour, 2 * time.Hour},
	{"a second ahead, then corrected", time.Second, -time.Second},
}

// stepping runs test for each step; set takes the step, and calls use while the
// clock is wrong and is to be corrected.
func stepping(t *testing.T, test func(m *machine, set func(use func()))) {
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			m := newMachine(t)
			test(m, func(use func()) {
				m.step(step.ahead)
				if step.back == 0 {
					return
				}
				use()
				m.clock.Turn(500 * time.Millisecond)
				m.step(step.back)
			})
		})
	}
}

// atMost wants at most n token requests.
func (m *machine) atMost(n int) {
	m.t.Helper()
	if got := m.asked(); got > n {
		m.t.Errorf("%d token requests, want %d at most", got, n)
	}
}

// TestTheWallClockSteps has a row for each thing that goes by time. By true time,
// no call carries a token that has ended, the token endpoint gets no more than a
// request or two for it, and nobody needs to do anything afterwards.
func TestTheWallClockSteps(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*machine, func(use func()))
	}{
		{"a token in use", stepInUse},
		{"a token got by a wrong clock", stepGot},
		{"the last minutes of a token", stepLastMinutes},
		{"the last call", stepLastCall},
		{"a token request", func(m *machine, set func(func())) { stepInFlight(m, set, 1) }},
		{"a renewal", func(m *machine, set func(func())) { stepInFlight(m, set, 2) }},
		{"a renewal that fails for a while", stepOutage},
		{"a rejected token", stepDrop},
		{"a remembered refusal", stepRefusal},
		{"Retry-After", stepRetryAfter},
		{"the same token again", stepSameToken},
		{"a token from the cache of the process", stepMemory},
		{"requests a minute", stepLimiter},
		{"a health handler", stepHealth},
	} {
		t.Run(row.name, func(t *testing.T) { stepping(t, row.test) })
	}
}

func stepInUse(m *machine, set func(func())) {
	s := m.source(nil)
	m.minutes(s, 20)
	set(func() { m.uses(s) })
	m.minutes(s, 160)
	m.atMost(4 + 2) // in 3 hours
}

// The token that is got while the clock is wrong is renewed when it is due: no
// caller waits for that.
func stepGot(m *machine, set func(func())) {
	s := m.source(nil)
	set(func() { m.uses(s) })
	m.uses(s)
	m.minutes(s, 180)
	m.atMost(4 + 1)
	for i, at := range m.attempts() {
		if i == 0 {
			continue
		}
		if gap := at.Sub(m.attempts()[i-1]); gap > 56*time.Minute {
			m.t.Errorf("a token was renewed %v after the one before, not ahead of its end", gap)
		}
	}
}

func stepLastMinutes(m *machine, set func(func())) {
	s := m.source(nil)
	m.uses(s)
	m.clock.Turn(54 * time.Minute)
	set(func() { m.uses(s) })
	for range 50 {
		m.uses(s)
		m.clock.Turn(7 * time.Second)
	}
	m.atMost(2 + 1)
}

func stepLastCall(m *machine, set func(func())) {
	s := m.source(nil)
	m.uses(s)
	m.clock.Turn(59*time.Minute + 52*time.Second)
	set(func() { m.uses(s) })
	for range 20 {
		m.uses(s)
		m.clock.Turn(time.Second)
	}
	m.atMost(2 + 1)
}

// The clock is set between a request and its answer.
func stepInFlight(m *machine, set func(func()), which int) {
	m.after = func(n int) {
		if n == which {
			m.clock.Turn(20 * time.Second) // which the token has less
			set(func() {})
		}
	}
	s := m.source(nil)
	m.uses(s)
	m.clock.Turn(5*time.Minute - 10*time.Second)
	m.minutes(s, 180)
	m.atMost(4 + 2)
}

func stepOutage(m *machine, set func(func())) {
	s := m.source(nil)
	m.uses(s)
	var mu sync.Mutex
	down := true
	m.judge = func(*http.Request, seen) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return 503, ""
		}
		return 0, ""
	}
	m.clock.Turn(55 * time.Minute)
	m.uses(s)
	set(func() { m.must1(s) })
	for range 15 {
		m.must1(s) // an old token, or an error
		m.clock.Turn(2 * time.Second)
	}
	attempts := m.attempts()
	for i, at := range attempts {
		if i > 36 && at.Sub(attempts[i-36]) < time.Minute { // 4 in a row, nine times at the most
			m.t.Errorf("37 token requests within %v", at.Sub(attempts[i-36]))
		}
	}
	mu.Lock()
	down = false
	mu.Unlock()
	m.clock.Turn(time.Minute)
	m.minutes(s, 120)
}

// must1 asks for a token, and takes what comes.
func (m *machine) must1(s *client.Source) (value string) {
	m.drive(func() {
		token, _ := s.Token(m.ctx)
		value = token.Value.Reveal()
	})
	m.quiet()
	return value
}

func stepDrop(m *machine, set func(func())) {
	s := m.source(nil)
	m.uses(s)
	rejected := m.tokenOf(s)
	m.clock.Turn(10 * time.Minute)
	s.Invalidate(m.ctx, rejected)
	set(func() { s.Invalidate(m.ctx, rejected) })
	s.Invalidate(m.ctx, rejected)
	m.uses(s)
	for range 20 { // whatever is rejected by then
		s.Invalidate(m.ctx, m.tokenOf(s))
	}
	m.atMost(1 + 1 + 5)
	m.clock.Turn(2 * time.Minute)
	last := m.tokenOf(s)
	s.Invalidate(m.ctx, last)
	if again := m.tokenOf(s); again.Value == last.Value {
		m.t.Error("two minutes later a rejected token is not dropped")
	}
	m.minutes(s, 120)
}

func stepRefusal(m *machine, set func(func())) {
	var mu sync.Mutex
	bad := true
	m.judge = func(*http.Request, seen) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if bad {
			return 401, `{"error":"invalid_client"}`
		}
		return 0, ""
	}
	s := m.source(nil)
	for range 5 {
		m.fails(s)
		m.clock.Turn(2 * time.Second)
	}
	set(func() { m.fails(s) })
	for range 34 {
		m.fails(s)
		m.clock.Turn(5 * time.Second)
	}
	m.atMost(9 + 2) // after 1, 2, 4, 8, 16, 32 and 60 s
	mu.Lock()
	bad = false
	mu.Unlock()
	m.clock.Turn(time.Minute)
	m.minutes(s, 120)
}

func stepRetryAfter(m *machine, set func(func())) {
	for _, value := range []string{"50", "date"} {
		m.asks(func(rw http.ResponseWriter, _ seen, n int) {
			v := value
			if v == "date" {
				v = m.truth().Add(50 * time.Second).Format(http.TimeFormat)
			}
			status(503, "", "Retry-After", v)(rw, n)
		})
		s := m.source(nil)
		before := m.asked()
		m.fails(s)
		set(func() { m.fails(s) })
		for range 10 {
			m.fails(s)
			m.clock.Turn(4 * time.Second)
		}
		if n := m.asked() - before; n > 2 {
			m.t.Errorf("Retry-After %s: %d token requests in 40 s, want 2 at most", value, n)
		}
		m.asks(nil)
		m.clock.Turn(time.Minute)
		m.must(s)
	}
}

// A provider answers the same token until it ends.
func stepSameToken(m *machine, set func(func())) {
	var began time.Time
	n := 0
	m.asks(func(rw http.ResponseWriter, _ seen, _ int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.clock.Now()
		if n == 0 || now.Sub(began) >= time.Hour {
			n, began = n+1, now
			m.issued[fmt.Sprintf("token-%d", n)] = now
		}
		give(rw, n, fmt.Sprint(int((time.Hour - now.Sub(began)).Seconds())))
	})
	s := m.source(nil)
	m.minutes(s, 20)
	set(func() { m.uses(s) })
	m.minutes(s, 160)
	m.atMost(4*3 + 2)
}

// Who comes later takes from a cache in memory what has its true age.
func stepMemory(m *machine, set func(func())) {
	shared := client.Memory()
	join := func() *client.Source { return m.source(func(c *client.Config) { c.Cache = shared }) }
	all := []*client.Source{join()}
	m.minutes(all[0], 40)
	set(func() {
		all = append(all, join())
		m.uses(all[1])
	})
	for range 20 {
		all = append(all[:min(len(all), 2)], join())
		for _, s := range slices.Backward(all) { // who joined last has nothing to go by but the cache
			m.uses(s)
		}
		m.clock.Turn(5 * time.Minute)
	}
	m.atMost(4 + 2)
}

// No more than 10 calls leave in a minute by true time, and none waits for more
// than one.
func stepLimiter(m *machine, set func(func())) {
	var mu sync.Mutex
	var calls []time.Time
	m.calling(func(http.ResponseWriter, seen, int) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, m.clock.Now())
	})
	s := m.source(func(c *client.Config) { c.RequestsPerMinute = 10 })
	begin := m.clock.Now()
	for i := range 35 {
		if i == 15 {
			set(func() { m.patientCall(s) })
		}
		m.patientCall(s)
	}
	for i, at := range calls {
		if i >= 10 && at.Sub(calls[i-10]) < time.Minute {
			m.t.Errorf("call %d left %v after the tenth before it", i, at.Sub(calls[i-10]))
		}
	}
	if took := calls[len(calls)-1].Sub(begin); took > 4*time.Minute+10*time.Second {
		m.t.Errorf("%d calls took %v", len(calls), took)
	}
}

// patientCall makes a call that has all the time, with a token that is there.
func (m *machine) patientCall(s *client.Source) {
	m.t.Helper()
	m.uses(s)
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.api.URL, nil)
		resp, err := (&client.Transport{Source: s}).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	m.eventually("the call ends", func() bool {
		select {
		case err := <-done:
			if err != nil {
				m.t.Error(err)
			}
			return true
		default:
		}
		if m.sleepers(1) {
			m.clock.Turn(time.Second)
		}
		return false
	})
}

func stepHealth(m *machine, set func(func())) {
	var checks []time.Time
	m.calling(func(rw http.ResponseWriter, _ seen, _ int) {
		checks = append(checks, m.clock.Now())
		fmt.Fprint(rw, `{"data":{}}`)
	})
	c := m.config("ahotu")
	c.Clock = m.clock
	s := m.world.source(c)
	get := probe(m.t.(*testing.T), s)
	ask := func() {
		resp, _ := get(http.MethodGet)
		equal(m.t, "status", resp.StatusCode, 200)
	}
	for i := range 60 {
		if i == 22 {
			set(ask)
		}
		ask()
		m.clock.Turn(time.Second)
	}
	if n := len(checks); n < 11 || n > 12+2 {
		m.t.Errorf("%d checks in a minute, want 12", n)
	}
	for i := range checks[1:] {
		if gap := checks[i+1].Sub(checks[i]); gap > 6*time.Second {
			m.t.Errorf("an answer served for %v", gap)
		}
	}
}
