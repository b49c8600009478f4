package server

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// mint makes the tokens of a realm: it dates, signs and records them, and
// answers one again where that is the policy.
type mint struct {
	*recorder
	provider *provider.Provider
	keys     *signing.Ring
	claims   template
	status   *statusLists // nil where the tokens are in none
	memory   *clientauth.Memory
	reuse    *bounded.Cache[string, *reusable]
}

// policy returns what happens to earlier tokens of the client when a new one
// is issued.
func (m *mint) policy(c *store.Client) provider.Policy {
	return cmp.Or(c.Tokens.Policy, m.provider.TokenEndpoint.Policy)
}

// issue makes the grant's token and records it, which revokes the previous
// token where that is the policy. When it returns nil the token counts as
// issued.
func (m *mint) issue(ctx context.Context, a *attempt, g *grant) *clientauth.Refusal {
	a.event.Time = m.clock.Now() // the time now: the steps before may have taken long
	m.date(g, a.event.Time)
	if err := m.sign(ctx, g, a.event.Time); errors.Is(err, signing.ErrUnread) {
		return clientauth.StoreFailed("sign token", err)
	} else if err != nil {
		return &clientauth.Refusal{Reason: counterfoil.ReasonServerError, Detail: "sign token", Err: fmt.Errorf("sign token: %w", err)}
	}
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenIssued, true, g.tokenID
	e.Scope, e.Resource = g.scopes.String(), strings.Join(g.audience, " ")
	if g.setBack {
		e.Detail = "the clock was set back: earlier tokens are dated ahead of it"
	}
	replace := m.policy(g.client) == provider.PolicyReplace
	revision, refusal := m.issued(ctx, a, store.Issuance{
		Event: e, Version: g.client.Version, Created: g.client.Created, Revision: g.revision, ReplayKeys: g.once, StatusIndex: g.status,
		Replace: replace, Beside: !replace && !g.client.MinIssuedAt.IsZero(), SetBack: g.setBack,
		Issued: time.Unix(g.issued, 0), Expires: time.Unix(g.expire, 0),
	})
	if refusal != nil {
		if refusal.Again {
			m.memory.Forget(m.realm, g.client.ID)
		}
		return g.replayed(refusal)
	}
	g.revision, g.made = revision, e.Time.Unix()
	if g.setBack {
		m.logger.WarnContext(ctx, "the clock was set back: tokens of the client that are dated ahead of it are revoked",
			"realm", m.realm, "client_id", e.ClientID)
		m.memory.Forget(m.realm, g.client.ID)
		return nil
	}
	m.memory.Update(g.client, revision)
	return nil
}

// date sets the times of the grant's token.
func (m *mint) date(g *grant, now time.Time) {
	life := m.provider.TokenEndpoint.Lifetime
	if own := g.client.Tokens.Lifetime; own > 0 && own < life {
		life = own
	}
	g.issued = now.Unix()
	g.notBefore, g.expire = g.issued, g.issued+int64(life.Seconds())
	if !g.client.Expires.IsZero() {
		g.expire = min(g.expire, g.client.Expires.Unix())
	}
	// All tokens up to a moment were revoked: this one must be dated after it.
	earliest := g.client.NotBefore
	if g.client.MinIssuedAt.After(earliest) {
		earliest = g.client.MinIssuedAt
	}
	if !earliest.IsZero() {
		g.issued = max(g.issued, earliest.Unix())
	}
	// After the clock was set back, it would be dated so far ahead that no
	// verifier accepts it: then the order is left to the store.
	if g.setBack = earliest.Sub(now) > store.MaxAhead; g.setBack {
		g.issued = now.Unix() + 1
	}
	// Where nbf is the only date, revocation goes by that.
	if m.provider.AccessToken.Claim(provider.FromIssuedAt) == "" {
		g.notBefore = g.issued
	}
}

// sign makes the grant's token.
func (m *mint) sign(ctx context.Context, g *grant, now time.Time) error {
	g.tokenID, g.status = newTokenID(m.provider.AccessToken.TokenID), -1
	if m.status != nil {
		var err error
		if g.status, err = m.status.index(ctx); err != nil {
			return err
		}
	}
	key, err := m.keys.Active(ctx, cmp.Or(g.client.Tokens.Algorithm, m.provider.AccessToken.SigningAlgorithm), now)
	if err != nil {
		return err
	}
	g.keyID = key.ID
	payload := m.claims.append(make([]byte, 0, 512), g)
	if len(g.client.Tokens.Claims) > 0 {
		payload = appendClaims(payload, g.client.Tokens.Claims)
	}
	g.token, err = jose.Sign(key.Signer, key.Algorithm, key.Protected, payload)
	return err
}

// newTokenID returns 128 random bits as 32 upper-case hexadecimal digits, or a
// UUID of version 4 (RFC 9562 section 5.4).
func newTokenID(form provider.TokenIDForm) string {
	b := sechash.Random(16)
	if form == provider.TokenIDHex {
		return strings.ToUpper(hex.EncodeToString(b))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id := make([]byte, 0, 36)
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			id = append(id, '-')
		}
		id = hex.AppendEncode(id, part)
	}
	return string(id)
}

// replayed distinguishes a replayed proof from a replayed assertion where the
// request had only one of them. With both, the refusal may be for either.
func (g *grant) replayed(refusal *clientauth.Refusal) *clientauth.Refusal {
	if refusal.Reason != counterfoil.ReasonAssertionReplayed || g.tokenType != "DPoP" {
		return refusal
	}
	if len(g.once) == 1 {
		return clientauth.Refused(counterfoil.ReasonDPoPProofReplayed, "")
	}
	return clientauth.Refused(refusal.Reason, "the assertion, or the DPoP proof beside it")
}

// reusable is a token that is returned again for the same request: under the
// policy "reuse" all processes of one client that start at once cost one
// signature.
type reusable struct {
	token atomic.Pointer[reusableToken]
	// failures counts how often the store has failed the one that made the token.
	failures atomic.Int64

	making sync.Mutex          // held by the one that makes the token
	failed *clientauth.Refusal // the last of the failures
}

// reusableToken is a token that may be reused until a time, in seconds since
// 1970, by the mint, as configured, that made it.
type reusableToken struct {
	grant
	until int64
	by    *mint
}

// reuseKey identifies the requests that share a token.
func (g *grant) reuseKey(realm string) string {
	return strings.Join([]string{realm, g.client.ID, g.scopes.String(), strings.Join(g.audience, " "), string(g.confirmation)}, "\x00")
}

// reuseOrMake returns the token that was made for the same request, as long as
// it may be reused, or makes one. Of several callers one makes it.
func (m *mint) reuseOrMake(ctx context.Context, a *attempt, g *grant) (*grant, *clientauth.Refusal) {
	entry := m.reuse.GetOrPut(g.reuseKey(m.realm), func() *reusable { return new(reusable) })
	if again, refusal := m.again(ctx, a, entry, g); again != nil || refusal != nil {
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
	if again, refusal := m.again(ctx, a, entry, g); again != nil || refusal != nil {
		return again, refusal
	}
	if refusal := m.issue(ctx, a, g); refusal != nil {
		if refusal.Unrecorded {
			entry.failed = refusal
			entry.failures.Add(1)
		}
		return nil, refusal
	}
	until := g.issued + (g.expire-g.issued)*int64(m.provider.TokenEndpoint.ReusePercent)/100
	entry.token.Store(&reusableToken{*g, until, m}) // a copy: g is still modified
	return g, nil
}

// again returns the entry's token when it may be reused, after recording that;
// nil when a new one has to be made.
func (m *mint) again(ctx context.Context, a *attempt, entry *reusable, asked *grant) (*grant, *clientauth.Refusal) {
	t := entry.token.Load()
	// A token is not reused under another configuration of the realm or for
	// another client of the same ID, nor when the clock was set back since it
	// was made: it would live longer than the realm allows. Of two concurrent
	// requests, one may have read the clock a second earlier.
	now := a.event.Time.Unix()
	if t == nil || now >= t.until || now < t.made-1 || t.by != m || !sameClient(t.client, asked.client) || !m.keys.Published(t.keyID) {
		return nil, nil
	}
	e := a.event
	e.Type, e.Success, e.TokenID = counterfoil.EventTokenReused, true, t.tokenID
	e.Scope, e.Resource = t.scopes.String(), strings.Join(t.audience, " ")
	revision, refusal := m.used(ctx, a, e, t.client, t.revision, asked.once)
	if refusal != nil {
		if refusal.Again {
			entry.token.CompareAndSwap(t, nil) // revoked, or the client was replaced
		}
		return nil, asked.replayed(refusal)
	}
	answer := t.grant
	if answer.revision = revision; revision != t.revision {
		entry.token.CompareAndSwap(t, &reusableToken{answer, t.until, m})
	}
	return &answer, nil
}

// sameClient reports whether two reads found the same unchanged client.
// Versions start over when a client is deleted and created again.
func sameClient(c, other *store.Client) bool {
	return c.Version == other.Version && c.Created.Equal(other.Created)
}
