package server

import (
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

const (
	// awayFor is how long a key set counts as away after a failed fetch, unless
	// it is fetched before.
	awayFor = time.Hour
	maxAway = 1000
)

// away holds the key sets that cannot be fetched and of which no older copy is
// known. While there is one, a client whose assertion cannot be verified for
// want of keys is told to retry. So is every other caller whose assertion is
// not verified: otherwise the answer would tell unknown clients, or those with
// other keys, from that one.
type away struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note records whether a key set is away.
func (a *away) note(url string, now time.Time, is bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !is:
		delete(a.since, url)
	case a.since == nil:
		a.since = map[string]time.Time{url: now}
	case len(a.since) < maxAway || !a.since[url].IsZero():
		a.since[url] = now
	}
}

// any reports whether a key set is away.
func (a *away) any(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for url, since := range a.since {
		if now.Sub(since) < awayFor {
			return true
		}
		delete(a.since, url)
	}
	return false
}

// unprovable are the reasons for refusing an assertion or a certificate that
// proves no identity.
var unprovable = map[counterfoil.Reason]bool{
	counterfoil.UnknownClient: true, counterfoil.MethodNotAccepted: true, counterfoil.AssertionIssuer: true, counterfoil.AssertionKey: true,
	counterfoil.AssertionSignature: true, counterfoil.CertificateUnknown: true,
}

// veil answers a refusal as if a key set were missing while one is, so that
// the caller cannot tell the two apart. The record keeps the true reason.
func (rl *realm) veil(refusal *requestRefusal, now time.Time) *requestRefusal {
	if refusal == nil || !unprovable[refusal.reason] || !rl.away.any(now) {
		return refusal
	}
	veiled := *refusal
	veiled.answer = counterfoil.Unavailable
	return &veiled
}
