package server_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
)

// TestAssertionServesOnceEverywhere: an assertion that was used at one endpoint
// is a replay at every other, and at the same; its use is recorded, and it does
// what it is used for.
func TestAssertionServesOnceEverywhere(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", server.Authentication{KeySet: jwks("ec", ecKey())})
	token := h.accessTokenOf(t, "job")
	at := func(path string, form url.Values) answer {
		form.Set("token", token)
		return h.post("/oauth2"+path, form, nil)
	}
	for _, first := range []string{"/introspect", "/revoke", "/token"} {
		t.Run(first[1:], func(t *testing.T) {
			form := h.asserting(signed(ecKey(), "ec", h.own("job"))).form
			if got := at(first, form); got.status != http.StatusOK || first == "/introspect" && got.body == inactive {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if first == "/introspect" {
				h.wantLast(counterfoil.EventClientAuthenticated, "", "")
			}
			for _, again := range []string{"/introspect", "/revoke", "/token"} {
				if got := at(again, form); got.status != http.StatusUnauthorized {
					t.Errorf("again at %s: %d %s", again, got.status, got.body)
				}
				h.wantLast(counterfoil.EventTokenRefused, counterfoil.AssertionReplayed, "")
			}
		})
	}
	if got := at("/introspect", h.asserting(signed(ecKey(), "ec", h.own("job"))).form); got.body != inactive {
		t.Errorf("after its revocation the token is answered %s", got.body)
	}
}

// accessTokenOf returns a token of a client that authenticates by assertion.
func (h *house) accessTokenOf(t *testing.T, id string) string {
	t.Helper()
	_, got := h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own(id))))
	return tokenIn(t, got)
}
