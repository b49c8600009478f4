package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// of returns the records of a type.
func (h *house) of(kind string) (all []store.RecordedEvent) {
	for _, e := range h.recorded() {
		if e.Type == kind {
			all = append(all, e)
		}
	}
	return all
}

// TestEndedCredentialIsNoticed: the use of what was a client's is recorded, and the
// answer is that of any wrong secret.
func TestEndedCredentialIsNoticed(t *testing.T) {
	h := newGate(t, nil)
	old := h.creds["oauth2"].ClientSecret
	first, err := h.clients.Get(t.Context(), "oauth2", "good")
	if err != nil {
		t.Fatal(err)
	}
	next, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", clients.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(next.ClientSecret.Reveal())
	h.adopt("slow", bcryptHash)
	slow, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "slow", clients.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey(), "rs", rsKey())})
	if _, err := h.freely().Change(t.Context(), "test", "oauth2", "job", 0, func(s *store.Settings) error {
		s.Authentication.KeySet = jwks("rs", rsKey())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	try := func(id, secret string) answer {
		a := h.good("oauth2")
		a.credentials(id, secret)
		return h.do("oauth2", a)
	}
	wrong := try("good", "never one of its own")
	if got := try("good", old.Reveal()); got.status != wrong.status || got.body != wrong.body {
		t.Errorf("the answer to a secret that was right is %d %s, and to another %d %s", got.status, got.body, wrong.status, wrong.body)
	}
	try("unknown", old.Reveal())
	try("slow", old.Reveal())
	h.clock.Turn(time.Second)
	try("slow", string(imported))
	h.do("oauth2", h.asserting(signed(ecKey(), "ec", h.own("job"))))
	forged := h.do("oauth2", h.asserting(signed(edKey(), "ec", h.own("job"))))
	if forged.status != http.StatusUnauthorized {
		t.Errorf("%d", forged.status)
	}
	// One that ends later, and is still stored.
	if err := h.clients.ExpireSecret(t.Context(), "test", "oauth2", "slow", slow.ID, h.clock.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := try("slow", slow.ClientSecret.Reveal()); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	h.clock.Turn(time.Hour)
	try("slow", slow.ClientSecret.Reveal())
	want := []string{"good secret " + first.Secrets[0].ID, "job key ec", "slow secret", "slow secret " + slow.ID}
	var got []string
	eventually.True(t, "all are recorded", func() bool {
		got = nil
		for _, e := range h.of(counterfoil.EventCredentialEnded) {
			if e.Success || e.Address != "127.0.0.1" || e.Credential == "" || e.Reason == "" {
				t.Errorf("%+v", e)
			}
			got = append(got, e.ClientID+" "+e.Detail)
		}
		slices.Sort(got)
		return len(got) == len(want)
	})
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) && !(strings.HasPrefix(want[i], "slow") && strings.HasPrefix(got[i], "slow secret ")) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// After three months nobody is told.
	h.clock.Turn(91 * 24 * time.Hour)
	try("good", old.Reveal())
	try("good", next.ClientSecret.Reveal())
	h.clock.Turn(time.Minute)
	try("slow", slow.ClientSecret.Reveal())
	if n := len(h.of(counterfoil.EventCredentialEnded)); n != len(want) {
		t.Errorf("%d records", n)
	}
}

// TestEndedAPIKeyIsNoticed: so is an API key.
func TestEndedAPIKeyIsNoticed(t *testing.T) {
	h := newHouseOf(t, nil, "altrata")
	a := h.good("altrata")
	made, err := h.clients.RotateAPIKey(t.Context(), "test", "altrata", "good", clients.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(made.APIKey.Reveal())
	h.do("altrata", a)
	eventually.True(t, "it is recorded", func() bool { return len(h.of(counterfoil.EventCredentialEnded)) == 1 })
	if e := h.of(counterfoil.EventCredentialEnded)[0]; !strings.HasPrefix(e.Detail, "API key ") || e.ClientID != "good" {
		t.Errorf("%+v", e)
	}
}

// TestBlockIsRecorded: once, and without what may be erased.
func TestBlockIsRecorded(t *testing.T) {
	h := newHouseBy(t, limits.Config{Direct: true}, nil, "oauth2")
	a := h.good("oauth2")
	a.form.Set("client_secret", "wrong")
	for range 17 {
		h.do("oauth2", a)
		h.clock.Turn(2 * time.Minute)
	}
	if all := h.of(counterfoil.EventBlockBegan); len(all) != 0 {
		t.Fatalf("before there is a block: %+v", all)
	}
	for range 30 {
		h.do("oauth2", a)
		h.clock.Turn(time.Minute)
	}
	all := h.of(counterfoil.EventBlockBegan)
	if len(all) == 0 {
		t.Fatal("no block is recorded")
	}
	if all[0].Detail != "the address" { // whose limit is the lowest
		t.Errorf("the first is of %s", all[0].Detail)
	}
	for _, e := range all {
		if e.Realm != "oauth2" || e.ClientID != "" || e.Address != "127.0.0.1" || e.Detail != "the address" && e.Detail != "the network" {
			t.Errorf("%+v", e)
		}
	}
	for range 100 { // while it is blocked
		h.do("oauth2", a)
	}
	if n := len(h.of(counterfoil.EventBlockBegan)); n != len(all) {
		t.Errorf("%d blocks are recorded, and then %d", len(all), n)
	}
}

// TestCredentialExpires: an authenticated client is told in a header that it, or what
// it has used, ends within 30 days; the body is as ever, and nobody else is told.
func TestCredentialExpires(t *testing.T) {
	h := newHouseOf(t, nil, "altrata", "oauth2")
	now := h.clock.Now()
	header := func(realm string) string {
		t.Helper()
		got := h.do(realm, h.good(realm))
		var body struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(got.body), &body); got.status != http.StatusOK || err != nil {
			t.Fatalf("%d %s", got.status, got.body)
		}
		h.keep(body.Token)
		return strings.Join(got.header["Credential-Expires"], " | ")
	}
	expires := func(at time.Time) {
		t.Helper()
		if _, err := h.freely().Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error { s.Expires = at; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	const month = 30 * 24 * time.Hour
	if got := header("oauth2"); got != "" {
		t.Errorf("without an end: %s", got)
	}
	expires(now.Add(month + time.Second))
	if got := header("oauth2"); got != "" {
		t.Errorf("in more than 30 days: %s", got)
	}
	expires(time.Unix(now.Unix(), 0).Add(month))
	if got := header("oauth2"); got != "@1785499200;kind=client" {
		t.Errorf("in 30 days: %s", got)
	}
	a := h.good("oauth2")
	a.form.Set("client_secret", "wrong")
	if got := h.do("oauth2", a); got.header.Get("Credential-Expires") != "" {
		t.Error("a stranger is told")
	}
	a = h.good("oauth2")
	a.form.Set("scope", "none")
	if got := h.do("oauth2", a); got.status == http.StatusOK || got.header.Get("Credential-Expires") != "" {
		t.Errorf("a refusal: %d %v", got.status, got.header)
	}
	// The first to end of those that were used: a new secret says nothing of the old.
	next, err := h.clients.RotateSecret(t.Context(), "test", "altrata", "good", clients.Rotation{Overlap: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	key, err := h.clients.RotateAPIKey(t.Context(), "test", "altrata", "good", clients.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(next.ClientSecret.Reveal(), key.APIKey.Reveal())
	if got := header("altrata"); got != "@1782910800;kind=api_key" {
		t.Errorf("%s", got)
	}
	mixed := h.creds["altrata"]
	mixed.APIKey = key.APIKey
	h.creds["altrata"] = mixed
	if got := header("altrata"); got != "@1782993600;kind=secret" {
		t.Errorf("%s", got)
	}
	mixed.ClientSecret = next.ClientSecret
	h.creds["altrata"] = mixed
	if got := header("altrata"); got != "" {
		t.Errorf("the new ones: %s", got)
	}
}
