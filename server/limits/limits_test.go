package limits_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/limits"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 5e8, time.UTC)

// gate is a Limiter with a clock and a log.
type gate struct {
	*limits.Limiter
	t     *testing.T
	clock *clock.Manual
	log   *bytes.Buffer
}

func newGate(t *testing.T, c limits.Config) *gate { return gateBy(t, c, clock.NewStepping(start)) }

func gateBy(t *testing.T, c limits.Config, by *clock.Manual) *gate {
	t.Helper()
	g := &gate{t: t, clock: by, log: new(bytes.Buffer)}
	var err error
	if g.Limiter, err = limits.New(c, by, slog.New(slog.NewTextHandler(g.log, nil))); err != nil {
		t.Fatal(err)
	}
	return g
}

func from(client, address string) *limits.Attempt {
	return &limits.Attempt{Realm: "r", ClientID: client, Address: netip.MustParseAddr(address)}
}

// wrong is an attempt with wrong credentials; it returns what the caller is told
// to wait, or 0 for a plain refusal.
func (g *gate) wrong(a *limits.Attempt) time.Duration {
	v := g.Look(a)
	if !v.Refuse {
		g.Failed(a, &v)
	}
	return v.Wait
}

// right is an attempt with the right secret.
func (g *gate) right(a *limits.Attempt) bool {
	v := g.Look(a)
	if !v.Refuse {
		g.Succeeded(a, &v)
	}
	return !v.Refuse
}

// Each failure over the limit makes the caller wait longer, up to a block, which
// ends; then failures are forgiven one by one.
func TestWaitsGrow(t *testing.T) {
	for name, by := range map[string]func(time.Time) *clock.Manual{"stepping": clock.NewStepping, "manual": clock.NewManual} {
		g := gateBy(t, limits.Config{}, by(start))
		a := from("c", "192.0.2.1")
		for i := range 11 {
			if wait := g.wrong(a); wait != 0 {
				t.Fatalf("%s: failure %d has to wait %v", name, i+1, wait)
			}
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 15 * 60} {
			want *= time.Second
			if wait := g.wrong(a); wait != want {
				t.Fatalf("%s: has to wait %v, want %v", name, wait, want)
			}
			if s := g.Stats(); s.Waiting != 1 {
				t.Errorf("%s: it says %+v", name, s)
			}
			g.clock.Turn(want / 2)
			if wait := g.wrong(a); wait != want-want/2 {
				t.Fatalf("%s: half of %v later has to wait %v: a request that waits counts", name, want, wait)
			}
			g.clock.Turn(want - want/2 - 1)
			if g.right(a) {
				t.Fatalf("%s: the wait of %v ended early", name, want)
			}
			g.clock.Turn(1)
			if wait := g.wrong(a); wait != 0 {
				t.Fatalf("%s: after %v has to wait %v", name, want, wait)
			}
		}
		if s := g.Stats(); s.Blocked != 1 {
			t.Errorf("%s: after the block it says %+v", name, s)
		}
		// Eight waits took 17 minutes, in which two failures were forgiven.
		for range 2 {
			if wait := g.wrong(a); wait != 64*time.Second {
				t.Errorf("%s: after the block: %v", name, wait)
			}
			g.clock.Turn(64 * time.Second)
			g.wrong(a)
		}
		if wait := g.wrong(a); wait != 15*time.Minute {
			t.Errorf("%s: and then: %v", name, wait)
		}
		g.clock.Turn(2*time.Hour + 1)
		for i := range 11 {
			if wait := g.wrong(a); wait != 0 {
				t.Errorf("%s: two hours later failure %d has to wait %v", name, i+1, wait)
			}
		}
	}
}

// One failure is forgiven in each interval, not all at the end.
func TestFailuresAreForgivenOneByOne(t *testing.T) {
	g := newGate(t, limits.Config{})
	a := from("c", "192.0.2.1")
	for range 10 {
		g.wrong(a)
	}
	for range 50 {
		g.clock.Turn(6 * time.Minute)
		if wait := g.wrong(a); wait != 0 {
			t.Fatalf("one failure in six minutes has to wait %v", wait)
		}
	}
	g.wrong(a)
	if wait := g.wrong(a); wait != time.Second {
		t.Errorf("one more has to wait %v", wait)
	}
}

// What is counted together, by which limit.
func TestCounters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  func(i int) *limits.Attempt
		limit int
		// other is also refused, another is not.
		other, another *limits.Attempt
	}{
		{"a client and an address", func(int) *limits.Attempt { return from("c", "192.0.2.1") }, 10,
			from("c", "192.0.2.1"), from("d", "192.0.2.1")},
		{"a client and a network", func(i int) *limits.Attempt { return from("c", fmt.Sprintf("192.0.2.%d", i)) }, 30,
			from("c", "192.0.2.250"), from("c", "192.0.3.1")},
		{"an address", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), "192.0.2.1") }, 30,
			from("x", "192.0.2.1"), from("x", "192.0.2.2")},
		{"a network", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), fmt.Sprintf("192.0.2.%d", i)) }, 100,
			from("x", "192.0.2.250"), from("x", "192.0.3.250")},
		{"an IPv6 /64", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), fmt.Sprintf("2001:db8:0:1::%x", i+1)) }, 30,
			from("x", "2001:db8:0:1:ffff::"), from("x", "2001:db8:0:2::1")},
		{"an IPv6 /48", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), fmt.Sprintf("2001:db8:7:%x::1", i)) }, 100,
			from("x", "2001:db8:7:ffff::1"), from("x", "2001:db8:8::1")},
		{"IPv4 in IPv6", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), "::ffff:192.0.2.1") }, 30,
			from("x", "192.0.2.1"), from("x", "192.0.2.2")},
		{"zones", func(i int) *limits.Attempt { return from(fmt.Sprint("c", i), fmt.Sprintf("fe80::1%%eth%d", i)) }, 30,
			from("x", "fe80::2%eth99"), from("x", "fe80:0:0:1::1")},
		{"clients of other realms", func(i int) *limits.Attempt {
			a := from("c", "192.0.2.1")
			a.Realm = fmt.Sprint(i)
			return a
		}, 30, from("x", "192.0.2.1"), from("x", "192.0.2.2")},
	} {
		g := newGate(t, limits.Config{})
		for i := range tt.limit {
			if wait := g.wrong(tt.from(i)); wait != 0 {
				t.Fatalf("%s: failure %d has to wait %v", tt.name, i+1, wait)
			}
		}
		if g.Look(tt.other).Refuse {
			t.Errorf("%s: refused at the limit", tt.name)
		}
		g.wrong(tt.from(tt.limit))
		if !g.Look(tt.other).Refuse {
			t.Errorf("%s: not refused over the limit", tt.name)
		}
		if g.Look(tt.another).Refuse {
			t.Errorf("%s: another is refused", tt.name)
		}
	}
}

// A client that authenticated from somewhere is never stopped there, whoever
// fails; when it fails itself it is answered as a stranger would be.
func TestKnownClients(t *testing.T) {
	g := newGate(t, limits.Config{})
	own, neighbour, elsewhere := from("good", "192.0.2.1"), from("good", "192.0.2.9"), from("good", "198.51.100.1")
	if !g.right(own) {
		t.Fatal("refused at first")
	}
	for range 100 {
		g.wrong(own)
	}
	for i := range 300 {
		g.wrong(from(fmt.Sprint("c", i), "192.0.2.1"))
		g.wrong(from(fmt.Sprint("c", i), fmt.Sprintf("192.0.2.%d", i%256)))
		g.wrong(from("good", fmt.Sprintf("192.0.2.%d", 100+i%100)))
		g.wrong(from("good", "198.51.100.1"))
	}
	if v := g.Look(own); v.Refuse || !v.Known || v.Wait == 0 {
		t.Errorf("at its own address: %+v", v)
	}
	if g.Look(neighbour).Refuse {
		t.Error("refused at another address of its network, where nobody failed")
	}
	for _, a := range []*limits.Attempt{elsewhere, from("stranger", "192.0.2.1"), from("stranger", "192.0.2.9")} {
		if !g.Look(a).Refuse {
			t.Errorf("%s at %s is not refused", a.ClientID, a.Address)
		}
	}
	other := *own
	other.Realm = "another"
	if !g.Look(&other).Refuse {
		t.Error("a client of that ID in another realm is not refused")
	}
}

// A known client that has to wait is not counted: it would make those who share
// its address wait without end.
func TestKnownClientDoesNotProlongAWait(t *testing.T) {
	g := newGate(t, limits.Config{})
	own := from("good", "192.0.2.1")
	g.right(own)
	for range 40 {
		g.Failed(from("other", "192.0.2.1"), &limits.Verdict{})
	}
	before := g.Look(from("stranger", "192.0.2.1")).Wait
	for range 1000 {
		g.clock.Turn(time.Second / 10)
		g.wrong(own)
	}
	if after := g.Look(from("stranger", "192.0.2.1")).Wait; after != before-100*time.Second {
		t.Errorf("a stranger has to wait %v, and 100 s later %v", before, after)
	}
}

// Being known ends 30 days after the last success.
func TestKnownFor(t *testing.T) {
	const day = 24 * time.Hour
	g := newGate(t, limits.Config{})
	a := from("good", "192.0.2.1")
	g.right(a)
	for range 3 {
		g.clock.Turn(29 * day)
		if v := g.Look(a); !v.Known {
			t.Fatal("forgotten after 29 days")
		}
		g.right(a)
	}
	g.clock.Turn(30*day - 1)
	if !g.Look(a).Known {
		t.Error("forgotten before 30 days have passed")
	}
	g.clock.Turn(1)
	if g.Look(a).Known {
		t.Error("known after 30 days")
	}
}

// Steps of the wall clock neither end a wait nor prolong it, nor make a client
// unknown.
func TestStepsOfTheClock(t *testing.T) {
	for _, step := range []time.Duration{-100 * 24 * time.Hour, 100 * 24 * time.Hour} {
		g := newGate(t, limits.Config{})
		a, good := from("c", "192.0.2.1"), from("good", "192.0.2.1")
		g.right(good)
		for range 20 {
			g.Failed(a, &limits.Verdict{})
		}
		g.clock.Step(step)
		if wait := g.Look(a).Wait; wait != 15*time.Minute {
			t.Errorf("after a step of %v the wait is %v", step, wait)
		}
		if !g.Look(good).Known {
			t.Errorf("after a step of %v the client is unknown", step)
		}
		g.clock.Turn(15 * time.Minute)
		if wait := g.Look(a).Wait; wait != 0 {
			t.Errorf("after a step of %v the block has not ended: %v", step, wait)
		}
	}
	// Without a monotonic clock, time goes by the wall clock, and nothing lasts
	// longer than it can from then on.
	g := gateBy(t, limits.Config{}, clock.NewManual(start))
	a := from("c", "192.0.2.1")
	for range 20 {
		g.Failed(a, &limits.Verdict{})
	}
	g.clock.Step(-1000 * time.Hour)
	if wait := g.Look(a).Wait; wait != 15*time.Minute {
		t.Errorf("after a step back the wait is %v", wait)
	}
}

// A shared address is counted for each client only.
func TestSharedAddress(t *testing.T) {
	g := newGate(t, limits.Config{})
	shared := func(client string) *limits.Attempt {
		a := from(client, "192.0.2.1")
		a.Shared = true
		return a
	}
	for i := range 1000 {
		if wait := g.wrong(shared(fmt.Sprint("c", i))); wait != 0 {
			t.Fatalf("failure %d has to wait %v", i+1, wait)
		}
	}
	for range 11 {
		g.wrong(shared("c"))
	}
	if !g.Look(shared("c")).Refuse {
		t.Error("one client from it is not limited")
	}
	if g.Look(from("x", "192.0.2.1")).Refuse {
		t.Error("failures from a shared address count against the address")
	}
}

// The warning about forwarding headers comes once an hour, not with each request.
func TestForwarded(t *testing.T) {
	g := newGate(t, limits.Config{})
	for range 100 {
		if !g.Forwarded(t.Context(), netip.MustParseAddr("192.0.2.1")) {
			t.Fatal("not taken for a proxy")
		}
	}
	g.clock.Turn(time.Hour - 1)
	g.Forwarded(t.Context(), netip.MustParseAddr("192.0.2.1"))
	if n := strings.Count(g.log.String(), "trusted_proxies"); n != 1 {
		t.Errorf("%d warnings in an hour", n)
	}
	g.clock.Turn(1)
	g.Forwarded(t.Context(), netip.MustParseAddr("192.0.2.1"))
	if n := strings.Count(g.log.String(), "trusted_proxies"); n != 2 || !strings.Contains(g.log.String(), "repeated=100") {
		t.Errorf("%d warnings after an hour: %s", n, g.log)
	}
	direct := newGate(t, limits.Config{Direct: true})
	if direct.Forwarded(t.Context(), netip.MustParseAddr("192.0.2.1")) || direct.log.Len() > 0 {
		t.Error("with Direct, a header makes a difference")
	}
}

func TestModes(t *testing.T) {
	monitor := newGate(t, limits.Config{Guesses: limits.GuessLimits{Mode: limits.Monitor}, Requests: limits.RequestLimits{Mode: limits.Monitor, Client: 2}})
	off := newGate(t, limits.Config{Guesses: limits.GuessLimits{Mode: limits.Off}, Requests: limits.RequestLimits{Mode: limits.Off, Client: 2}})
	for _, g := range []*gate{monitor, off} {
		for i := range 200 {
			if wait := g.wrong(from("c", "192.0.2.1")); wait != 0 {
				t.Fatalf("failure %d has to wait %v", i, wait)
			}
			if d := g.Spend(t.Context(), "r", "c", nil); !d.Allowed || d.RetryAfter != 0 {
				t.Fatalf("request %d: %+v", i, d)
			}
		}
	}
	for _, says := range []string{"over the limit of failed authentications, which is not enforced", "prefix=192.0.2.1/32"} {
		if !strings.Contains(monitor.log.String(), says) {
			t.Errorf("not once in the log: %s:\n%s", says, monitor.log)
		}
	}
	monitor.clock.Turn(time.Second)
	for range 3 {
		monitor.Spend(t.Context(), "r", "d", nil)
	}
	if !strings.Contains(monitor.log.String(), "over a limit that is not enforced\" by=client realm=r of=d") {
		t.Errorf("the rate is not in the log:\n%s", monitor.log)
	}
	if off.log.Len() > 0 || off.Stats() != (limits.Stats{}) {
		t.Errorf("off counts or logs: %+v %s", off.Stats(), off.log)
	}
}

// An attacker with more addresses and client IDs than are counted displaces
// neither blocks nor known clients, and memory is bounded.
func TestFloodsDisplaceNoBlock(t *testing.T) {
	g := newGate(t, limits.Config{})
	good, bad := from("good", "192.0.2.1"), from("bad", "198.51.100.1")
	g.right(good)
	for range 40 {
		g.Failed(bad, &limits.Verdict{})
	}
	for i := range 100_000 {
		a := &limits.Attempt{Realm: "r", ClientID: fmt.Sprint("c", i), Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		v := g.Look(a)
		g.Failed(a, &v)
	}
	s := g.Stats()
	if !g.Look(bad).Refuse {
		t.Error("a flood has displaced a block")
	}
	if !g.Look(good).Known {
		t.Error("a flood has displaced a known client")
	}
	if s.Prefixes > 65_536 || s.Pairs > 65_536 || s.Known != 2 || s.Dropped == 0 {
		t.Errorf("%+v", s)
	}
}

// A client with more addresses than are kept does not make the others unknown.
func TestClientWithManyAddresses(t *testing.T) {
	g := newGate(t, limits.Config{})
	good := from("good", "192.0.2.1")
	g.right(good)
	g.clock.Turn(time.Hour)
	for i := range 200_000 {
		g.right(&limits.Attempt{Realm: "r", ClientID: "many", Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
	}
	if !g.Look(good).Known {
		t.Error("the others are no longer known")
	}
	if s := g.Stats(); s.Known < 1000 || s.Known > 2002 {
		t.Errorf("it is known at %d places", s.Known)
	}
	g.clock.Turn(24 * time.Hour)
	if a := from("many", "198.51.100.1"); !g.right(a) || !g.Look(a).Known {
		t.Error("a day later it does not become known anywhere")
	}
}

func TestRequests(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name   string
		limits limits.RequestLimits
		take   func(g *gate, i int) limits.Decision
		// other uses another limit.
		other func(g *gate) limits.Decision
	}{
		{"client", limits.RequestLimits{Client: 5},
			func(g *gate, _ int) limits.Decision { return g.Spend(ctx, "r", "c", nil) },
			func(g *gate) limits.Decision { return g.Spend(ctx, "r2", "c", nil) }},
		{"tenant", limits.RequestLimits{Tenant: 5},
			func(g *gate, i int) limits.Decision {
				return g.Spend(ctx, "r", fmt.Sprint(i), []string{fmt.Sprint("own", i), "t"})
			},
			func(g *gate) limits.Decision { return g.Spend(ctx, "r2", "c", []string{"t"}) }},
		{"realm", limits.RequestLimits{Realm: 5},
			func(g *gate, i int) limits.Decision { return g.Spend(ctx, "r", fmt.Sprint(i), nil) },
			func(g *gate) limits.Decision { return g.Spend(ctx, "r2", "c", nil) }},
		{"address", limits.RequestLimits{Address: 5},
			func(g *gate, i int) limits.Decision { return g.Arrived(ctx, from(fmt.Sprint(i), "192.0.2.1")) },
			func(g *gate) limits.Decision { return g.Arrived(ctx, from("c", "192.0.2.2")) }},
	} {
		g := newGate(t, limits.Config{Requests: tt.limits})
		for i := range 5 {
			if d := tt.take(g, i); !d.Allowed {
				t.Fatalf("%s: request %d: %+v", tt.name, i+1, d)
			}
		}
		d := tt.take(g, 5)
		if d.Allowed || d.RetryAfter != 12*time.Second {
			t.Errorf("%s: over the limit: %+v", tt.name, d)
		}
		if d := tt.other(g); !d.Allowed {
			t.Errorf("%s: another is refused: %+v", tt.name, d)
		}
		g.clock.Turn(12 * time.Second)
		if d := tt.take(g, 6); !d.Allowed {
			t.Errorf("%s: after the wait: %+v", tt.name, d)
		}
	}
	// Those who share an address and those who have none are not counted by it.
	g := newGate(t, limits.Config{Requests: limits.RequestLimits{Address: 1}})
	shared := from("c", "192.0.2.1")
	shared.Shared = true
	for range 3 {
		if !g.Arrived(ctx, shared).Allowed || !g.Arrived(ctx, &limits.Attempt{}).Allowed {
			t.Error("a shared address is limited")
		}
	}
	// A negative limit is none.
	g = newGate(t, limits.Config{Requests: limits.RequestLimits{Client: -1, Tenant: -1, Realm: -1, Address: -1}})
	for range 200_000 {
		if !g.Spend(ctx, "r", "c", []string{"t"}).Allowed {
			t.Fatal("no limit refuses")
		}
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]limits.Config{
		"":                     {Guesses: limits.GuessLimits{Mode: limits.Monitor, Block: 24 * time.Hour, KnownFor: time.Hour}, Requests: limits.RequestLimits{Client: -1}},
		"Guesses.Mode":         {Guesses: limits.GuessLimits{Mode: "watch"}},
		"Requests.Mode":        {Requests: limits.RequestLimits{Mode: "ENFORCE"}},
		"Guesses.Network":      {Guesses: limits.GuessLimits{Network: -1}},
		"Guesses.Address":      {Guesses: limits.GuessLimits{Address: limits.MaxCount + 1}},
		"Requests.Realm":       {Requests: limits.RequestLimits{Realm: -2}},
		"Requests.Client is 1": {Requests: limits.RequestLimits{Client: limits.MaxCount + 1}},
		"Guesses.Block":        {Guesses: limits.GuessLimits{Block: 25 * time.Hour}},
		"Guesses.Block is 1ns": {Guesses: limits.GuessLimits{Block: 1}},
		"Guesses.KnownFor":     {Guesses: limits.GuessLimits{KnownFor: time.Minute}},
	} {
		_, err := limits.New(c, clock.System, slog.New(slog.DiscardHandler))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	var _ counterfoil.Clock = clock.System
}
