package server_test

import (
	"context"
	"crypto"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// rotatingIssuer is an issuer that publishes its keys, and a client with a rule
// for it.
type rotatingIssuer struct {
	*house
	t     *testing.T
	place *source
}

func newRotatingIssuer(t *testing.T) *rotatingIssuer {
	place := newSource(t, serving(jwks("old", ecKey())))
	h := newGate(t, platforms(place))
	h.workload("job", store.Authentication{Federation: []store.FederationRule{{Issuer: actions, Claims: map[string]string{"sub": "repo:acme/billing:*"}}}})
	return &rotatingIssuer{h, t, place}
}

func (r *rotatingIssuer) answers(with http.HandlerFunc) {
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	r.place.answer = with
}

func (r *rotatingIssuer) token(key crypto.Signer, kid string) *ask {
	return r.asserting(signed(key, kid, r.workflow()), "client_id", "job")
}

func (r *rotatingIssuer) wantFetches(when string, before, want int) {
	r.t.Helper()
	if got := r.place.times() - before; got != want {
		r.t.Errorf("%s: %d fetches, want %d", when, got, want)
	}
}

// TestFederatedIssuerRotates: a key is found when its first token comes, one
// fetch for all who have one; tokens of the old key are taken until it is
// withdrawn.
func TestFederatedIssuerRotates(t *testing.T) {
	r := newRotatingIssuer(t)
	r.wantToken(t, r.token(ecKey(), "old"))
	r.wantFetches("the first token", 0, 1)
	r.answers(serving(jwks("old", ecKey(), "new", strangeKey())))
	r.clock.Turn(10 * time.Second)
	var wg sync.WaitGroup
	for range 50 {
		a := r.token(strangeKey(), "new")
		wg.Go(func() {
			if status, body, err := r.at(context.Background(), r.url, a); err != nil || status != http.StatusOK {
				t.Errorf("one of many tokens of the new key: %d %s, %v", status, body, err)
			}
		})
	}
	wg.Wait()
	r.wantFetches("fifty tokens of the new key", 1, 1)
	r.wantToken(t, r.token(ecKey(), "old"))

	r.answers(serving(jwks("new", strangeKey())))
	r.clock.Turn(5*time.Minute - time.Second)
	r.wantToken(t, r.token(ecKey(), "old")) // the key set is not older than it may be
	r.clock.Turn(time.Second)
	r.wantInvalid(t, r.token(ecKey(), "old"), counterfoil.ReasonAssertionKey)
	r.wantToken(t, r.token(strangeKey(), "new"))
	r.wantFetches("the key set is old", 2, 1)

	r.answers(serving(jwks("new", ecKey()))) // another key of the same name
	r.wantToken(t, r.token(strangeKey(), "new"))
	r.wantInvalid(t, r.token(ecKey(), "new"), counterfoil.ReasonAssertionSignature)
	r.clock.Turn(5 * time.Minute)
	r.wantToken(t, r.token(ecKey(), "new"))
	r.wantInvalid(t, r.token(strangeKey(), "new"), counterfoil.ReasonAssertionSignature)
}

// TestUnknownKeysCostOneFetch: invented key IDs cause one fetch from the
// issuer in ten seconds, and delay no other request.
func TestUnknownKeysCostOneFetch(t *testing.T) {
	r := newRotatingIssuer(t)
	r.wantToken(t, r.token(ecKey(), "old"))
	for round := range 3 {
		before := r.place.times()
		r.clock.Turn(10 * time.Second)
		var wg sync.WaitGroup
		for n := range 40 {
			a := r.token(ecKey(), fmt.Sprint("made up ", round, " ", n))
			wg.Go(func() {
				if status, _, err := r.at(context.Background(), r.url, a); err != nil || status != http.StatusUnauthorized {
					t.Errorf("an unknown key: %d, %v", status, err)
				}
			})
		}
		wg.Wait()
		r.wantToken(t, r.token(ecKey(), "old"))
		r.wantFetches("forty unknown keys", before, 1)
	}
}

// TestFederatedIssuerIsAway in the middle of a rotation, in one way or another:
// the keys that are known serve for an hour, a new one is found when the issuer
// is back, and it is not asked more often than every five seconds.
func TestFederatedIssuerIsAway(t *testing.T) {
	for name, away := range map[string]http.HandlerFunc{
		"refuses":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hangs up":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"has no keys":     serving(`{"keys":[]}`),
		"has other words": serving(`<html>back soon</html>`),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotatingIssuer(t)
			r.wantToken(t, r.token(ecKey(), "old"))
			r.answers(away)
			r.clock.Turn(5 * time.Minute)
			before := r.place.times()
			for range 5 {
				r.wantToken(t, r.token(ecKey(), "old"))
				r.wantInvalid(t, r.token(strangeKey(), "new"), counterfoil.ReasonAssertionKey)
			}
			r.wantFetches("while it is away", before, 1)
			r.answers(serving(jwks("old", ecKey(), "new", strangeKey())))
			r.clock.Turn(5 * time.Second)
			r.wantToken(t, r.token(strangeKey(), "new"))
			r.wantToken(t, r.token(ecKey(), "old"))
			r.wantFetches("when it is back", before, 2)

			r.answers(away)
			r.clock.Turn(59 * time.Minute)
			r.wantToken(t, r.token(ecKey(), "old"))
			r.clock.Turn(time.Minute)
			r.wantAway(t, r.token(ecKey(), "old"), counterfoil.ReasonUnavailable)
		})
	}
}
