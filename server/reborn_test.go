package server_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// reborn deletes a client and makes another of its ID, with other grants.
func (h *house) reborn(id string, s store.Settings) clients.Credentials {
	h.t.Helper()
	if err := h.clients.Delete(h.t.Context(), "test", "oauth2", id); err != nil {
		h.t.Fatal(err)
	}
	h.clock.Turn(5 * time.Second)
	c := h.client(clients.NewClient{Realm: "oauth2", ID: id, Settings: s})
	h.clock.Turn(5 * time.Second)
	return c
}

// TestSecretOfADeletedClient: what memory knows of a deleted client brings no
// token to a new client of its ID, however alike the two are.
func TestSecretOfADeletedClient(t *testing.T) {
	h := newGate(t, nil)
	old := h.good("oauth2")
	h.token("oauth2")
	h.creds["oauth2"] = h.reborn("good", store.Settings{Scopes: counterfoil.Scopes{"read"}})
	if got := h.do("oauth2", old); got.status != http.StatusUnauthorized {
		t.Errorf("the secret of a deleted client got %d %s", got.status, got.body)
	}
	if got := h.do("oauth2", h.good("oauth2")); got.status != http.StatusOK {
		t.Errorf("the secret of the new one got %d %s", got.status, got.body)
	}
}

// TestReuseAfterDeletion: a token of a deleted client, which is revoked, is not
// answered to a new client of its ID.
func TestReuseAfterDeletion(t *testing.T) {
	h := newGate(t, nil)
	as := func(tenant string) store.Settings {
		return store.Settings{Scopes: counterfoil.Scopes{"read"}, Tenants: []string{tenant}, Tokens: store.TokenSettings{Policy: provider.PolicyReuse}}
	}
	h.creds["oauth2"] = h.reborn("good", as("old"))
	before := h.token("oauth2")
	h.creds["oauth2"] = h.reborn("good", as("new"))
	if h.token("oauth2") == before {
		t.Error("the revoked token of the deleted client was answered again")
	}
}

// TestReuseAfterReload: a token that was made before the realm was configured
// anew is not answered again.
func TestReuseAfterReload(t *testing.T) {
	h := newGate(t, nil)
	h.creds["oauth2"] = h.reborn("good", store.Settings{Tokens: store.TokenSettings{Policy: provider.PolicyReuse}})
	before := h.token("oauth2")
	p := must(provider.Parse("shorter.yaml", []byte("extends: oauth2\nname: oauth2\ntoken_endpoint: {lifetime: 1m}\n")))
	if err := h.server.Reload(t.Context(), []server.Realm{{Name: "oauth2", Provider: p, BaseURL: h.url + "/oauth2", Issuer: "https://other.example"}}); err != nil {
		t.Fatal(err)
	}
	if h.token("oauth2") == before {
		t.Error("a token of the issuer and the lifetime of before was answered again")
	}
}

// TestChangedGrantsAreSeen: no request is refused because of a stale client in
// memory.
func TestChangedGrantsAreSeen(t *testing.T) {
	h := newGate(t, nil)
	h.token("oauth2")
	if _, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
		s.Scopes = counterfoil.Scopes{"read", "write", "admin"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a := h.good("oauth2")
	a.form.Set("scope", "admin")
	if got := h.do("oauth2", a); got.status != http.StatusOK {
		t.Errorf("a scope that was granted a moment ago got %d %s", got.status, got.body)
	}
}

// TestClaimsOfAnotherCase: a client's own claims are none that a careless
// verifier could take for those of the server.
func TestClaimsOfAnotherCase(t *testing.T) {
	p := must(provider.Parse("own.yaml", []byte(nameless+"    - {name: plan, value: gold}\n")))
	for _, name := range []string{"scope", "SCOPE", "Sub", "\u017fub", "client_ID", "plan", "PLAN"} {
		if err := (&clients.Rules{Provider: p}).Check(&store.Settings{Tokens: store.TokenSettings{Claims: map[string]string{name: "x"}}}); err == nil {
			t.Errorf("the claim %q was taken", name)
		}
	}
	if err := (&clients.Rules{Provider: p}).Check(&store.Settings{Tokens: store.TokenSettings{Claims: map[string]string{"tier": "x"}}}); err != nil {
		t.Error(err)
	}
}
