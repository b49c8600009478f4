package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/counterfoil/counterfoil"
)

// TestOldFormServes: a secret of the form that the server made earlier is accepted,
// whatever begins it.
func TestOldFormServes(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for id, secret := range map[string]string{
		"old": "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE", "prefix": "cf_production_secret_of_2024",
		"damaged": "cf_0000000000000000000000000000000000000000001000000",
	} {
		sum := sha256.Sum256([]byte(secret))
		h.adopt(id, "sha256:"+base64.RawURLEncoding.EncodeToString(sum[:]))
		if status := h.try(id, counterfoil.Secret(secret)); status != 200 {
			t.Errorf("%s: %d", id, status)
		}
	}
}
