package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestOldFormServes: a secret of the form that the server made earlier is accepted,
// whatever begins it.
func TestOldFormServes(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for id, secret := range map[string]string{
		"old": "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE", "prefix": "cf_production_secret_of_2024",
		"damaged": "cf_0000000000000000000000000000000000000000001000000",
	} {
		h.adopt(id, ownHash(counterfoil.Secret(secret)))
		if status := h.try(id, counterfoil.Secret(secret)); status != 200 {
			t.Errorf("%s: %d", id, status)
		}
	}
}

// ownHash is the stored form of a secret that the server made.
func ownHash(s counterfoil.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// leaked reports a secret to a realm.
func (h *house) leaked(realm string, s counterfoil.Secret) answer {
	h.t.Helper()
	return h.post("/"+realm+"/leaked", url.Values{"secret": {s.Reveal()}}, nil)
}

// TestLeaked: a secret that is reported ends at once, whoever it is of, and the
// record says what ended. Another secret of the client and its tokens stay.
func TestLeaked(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "altrata")
	token := h.token("oauth2")
	old := h.creds["oauth2"].ClientSecret
	rotated, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", clients.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(rotated.ClientSecret.Reveal())
	if h.try("good", old) != 200 {
		t.Fatal("the old secret is not accepted to begin with")
	}
	if got := h.leaked("oauth2", old); got.status != 200 || got.body != "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v", got)
	}
	e := h.last(counterfoil.EventSecretLeaked)
	if e.ClientID != "good" || e.Realm != "oauth2" || e.Credential != rotated.PreviousID || e.Address != "127.0.0.1" || !e.Success ||
		e.UserAgent == "" || e.Actor != "" || e.Detail != "client secret "+rotated.PreviousID+" ended" || !strings.Contains(e.Changes, rotated.PreviousID) {
		t.Errorf("recorded %+v", e)
	}
	if h.try("good", old) != 401 || h.try("good", rotated.ClientSecret) != 200 {
		t.Error("not the one secret that was sent has ended")
	}
	h.creds["oauth2"] = rotated
	h.wantActive("oauth2", token, true)
	// An API key.
	if got := h.leaked("altrata", h.creds["altrata"].APIKey); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	if e := h.last(counterfoil.EventSecretLeaked); e.ClientID != "good" || e.Realm != "altrata" || !strings.HasPrefix(e.Detail, "API key ") {
		t.Errorf("recorded %+v", e)
	}
	if got := h.do("altrata", h.good("altrata")); got.status != 401 && got.status != 403 {
		t.Errorf("with the API key: %d %s", got.status, got.body)
	}
}

// TestLeakedOfTwo: a secret that two clients have ends for both.
func TestLeakedOfTwo(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	s := cfsecret.New()
	h.keep(s.Reveal())
	h.adopt("one", ownHash(s))
	h.adopt("two", ownHash(s), ownHash(cfsecret.New()))
	h.leaked("oauth2", s)
	for _, id := range []string{"one", "two"} {
		if status := h.try(id, s); status != 401 {
			t.Errorf("%s: %d", id, status)
		}
	}
}

// TestLeakedAnswersAlike: no answer tells whether there is such a secret. What no
// server has made is refused, and a secret in a URL, which servers log, is as well.
func TestLeakedAnswersAlike(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "a55")
	secret := h.creds["oauth2"].ClientSecret
	expired, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", clients.Rotation{Overlap: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(expired.ClientSecret.Reveal())
	h.clock.Turn(2 * time.Minute)
	disabled := h.client(clients.NewClient{Realm: "oauth2", ID: "disabled", Disabled: true})
	h.keep(disabled.ClientSecret.Reveal())
	want := h.leaked("oauth2", expired.ClientSecret)
	for name, s := range map[string]counterfoil.Secret{
		"again": expired.ClientSecret, "invented": cfsecret.New(), "expired": secret, "of another realm": h.creds["a55"].ClientSecret,
		"of a disabled client": disabled.ClientSecret,
	} {
		got := h.leaked("oauth2", s)
		got.header.Set("Date", want.header.Get("Date"))
		if got.status != want.status || got.body != want.body || !maps.EqualFunc(got.header, want.header, func(a, b []string) bool {
			return strings.Join(a, ",") == strings.Join(b, ",") || a[0] != "" && len(a) == len(b) && len(a[0]) == 26
		}) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if name == "invented" {
			h.wantLast(counterfoil.EventTokenRefused, counterfoil.ReasonWrongSecret, "/leaked")
		}
	}
	if n := h.count(counterfoil.EventSecretLeaked); n != 2 {
		t.Errorf("%d secrets were recorded as leaked, want 2", n)
	}
	good := secret.Reveal()
	for name, row := range map[string]struct {
		query  string
		form   url.Values
		reason counterfoil.Reason
	}{
		"nothing":       {"", url.Values{}, counterfoil.ReasonInvalidRequest},
		"garbage":       {"", url.Values{"secret": {"SECRET"}}, counterfoil.ReasonInvalidRequest},
		"mistyped":      {"", url.Values{"secret": {good[:51] + "!"}}, counterfoil.ReasonInvalidRequest},
		"cut off":       {"", url.Values{"secret": {good[:50]}}, counterfoil.ReasonInvalidRequest},
		"twice":         {"", url.Values{"secret": {good, good}}, counterfoil.ReasonRepeatedParameter},
		"in the query":  {"?secret=" + good, url.Values{"secret": {good}}, counterfoil.ReasonMisplacedParameter},
		"much too long": {"", url.Values{"secret": {strings.Repeat("x", 1<<20)}}, counterfoil.ReasonRequestTooLarge},
	} {
		if got := h.post("/oauth2/leaked"+row.query, row.form, nil); got.status < 400 || got.status > 499 {
			t.Errorf("%s: %d", name, got.status)
		}
		h.wantLast(counterfoil.EventTokenRefused, row.reason, "/leaked")
	}
	if got, err := h.http.Get(h.url + "/oauth2/leaked"); err != nil || got.StatusCode == 200 {
		t.Errorf("GET: %+v, %v", got, err)
	}
}

// count returns how many events of a type are recorded.
func (h *house) count(kind string) (n int) {
	for _, e := range h.recorded() {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// TestLeakedIsLimited: who invents secrets has to wait as one who guesses, and is
// answered the same for a real one. What no server has made does not count.
func TestLeakedIsLimited(t *testing.T) {
	looked := &looking{}
	h := newHouseBy(t, limits.Config{Guesses: limits.GuessLimits{Address: 3, Network: 3}, Direct: true},
		func(s store.Store) store.Store { looked.Store = s; return looked }, "oauth2")
	for range 20 {
		if got := h.leaked("oauth2", "cf_garbage"); got.status != 400 {
			t.Fatalf("garbage: %d", got.status)
		}
	}
	if looked.times != 0 {
		t.Errorf("%d look-ups for garbage", looked.times)
	}
	for i := range 4 {
		if got := h.leaked("oauth2", cfsecret.New()); got.status != 200 {
			t.Fatalf("guess %d: %d", i, got.status)
		}
	}
	for _, s := range []counterfoil.Secret{cfsecret.New(), h.creds["oauth2"].ClientSecret} {
		if got := h.leaked("oauth2", s); got.status != 429 || got.header.Get("Retry-After") != "1" {
			t.Errorf("after too many: %d %v", got.status, got.header)
		}
	}
	if looked.times != 4 {
		t.Errorf("%d look-ups", looked.times)
	}
	if n := h.count(counterfoil.EventSecretLeaked); n != 0 {
		t.Error("it ended while its reporter had to wait")
	}
	// One that is right is no guess, however often: nor does it make anybody known.
	h.clock.Turn(2 * time.Hour)
	for i := range 10 {
		s := cfsecret.New()
		h.keep(s.Reveal())
		h.adopt("client"+string(rune('a'+i)), ownHash(s))
		if got := h.leaked("oauth2", s); got.status != 200 {
			t.Fatalf("report %d: %d", i, got.status)
		}
	}
	for range 4 {
		h.leaked("oauth2", cfsecret.New())
	}
	if got := h.leaked("oauth2", h.creds["oauth2"].ClientSecret); got.status != 429 {
		t.Errorf("after reports that were right, guesses are not limited: %d", got.status)
	}
}

// looking counts look-ups by a hash, and fails them when told to.
type looking struct {
	store.Store
	times        int
	found, write error
	// before, when set, is called once before a write.
	before func()
}

func (s *looking) ClientsWithHash(ctx context.Context, realm, value string, limit int) ([]store.Client, error) {
	s.times++
	if s.found != nil {
		return nil, s.found
	}
	return s.Store.ClientsWithHash(ctx, realm, value, limit)
}

func (s *looking) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	if s.write != nil {
		return s.write
	}
	return s.Store.UpdateClient(ctx, c, e)
}

// TestLeakedStoreFails: no success before it is durable.
func TestLeakedStoreFails(t *testing.T) {
	fault := errors.New("the disk is on fire")
	for name, broken := range map[string]looking{"look-up": {found: fault}, "write": {write: fault}} {
		looked := &broken
		h := newHouseOf(t, func(s store.Store) store.Store { looked.Store = s; return looked }, "oauth2")
		if got := h.leaked("oauth2", h.creds["oauth2"].ClientSecret); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if h.try("good", h.creds["oauth2"].ClientSecret) != 200 {
			t.Errorf("%s: the secret is gone all the same", name)
		}
	}
}

// TestLeakedAtOnce: of reports at the same time one is recorded, also while the
// client is being changed.
func TestLeakedAtOnce(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 20
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got := h.leaked("oauth2", h.creds["oauth2"].ClientSecret); got.status != 200 {
				t.Errorf("got %d", got.status)
			}
		})
		wg.Go(func() {
			if err := h.clients.RevokeTokens(t.Context(), "test", "oauth2", "good"); err != nil && !errors.Is(err, clients.ErrAhead) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := h.count(counterfoil.EventSecretLeaked); n != 1 {
		t.Errorf("recorded %d times", n)
	}
	if h.try("good", h.creds["oauth2"].ClientSecret) != 401 {
		t.Error("the secret is accepted")
	}
}

// TestLeakedMeanwhileEnded: a secret that an operator ends at the same time was not
// ended by the report.
func TestLeakedMeanwhileEnded(t *testing.T) {
	looked := &looking{}
	h := newHouseOf(t, func(s store.Store) store.Store { looked.Store = s; return looked }, "oauth2")
	c, err := h.clients.Get(t.Context(), "oauth2", "good")
	if err != nil {
		t.Fatal(err)
	}
	looked.before = func() {
		if err := h.clients.ExpireSecret(t.Context(), "test", "oauth2", "good", c.Secrets[0].ID, time.Time{}); err != nil {
			t.Error(err)
		}
	}
	if got := h.leaked("oauth2", h.creds["oauth2"].ClientSecret); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Type == counterfoil.EventSecretLeaked {
			t.Errorf("told %+v", e)
		}
	}
}
