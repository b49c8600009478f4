package clients_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// TestRules: whatever stores settings refuses those that the realm does not
// allow, names all members that are wrong, and stores nothing.
func TestRules(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := provider.Builtin("counterfoil")
	if err != nil {
		t.Fatal(err)
	}
	s := clients.New(db, nil, func(realm string) (clients.Rules, bool) {
		return clients.Rules{Provider: p, Tenants: []string{"T1"}, Issuers: []string{"https://known.example"}}, realm == "ops"
	})
	good := store.Settings{Name: "Good", Scopes: counterfoil.Scopes{"clients:read"}, Tenants: []string{"T1"}}
	good.Authentication.Federation = []store.FederationRule{{Issuer: "https://known.example", Claims: map[string]string{"sub": "a"}}}
	made, _, err := s.Create(t.Context(), "test", clients.NewClient{Realm: "ops", ID: "good", Settings: good})
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(realm string, with store.Settings) error{
		"Create": func(realm string, with store.Settings) error {
			_, _, err := s.Create(t.Context(), "test", clients.NewClient{Realm: realm, Settings: with})
			return err
		},
		"Replace": func(realm string, with store.Settings) error {
			_, err := s.Replace(t.Context(), "test", clients.NewClient{Realm: realm, ID: "good", Settings: with}, 0)
			return err
		},
		"Change": func(realm string, with store.Settings) error {
			_, err := s.Change(t.Context(), "test", realm, "good", 0, func(s *store.Settings) error { *s = with; return nil })
			return err
		},
	}
	for members, change := range map[string]func(*store.Settings){
		"name":             func(s *store.Settings) { s.Name = "a\nb" },
		"scopes":           func(s *store.Settings) { s.Scopes = counterfoil.Scopes{"other"} },
		"tenants":          func(s *store.Settings) { s.Tenants = []string{"T2"} },
		"tokens/lifetime":  func(s *store.Settings) { s.Tokens.Lifetime = store.MaxLifetime },
		"tokens/algorithm": func(s *store.Settings) { s.Tokens.Algorithm = "EdDSA" },
		"tokens/claims":    func(s *store.Settings) { s.Tokens.Claims = map[string]string{"ISS": "x"} },
		"authentication":   func(s *store.Settings) { s.Authentication.Federation[0].Issuer = "https://other.example" },
		"contact scopes tokens/policy": func(s *store.Settings) {
			s.Contact, s.Scopes, s.Tokens.Policy = "\n", counterfoil.Scopes{"other"}, "none"
		},
	} {
		for name, do := range ways {
			bad := good
			bad.Authentication.Federation = append([]store.FederationRule{}, good.Authentication.Federation...)
			change(&bad)
			err := do("ops", bad)
			var faults clients.Faults
			var named []string
			if errors.As(err, &faults) {
				for _, f := range faults {
					named = append(named, f.Member)
				}
			}
			if got := strings.Join(named, " "); got != members || !strings.Contains(err.Error(), faults[0].Err.Error()) {
				t.Errorf("%s with a wrong %s: %v, of %s", name, members, err, got)
			}
		}
	}
	for _, name := range []string{"Create", "Replace"} {
		if err := ways[name]("nowhere", good); err == nil || !strings.Contains(err.Error(), `there is no realm "nowhere"`) {
			t.Errorf("%s in an unknown realm: %v", name, err)
		}
	}
	all, err := s.List(t.Context(), store.ClientQuery{Realm: "ops", Limit: 10})
	if err != nil || len(all) != 1 || all[0].Version != made.Version {
		t.Errorf("stored %+v, %v", all, err)
	}
	if _, _, err := clients.New(db, nil, nil).Create(t.Context(), "test", clients.NewClient{Realm: "ops"}); err == nil {
		t.Error("a service without rules has created a client")
	}
}
