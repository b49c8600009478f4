package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
)

// A key that is stored under an algorithm that it cannot sign with makes the key
// set unpublishable: the last one stays, and an operator is told.
func TestKeyOfAnotherAlgorithm(t *testing.T) {
	h := newKeyHouse(t)
	s := h.start(nil)
	rows := h.rows()
	bad := rows[0]
	bad.ID, bad.Algorithm = "bad", "RS256"
	if err := h.store.AddSigningKey(t.Context(), bad, "", counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: noon, Realm: "r"}); err != nil {
		t.Fatal(err)
	}
	h.turn(5 * time.Second)
	if set := keySet(s); set == nil || len(set.Keys) != 1 {
		t.Fatalf("the key set is %+v", set)
	}
	if err := verifyWith(h.token(s), keySet(s)); err != nil {
		t.Error(err)
	}
	if log := h.log.String(); !strings.Contains(log, "publish keys") {
		t.Errorf("logged %s", log)
	}
}
