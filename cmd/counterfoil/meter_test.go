package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// What a running server lacks is said in one word, and nothing is lost meanwhile: a
// clock that is set back by an hour, and keys that nobody can open.
func TestChecksOfAServer(t *testing.T) {
	p, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	now := clock.NewStepping(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	s := siteBy(t, now, p)
	ends := func() time.Time { return now.Now().Add(time.Hour) }
	checks, err := checksOf(t.Context(), now, s.store, s.server, ends)
	if err != nil {
		t.Fatal(err)
	}
	said := func() (text string) {
		now.Turn(checkKeys)
		for _, r := range checks.Ask() {
			if !r.Good() {
				text += r.Check + " is " + r.Status + "; "
			}
		}
		return text
	}
	token := func() {
		t.Helper()
		c := s.realms[0].client
		form := strings.NewReader("grant_type=client_credentials&client_id=" + c.id + "&client_secret=" + c.secret.Reveal())
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.realms[0].tokenURL(), form)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if status, body := s.send(r); status != http.StatusOK {
			t.Errorf("a token request is answered %d %s", status, body)
		}
	}
	if got := said(); got != "" {
		t.Errorf("at first %s", got)
	}
	token()
	now.Step(-time.Hour)
	if got := said(); got != "clock is behind; " {
		t.Errorf("an hour back: %q", got)
	}
	token()
	if got := said(); got != "clock is behind; " {
		t.Errorf("an hour back, and a token later: %q", got)
	}
	// A server that starts now finds the record ahead of the clock.
	if again, err := checksOf(t.Context(), now, s.store, s.server, ends); err != nil {
		t.Fatal(err)
	} else if r := again.Ask()[2]; r.Check != "clock" || !r.Good() {
		t.Errorf("the newest event is of now, and the clock is %+v", r)
	}
	now.Step(time.Hour)
	if got := said(); got != "" {
		t.Errorf("set right: %q", got)
	}
	token()
	now.Step(-2 * time.Hour)
	again, err := checksOf(t.Context(), now, s.store, s.server, ends)
	if err != nil {
		t.Fatal(err)
	}
	if r := again.Ask()[2]; r.Status != "behind" {
		t.Errorf("after a start with a clock that is behind the record: %+v", r)
	}
	now.Step(2 * time.Hour)

	keys, err := s.store.SigningKeys(t.Context(), "a55")
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	next := keys[len(keys)-1]
	next.ID, next.Created, next.Activates = "next", now.Now(), now.Now()
	next.Private = counterfoil.Secret("v1." + strings.Repeat("A", 100)) // sealed under a key that is lost
	e := counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: now.Now(), Realm: "a55"}
	if err := s.store.AddSigningKey(t.Context(), next, keys[len(keys)-1].ID, e); err != nil {
		t.Fatal(err)
	}
	now.Turn(2 * time.Minute) // until it is read
	if got := said(); got != "keys is unusable; " {
		t.Errorf("with a key that nobody can open: %q", got)
	}
	if err := s.store.DeleteSigningKey(t.Context(), "a55", "next", e); err != nil {
		t.Fatal(err)
	}
	now.Turn(2 * time.Minute)
	if got := said(); got != "" {
		t.Errorf("without it: %q", got)
	}
	state, err := s.store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.store.Events(t.Context(), 0, int(state.Recorded))
	if err != nil {
		t.Fatal(err)
	}
	issued := 0
	for i := range all {
		if all[i].Type == counterfoil.EventTokenIssued || all[i].Type == counterfoil.EventTokenReused {
			issued++
		}
	}
	if issued != 3 {
		t.Errorf("%d of 3 tokens are in the record", issued)
	}
	if got := s.server.Stats(); got.ClockBack < 1 || got.ClockAhead < 1 {
		t.Errorf("the jumps that were counted are %+v", got)
	}
}
