package sqlite_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

// TestFailedSteps lets one statement of a transaction fail, from its first to its
// last: the caller learns it, nothing is left behind, and the next write works.
func TestFailedSteps(t *testing.T) {
	fault := func(when string) [2]string {
		return [2]string{"CREATE TRIGGER fault " + when + " BEGIN SELECT RAISE(FAIL, 'fault'); END", "DROP TRIGGER fault"}
	}
	for _, row := range []struct {
		name string
		sql  [2]string // breaks it, repairs it
	}{
		{"the totals cannot be read", [2]string{"ALTER TABLE totals RENAME TO away", "ALTER TABLE away RENAME TO totals"}},
		{"a replay key cannot be stored", fault("BEFORE INSERT ON once")},
		{"the token before cannot be ended", fault("BEFORE INSERT ON client_tokens")},
		{"the run of tokens cannot be written", fault("BEFORE INSERT ON records")},
		{"an event cannot be written", fault("BEFORE INSERT ON records")},
		{"the totals cannot be written", fault("BEFORE UPDATE ON totals")},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, newPath(t))
			if err := createClient(t.Context(), s, "c"); err != nil {
				t.Fatal(err)
			}
			token := func(name string) error { return record(s, "c", name) }
			if row.name == "an event cannot be written" {
				token = func(name string) error {
					return s.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: time.Now(), Realm: "r", ClientID: "c", TokenID: name})
				}
			}
			if err := token("before"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.DB().Exec(row.sql[0]); err != nil {
				t.Fatal(err)
			}
			if err := token("broken"); err == nil {
				t.Error("it is acknowledged")
			}
			if _, err := s.DB().Exec(row.sql[1]); err != nil {
				t.Fatal(err)
			}
			if err := token("broken"); err != nil { // nothing of it was used up
				t.Errorf("once repaired: %v", err)
			}
			events := storetest.Events(t, s)
			if len(events) != 3 || events[1].TokenID != "before" || events[2].TokenID != "broken" {
				t.Errorf("recorded are %v", events)
			}
		})
	}
}
