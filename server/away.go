package server

import (
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

const (
	// awayFor is for how long a key set that could not be fetched is taken to be
	// away, unless it is fetched before.
	awayFor = time.Hour
	maxAway = 1000
)

// away are the key sets that cannot be fetched and of which there is no older
// one. While there is one, a client that shows an assertion, and may be the one
// whose keys are missing, is told to come again. So is everybody else whose
// assertion is not verified: a client that is unknown, or has other keys, would
// be told apart from that one by its answer.
type away struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note says that a key set is away, or that it is not.
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

// unprovable are the reasons for which a client is refused whose assertion, or
// whose certificate, shows nothing of who it is.
var unprovable = map[counterfoil.Reason]bool{
	counterfoil.UnknownClient: true, counterfoil.MethodNotAccepted: true, counterfoil.AssertionIssuer: true, counterfoil.AssertionKey: true,
	counterfoil.AssertionSignature: true, counterfoil.CertificateUnknown: true,
}

// veil has a refusal answered as one for want of a key set while that may be its
// cause for all that the caller can know. The record keeps its reason.
func (rl *realm) veil(refusal *requestRefusal, now time.Time) *requestRefusal {
	if refusal == nil || !unprovable[refusal.reason] || !rl.away.any(now) {
		return refusal
	}
	veiled := *refusal
	veiled.answer = counterfoil.Unavailable
	return &veiled
}
