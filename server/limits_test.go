package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestLimitsOfAClient: what an operator sets for a client holds from the next
// request on, whatever the server remembers of it.
func TestLimitsOfAClient(t *testing.T) {
	h := newGate(t, nil)
	now := h.clock.Now()
	for _, row := range []struct {
		name string
		set  func(*store.Settings)
		why  counterfoil.Reason // empty for a token
		life time.Duration
	}{
		{"none", func(*store.Settings) {}, "", time.Hour},
		{"its own lifetime", func(s *store.Settings) { s.Tokens.Lifetime = 10 * time.Minute }, "", 10 * time.Minute},
		{"a lifetime beyond the realm's", func(s *store.Settings) { s.Tokens.Lifetime = 2 * time.Hour }, "", time.Hour},
		{"it expires sooner than a token", func(s *store.Settings) { s.Expires = now.Add(90*time.Second + 300*time.Millisecond) }, "", 90 * time.Second},
		{"it expires now", func(s *store.Settings) { s.Expires = now }, counterfoil.ReasonClientExpired, 0},
		{"it has expired", func(s *store.Settings) { s.Expires = now.Add(-time.Hour) }, counterfoil.ReasonClientExpired, 0},
		{"its own network", func(s *store.Settings) { s.Addresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }, "", time.Hour},
		{"another network", func(s *store.Settings) { s.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, counterfoil.ReasonAddressNotAllowed, 0},
		{"one of two networks", func(s *store.Settings) {
			s.Addresses = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.1/32")}
		}, "", time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := h.freely().Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
				s.Expires, s.Addresses, s.Tokens.Lifetime = time.Time{}, nil, 0
				row.set(s)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if row.why != "" {
				h.wantInvalid(t, h.good("oauth2"), row.why)
				guess := h.good("oauth2")
				guess.credentials("good", "a guess")
				h.wantInvalid(t, guess, counterfoil.ReasonWrongSecret) // strangers learn nothing of limits
				return
			}
			c, got := h.wantToken(t, h.good("oauth2"))
			from, to := c["iat"].(float64), c["exp"].(float64)
			var answer struct {
				ExpiresIn float64 `json:"expires_in"`
			}
			if err := json.Unmarshal([]byte(got.body), &answer); err != nil || to-from != row.life.Seconds() || answer.ExpiresIn != row.life.Seconds() {
				t.Errorf("a token of %v seconds that is answered as one of %v, want %v", to-from, answer.ExpiresIn, row.life)
			}
		})
	}
}

// TestMostParameters: a form may have 32 parameters, and not one more.
func TestMostParameters(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for most, status := range map[int]int{32: http.StatusOK, 33: http.StatusBadRequest} {
		a := h.good("oauth2")
		for n := len(a.form); n < most; n++ {
			a.form.Set(fmt.Sprint("p", n), "x")
		}
		if got := h.do("oauth2", a); got.status != status {
			t.Errorf("%d parameters got %d %s, want %d", most, got.status, got.body, status)
		}
	}
}

// TestLongestScope: a scope that is as long as may be is looked at, and one that is
// longer by a byte is not.
func TestLongestScope(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for most, reason := range map[int]counterfoil.Reason{1024: counterfoil.ReasonScopeNotAllowed, 1025: counterfoil.ReasonScopeMalformed} {
		a := h.good("oauth2")
		a.form.Set("scope", strings.Repeat("x", most))
		if got := h.do("oauth2", a); got.status != http.StatusBadRequest {
			t.Errorf("%d bytes got %d %s", most, got.status, got.body)
		}
		h.wantRefused(t, reason)
	}
}

// TestLargestBody: a body that is as large as may be is read, and one that is
// larger by a byte is not.
func TestLargestBody(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	const most = 16 << 10
	for size, status := range map[int]int{most: http.StatusOK, most + 1: http.StatusRequestEntityTooLarge} {
		a := h.good("oauth2")
		rest := "&" + a.form.Encode() // to the last byte of which it is read
		a.body = "pad=" + strings.Repeat("x", size-len("pad=")-len(rest)) + rest
		if got := h.do("oauth2", a); got.status != status {
			t.Errorf("a body of %d bytes got %d %s, want %d", size, got.status, got.body, status)
		}
	}
}

// TestClaimsOfAClient: a client's own claims are in its tokens, beside those of the
// realm, and those of a client without any are as they were.
func TestClaimsOfAClient(t *testing.T) {
	h := newGate(t, nil)
	before, _ := h.wantToken(t, h.good("oauth2"))
	if _, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
		s.Tokens.Claims = map[string]string{"plan": "gold", "a": `quoted "b"`}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	after, _ := h.wantToken(t, h.good("oauth2"))
	if after["plan"] != "gold" || after["a"] != `quoted "b"` || len(after) != len(before)+2 {
		t.Errorf("the claims are %v, before they were %v", after, before)
	}
}

// TestLongestCredentials: the longest ID and secret that a provider takes are looked
// at, those with a byte more are malformed.
func TestLongestCredentials(t *testing.T) {
	h := newHouse(t)
	for realm := range dialects {
		p, err := builtin(realm)
		if err != nil {
			t.Fatal(err)
		}
		limits := p.TokenEndpoint.Limits
		h.keep(strings.Repeat("s", limits.ClientSecret))
		for _, row := range []struct {
			id, secret int
			reason     counterfoil.Reason
		}{
			{limits.ClientID, 8, counterfoil.ReasonUnknownClient},
			{limits.ClientID + 1, 8, counterfoil.ReasonCredentialsMalformed},
			{4, limits.ClientSecret, counterfoil.ReasonUnknownClient},
			{4, limits.ClientSecret + 1, counterfoil.ReasonCredentialsMalformed},
		} {
			a := h.good(realm)
			a.credentials(strings.Repeat("i", row.id), strings.Repeat("s", row.secret))
			h.do(realm, a)
			if got := h.wantRefused(t, row.reason); got.Realm != realm {
				t.Errorf("%s: the record is of %s", realm, got.Realm)
			}
		}
	}
}
