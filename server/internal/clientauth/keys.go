package clientauth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// awayFor is how long a key set counts as away after a failed fetch, unless
	// it is fetched before.
	awayFor = time.Hour
	maxAway = 1000
	// keptSets is how many clients' key sets are kept parsed.
	keptSets = 1000
)

// keys finds the public keys of clients and of the issuers that a realm
// federates with.
type keys struct {
	sets  *outbound.KeySets
	clock counterfoil.Clock
	// parsed are key sets of clients by their text.
	parsed *bounded.Cache[string, []jose.PublicKey]

	mu sync.Mutex
	// away are the key sets that cannot be fetched and of which no older copy is
	// known, with the time of the failure. While there is one, a client whose
	// assertion cannot be verified for want of keys is told to retry. So is every
	// other caller whose assertion is not verified: otherwise the answer would
	// tell unknown clients, or those with other keys, from that one.
	away map[string]time.Time
}

// of returns the keys of a client with that kid, all when it is "".
func (k *keys) of(ctx context.Context, auth *store.Authentication, kid string) ([]jose.PublicKey, *Refusal) {
	if auth.KeySet == "" {
		return k.fetched(ctx, auth.KeySetURL, kid)
	}
	set, ok := k.parsed.Get(auth.KeySet)
	if !ok {
		var err error
		if set, _, err = jose.ParseSet([]byte(auth.KeySet)); err != nil {
			return nil, Refused(counterfoil.ReasonAssertionKey, "the client's key set: "+err.Error())
		}
		k.parsed.Put(auth.KeySet, set)
	}
	return named(set, kid), nil
}

// fetched returns the keys of that kid from a URL. When the URL cannot be
// fetched and no older set is known, the assertion can be neither accepted nor
// rejected.
func (k *keys) fetched(ctx context.Context, url, kid string) ([]jose.PublicKey, *Refusal) {
	set, err := k.sets.Keys(ctx, url, kid)
	var none *outbound.NoSetError
	is := errors.As(err, &none)
	k.note(url, is)
	switch {
	case is:
		return nil, Refused(counterfoil.ReasonUnavailable, err.Error())
	case err != nil:
		return nil, Refused(counterfoil.ReasonAssertionKey, err.Error())
	}
	return set, nil
}

// named returns the keys of that ID, all when it is "".
func named(set []jose.PublicKey, id string) []jose.PublicKey {
	if id == "" {
		return set
	}
	return slices.DeleteFunc(slices.Clone(set), func(k jose.PublicKey) bool { return k.ID != id })
}

// note records whether a key set is away.
func (k *keys) note(url string, is bool) {
	now := k.clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !is:
		delete(k.away, url)
	case k.away == nil:
		k.away = map[string]time.Time{url: now}
	case len(k.away) < maxAway || !k.away[url].IsZero():
		k.away[url] = now
	}
}

// anyAway reports whether a key set is away.
func (k *keys) anyAway(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for url, since := range k.away {
		if now.Sub(since) < awayFor {
			return true
		}
		delete(k.away, url)
	}
	return false
}

// unprovable are the reasons for refusing an assertion or a certificate that
// proves no identity.
var unprovable = map[counterfoil.Reason]bool{
	counterfoil.ReasonUnknownClient: true, counterfoil.ReasonMethodNotAccepted: true,
	counterfoil.ReasonAssertionIssuer: true, counterfoil.ReasonAssertionKey: true,
	counterfoil.ReasonAssertionSignature: true, counterfoil.ReasonCertificateUnknown: true,
}

// veil answers a refusal as if a key set were missing while one is, so that
// the caller cannot tell the two apart. The record keeps the true reason.
func (k *keys) veil(refusal *Refusal, now time.Time) *Refusal {
	if refusal == nil || !unprovable[refusal.Reason] || !k.anyAway(now) {
		return refusal
	}
	veiled := *refusal
	veiled.Answer = counterfoil.ReasonUnavailable
	return &veiled
}
