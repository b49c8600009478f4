package server

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// reusable is a token that is returned again for the same request: under the
// policy "reuse" all processes of one client that start at once cost one
// signature.
type reusable struct {
	grant atomic.Pointer[grant]
	// failures counts how often the store has failed the one that made the token.
	failures atomic.Int64

	making sync.Mutex      // held by the one that makes the token
	failed *requestRefusal // the last of the failures
}

// reuseKey identifies the requests that share a token.
func (g *grant) reuseKey(realm string) string {
	return strings.Join([]string{realm, g.client.ID, g.scopes.String(), strings.Join(g.audience, " "), string(g.confirmation)}, "\x00")
}

// reuseOrMake returns the token that was made for the same request, as long as
// it may be reused, or makes one. Of several callers one makes it.
func (rl *realm) reuseOrMake(ctx context.Context, a *attempt, g *grant) (*grant, *requestRefusal) {
	entry := rl.reuse.GetOrPut(g.reuseKey(rl.Name), func() *reusable { return new(reusable) })
	if again, refusal := rl.again(ctx, a, entry, g); again != nil || refusal != nil {
		return again, refusal
	}
	failures := entry.failures.Load()
	entry.making.Lock()
	defer entry.making.Unlock()
	if entry.failures.Load() != failures {
		// While this one waited, the store failed for another one: if each tried,
		// the last would wait for all.
		refusal := *entry.failed
		return nil, &refusal
	}
	if again, refusal := rl.again(ctx, a, entry, g); again != nil || refusal != nil {
		return again, refusal
	}
	if refusal := rl.issue(ctx, a, g); refusal != nil {
		if refusal.unrecorded {
			entry.failed = refusal
			entry.failures.Add(1)
		}
		return nil, refusal
	}
	g.reuseUntil = g.issued + (g.expire-g.issued)*int64(rl.endpoint.ReusePercent)/100
	g.by = rl
	kept := *g // g is still modified
	entry.grant.Store(&kept)
	return g, nil
}

// again returns the entry's token when it may be reused, after recording that;
// nil when a new one has to be made.
func (rl *realm) again(ctx context.Context, a *attempt, entry *reusable, asked *grant) (*grant, *requestRefusal) {
	g := entry.grant.Load()
	// A token is not reused under another configuration of the realm or for
	// another client of the same ID, nor when the clock was set back since it
	// was made: it would live longer than the realm allows. Of two concurrent
	// requests, one may have read the clock a second earlier.
	now := a.event.Time.Unix()
	if g == nil || now >= g.reuseUntil || now < g.made-1 || g.by != rl || !sameClient(g.client, asked.client) ||
		!rl.keys.Published(g.keyID) {
		return nil, nil
	}
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenReused, true, g.tokenID
	asOf, err := rl.Store.RecordIssued(ctx, store.Issuance{
		Event: e, Version: g.client.Version, Created: g.client.Created, Revision: g.asOf, Reused: true,
		ReplayKeys: asked.once, StatusIndex: -1,
	})
	if refusal := asked.replayed(rl.recorded(ctx, e, err)); refusal != nil {
		if refusal.again {
			entry.grant.CompareAndSwap(g, nil) // revoked, or the client was replaced
		}
		return nil, refusal
	}
	answer := *g
	if answer.asOf = asOf; asOf != g.asOf {
		later := answer
		entry.grant.CompareAndSwap(g, &later)
	}
	return &answer, nil
}
