package main

import (
	"crypto"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// active asks the realm whether a token serves.
func (s *siege) active(t *testing.T, h *holding) bool {
	t.Helper()
	form := url.Values{"token": {h.text}, "client_id": {"inspector"}, "client_secret": {s.inspector[h.realm].ClientSecret.Reveal()}}
	status, body := s.post(t.Context(), s.at(h.realm, "/introspect"), form)
	var answer struct {
		Active bool `json:"active"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil {
		t.Fatalf("introspection in %s is answered %d", h.realm, status)
	}
	return answer.Active
}

// check compares the server that was started again with what was acknowledged.
func (s *siege) check(t *testing.T) {
	t.Helper()
	s.killed.Store(false)
	last := s.checkRecord(t)
	s.checkKeys(t)
	live := 0
	for _, h := range sample(ofSingle(s.round), 60) {
		if !s.active(t, h) {
			continue
		}
		if live++; identifier(t, h.text) != last {
			t.Error("the live token of a replace client is not the one that was recorded last")
		}
	}
	if live > 1 {
		t.Errorf("%d tokens of a replace client are live", live)
	}
	for _, h := range append(sample(s.tokens, 40), s.tokens[max(0, len(s.tokens)-20):]...) {
		if h.realm != "single" && h.live != unsure && s.active(t, h) != (h.live == is) {
			t.Errorf("a token of %s should be active: %v", h.realm, h.live == is)
		}
	}
	for _, assertion := range append(sample(s.assertions, 6), s.assertions[max(0, len(s.assertions)-4):]...) {
		if _, status := s.ask(t.Context(), "signed", withAssertion(assertion)); status != http.StatusUnauthorized {
			t.Errorf("an assertion that was accepted before is answered %d", status)
		}
		s.tally["replays"]++
	}
	for victim := range s.touched {
		s.settle(t, victim)
	}
	for _, victim := range s.victims[:min(2, len(s.victims))] {
		if !s.touched[victim] {
			s.settle(t, victim)
		}
	}
	clear(s.touched)
	// Of the old ones a sample is enough; an assertion serves ten minutes.
	s.tokens, s.assertions = sample(s.tokens, 300), s.assertions[max(0, len(s.assertions)-300):]
}

// sample returns up to n of the list, at random, as a list of its own.
func sample[T any](list []T, n int) []T {
	var some []T
	for i, at := range rand.Perm(len(list)) {
		if i == n {
			break
		}
		some = append(some, list[at])
	}
	return some
}

func ofSingle(all []*holding) (some []*holding) {
	for _, h := range all {
		if h.realm == "single" && h.client == "asker" {
			some = append(some, h)
		}
	}
	return some
}

// checkRecord looks for all that was acknowledged in the audit record, and
// returns the token that the asker of single got last.
func (s *siege) checkRecord(t *testing.T) (last string) {
	t.Helper()
	answered, recorded := map[string]int{}, map[string]int{}
	for {
		page, err := s.admin.Events(t.Context(), audit.Query{After: s.seen, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) == 0 {
			break
		}
		for _, e := range page.Events {
			s.seen = e.Sequence
			switch {
			case e.Type == counterfoil.EventTokenIssued || e.Type == counterfoil.EventTokenReused:
				recorded[e.TokenID]++
				if e.Realm == "single" && e.ClientID == "asker" {
					last = e.TokenID
				}
			case e.Success:
				recorded[e.Realm+" "+e.ClientID+" "+e.Type]++
			}
		}
	}
	for _, h := range s.round {
		answered[identifier(t, h.text)]++
	}
	for id, n := range answered {
		if recorded[id] < n {
			t.Errorf("a token was acknowledged %d times and is %d times in the audit record", n, recorded[id])
		}
	}
	for what, n := range s.noted {
		if recorded[what] < n {
			t.Errorf("%s was acknowledged %d times and is %d times in the audit record", what, n, recorded[what])
		}
	}
	clear(s.noted)
	return last
}

// checkKeys verifies every token of the round with the key set of its realm.
// Only in signed may its key be gone.
func (s *siege) checkKeys(t *testing.T) {
	t.Helper()
	sets := map[string]map[string]crypto.PublicKey{}
	for _, realm := range besiegedRealms {
		keys, left, err := jose.ParseSet([]byte(get(t, s.http, s.at(realm, "/.well-known/jwks.json")).body))
		if err != nil || len(left) != 0 || len(keys) == 0 {
			t.Fatalf("the key set of %s has %d keys, %v of no use: %v", realm, len(keys), left, err)
		}
		sets[realm] = map[string]crypto.PublicKey{}
		for _, k := range keys {
			sets[realm][k.ID] = k.Key
		}
	}
	for _, h := range s.round {
		token, err := jose.Parse(h.text, jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		key, published := sets[h.realm][token.KeyID]
		if !published && h.realm == "signed" && h.live != is {
			continue
		}
		if _, err := token.Verify(key); err != nil {
			t.Errorf("a token of %s does not verify, its key is published: %v: %v", h.realm, published, err)
		}
	}
}

// whole has the database checked by SQLite itself.
func (s *siege) whole(t *testing.T) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var verdict string
	if err := store.DB().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the database is %q, %v", verdict, err)
	}
}
