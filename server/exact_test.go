package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// nearMisses are values that share something with the right one and are others.
func nearMisses(right string) map[string]string {
	last := "A"
	for strings.HasPrefix(right, last) || strings.HasSuffix(right, last) {
		last = string(last[0] + 1)
	}
	flipped := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, right)
	return map[string]string{
		"another last character":  right[:len(right)-1] + last,
		"another first character": last + right[1:],
		"one character more":      right + last,
		"one character less":      right[:len(right)-1],
		"all but the first":       right[1:],
		"the first 40 and others": right[:40] + strings.Repeat(last, len(right)-40),
		"the first half twice":    right[:len(right)/2] + right[:len(right)/2],
		"the other case":          flipped,
		"twice":                   right + right,
		"a space behind":          right + " ",
		"a space before":          " " + right,
	}
}

// TestSecretsAreComparedWhole: a secret or an API key that is right but for one
// character, wherever that is, is wrong.
func TestSecretsAreComparedWhole(t *testing.T) {
	long := strings.Repeat("0123456789", 20) + "x"
	for kind, row := range map[string]struct {
		realm string
		value func(h *house) string
		put   func(a *ask, value string)
	}{
		"secret": {
			"oauth2", func(h *house) string { return h.creds["oauth2"].ClientSecret.Reveal() },
			func(a *ask, value string) { a.form.Set("client_secret", value) },
		},
		"long secret": {
			"oauth2", func(h *house) string {
				sum := sha256.Sum256([]byte(long))
				h.adopt("long", "sha256:"+base64.RawURLEncoding.EncodeToString(sum[:]))
				return long
			},
			func(a *ask, value string) {
				a.form = url.Values{"grant_type": {"client_credentials"}, "client_id": {"long"}, "client_secret": {value}}
			},
		},
		"API key": {
			"altrata", func(h *house) string { return h.creds["altrata"].APIKey.Reveal() },
			func(a *ask, value string) { a.header.Set("X-Api-Key", value) },
		},
		"secret beside an API key": {
			"altrata", func(h *house) string { return h.creds["altrata"].ClientSecret.Reveal() },
			func(a *ask, value string) { a.header.Set("Authorization", basic("good", value)) },
		},
	} {
		t.Run(kind, func(t *testing.T) {
			h := newHouseOf(t, nil, row.realm)
			right := row.value(h)
			for name, wrong := range nearMisses(right) {
				if kind == "API key" && strings.TrimSpace(wrong) == right {
					continue // HTTP strips the space around a field's value
				}
				a := h.good(row.realm)
				row.put(a, wrong)
				if got := h.do(row.realm, a); got.status != http.StatusUnauthorized && got.status != http.StatusForbidden {
					t.Errorf("%s: got %d", name, got.status)
				}
			}
			a := h.good(row.realm)
			row.put(a, right)
			if got := h.do(row.realm, a); got.status != http.StatusOK {
				t.Errorf("the right one got %d %s", got.status, got.body)
			}
		})
	}
}

// TestRuleWithoutClaims: a rule that names an issuer and no claims, however it
// came into the store, takes none of the issuer's workloads for the client.
func TestRuleWithoutClaims(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	for name, row := range map[string]struct {
		claims map[string]string
		ok     bool
	}{
		"nil":     {nil, false},
		"empty":   {map[string]string{}, false},
		"a claim": {map[string]string{"sub": "system:serviceaccount:billing:worker"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := store.Client{
				Realm: "oauth2", ID: name, Version: 1, Created: h.clock.Now(),
				Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Authentication: store.Authentication{
					Federation: []store.FederationRule{{Issuer: cluster, Claims: row.claims}},
				}},
			}
			// Past the checks of Clients, as an older program or a restored backup does.
			if err := h.store.CreateClient(t.Context(), c, counterfoil.Event{Type: counterfoil.EventClientCreated, Time: h.clock.Now(), Realm: "oauth2", ClientID: name, Success: true}); err != nil {
				t.Fatal(err)
			}
			a := h.asserting(signed(rsKey(), "sa", h.pod()), "client_id", name)
			if row.ok {
				h.wantToken(t, a)
				return
			}
			h.wantInvalid(t, a, counterfoil.ReasonAssertionClaims)
		})
	}
	t.Run("is not taken by Clients", func(t *testing.T) {
		n := clients.NewClient{Realm: "oauth2", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Authentication: store.Authentication{Federation: []store.FederationRule{{Issuer: cluster}}}}}
		if _, _, err := h.clients.Create(t.Context(), "test", n); err == nil {
			t.Error("a rule without claims was taken")
		}
	})
}

// Providers that say for how much of its life a token is answered again.
const (
	reused10 = "extends: oauth2\nname: reused-10\ntoken_endpoint: {policy: reuse, reuse_percent: 10}\n"
	reused90 = "extends: oauth2\nname: reused-90\ntoken_endpoint: {policy: reuse, reuse_percent: 90}\n"
)

// TestReusePercent: a token is answered again until as much of its life has
// passed as the description says, and a new one from then on.
func TestReusePercent(t *testing.T) {
	for name, row := range map[string]struct {
		realm   string
		life    time.Duration // the client's own; 0 for the realm's
		percent int
	}{
		"not said":                  {"reused", 0, 50},
		"a tenth":                   {"reused-10", 0, 10},
		"most":                      {"reused-90", 0, 90},
		"a tenth of the client's":   {"reused-10", 20 * time.Minute, 10},
		"not said, of the client's": {"reused", 20 * time.Minute, 50},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, row.realm)
			life := must(builtin(row.realm)).TokenEndpoint.Lifetime
			if row.life != 0 {
				life = row.life
				h.creds[row.realm] = h.client(clients.NewClient{Realm: row.realm, ID: "short", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Tokens: store.TokenSettings{Lifetime: row.life}}})
			}
			first := h.token(row.realm)
			share := life * time.Duration(row.percent) / 100
			h.clock.Turn(share - time.Second)
			if h.token(row.realm) != first {
				t.Errorf("another token a second before %d%% of %v have passed", row.percent, life)
			}
			h.clock.Turn(time.Second)
			if h.token(row.realm) == first {
				t.Errorf("the same token when %d%% of %v have passed", row.percent, life)
			}
		})
	}
}
