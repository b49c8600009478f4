package clientauth

import (
	"context"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/limits"
)

// try is one attempt to authenticate, for the limits.
type try struct {
	limits.Attempt
	limits  *limits.Limiter
	verdict limits.Verdict
	over    *Refusal
}

// begin looks up what the limits say about a request of that client ID.
func (a *Authenticator) begin(ctx context.Context, r *Request, id string) try {
	t := try{limits: a.Limits, over: r.Over, Attempt: limits.Attempt{Realm: a.Realm, ClientID: cfsecret.Masked(id), Address: r.Origin.Address}}
	t.Shared = r.Origin.Proxy || r.Origin.Unnamed && a.Limits.Forwarded(ctx, r.Origin.Address)
	t.verdict = a.Limits.Look(&t.Attempt)
	return t
}

// Guess decides about a secret that is sent without the ID of its client: unless the
// caller has to wait, it calls find, which reports whether there is one. If there is
// none, that is counted as a failed authentication is, and the refusal has
// ReasonWrongSecret.
func (a *Authenticator) Guess(ctx context.Context, r *Request, find func() (bool, *Refusal)) *Refusal {
	t := a.begin(ctx, r, "")
	if refusal := t.refusal(); refusal != nil {
		return refusal
	}
	found, refusal := find()
	if refusal != nil || found {
		return refusal
	}
	return t.end(Refused(counterfoil.ReasonWrongSecret, ""))
}

// refusal is that of a caller who has to wait; a client that is known where it
// calls from never has to.
func (t *try) refusal() *Refusal {
	switch {
	case t.verdict.Refuse:
		return t.wait()
	case t.over != nil && !t.verdict.Known:
		return t.over
	}
	return nil
}

func (t *try) wait() *Refusal {
	// Which one it is says the record's address, which can be erased.
	from := "the address"
	if bits := t.verdict.Prefix.Bits(); bits == 24 || bits == 48 {
		from = "the network"
	}
	refusal := Refused(counterfoil.ReasonRateLimited, limits.WaitDetail+from)
	refusal.RetryAfter = t.verdict.Wait
	return refusal
}

// end counts the result, and returns the refusal to answer: whoever has wrong
// credentials and would have to wait is told so, also a known client, whose
// answers do not tell it from a stranger.
func (t *try) end(refusal *Refusal) *Refusal {
	switch {
	case refusal == nil:
		t.limits.Succeeded(&t.Attempt, &t.verdict)
	case failed(refusal):
		if t.verdict.Wait > 0 {
			return t.wait()
		}
		t.limits.Failed(&t.Attempt, &t.verdict)
	}
	return refusal
}

// failed reports whether a request is refused because its credentials, which it
// has, do not prove the client.
func failed(f *Refusal) bool {
	switch f.Reason {
	case counterfoil.ReasonAPIKeyInvalid:
		return true
	case counterfoil.ReasonCertificateMissing, counterfoil.ReasonCredentialsMissing:
		return false
	}
	return !f.Proven && f.Reason.Parent() == counterfoil.ReasonInvalidClient
}

// origin is where the attempt waits for a turn to verify a slow hash.
func (t *try) origin() Origin {
	_, network := peer.NetworksOf(t.Address)
	return Origin{Prefix: network, Known: t.verdict.Known}
}
