package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// hardened are the settings of an operator who is limited in every way.
func hardened() store.Settings {
	return store.Settings{
		Scopes: counterfoil.Scopes{"clients:read", "clients:write"}, Tenants: []string{"T1"}, Expires: day.Add(24 * time.Hour),
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Tokens: store.TokenSettings{
			Lifetime: 5 * time.Minute, Policy: provider.PolicyReuse, CertificateBound: true, DPoPBound: true, Claims: map[string]string{"team": "blue"},
		},
		Authentication: store.Authentication{
			Certificate: store.CertificateRule{DNS: "boss.example"},
			Federation:  []store.FederationRule{{Issuer: "https://kubernetes.example", Claims: map[string]string{"sub": "boss"}}},
		},
	}
}

// within is what hardened may give, and not more.
const within = `"scopes":["clients:read"],"tenants":["T1"],"addresses":["192.0.2.7/32"],"expires":"2026-07-02T12:00:00Z",` +
	`"tokens":{"lifetime":"5m","policy":"reuse","certificate_bound":true,"dpop_bound":true,"claims":{"team":"blue"}}`

// operator makes the client of the caller, which has no secret of its own, again.
func (p *place) operator(t *testing.T, s store.Settings) {
	t.Helper()
	p.realms[1].Tenants = []string{"T1", "T2"}
	p.realms[1].Federation = p.realms[0].Federation
	if err := p.local.DeleteClient(t.Context(), "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.local.CreateClient(t.Context(), "ops", admin.NewClient{ID: "boss", Settings: s, WithoutSecret: true}); err != nil {
		t.Fatal(err)
	}
}

// lifts are the ways to have more than hardened has: settings as JSON, and the
// pointer that the refusal names.
var lifts = []struct{ name, settings, pointer string }{
	{"a scope", `{"scopes":["clients:read","keys:read"]}`, "/scopes"},
	{"a tenant", `{"tenants":["T1","T2"]}`, "/tenants"},
	{"no expiry", `{"expires":null}`, "/expires"},
	{"a later expiry", `{"expires":"2026-07-02T12:00:01Z"}`, "/expires"},
	{"every address", `{"addresses":[]}`, "/addresses"},
	{"another address", `{"addresses":["192.0.2.7/32","198.51.100.1/32"]}`, "/addresses"},
	{"a wider network", `{"addresses":["192.0.2.0/23"]}`, "/addresses"},
	{"the address family that is wider", `{"addresses":["::/0"]}`, "/addresses"},
	{"a longer lifetime", `{"tokens":{"lifetime":"5m1s"}}`, "/tokens/lifetime"},
	{"the realm's lifetime", `{"tokens":{"lifetime":null}}`, "/tokens/lifetime"},
	{"many tokens", `{"tokens":{"policy":"independent"}}`, "/tokens/policy"},
	{"another claim", `{"tokens":{"claims":{"team":"blue","role":"admin"}}}`, "/tokens/claims"},
	{"another value", `{"tokens":{"claims":{"team":"red"}}}`, "/tokens/claims"},
	{"not bound to a certificate", `{"tokens":{"certificate_bound":false}}`, "/tokens/certificate_bound"},
	{"not bound to a key", `{"tokens":{"dpop_bound":null}}`, "/tokens/dpop_bound"},
	{"a resource server", `{"resource_server":true}`, "/resource_server"},
	{"keys at a URL", `{"authentication":{"jwks_uri":"https://mine.example/jwks"}}`, "/authentication/jwks_uri"},
	{"other tokens of the issuer", `{"authentication":{"federation":[{"issuer":"https://kubernetes.example","claims":{"sub":"b*"}}]}}`, "/authentication/federation"},
}

// TestOwnLimits: in the realm of the Admin API a limited client lifts none of
// its limits, neither its own, nor those of a client that it makes or has made.
func TestOwnLimits(t *testing.T) {
	for _, row := range lifts {
		t.Run(row.name, func(t *testing.T) {
			p := newPlace(t)
			p.operator(t, hardened())
			s := p.remote(t, allScopes) // an older token may have more than the client
			made := newClientOf(t, `{"client_id":"made",`+within+`}`)
			made.WithoutSecret = true
			if _, _, err := s.CreateClient(t.Context(), "ops", made); err != nil {
				t.Fatalf("a client within the limits: %v", err)
			}
			before := p.last(t)
			for what, do := range map[string]func() error{
				"itself": func() error {
					_, err := s.ChangeClient(t.Context(), "ops", "boss", 0, []byte(row.settings))
					return err
				},
				"one that it has made": func() error {
					_, err := s.ChangeClient(t.Context(), "ops", "made", 0, []byte(row.settings))
					return err
				},
				"a new one": func() error {
					merged := must(admin.Merge([]byte(`{"client_id":"spare","without_secret":true,`+within+`}`), []byte(row.settings)))(t)
					n := newClientOf(t, string(merged))
					_, _, err := s.CreateClient(t.Context(), "ops", n)
					return err
				},
			} {
				var problem *admin.Problem
				if err := do(); !errors.As(err, &problem) || problem.Status != 403 || len(problem.Faults) != 1 || problem.Faults[0].Pointer != row.pointer {
					t.Errorf("%s: error %v", what, err)
				} else if (row.pointer == "/scopes") != (problem.Code == "insufficient_scope") {
					t.Errorf("%s: the code %s", what, problem.Code)
				}
			}
			if p.last(t).ClientID != before.ClientID {
				t.Errorf("recorded %+v", p.last(t))
			}
			// In another realm the operator is as useful as ever, and the machine's own
			// operator is not limited.
			if row.name == "other tokens of the issuer" || row.pointer == "/scopes" {
				row.settings = `{"scopes":["orders:read"]}`
			}
			acme := strings.ReplaceAll(strings.ReplaceAll(row.settings, "clients:read", "orders:read"), "keys:read", "orders:write")
			if _, _, err := s.CreateClient(t.Context(), "acme", newClientOf(t, acme)); err != nil {
				t.Errorf("in another realm: %v", err)
			}
			if _, err := p.local.ChangeClient(t.Context(), "ops", "boss", 0, []byte(strings.ReplaceAll(row.settings, "orders:", "clients:"))); err != nil {
				t.Errorf("at the machine: %v", err)
			}
		})
	}
}

func newClientOf(t *testing.T, text string) admin.NewClient {
	t.Helper()
	n, faults := admin.Decode([]byte(text))
	if faults > 0 {
		t.Fatalf("%s is no client", text)
	}
	return n
}

// TestNoSecretsOfOthers: in that realm nobody gets the credentials of a client
// that has more, nor a method that is weaker than its own.
func TestNoSecretsOfOthers(t *testing.T) {
	soft := store.Settings{Scopes: counterfoil.Scopes{"clients:read", "clients:write"}}
	withSecret := func(t *testing.T, p *place) {
		t.Helper()
		if _, err := p.local.RotateSecret(t.Context(), "ops", "boss", clients.Rotation{}); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(t *testing.T, s admin.Service, id string) error {
		_, err := s.RotateSecret(t.Context(), "ops", id, clients.Rotation{})
		return err
	}
	for name, row := range map[string]struct {
		boss, other store.Settings
		secret      bool
		do          func(t *testing.T, s admin.Service) error
	}{
		"a secret of one without an end": {store.Settings{Scopes: soft.Scopes, Expires: day.Add(time.Hour)}, soft, true, func(t *testing.T, s admin.Service) error {
			return rotate(t, s, "other")
		}},
		"an API key of one without an end": {store.Settings{Scopes: soft.Scopes, Expires: day.Add(time.Hour)}, soft, true, func(t *testing.T, s admin.Service) error {
			_, err := s.RotateAPIKey(t.Context(), "ops", "other", clients.Rotation{})
			return err
		}},
		"a key of one that is not bound": {hardened(), soft, false, func(t *testing.T, s admin.Service) error {
			_, err := s.ChangeClient(t.Context(), "ops", "other", 0, []byte(`{"authentication":{"thumbprints":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}}`))
			return err
		}},
		"a secret for itself, which has none":        {soft, soft, false, func(t *testing.T, s admin.Service) error { return rotate(t, s, "boss") }},
		"a secret for another, although it has none": {soft, soft, false, func(t *testing.T, s admin.Service) error { return rotate(t, s, "other") }},
		"a new client with a secret, although it has none": {soft, soft, false, func(t *testing.T, s admin.Service) error {
			_, _, err := s.CreateClient(t.Context(), "ops", admin.NewClient{})
			return err
		}},
		"a resource server enabled": {soft, store.Settings{ResourceServer: true}, true, func(t *testing.T, s admin.Service) error {
			return s.EnableClient(t.Context(), "ops", "other")
		}},
		"imported": {soft, soft, true, func(t *testing.T, s admin.Service) error {
			_, err := s.ImportClients(t.Context(), "ops", admin.Import{Format: "plain", Partial: true, File: strings.NewReader("client_id,client_secret\nspare,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n")})
			return err
		}},
		"seen by a dry run": {soft, soft, true, func(t *testing.T, s admin.Service) error {
			_, err := s.ImportClients(t.Context(), "ops", admin.Import{Format: "plain", DryRun: true, File: strings.NewReader("client_id,client_secret\nother,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n")})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.operator(t, row.boss)
			if row.secret {
				withSecret(t, p)
			}
			if _, _, err := p.local.CreateClient(t.Context(), "ops", admin.NewClient{ID: "other", Settings: row.other, Disabled: name == "a resource server enabled"}); err != nil {
				t.Fatal(err)
			}
			before := p.last(t)
			var problem *admin.Problem
			if err := row.do(t, p.remote(t, row.boss.Scopes)); !errors.As(err, &problem) || problem.Status != 403 || problem.Code != admin.ExceedsOwn {
				t.Errorf("error %v", err)
			}
			if p.last(t).ClientID != before.ClientID {
				t.Errorf("recorded %+v", p.last(t))
			}
			// With a peer that has no more, or at the machine, all of that is possible.
			if err := row.do(t, p.local); err != nil {
				t.Errorf("at the machine: %v", err)
			}
		})
	}
}

// TestEndOfASecret: who is given a secret that ends keeps no other.
func TestEndOfASecret(t *testing.T) {
	p := newPlace(t)
	ctx, s := t.Context(), p.remote(t, allScopes)
	if err := p.local.EndSecret(ctx, "ops", "boss", secretID, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func() error{
		"a later end": func() error { return s.EndSecret(ctx, "ops", "boss", secretID, day.Add(2*time.Hour)) },
		"a new one": func() error {
			_, err := s.RotateSecret(ctx, "ops", "boss", clients.Rotation{Overlap: time.Hour})
			return err
		},
		"a client with one": func() error { _, _, err := s.CreateClient(ctx, "ops", admin.NewClient{}); return err },
	} {
		var problem *admin.Problem
		if err := do(); !errors.As(err, &problem) || problem.Code != admin.ExceedsOwn {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if c := must(p.local.Client(ctx, "ops", "boss"))(t); len(c.Secrets) != 1 || !c.Secrets[0].Ends.Equal(day.Add(time.Hour)) {
		t.Errorf("the secrets are %+v", c.Secrets)
	}
	if err := s.EndSecret(ctx, "ops", "boss", secretID, day.Add(time.Minute)); err != nil {
		t.Errorf("an earlier end: %v", err)
	}
}

// chain makes a client of the caller of each name, each by the one before.
func (p *place) chain(t *testing.T, names ...string) {
	t.Helper()
	maker := "boss"
	for _, name := range names {
		n := admin.NewClient{ID: name}
		n.Scopes = allScopes
		if _, _, err := p.remoteAs(t, maker).CreateClient(t.Context(), "ops", n); err != nil {
			t.Fatalf("%s makes %s: %v", maker, name, err)
		}
		maker = name
	}
}

// state says of each client whether it is disabled, and when it ends.
func (p *place) state(t *testing.T, ids ...string) string {
	t.Helper()
	var b strings.Builder
	for _, id := range ids {
		c, err := p.store.Client(t.Context(), "ops", id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			fmt.Fprintf(&b, "%s gone, ", id)
		case err != nil:
			t.Fatal(err)
		case c.Disabled:
			fmt.Fprintf(&b, "%s off, ", id)
		case c.Expires.IsZero():
			fmt.Fprintf(&b, "%s on, ", id)
		default:
			fmt.Fprintf(&b, "%s until %d, ", id, c.Expires.Sub(day)/time.Hour)
		}
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// TestSpareClient: a client that another made, and what that made, does not
// outlive it, whichever way it ends and whoever ends it.
func TestSpareClient(t *testing.T) {
	end := func(hours int) []byte {
		return fmt.Appendf(nil, `{"expires":%q}`, day.Add(time.Duration(hours)*time.Hour).Format(time.RFC3339))
	}
	for name, row := range map[string]struct {
		do   func(t *testing.T, s admin.Service) error
		want string
	}{
		"disabled": {func(t *testing.T, s admin.Service) error { return s.DisableClient(t.Context(), "ops", "boss") },
			"boss off, one off, two off, chief on"},
		"deleted": {func(t *testing.T, s admin.Service) error { return s.DeleteClient(t.Context(), "ops", "boss") },
			"boss gone, one off, two off, chief on"},
		"ended": {func(t *testing.T, s admin.Service) error {
			_, err := s.ChangeClient(t.Context(), "ops", "boss", 0, end(5))
			return err
		}, "boss until 5, one until 5, two until 3, chief on"},
		"the middle one disabled": {func(t *testing.T, s admin.Service) error { return s.DisableClient(t.Context(), "ops", "one") },
			"boss on, one off, two off, chief on"},
		"the last one disabled": {func(t *testing.T, s admin.Service) error { return s.DisableClient(t.Context(), "ops", "two") },
			"boss on, one until 9, two off, chief on"},
	} {
		for who, service := range map[string]func(p *place) admin.Service{
			"the operator": func(p *place) admin.Service { return p.local },
			"a peer":       func(p *place) admin.Service { return p.remoteAs(t, "chief") },
		} {
			t.Run(name+" by "+who, func(t *testing.T) {
				p := newPlace(t)
				p.have(t, "ops", "chief", allScopes...)
				p.chain(t, "one", "two")
				for id, hours := range map[string]int{"one": 9, "two": 3} {
					if _, err := p.local.ChangeClient(t.Context(), "ops", id, 0, end(hours)); err != nil {
						t.Fatal(err)
					}
				}
				if err := row.do(t, service(p)); err != nil {
					t.Fatal(err)
				}
				if got := p.state(t, "boss", "one", "two", "chief"); got != row.want {
					t.Errorf("%s\nwant %s", got, row.want)
				}
				events := must(p.store.Events(t.Context(), 0, 100))(t)
				for _, e := range events[len(events)-1:] {
					if !e.Success || e.Actor == "" {
						t.Errorf("recorded %+v", e.Event)
					}
				}
				for _, id := range []string{"one", "two"} {
					if st := must(p.store.TokenStatus(t.Context(), "ops", id, "t"))(t); st.Disabled != strings.Contains(row.want, id+" off") {
						t.Errorf("tokens of %s: %+v", id, st)
					}
				}
			})
		}
	}
}

// TestSpareIsNotRevived: what has ended with its maker, no client of the Admin
// API begins again, nor lets it go on for longer; an operator can.
func TestSpareIsNotRevived(t *testing.T) {
	p := newPlace(t)
	ctx := t.Context()
	p.have(t, "ops", "chief", allScopes...)
	p.chain(t, "one", "two")
	if err := p.local.DisableClient(ctx, "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		var problem *admin.Problem
		if !errors.As(err, &problem) || problem.Code != admin.ExceedsOwn {
			t.Errorf("%s: error %v", what, err)
		}
	}
	chief := p.remoteAs(t, "chief")
	refused("enabled by a peer", chief.EnableClient(ctx, "ops", "one"))
	refused("called with its own token, which has not expired", p.remoteAs(t, "one").EnableClient(ctx, "ops", "one"))
	if err := p.local.EnableClient(ctx, "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	if got := p.state(t, "boss", "one", "two"); got != "boss on, one off, two off" {
		t.Errorf("with the maker enabled: %s", got)
	}
	refused("enabled below one that is disabled", chief.EnableClient(ctx, "ops", "two"))
	if err := errors.Join(chief.EnableClient(ctx, "ops", "one"), chief.EnableClient(ctx, "ops", "two")); err != nil {
		t.Errorf("enabled in order: %v", err)
	}
	if _, err := p.local.ChangeClient(ctx, "ops", "boss", 0, []byte(`{"expires":"2026-07-01T13:00:00Z"}`)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} {
		_, err := chief.ChangeClient(ctx, "ops", id, 0, []byte(`{"expires":null}`))
		refused("longer than its maker", err)
	}
	if err := p.local.DeleteClient(ctx, "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	refused("enabled without its maker", chief.EnableClient(ctx, "ops", "one"))
	if err := p.local.EnableClient(ctx, "ops", "one"); err != nil {
		t.Errorf("at the machine: %v", err)
	}
	// It makes no maker of its own.
	n := admin.NewClient{ID: "boss"}
	n.Expires = day.Add(time.Hour)
	_, _, err := p.remoteAs(t, "one").CreateClient(ctx, "ops", n)
	refused("a loop", err)
}

// TestMakersAreOutOfReach: a client manages neither its maker nor a peer of its
// maker, through whom it would outlive it.
func TestMakersAreOutOfReach(t *testing.T) {
	p := newPlace(t)
	p.have(t, "ops", "chief", allScopes...)
	p.chain(t, "one", "two")
	before := p.state(t, "boss", "one", "two", "chief")
	s := p.remoteAs(t, "two")
	for _, id := range []string{"boss", "one", "chief"} {
		_, rotated := s.RotateSecret(t.Context(), "ops", id, clients.Rotation{})
		_, changed := s.ChangeClient(t.Context(), "ops", id, 0, []byte(`{"name":"x"}`))
		for what, err := range map[string]error{
			"rotated": rotated, "changed": changed, "disabled": s.DisableClient(t.Context(), "ops", id),
			"deleted": s.DeleteClient(t.Context(), "ops", id), "revoked": s.RevokeTokens(t.Context(), "ops", id),
			"ended": s.EndSecret(t.Context(), "ops", id, secretID, time.Time{}),
		} {
			var problem *admin.Problem
			if !errors.As(err, &problem) || problem.Status != 403 {
				t.Errorf("%s is %s: error %v", id, what, err)
			}
		}
	}
	if after := p.state(t, "boss", "one", "two", "chief"); after != before {
		t.Errorf("%s\nbecame %s", before, after)
	}
	if _, err := p.remoteAs(t, "boss").RotateSecret(t.Context(), "ops", "two", clients.Rotation{}); err != nil {
		t.Errorf("the maker of its maker rotates its secret: %v", err)
	}
}

// TestLongChains: clients that make clients come to an end.
func TestLongChains(t *testing.T) {
	p := newPlace(t)
	p.chain(t, "1", "2", "3", "4", "5", "6", "7", "8")
	_, _, err := p.remoteAs(t, "8").CreateClient(t.Context(), "ops", admin.NewClient{})
	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Code != admin.ExceedsOwn {
		t.Errorf("error %v", err)
	}
	if err := p.local.DisableClient(t.Context(), "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	if got := p.state(t, "1", "8"); got != "1 off, 8 off" {
		t.Error(got)
	}
}

// TestTooManySpares: what must end in one write stays bounded.
func TestTooManySpares(t *testing.T) {
	p := newPlace(t)
	for n := range 999 {
		c := store.Client{Realm: "ops", ID: fmt.Sprint("c", n), Maker: "boss", Created: day, Changed: day}
		if err := p.store.CreateClient(t.Context(), c, counterfoil.Event{Type: "client.created", Time: day}); err != nil {
			t.Fatal(err)
		}
	}
	p.chain(t, "last")
	_, _, err := p.remoteAs(t, "boss").CreateClient(t.Context(), "ops", admin.NewClient{})
	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Code != admin.ExceedsOwn {
		t.Errorf("error %v", err)
	}
	if err := p.remoteAs(t, "boss").DeleteClient(t.Context(), "ops", "c7"); err != nil {
		t.Fatal(err)
	}
	p.chain(t, "another")
	if err := p.local.DisableClient(t.Context(), "ops", "boss"); err != nil {
		t.Fatal(err)
	}
	if got := p.state(t, "c0", "c998", "last", "another"); got != "c0 off, c998 off, last off, another off" {
		t.Error(got)
	}
}

// TestSpareAtTheSameMoment: a client that is made, enabled or prolonged while its
// maker ends does not escape.
func TestSpareAtTheSameMoment(t *testing.T) {
	for name, row := range map[string]struct {
		who, reads string // the caller, and the client whose reading the end follows
		do         func(s admin.Service) error
	}{
		"made": {"boss", "boss", func(s admin.Service) error {
			_, _, err := s.CreateClient(t.Context(), "ops", admin.NewClient{ID: "spare"})
			return err
		}},
		"enabled":                 {"boss", "boss", func(s admin.Service) error { return s.EnableClient(t.Context(), "ops", "off") }},
		"enabled, as it was read": {"boss", "off", func(s admin.Service) error { return s.EnableClient(t.Context(), "ops", "off") }},
		"enabled by a peer":       {"chief", "boss", func(s admin.Service) error { return s.EnableClient(t.Context(), "ops", "off") }},
		"given another key": {"boss", "boss", func(s admin.Service) error {
			_, err := s.RotateSecret(t.Context(), "ops", "chief", clients.Rotation{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.have(t, "ops", "chief", allScopes...)
			p.chain(t, "off")
			if err := p.local.DisableClient(t.Context(), "ops", "off"); err != nil {
				t.Fatal(err)
			}
			operator := p.local
			db := &meanwhile{Store: p.store, client: row.reads, after: 1, do: func() {
				if err := operator.DisableClient(t.Context(), "ops", "boss"); err != nil {
					t.Error(err)
				}
			}}
			p.local = admin.New(admin.Config{Store: db, Keys: p.keys, Realms: func() []server.Realm { return p.realms }, Clock: p.clock})
			var problem *admin.Problem
			if err := row.do(p.remoteAs(t, row.who)); !errors.As(err, &problem) || problem.Status != 403 && problem.Code != admin.Conflict {
				t.Errorf("error %v", err)
			}
			if got := p.state(t, "boss", "off", "spare"); got != "boss off, off off, spare gone" {
				t.Error(got)
			}
		})
	}
	// The other order: the end has read what there is, and then one is made.
	p := newPlace(t)
	p.chain(t, "one")
	var spare error
	maker := p.remoteAs(t, "one")
	db := &meanwhileListed{Store: p.store, do: func() {
		_, _, spare = maker.CreateClient(t.Context(), "ops", admin.NewClient{ID: "spare"})
	}}
	operator := admin.New(admin.Config{Store: db, Realms: func() []server.Realm { return p.realms }, Clock: p.clock})
	if err := errors.Join(operator.DisableClient(t.Context(), "ops", "boss"), spare); err != nil {
		t.Fatal(err)
	}
	if got := p.state(t, "boss", "one", "spare"); got != "boss off, one off, spare off" {
		t.Error(got)
	}
}

// meanwhileListed is a store in which something happens just after its clients
// were listed for the first time.
type meanwhileListed struct {
	store.Store
	once sync.Once
	do   func()
}

func (s *meanwhileListed) Clients(ctx context.Context, q store.ClientQuery) ([]store.Client, error) {
	all, err := s.Store.Clients(ctx, q)
	s.once.Do(s.do)
	return all, err
}
