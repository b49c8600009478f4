package clientauth_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
)

// TestDecoys: an assertion of any algorithm that is accepted can be verified where
// no key is for it. A key that does not suit would be refused before the work.
func TestDecoys(t *testing.T) {
	for _, algorithm := range clientauth.AssertionAlgorithms() {
		key := jose.PublicKey{Key: clientauth.Decoys()[algorithm]}
		if !key.Suits(algorithm) {
			t.Errorf("the decoy of %s does not suit it: %T", algorithm, key.Key)
		}
	}
}
