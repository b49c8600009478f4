package guard_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// limited is engagifii's rig without a registry, which knows one client only.
func limited(t *testing.T, l guard.Limits, log *strings.Builder) *rig {
	t.Helper()
	return newRigFor(t, must(provider.Builtin("engagifii")), dialects()["engagifii"], func(c *guard.Config) {
		c.Liveness, c.Limits = guard.Unchecked{}, l
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
}

// calling sends a call of a client for a tenant.
func (r *rig) calling(clientID, tenant string) answer {
	r.t.Helper()
	req := r.call(r.claim("client_id", clientID))
	req.Header.Set("tenant-code", tenant)
	return r.send(req)
}

// The description's requests_per_minute and a tenth are let through at once;
// what is more is refused in the dialect's shape, for that client only.
func TestCallsOverTheLimit(t *testing.T) {
	r := limited(t, guard.Limits{}, new(strings.Builder))
	for i := range 110 {
		a := r.calling("one", "TENANT123")
		want := fmt.Sprintf(`"client";r=%d;`, max(99-i, 0))
		if a.status != http.StatusOK || a.header.Get("RateLimit-Policy") != `"client";q=100;w=60` || !strings.HasPrefix(a.header.Get("RateLimit"), want) {
			t.Fatalf("call %d: %d %v", i+1, a.status, a.header)
		}
	}
	a := r.calling("one", "TENANT123")
	r.refused(a, counterfoil.ReasonRateLimited)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "1" ||
		a.body != `{"error":{"code":"RATE_LIMITED","message":"Too many requests"}}` || a.event.ClientID != "one" ||
		a.event.Detail != "the client is allowed 100 calls a minute" {
		t.Errorf("%d %v %s %+v", a.status, a.header, a.body, a.event)
	}
	if a := r.calling("two", "TENANT123"); a.status != http.StatusOK {
		t.Errorf("another client is refused: %d", a.status)
	}
	r.clock.Turn(time.Second)
	if a := r.calling("one", "TENANT123"); a.status != http.StatusOK {
		t.Errorf("after the wait: %d", a.status)
	}
	// A call that is refused for another reason is not counted.
	r.clock.Turn(time.Minute)
	for range 200 {
		if a := r.calling("one", "TENANT999"); a.event.Reason != counterfoil.ReasonTenantDenied {
			t.Fatalf("%+v", a.event)
		}
	}
	if a := r.calling("one", "TENANT123"); a.status != http.StatusOK {
		t.Errorf("after refused calls: %d", a.status)
	}
}

// The calls of a tenant's clients are counted together.
func TestTenantOverTheLimit(t *testing.T) {
	r := limited(t, guard.Limits{Client: -1, Tenant: 10}, new(strings.Builder))
	for i := range 11 {
		if a := r.calling(fmt.Sprint("client", i), "TENANT123"); a.status != http.StatusOK || a.header.Get("RateLimit") != "" {
			t.Fatalf("call %d: %d %v", i+1, a.status, a.header)
		}
	}
	a := r.calling("another", "TENANT123")
	r.refused(a, counterfoil.ReasonRateLimited)
	if a.status != http.StatusTooManyRequests || a.event.Detail != "the tenant is allowed 10 calls a minute" {
		t.Errorf("%d %+v", a.status, a.event)
	}
	if a := r.calling("another", "TENANT456"); a.status != http.StatusOK {
		t.Errorf("another tenant is refused: %d", a.status)
	}
	// By default a tenant has the limits of ten clients.
	r = limited(t, guard.Limits{Client: 1}, new(strings.Builder))
	for i := range 11 {
		if a := r.calling(fmt.Sprint("client", i), "TENANT123"); a.status != http.StatusOK {
			t.Fatalf("client %d: %d", i+1, a.status)
		}
	}
	if a := r.calling("another", "TENANT123"); a.status != http.StatusTooManyRequests {
		t.Errorf("client 12 is not refused: %d", a.status)
	}
}

// Monitor refuses nothing and says whom it would refuse.
func TestLimitIsMonitored(t *testing.T) {
	var log strings.Builder
	r := limited(t, guard.Limits{Client: 1, Monitor: true}, &log)
	for range 5 {
		if a := r.calling("one", "TENANT123"); a.status != http.StatusOK || a.header.Get("Retry-After") != "" {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
	if n := strings.Count(log.String(), "over a limit that is not enforced"); n != 1 || !strings.Contains(log.String(), "client_id=one") {
		t.Errorf("%d lines:\n%s", n, &log)
	}
}

// An API without a limit has none, and one without a shape for it answers a bare
// 429.
func TestLimitThatIsNotDescribed(t *testing.T) {
	r := newRig(t, "a55")
	for range 300 {
		if a := r.send(r.call(r.token(nil))); a.status != http.StatusOK || a.header.Get("RateLimit-Policy") != "" {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
	p := must(provider.Builtin("a55"))
	bare := *p
	bare.APIs = append([]provider.API(nil), p.APIs...)
	refusals := map[counterfoil.Reason]provider.Refusal{}
	for reason, shape := range p.APIs[0].Refusals {
		if reason != counterfoil.ReasonRateLimited {
			refusals[reason] = shape
		}
	}
	bare.APIs[0].Refusals = refusals
	r = newRigFor(t, &bare, dialects()["a55"], func(c *guard.Config) { c.Limits.Client = 1 })
	var a answer
	for range 3 {
		a = r.send(r.call(r.token(nil)))
	}
	if a.status != http.StatusTooManyRequests || a.body != "" || a.header.Get("Retry-After") != "30" {
		t.Errorf("%d %v %q", a.status, a.header, a.body)
	}
}

// A client that sends at most n calls in any 61 seconds, as the guide's limiter
// does, is never refused, although its calls take up to five seconds to arrive
// and so arrive closer together.
func TestGuidesLimiterIsNeverRefused(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		n := 1 + random.IntN(200)
		now := clock.NewManual(start)
		take := guard.Calls(guard.Limits{Client: n}, now)
		var sent []time.Duration // the last n
		at, arrived := time.Duration(0), time.Duration(0)
		for call := range 5 * n {
			if random.IntN(n) == 0 {
				at += time.Duration(random.Int64N(int64(90 * time.Second)))
			}
			if len(sent) >= n {
				at = max(at, sent[len(sent)-n]+61*time.Second)
			}
			sent = append(sent, at)
			arrives := max(at+time.Duration(random.Int64N(int64(5*time.Second))), arrived)
			now.Turn(arrives - arrived)
			arrived = arrives
			if !take("client") {
				t.Fatalf("seed %d: call %d of a limiter of %d calls is refused", seed, call+1, n)
			}
		}
	}
}
