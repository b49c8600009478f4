package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestKindsAreKeptApart: no JWT of one kind serves as another (RFC 8725 section
// 3.12), be they all of one client and one realm.
func TestKindsAreKeptApart(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	assertion := func() string { return signed(ecKey(), "ec", h.own("job")) }
	shown := func() string { return proof(ecKey(), h.proofFor(h.url+"/oauth2/token")) }
	token := tokenIn(t, h.do("oauth2", h.asserting(assertion())))
	h.keep(token)

	h.wantInvalid(t, h.asserting(shown()), counterfoil.ReasonAssertionMalformed)
	h.wantInvalid(t, h.asserting(token), counterfoil.ReasonAssertionMalformed)
	h.wantProofRefused(t, h.proving(assertion()), "invalid_dpop_proof", counterfoil.ReasonInvalidDPoPProof)
	h.wantProofRefused(t, h.proving(token), "invalid_dpop_proof", counterfoil.ReasonInvalidDPoPProof)
	for name, text := range map[string]string{"assertion": assertion(), "proof": shown()} {
		h.keep(text)
		header := http.Header{"Authorization": {"Bearer " + text}}
		if got := h.introspect("oauth2", token, header); got.status != http.StatusUnauthorized {
			t.Errorf("an %s as a bearer token: %d", name, got.status)
		}
		h.wantLast(counterfoil.EventTokenRefused, counterfoil.ReasonTokenInvalid, "/introspect")
		if got := h.introspect("oauth2", text, h.as("oauth2", h.creds["oauth2"])); got.body != inactive {
			t.Errorf("an %s is active: %s", name, got.body)
		}
	}
}

// TestBoundTokenIsNoBearerToken: the bearer of a sender-constrained token has
// proved nothing, at the server's own endpoints neither.
func TestBoundTokenIsNoBearerToken(t *testing.T) {
	h := newGate(t, nil)
	api := h.resourceServer("oauth2")
	ask := h.proving(proof(ecKey(), h.proofFor(h.url+"/oauth2/token")))
	ask.credentials(api.ClientID, api.ClientSecret.Reveal())
	bound := tokenIn(t, h.do("oauth2", ask))
	h.keep(bound)
	for _, scheme := range []string{"Bearer", "DPoP"} {
		got := h.post("/oauth2/introspect", url.Values{"token": {bound}}, http.Header{"Authorization": {scheme + " " + bound}})
		if got.status != http.StatusUnauthorized {
			t.Errorf("introspection with %s: %d", scheme, got.status)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/oauth2/revocations", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "Bearer "+bound)
	resp, err := h.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the feed: %d", resp.StatusCode)
	}
	h.wantLast(counterfoil.EventTokenRefused, counterfoil.ReasonTokenProof, "/revocations")

	// With its credentials the client is told what the token is bound to.
	got := h.introspect("oauth2", bound, h.as("oauth2", api))
	var said struct {
		Active bool              `json:"active"`
		Type   string            `json:"token_type"`
		Bound  map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || !said.Active || said.Type != "DPoP" || said.Bound["jkt"] == "" {
		t.Errorf("said %+v, %v", said, err)
	}
}
