package server

import (
	"cmp"
	"context"
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// rate is what a client is told of its limit; the zero value is nothing.
type rate struct{ limits.Decision }

// set sets the headers with it (draft-ietf-httpapi-ratelimit-headers-10).
func (r *rate) set(h http.Header) {
	if r.Limit.Count > 0 {
		h["Ratelimit-Policy"] = []string{r.Limit.Policy("client")}
		h["Ratelimit"] = []string{r.Field("client")}
	}
}

// arrived counts a token request that nobody has authenticated yet. The refusal
// is for a client that is not known at its address.
func (rl *realm) arrived(ctx context.Context, r *http.Request) *clientauth.Refusal {
	from := rl.peers.Origin(r)
	return tooMany(rl.auth.Limits.Arrived(ctx, &limits.Attempt{
		Realm: rl.Name, Address: from.Address, Shared: from.Proxy || from.Unnamed && rl.auth.Limits.Forwarded(ctx, from.Address),
	}), "from the address")
}

// blocked records that callers have to wait. Who has caused it is told by the address
// of the record, which can be erased.
func (s *Server) blocked(a *limits.Attempt, b limits.Block) {
	from := "the address"
	if _, network := peer.NetworksOf(a.Address); b.Prefix == network {
		from = "the network"
	}
	e := counterfoil.Event{
		Type: counterfoil.EventBlockBegan, Time: s.Clock.Now(), Realm: cmp.Or(b.Realm, a.Realm), Success: true,
		Address: a.Address.Unmap().WithZone("").String(), Detail: from,
	}
	if err := s.folder.Record(s.ctx, e, false); err != nil {
		s.storeTrouble.Error(s.ctx, s.Clock, s.Logger, "block not recorded", alerts.Trouble(alerts.KindStore), "error", err)
	}
}

// spend counts a token request of an authenticated client, once.
func (rl *realm) spend(ctx context.Context, a *attempt, c *store.Client) *clientauth.Refusal {
	if a.rate.Allowed {
		return nil
	}
	a.rate = rate{rl.auth.Limits.Spend(ctx, rl.Name, c.ID, c.Tenants)}
	return tooMany(a.rate.Decision, "of the client, its tenant or the realm")
}

// tooMany returns the refusal that a decision stands for, or nil.
func tooMany(d limits.Decision, of string) *clientauth.Refusal {
	if d.Allowed {
		return nil
	}
	refusal := clientauth.Refused(counterfoil.ReasonRateLimited, "token requests "+of)
	refusal.RetryAfter = d.RetryAfter
	return refusal
}
