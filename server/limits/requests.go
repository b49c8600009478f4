package limits

import (
	"context"
	"net/netip"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/gcra"
	"github.com/counterfoil/counterfoil/internal/peer"
)

// Decision is the answer about one token request.
type Decision = gcra.Decision

// tenantKey names a tenant of a realm, or a client of one.
type tenantKey struct{ realm, name string }

// requests are the limits of token requests; those that are nil are none.
type requests struct {
	address *gcra.Limiter[netip.Prefix]
	client  *gcra.Limiter[tenantKey]
	tenant  *gcra.Limiter[tenantKey]
	realm   *gcra.Limiter[string]
}

func newRequests(c *RequestLimits, clock counterfoil.Clock) requests {
	if c.Mode == Off {
		return requests{}
	}
	minute := func(n int) gcra.Limit { return gcra.Limit{Count: n, Period: time.Minute} }
	return requests{
		address: gcra.New[netip.Prefix](minute(c.Address), clock),
		client:  gcra.New[tenantKey](minute(c.Client), clock),
		tenant:  gcra.New[tenantKey](minute(c.Tenant), clock),
		realm:   gcra.New[string](minute(c.Realm), clock),
	}
}

// Arrived counts a token request before its client is authenticated.
func (l *Limiter) Arrived(ctx context.Context, a *Attempt) Decision {
	if !a.Address.IsValid() || a.Shared {
		return Decision{Allowed: true}
	}
	address, _ := peer.NetworksOf(a.Address)
	return l.decided(ctx, l.requests.address.Take(address), "address", a.Realm, address.String())
}

// Spend counts a token request of a client that is authenticated. The Decision
// is that of the first limit that refuses it, else that of the client.
func (l *Limiter) Spend(ctx context.Context, realm, clientID string, tenants []string) Decision {
	own := l.decided(ctx, l.requests.client.Take(tenantKey{realm, clientID}), "client", realm, clientID)
	if !own.Allowed {
		return own
	}
	for _, tenant := range tenants {
		if d := l.decided(ctx, l.requests.tenant.Take(tenantKey{realm, tenant}), "tenant", realm, tenant); !d.Allowed {
			return d
		}
	}
	if d := l.decided(ctx, l.requests.realm.Take(realm), "realm", realm, ""); !d.Allowed {
		return d
	}
	return own
}

// decided returns the decision as the mode has it.
func (l *Limiter) decided(ctx context.Context, d Decision, by, realm, who string) Decision {
	if !d.Allowed && l.config.Requests.Mode == Monitor {
		l.monitored.Warn(ctx, l.clock, l.log, "a token request is over a limit that is not enforced", "by", by, "realm", realm, "of", who)
		d.Allowed, d.RetryAfter = true, 0
	}
	return d
}
