package guard

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/gcra"
	"github.com/counterfoil/counterfoil/internal/lograte"
)

// Limits are how many calls a minute are let through, to which a tenth is added:
// a client that keeps to the number is never refused because its calls arrive
// closer together than they were sent. A minute's calls may come all at once.
// Each answer has the headers RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10).
//
// Calls are counted in the memory of the guard, once the caller is proven: nobody
// uses up the limit of another.
type Limits struct {
	// Client is for one client; default the description's requests_per_minute. A
	// negative number is no limit.
	Client int
	// Tenant is for all clients of one tenant; default ten times Client. A negative
	// number is no limit.
	Tenant int
	// Monitor lets calls over a limit through, and logs them, at most one a second.
	Monitor bool
}

// limiter counts the calls of a guard.
type limiter struct {
	Limits
	clients, tenants *gcra.Limiter[string] // nil for no limit
	monitored        lograte.Limiter
}

// withGrace is a limit with the tenth that is added.
func withGrace(n int) gcra.Limit { return gcra.Limit{Count: n + grace(n), Period: time.Minute} }

func grace(n int) int { return (n + 9) / 10 }

func newLimiter(l Limits, described int, clock counterfoil.Clock) *limiter {
	l.Client = cmp.Or(l.Client, described)
	l.Tenant = cmp.Or(l.Tenant, 10*l.Client)
	out := &limiter{Limits: l}
	if l.Client > 0 {
		out.clients = gcra.New[string](withGrace(l.Client), clock)
	}
	if l.Tenant > 0 {
		out.tenants = gcra.New[string](withGrace(l.Tenant), clock)
	}
	return out
}

// limit counts a call of a proven caller, and refuses one that is too many. It
// sets the headers that say what is left.
func (g *Guard) limit(answer http.Header, r *http.Request, p *counterfoil.Principal) *Refusal {
	l := g.limiter
	if l.clients != nil {
		d := l.clients.Take(p.ClientID)
		own := gcra.Limit{Count: l.Client, Period: time.Minute}
		d.Remaining = max(d.Remaining-grace(l.Client), 0)
		answer["Ratelimit-Policy"], answer["Ratelimit"] = []string{own.Policy("client")}, []string{d.Field("client")}
		if refusal := g.over(answer, r, &d, p, "the client", l.Client); refusal != nil {
			return refusal
		}
	}
	if l.tenants != nil && p.Tenant != "" {
		d := l.tenants.Take(p.Tenant)
		return g.over(answer, r, &d, p, "the tenant", l.Tenant)
	}
	return nil
}

// over returns the refusal that a decision stands for, or nil.
func (g *Guard) over(answer http.Header, r *http.Request, d *gcra.Decision, p *counterfoil.Principal, who string, limit int) *Refusal {
	if d.Allowed {
		return nil
	}
	detail := fmt.Sprintf("%s is allowed %d calls a minute", who, limit)
	if g.limiter.Monitor {
		g.limiter.monitored.Warn(r.Context(), g.clock, g.logger, "guard: a call is over a limit that is not enforced",
			"provider", g.provider.Name, "api", g.api.Name, "client_id", p.ClientID, "detail", detail)
		return nil
	}
	answer.Set("Retry-After", strconv.FormatInt(gcra.Seconds(d.RetryAfter), 10))
	return g.deny(counterfoil.ReasonRateLimited, detail)
}
