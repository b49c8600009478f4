package server_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestSealing: keys are kept under the master key from the first start with one,
// and under another one from the start that knows both.
func TestSealing(t *testing.T) {
	h := newKeyHouse(t, "ES256", "EdDSA")
	h.config.Realms = append(h.config.Realms, server.Realm{Name: "q", Provider: h.config.Realms[0].Provider, BaseURL: "https://auth.example/q"})
	all := func() []store.SigningKey {
		other, err := h.store.SigningKeys(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		return append(h.rows(), other...)
	}
	first := h.start(nil)
	open := all()
	token := h.token(first)
	var one, two []store.SigningKey
	for _, step := range []struct {
		name     string
		master   counterfoil.Secret
		previous []counterfoil.Secret
		resealed bool
		rows     *[]store.SigningKey
	}{
		{"the first master key", masterKey, nil, true, &one},
		{"the same again", masterKey, nil, false, &one},
		{"the same, and another one before it", masterKey, []counterfoil.Secret{otherKey}, false, &one},
		{"another one", otherKey, []counterfoil.Secret{masterKey}, true, &two},
		{"the other one alone", otherKey, nil, false, &two},
	} {
		before := len(h.changes())
		h.config.MasterKey, h.config.PreviousMasterKeys = step.master, step.previous
		s := h.start(nil)
		if err := verifyWith(token, keySet(s)); err != nil {
			t.Errorf("%s: a token of before: %v", step.name, err)
		}
		if err := verifyWith(h.token(s), keySet(first)); err != nil {
			t.Errorf("%s: a new token at the server that runs on: %v", step.name, err)
		}
		rows := all()
		for i, k := range rows {
			if !sealed(k) || strings.Contains(k.Private.Reveal(), open[i].Private.Reveal()) {
				t.Errorf("%s: key %q is open", step.name, k.ID)
			}
			if k.Private = open[i].Private; !reflect.DeepEqual(k, open[i]) {
				t.Errorf("%s: more than the private part was changed: %+v", step.name, k)
			}
		}
		if step.resealed {
			*step.rows = rows
		} else if !reflect.DeepEqual(rows, *step.rows) {
			t.Errorf("%s: sealed anew without a reason", step.name)
		}
		if got, want := h.changes()[before:], []string{"keys.resealed by counterfoil"}; step.resealed != slices.Equal(got, want) {
			t.Errorf("%s: recorded %q", step.name, got)
		}
		h.stop(s)
	}
	// The first server does not know the master key: it goes on with what it
	// has, and says so when it cannot.
	h.turn(5 * time.Second)
	if err := verifyWith(h.token(first), keySet(first)); err != nil {
		t.Error(err)
	}
	if err := first.Reload(t.Context(), h.config.Realms); err == nil || !strings.Contains(err.Error(), "none is given") {
		t.Errorf("reloaded without the master key: %v", err)
	}
	h.token(first)
}

// TestSealingIsRecorded: of one realm when the keys are, of none when they are of
// several.
func TestSealingIsRecorded(t *testing.T) {
	for realms, want := range map[int]string{1: `"r" 1 keys under master key f96c4535`, 2: `"" 2 keys under master key f96c4535`} {
		h := newKeyHouse(t, "RS256")
		h.config.Signer = "auto"
		if realms == 2 {
			h.config.Realms = append(h.config.Realms, server.Realm{Name: "q", Provider: h.config.Realms[0].Provider, BaseURL: "https://auth.example/q"})
		}
		h.stop(h.start(nil))
		h.config.MasterKey = masterKey
		h.start(nil)
		page, err := h.store.Events(t.Context(), 0, 1<<20)
		if err != nil || len(page) == 0 {
			t.Fatalf("%d events, %v", len(page), err)
		}
		last := page[len(page)-1].Event
		if got := fmt.Sprintf("%q %s", last.Realm, last.Detail); last.Type != counterfoil.EventKeysResealed || got != want {
			t.Errorf("recorded %s of %s, want %s", last.Type, got, want)
		}
		if log := h.log.String(); strings.Contains(log, "RSA backend failed, using another") {
			t.Errorf("logged %s", log)
		}
	}
}

// TestWrongMasterKey: a start or a rotation with a wrong master key has one
// clear line, and changes nothing.
func TestWrongMasterKey(t *testing.T) {
	const one, other = "f96c4535", "27b950c1"
	h := newKeyHouse(t)
	h.config.MasterKey = masterKey
	h.start(nil)
	h.rotate2(t, masterKey, signing.Rotation{}, "")
	rows, changes := h.rows(), h.changes()
	for name, row := range map[string]struct {
		master   counterfoil.Secret
		previous []counterfoil.Secret
		words    []string
	}{
		"another one":             {otherKey, nil, []string{"sealed under master key " + one, "the given one is " + other, "give " + one, "previous"}},
		"none":                    {"", nil, []string{"sealed under master key " + one, "none is given"}},
		"only a previous one":     {"", []counterfoil.Secret{masterKey}, []string{"no master key"}},
		"not a key":               {"password", nil, []string{"32 random bytes in base64"}},
		"the second previous one": {masterKey, []counterfoil.Secret{otherKey, "password"}, []string{"previous master key 2"}},
		"a previous one is none":  {masterKey, []counterfoil.Secret{"password"}, []string{"previous master key 1", "32 random bytes in base64"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.config
			h.config.MasterKey, h.config.PreviousMasterKeys = row.master, row.previous
			// A realm that would need keys gets none.
			h.config.Realms = append(slices.Clip(h.config.Realms), server.Realm{Name: "a", Provider: h.config.Realms[0].Provider, BaseURL: "https://a.example"})
			_, err := h.tryStart(nil)
			h.config = c
			for _, words := range row.words {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("got %v, want %q", err, words)
				}
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "password")) {
				t.Errorf("got %v", err)
			}
			if a, err := h.store.SigningKeys(t.Context(), "a"); err != nil || len(a) != 0 {
				t.Errorf("%d keys were made, %v", len(a), err)
			}
			if !reflect.DeepEqual(h.rows(), rows) || !slices.Equal(h.changes(), changes) {
				t.Error("something was changed")
			}
		})
	}
	h.clock.Turn(2 * time.Hour)
	h.rotate2(t, otherKey, signing.Rotation{}, "sealed under master key "+one)
	h.rotate2(t, "", signing.Rotation{Compromised: true}, "none is given")
	if after := h.rows(); len(after) != len(rows) {
		t.Errorf("%d keys", len(after))
	}
}

// rotate2 rotates from a command line that has a master key.
func (h *keyHouse) rotate2(t *testing.T, master counterfoil.Secret, o signing.Rotation, words string) {
	t.Helper()
	keys, err := signing.NewKeys(h.store, h.clock, master)
	if err != nil {
		t.Fatal(err)
	}
	_, err = keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", o)
	if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %q", err, words)
	}
}

// TestRotateOnOpenKeys: a command line with a master key makes no key that the
// running server, which has none, could not open.
func TestRotateOnOpenKeys(t *testing.T) {
	h := newKeyHouse(t)
	h.start(nil)
	h.rotate2(t, masterKey, signing.Rotation{}, "start the server with it once")
	if _, err := signing.NewKeys(h.store, nil, "password"); err == nil || !strings.Contains(err.Error(), "32 random bytes") {
		t.Errorf("an invalid master key: %v", err)
	}
}

// TestSealedKeyIsBoundToItsPlace: what was sealed for one key opens as no other.
func TestSealedKeyIsBoundToItsPlace(t *testing.T) {
	h := newKeyHouse(t)
	h.config.MasterKey = masterKey
	h.start(nil)
	moved := h.rows()[0]
	moved.Realm = "q"
	if err := h.store.AddSigningKey(t.Context(), moved, "", counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: noon, Realm: "q"}); err != nil {
		t.Fatal(err)
	}
	h.config.Realms = append(h.config.Realms, server.Realm{Name: "q", Provider: h.config.Realms[0].Provider, BaseURL: "https://q.example"})
	if _, err := h.tryStart(nil); err == nil || !strings.Contains(err.Error(), `of realm "q" in the store is damaged`) {
		t.Errorf("a key in another's place: %v", err)
	}
}
