package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
)

// TestKeyWaitsForTheOnesBefore: a key that signed for shorter tokens than the one
// before it stays in the store until that one has ended, which ends by it.
func TestKeyWaitsForTheOnesBefore(t *testing.T) {
	h := newKeyHouse(t)
	h.config.Realms = []server.Realm{h.realm(10 * time.Hour)}
	s := h.start(nil)
	long := h.token(s)
	h.stop(s)
	h.config.Realms = []server.Realm{h.realm(time.Hour)}
	s = h.start(nil)
	for range 2 {
		h.rotate(signing.Rotation{Immediately: true})
		h.turn(5 * time.Second)
	}
	h.turn(2 * time.Hour)
	if got := h.states(); got != "retiring retiring active" {
		t.Errorf("two hours later the keys are %s", got)
	}
	if err := verifyWith(long, keySet(s)); err != nil {
		t.Errorf("a token of ten hours: %v", err)
	}
	h.turn(8*time.Hour + 5*time.Minute)
	if got := h.states(); got != "retiring retiring active" {
		t.Errorf("within the leeway the keys are %s", got)
	}
	h.turn(5 * time.Minute)
	if got := h.states(); got != "active" {
		t.Errorf("in the end the keys are %s", got)
	}
}

// TestNumberOfKeys: a realm has no more keys than verifiers take of a key set.
func TestNumberOfKeys(t *testing.T) {
	h := newKeyHouse(t)
	h.config.Realms[0].KeyRotationInterval = 2 * time.Hour
	s := h.start(nil)
	for len(h.rows()) < 64 {
		h.rotate(signing.Rotation{Immediately: true})
	}
	_, err := h.keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Immediately: true})
	if err == nil || !strings.Contains(err.Error(), "the realm has 64 keys already: wait until the oldest expires at 2026-07-01T13:10:") {
		t.Errorf("one more: %v", err)
	}
	h.turn(time.Hour + time.Minute) // the next key would be made now
	if n := len(h.rows()); n != 64 {
		t.Errorf("%d keys after one was due", n)
	}
	if set := keySet(s); len(set.Keys) != 64 || verifyWith(h.token(s), set) != nil {
		t.Errorf("%d keys are published", len(set.Keys))
	}
	if _, err := h.keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Compromised: true}); err != nil {
		t.Errorf("a compromised key must always be ended: %v", err)
	}
	if n := len(h.rows()); n != 1 {
		t.Errorf("%d keys are left of those that were compromised", n)
	}
}
