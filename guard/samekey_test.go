package guard_test

import (
	"crypto"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// Another key that is published under the ID of the one before verifies nothing that
// was signed with that, though the token is remembered.
func TestAnotherKeyOfTheSameID(t *testing.T) {
	set := func(key crypto.Signer) string {
		return string(must(jose.MarshalSet([]jose.PublicKey{{ID: "k1", Algorithm: jose.RS256, Key: key.Public()}})))
	}
	pub := newPublisher(t)
	pub.serve(answerSet(set(rsaKey())))
	keys := pub.remote(nil)
	r := newRigFor(t, parse(t, "several", several), dialects()["oauth2"], func(c *guard.Config) {
		c.Keys, c.Clock, c.Liveness, c.Directory = keys, pub.clock, nil, nil
	})
	token := josetest.Token(rsaKey(), `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, dialects()["oauth2"].claims.String())
	for range 2 {
		if got := r.reason(token); got != "" {
			t.Fatalf("%q", got)
		}
	}
	pub.serve(answerSet(set(rsaOther())))
	pub.turn(5 * time.Minute)
	if got := r.reason(token); got != counterfoil.ReasonTokenSignature {
		t.Errorf("%q", got)
	}
}
