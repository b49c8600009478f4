package guard_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// wrongClocks are how wall clocks are off before they are corrected.
var wrongClocks = map[string]time.Duration{
	"a second ahead": time.Second, "two hours ahead": 2 * time.Hour, "two hours behind": -2 * time.Hour, "a month ahead": 30 * 24 * time.Hour,
}

// steppedRig is a guard whose wall clock is set apart from the monotonic one.
func steppedRig(t *testing.T, changes ...func(*guard.Config)) *rig {
	t.Helper()
	c := clock.NewStepping(start)
	r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], append([]func(*guard.Config){func(cfg *guard.Config) { cfg.Clock = c }}, changes...)...)
	r.clock = c
	return r
}

// issued returns a token that is issued now, by the clock's own time, for an
// hour.
func (r *rig) issued(id string) string {
	now := r.clock.Now().Unix()
	return r.token(func(_, c members) { c["jti"], c["iat"], c["exp"] = id, now, now+3600 })
}

// Whether a token is remembered or not, it is in force by the time that the
// clock shows now, and by no other.
func TestTokensWhenTheClockSteps(t *testing.T) {
	for name, off := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			r := steppedRig(t)
			want := func(when, token string, reason counterfoil.Reason) {
				t.Helper()
				for range 2 { // the second time from memory
					if got := r.reason(token); got != reason {
						t.Errorf("%s: refused for %q, want %q", when, got, reason)
					}
				}
			}
			right := r.issued("right")
			want("at first", right, "")
			r.clock.Step(off)
			meanwhile := r.issued("meanwhile")
			want("of the wrong time, in it", meanwhile, "")
			switch {
			case off > time.Hour:
				want("of the right time, ahead", right, counterfoil.ReasonTokenExpired)
			case off < -time.Minute:
				want("of the right time, behind", right, counterfoil.ReasonTokenNotYetValid)
			default:
				want("of the right time, hardly off", right, "")
			}
			r.clock.Turn(500 * time.Millisecond)
			r.clock.Step(-off)
			want("of the right time, corrected", right, "")
			want("of now, corrected", r.issued("now"), "")
			switch {
			case off > time.Minute:
				want("of the wrong time, corrected", meanwhile, counterfoil.ReasonTokenNotYetValid)
			case off < -time.Hour:
				want("of the wrong time, corrected", meanwhile, counterfoil.ReasonTokenExpired)
			default:
				want("of the wrong time, corrected", meanwhile, "")
			}
			r.clock.Turn(time.Hour + 31*time.Second)
			want("an hour later", right, counterfoil.ReasonTokenExpired)
		})
	}
}

// Key sets are refreshed, and grow old, by the time that passes: a clock that is
// set causes no fetch and no outage, however often.
func TestKeySetsWhenTheClockSteps(t *testing.T) {
	p := newPublisher(t)
	p.clock = clock.NewStepping(start)
	r := p.remote(nil)
	p.expect(r, "k1", "")
	p.expect(r, "k9", "unknown")
	p.settle(1)
	for range 10 {
		for _, off := range wrongClocks {
			for _, step := range []time.Duration{off, -off} {
				p.clock.Step(step)
				p.expect(r, "k1", "")
				p.expect(r, "k9", "unknown")
			}
		}
	}
	if n := p.count(); n != 1 {
		t.Errorf("%d fetches, though no time has passed", n)
	}
	p.clock.Step(-2 * time.Hour)
	p.publish("k2")
	p.turn(5 * time.Minute)
	p.expect(r, "k2", "")
	p.expect(r, "k1", "unknown")
	p.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	p.clock.Step(4 * time.Hour)
	p.expect(r, "k2", "")
	for range 11 {
		p.turn(5 * time.Minute)
		p.expect(r, "k2", "")
	}
	p.clock.Step(-2 * time.Hour) // does not make the set younger
	p.turn(5 * time.Minute)
	p.expect(r, "k2", "unavailable")
}

// An answer is used for as long as it says by the time that passes.
func TestIntrospectionWhenTheClockSteps(t *testing.T) {
	for name, off := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			i := newIntrospector(t)
			i.clock = clock.NewStepping(start)
			r := i.behind(i.introspection(nil))
			r.clock = i.clock
			if got := r.reason(r.issued("before")); got != "" {
				t.Fatalf("%q", got)
			}
			i.clock.Step(off)
			token := r.issued("one")
			if got := r.reason(token); got != "" || i.count() != 2 {
				t.Errorf("off: %q after %d questions", got, i.count())
			}
			if off.Abs() > time.Minute {
				token = r.token(func(_, c members) { // in force at both times
					c["jti"], c["iat"], c["exp"] = "both", start.Unix()-4*3600, start.Unix()+60*24*3600
				})
				if got := r.reason(token); got != "" {
					t.Errorf("off: %q", got)
				}
			}
			asked := i.count()
			i.end(token)
			i.clock.Turn(500 * time.Millisecond)
			i.clock.Step(-off)
			if got := r.reason(token); got != "" || i.count() != asked {
				t.Errorf("corrected: %q after %d questions, want the answer of half a second ago", got, i.count())
			}
			i.clock.Turn(1500 * time.Millisecond)
			if got := r.reason(token); got != counterfoil.ReasonTokenRevoked || i.count() != asked+1 {
				t.Errorf("two seconds after the question: %q after %d questions", got, i.count())
			}
		})
	}
}

// The answer is as old as the question, however long it takes: what was revoked
// since is not let through.
func TestIntrospectionIsAsOldAsItsQuestion(t *testing.T) {
	i := newIntrospector(t)
	r := i.behind(i.introspection(nil))
	token := r.token(nil)
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		i.clock.Turn(1500 * time.Millisecond)
		_, _ = io.WriteString(w, `{"active":true}`)
	})
	if got := r.reason(token); got != "" {
		t.Fatalf("%q", got)
	}
	i.answer(nil)
	i.end(token)
	i.clock.Turn(499 * time.Millisecond)
	if got := r.reason(token); got != "" || i.count() != 1 {
		t.Errorf("less than two seconds after the question: %q after %d questions", got, i.count())
	}
	i.clock.Turn(time.Millisecond)
	if got := r.reason(token); got != counterfoil.ReasonTokenRevoked {
		t.Errorf("two seconds after the question: %q", got)
	}
}

// A call that comes while a slow request is under way does not use the answer to a
// request that was sent more than a TTL before.
func TestIntrospectionThatIsSlowerThanItsAnswersAreGood(t *testing.T) {
	i := newIntrospector(t)
	looked := &counting{Manual: i.clock}
	r := i.behind(i.introspection(func(in *guard.IntrospectionConfig) { in.Clock = looked }))
	token := r.token(nil)
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{"active":true}`) // what was so when it was asked
	})
	h := r.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	first := make(chan int, 1)
	go func() { first <- serve(h, token) }()
	<-arrived
	i.end(token)
	i.clock.Turn(3 * time.Second)
	i.answer(nil)
	const calls = 20
	looked.n.Store(0)
	others := make(chan int, calls)
	for range calls {
		go func() { others <- serve(h, token) }()
	}
	eventually.True(t, "all look for an answer", func() bool { return looked.n.Load() >= calls })
	close(release)
	if code := <-first; code != 200 {
		t.Errorf("the first call got %d", code)
	}
	for range calls {
		if code := <-others; code != 401 {
			t.Errorf("a call that came after the token had ended got %d", code)
		}
	}
	if n := i.count(); n != 2 {
		t.Errorf("%d questions, want the slow one and one more", n)
	}
}

// counting is a clock that counts how often it is looked at.
type counting struct {
	*clock.Manual
	n atomic.Int64
}

func (c *counting) Now() time.Time {
	c.n.Add(1)
	return c.Manual.Now()
}

// A clock that is set while calls carry proofs neither refuses new ones nor lets
// one be used twice.
func TestProofsWhenTheClockSteps(t *testing.T) {
	for name, off := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			r := steppedRig(t)
			r.claims["exp"], r.claims["iat"] = start.Unix()+60*24*3600, start.Unix()-4*3600
			token := r.keyBound()
			fresh := func(when string) *http.Request {
				t.Helper()
				req := r.prove(r.call(token), token, nil)
				if a := r.send(req); a.status != 200 {
					t.Errorf("%s: a new proof got %d, %+v", when, a.status, a.event)
				}
				return req
			}
			replayed := func(when string, req *http.Request) {
				t.Helper()
				if a := r.send(req); a.event.Reason != counterfoil.ReasonTokenProof {
					t.Errorf("%s: a proof that was used before got %d, %+v", when, a.status, a.event)
				}
			}
			before := fresh("at first")
			r.clock.Step(off)
			meanwhile := fresh("off")
			replayed("off", before)
			replayed("off", meanwhile)
			r.clock.Turn(500 * time.Millisecond)
			r.clock.Step(-off)
			fresh("corrected")
			replayed("corrected", before)
			replayed("corrected", meanwhile)
			r.clock.Turn(time.Minute)
			fresh("a minute later")
			if off > 0 {
				r.clock.Turn(off - time.Minute)
				replayed("when the clock shows its time again", meanwhile)
				fresh("then")
			}
		})
	}
}

// serve returns the status of a call with the token, without a connection.
func serve(h http.Handler, token string) int {
	w := &status{header: http.Header{}}
	req := must(http.NewRequest(http.MethodGet, "https://api.example/", nil))
	req.Header.Set("Authorization", "Bearer "+token)
	h.ServeHTTP(w, req)
	return w.code
}

// status is a http.ResponseWriter that keeps the status only.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(p []byte) (int, error) { return len(p), nil }
func (s *status) WriteHeader(code int)        { s.code = code }
