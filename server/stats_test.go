package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// OnEvent hears of each decision of every endpoint once, with the endpoint and how
// long it took.
func TestEventsOfEndpoints(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	token := h.token("oauth2")
	h.introspect("oauth2", token, h.asGood("oauth2"))
	h.introspect("oauth2", token, http.Header{})
	h.revoke("oauth2", token, h.asGood("oauth2"))
	type told struct {
		kind, endpoint string
		reason         counterfoil.Reason
	}
	var got []told
	for _, e := range h.events {
		got = append(got, told{e.Type, e.Endpoint, e.Reason})
		if e.Duration <= 0 && h.clock.Now().After(e.Time) {
			t.Errorf("%s took %v", e.Type, e.Duration)
		}
	}
	want := []told{
		{"token.issued", "", ""}, {"token.introspected", "/introspect", ""},
		{"token.refused", "/introspect", counterfoil.ReasonCredentialsMissing}, {"token.revoked", "/revoke", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, e := range h.recorded() {
		if e.Type == counterfoil.EventTokenIntrospected {
			t.Error("an introspection is recorded")
		}
	}
}

// slowStore takes two seconds to read a client, and three to record a token.
type slowStore struct {
	store.Store
	clock *clock.Manual
}

func (s *slowStore) Client(ctx context.Context, realm, id string) (store.Client, error) {
	if s.clock != nil {
		s.clock.Turn(2 * time.Second)
	}
	return s.Store.Client(ctx, realm, id)
}

func (s *slowStore) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	s.clock.Turn(3 * time.Second)
	return s.Store.RecordIssued(ctx, i)
}

// The time that a decision took is told, though its token is dated at the end.
func TestDurationOfARequest(t *testing.T) {
	slow := &slowStore{}
	h := newHouseOf(t, func(s store.Store) store.Store { slow.Store = s; return slow }, "oauth2")
	slow.clock = h.clock
	h.token("oauth2")
	if e := h.events[len(h.events)-1]; e.Type != counterfoil.EventTokenIssued || e.Duration != 5*time.Second {
		t.Errorf("%s took %v", e.Type, e.Duration)
	}
}

func TestStatsOfTheClock(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.clock.Step(time.Minute)
	h.token("oauth2")
	h.clock.Step(-time.Hour)
	h.token("oauth2")
	h.token("oauth2")
	if s := h.server.Stats(); s.ClockAhead != 1 || s.ClockBack != 1 {
		t.Errorf("got %+v", s)
	}
}

// The state of keys says which one signs since when, and when the next will.
func TestStatsOfKeys(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	begun := h.server.Stats().Keys
	if len(begun) != 1 || begun[0].Realm != "oauth2" || begun[0].Algorithm == "" || !begun[0].Rotates.IsZero() ||
		h.clock.Now().Sub(begun[0].Activated).Abs() > 2*time.Second {
		t.Fatalf("got %+v", begun)
	}
	r := server.Realm{Name: "oauth2", Provider: must(provider.Builtin("oauth2")), BaseURL: h.url + "/oauth2", KeyRotationInterval: 90 * 24 * time.Hour}
	if err := h.server.Reload(t.Context(), []server.Realm{r}); err != nil {
		t.Fatal(err)
	}
	if at := h.server.Stats().Keys[0]; !at.Rotates.Equal(at.Activated.Add(r.KeyRotationInterval)) {
		t.Errorf("by age: %+v", at)
	}
	k, err := h.server.Keys().Rotate(t.Context(), "test", r.Signing(), "", signing.Rotation{Prepublish: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if at := h.server.Stats().Keys[0]; !at.Rotates.Equal(k.Activates) || at.Activated != begun[0].Activated {
		t.Errorf("with a next key: %+v, it activates at %v", at, k.Activates)
	}
	h.clock.Turn(3 * time.Hour)
	if at := h.server.Stats().Keys[0]; !at.Activated.Equal(k.Activates) || !at.Rotates.Equal(k.Activates.Add(r.KeyRotationInterval)) {
		t.Errorf("after it: %+v", at)
	}
}

// A realm whose active key is sealed under a master key that this server does not
// have cannot sign, and says so.
func TestTrySigning(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "a55")
	if err := h.server.TrySigning(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := h.store.SigningKeys(t.Context(), "a55")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	next := keys[0]
	next.ID, next.Activates, next.Created = "next", h.clock.Now(), h.clock.Now()
	next.Private = counterfoil.Secret("v1." + strings.Repeat("A", 100))
	if err := h.store.AddSigningKey(t.Context(), next, keys[0].ID, counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: h.clock.Now(), Realm: "a55"}); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(2 * time.Minute) // until it is read
	if err := h.server.TrySigning(t.Context()); err == nil {
		t.Error("a realm signs with a key that nobody can open")
	} else if !strings.Contains(err.Error(), `realm "a55"`) {
		t.Error(err)
	}
}
