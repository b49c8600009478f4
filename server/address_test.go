package server_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// A list of addresses counts wherever the client's tokens are used: at a guard in
// this process, at one that introspects, and at the server's own endpoints.
func TestAddressesOfATokenInUse(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	limit := func(id string, to []netip.Prefix) {
		t.Helper()
		if _, err := h.clients.Change(t.Context(), "test", "oauth2", id, 0, func(s *store.Settings) error { s.Addresses = to; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	api := h.resourceServer("oauth2")
	other := h.client(clients.NewClient{Realm: "oauth2", ID: "other", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Addresses: here}})
	token, apiToken := h.tokenOf("oauth2", other), h.tokenOf("oauth2", api)

	issuer := h.server.Issuer("oauth2")
	p := &counterfoil.Principal{ClientID: "other", TokenID: "any", Issued: h.clock.Now(), Expires: h.clock.Now().Add(1e12)}
	from := func(address string) counterfoil.Reason {
		t.Helper()
		ip, _ := netip.ParseAddr(address)
		err := issuer.LiveFrom(t.Context(), p, "", ip)
		e, ok := errors.AsType[*counterfoil.Error](err)
		if err != nil && !ok {
			t.Fatal(err)
		}
		if err == nil {
			return ""
		}
		return e.Reason
	}
	for address, want := range map[string]counterfoil.Reason{
		"127.9.9.9": "", "2001:db8:1::1": "", "::ffff:127.0.0.1": "", "192.0.2.1": counterfoil.ReasonTokenAddress,
		"2001:db9::1": counterfoil.ReasonTokenAddress, "": counterfoil.ReasonTokenAddress,
	} {
		if got := from(address); got != want {
			t.Errorf("from %q: %q, want %q", address, got, want)
		}
	}
	introspected := func() (found []netip.Prefix) {
		t.Helper()
		got := h.introspect("oauth2", token, h.as("oauth2", api))
		var body struct {
			Active    bool
			Addresses []netip.Prefix `json:"client_addresses"`
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || !body.Active {
			t.Fatalf("answered %d %s", got.status, got.body)
		}
		return body.Addresses
	}
	if got := introspected(); !slices.Equal(got, here) {
		t.Errorf("introspection says %v", got)
	}
	// The list counts as it is now, not as it was when the token was issued.
	limit("other", nil)
	if got := introspected(); got != nil || from("192.0.2.1") != "" {
		t.Errorf("without a list: introspection says %v, the issuer %q", got, from("192.0.2.1"))
	}
	bearer := http.Header{"Authorization": {"Bearer " + apiToken}}
	if got := h.introspect("oauth2", token, bearer); got.status != http.StatusOK {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	limit(api.ClientID, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	if got := h.introspect("oauth2", token, bearer); got.status != http.StatusUnauthorized || h.last(counterfoil.EventTokenRefused).Reason != counterfoil.ReasonTokenAddress {
		t.Errorf("a resource server's token from elsewhere: %d %s", got.status, got.body)
	}
}

// The server's own service of clients refuses a jwks_uri that the server cannot
// fetch.
func TestKeySetURLThatTheServerCannotFetch(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	_, err := h.server.Clients().Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
		s.Authentication.KeySetURL = "https://keys.example/jwks"
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "outbound.hosts") {
		t.Errorf("%v", err)
	}
}
