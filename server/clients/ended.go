package clients

import (
	"cmp"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/store"
)

// endedBy returns the credentials that a client has no more after a change at a
// time.
func endedBy(before, after *store.Client, now time.Time) (all []store.EndedCredential) {
	for _, of := range []struct {
		kind    string
		was, is []store.SecretHash
	}{{store.EndedSecret, before.Secrets, after.Secrets}, {store.EndedAPIKey, before.APIKeys, after.APIKeys}} {
		for _, h := range of.was {
			if slices.ContainsFunc(of.is, func(other store.SecretHash) bool { return other.Value == h.Value }) {
				continue
			}
			ended := now
			if !h.AcceptedAt(now) {
				ended = h.Expires
			}
			all = append(all, store.EndedCredential{Kind: of.kind, ID: h.ID, Value: h.Value, Ended: ended})
		}
	}
	if before.Authentication.KeySet == after.Authentication.KeySet {
		return all
	}
	is := thumbprints(after.Authentication.KeySet)
	was := thumbprints(before.Authentication.KeySet)
	for thumbprint, key := range was {
		jwk, err := jose.MarshalKey(key.Key)
		if _, still := is[thumbprint]; still || err != nil {
			continue
		}
		all = append(all, store.EndedCredential{
			Kind: store.EndedKey, ID: event.Clean(cmp.Or(key.ID, thumbprint), event.MaxClientID), Value: string(jwk), Ended: now,
		})
	}
	return all
}

// thumbprints are the keys of a JWK Set by their thumbprints (RFC 7638).
func thumbprints(set string) map[string]jose.PublicKey {
	all := map[string]jose.PublicKey{}
	keys, _, err := jose.ParseSet([]byte(set))
	if err != nil {
		return all
	}
	for _, k := range keys {
		if thumbprint, err := jose.Thumbprint(k.Key); err == nil {
			all[thumbprint] = k
		}
	}
	return all
}
