package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/note"
)

// Every change is recorded with who made it, here and over HTTPS.
func TestEveryChangeIsRecorded(t *testing.T) {
	yes := true
	for _, row := range []struct {
		name string
		do   func(ctx context.Context, s admin.Service) error
		kind string
		says string // in the record
	}{
		{"create", func(ctx context.Context, s admin.Service) error {
			_, creds, err := s.CreateClient(ctx, "acme", admin.NewClient{ID: "new", APIKey: &yes})
			if err == nil && (!cfsecret.Is(creds.ClientSecret) || !cfsecret.Is(creds.APIKey)) {
				return errors.New("the credentials are not there")
			}
			return err
		}, counterfoil.EventClientCreated, ""},
		{"change", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"labels":{"team":"blue"}}`))
			return err
		}, counterfoil.EventClientChanged, `labels: "team"="blue"`},
		{"rotate the secret", func(ctx context.Context, s admin.Service) error {
			creds, err := s.RotateSecret(ctx, "acme", "billing", clients.Rotation{Overlap: time.Hour})
			if err == nil && (creds.ClientSecret == "" || !creds.PreviousExpires.Equal(day.Add(time.Hour))) {
				return fmt.Errorf("the old one ends at %v", creds.PreviousExpires)
			}
			return err
		}, counterfoil.EventClientRotated, "the old one ends at 2026-07-01T13:00:00Z"},
		{"rotate the secret at once", func(ctx context.Context, s admin.Service) error {
			creds, err := s.RotateSecret(ctx, "acme", "billing", clients.Rotation{})
			if err == nil && !creds.PreviousExpires.IsZero() {
				return fmt.Errorf("the old one ends at %v", creds.PreviousExpires)
			}
			return err
		}, counterfoil.EventClientRotated, "the old one ended"},
		{"rotate the secret until", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateSecret(ctx, "acme", "billing", clients.Rotation{At: day.Add(2 * time.Hour), Version: 1})
			return err
		}, counterfoil.EventClientRotated, "the old one ends at 2026-07-01T14:00:00Z"},
		{"rotate the API key", func(ctx context.Context, s admin.Service) error {
			creds, err := s.RotateAPIKey(ctx, "acme", "billing", clients.Rotation{Overlap: time.Hour})
			if err == nil && creds.APIKey == "" {
				return errors.New("there is no API key")
			}
			return err
		}, counterfoil.EventClientRotated, "API key"},
		{"end a secret", func(ctx context.Context, s admin.Service) error {
			return s.EndSecret(ctx, "acme", "billing", secretID, time.Time{})
		}, counterfoil.EventSecretEnded, secretID + " ended"},
		{"end a secret later", func(ctx context.Context, s admin.Service) error {
			return s.EndSecret(ctx, "acme", "billing", secretID, day.Add(time.Hour))
		}, counterfoil.EventSecretEnded, secretID + " ends at 2026-07-01T13:00:00Z"},
		{"disable", func(ctx context.Context, s admin.Service) error { return s.DisableClient(ctx, "acme", "billing") }, counterfoil.EventClientDisabled, ""},
		{"enable", func(ctx context.Context, s admin.Service) error {
			return errors.Join(s.DisableClient(ctx, "acme", "billing"), s.EnableClient(ctx, "acme", "billing"))
		}, counterfoil.EventClientEnabled, ""},
		{"delete", func(ctx context.Context, s admin.Service) error { return s.DeleteClient(ctx, "acme", "billing") }, counterfoil.EventClientDeleted, ""},
		{"revoke", func(ctx context.Context, s admin.Service) error { return s.RevokeTokens(ctx, "acme", "billing") }, counterfoil.EventTokensRevoked, "issued before"},
		{"import", func(ctx context.Context, s admin.Service) error {
			r, err := s.ImportClients(ctx, "acme", admin.Import{Format: "plain", File: strings.NewReader("client_id,client_secret\nnew,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n")})
			if err == nil && (!r.Applied || r.Len() != 1 || r.Counts["created"] != 1) {
				return fmt.Errorf("the report is %+v", r)
			}
			return err
		}, counterfoil.EventClientImported, "from plain"},
		{"rotate the key", func(ctx context.Context, s admin.Service) error {
			k, err := s.RotateKey(ctx, "acme", "", signing.Rotation{Prepublish: time.Hour})
			if err == nil && (k.State != "next" || !k.Activates.Equal(day.Add(time.Hour))) {
				return fmt.Errorf("the key is %+v", k)
			}
			return err
		}, counterfoil.EventKeyCreated, "signs from 2026-07-01T13:00:00Z"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, w way) {
				w.have(t, "acme", "billing", "orders:read")
				if err := row.do(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				e := w.last(t)
				if e.Type != row.kind || e.Actor != w.actor || !strings.Contains(e.Detail, row.says) || !e.Success || e.Realm != "acme" {
					t.Errorf("recorded %+v, want %s by %s with %q", e, row.kind, w.actor, row.says)
				}
			})
		})
	}
}

// What is wrong is told in the same words both ways, and changes nothing.
func TestProblems(t *testing.T) {
	for _, row := range []struct {
		name  string
		do    func(ctx context.Context, s admin.Service) error
		code  string
		words string
	}{
		{"no such realm", func(ctx context.Context, s admin.Service) error {
			_, err := s.Client(ctx, "nowhere", "billing")
			return err
		}, admin.NoSuchRealm, `there is no realm "nowhere"`},
		{"no such realm, keys", func(ctx context.Context, s admin.Service) error { _, err := s.Keys(ctx, "nowhere"); return err }, admin.NoSuchRealm, "nowhere"},
		{"no such client", func(ctx context.Context, s admin.Service) error {
			_, err := s.Client(ctx, "acme", "nobody/here")
			return err
		}, admin.NotFound, "no such client"},
		{"no such client to disable", func(ctx context.Context, s admin.Service) error { return s.DisableClient(ctx, "acme", "nobody") }, admin.NotFound, "no such client"},
		{"no such client to delete", func(ctx context.Context, s admin.Service) error { return s.DeleteClient(ctx, "acme", "nobody") }, admin.NotFound, "no such client"},
		{"no such client to end a secret of", func(ctx context.Context, s admin.Service) error {
			return s.EndSecret(ctx, "acme", "nobody", secretID, time.Time{})
		}, admin.NotFound, "no such client"},
		{"no such secret", func(ctx context.Context, s admin.Service) error {
			return s.EndSecret(ctx, "acme", "billing", "00000000", time.Time{})
		}, "no_such_secret", "00000000"},
		{"taken id", func(ctx context.Context, s admin.Service) error {
			_, _, err := s.CreateClient(ctx, "acme", admin.NewClient{ID: "billing"})
			return err
		}, admin.AlreadyExists, "has a client billing already"},
		{"id that no URL has", func(ctx context.Context, s admin.Service) error {
			_, _, err := s.CreateClient(ctx, "acme", admin.NewClient{ID: ".."})
			return err
		}, "invalid", "client_id: it must not be . or .."},
		{"id of control characters", func(ctx context.Context, s admin.Service) error {
			_, _, err := s.CreateClient(ctx, "acme", admin.NewClient{ID: "a\x00b"})
			return err
		}, "invalid", "client_id: the client id must have"},
		{"several mistakes, each with its place", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"environment":"moon","scopes":["stars:read"],"tenants":["T9"],"tokens":{"lifetime":"10h"}}`))
			return err
		}, "invalid", `environment: the environment must be sandbox or production, or empty; scopes: the realm has no scope "stars:read": its scopes are orders:read orders:write; tenants: the realm has no tenant "T9"`},
		// It was taken, and the client never let in.
		{"an issuer that the realm does not trust", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"authentication":{"federation":[{"issuer":"https://else.example","claims":{"sub":"a"}}]}}`))
			return err
		}, "invalid", `authentication: federation rule 1: the realm does not trust the issuer "https://else.example": add it`},
		{"form of members", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"addresses":["here"],"tokens":{"lifetime":"soon"}}`))
			return err
		}, "invalid", "addresses/0: it must be a network or an address such as 192.0.2.0/24; tokens/lifetime: it must be a duration as 15m"},
		{"kinds of members", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"name":1,"scopes":"a","labels":{"x/y":2},"expires":"soon","authentication":{"jwks":[]}}`))
			return err
		}, "invalid", "authentication/jwks: it must be a JSON object; expires: it must be a time as 2027-01-31T09:00:00Z (RFC 3339); labels/x~1y: it must be a string; name: it must be a string; scopes: it must be a list"},
		{"time before all years", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"expires":"0000-12-31T23:59:59Z"}`))
			return err
		}, "invalid", "expires: it must be a time"},
		{"time after all years", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"expires":"9999-12-31T23:59:59-00:01"}`))
			return err
		}, "invalid", "expires: it must be a time"},
		{"address of one machine's network card", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"addresses":["192.0.2.1","fe80::1%eth0"]}`))
			return err
		}, "invalid", "addresses/1: it must be a network or an address"},
		{"unknown member whose name is not in one line", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"a\n\u001bb":1}`))
			return err
		}, "invalid", `a\u000a\u001bb: unknown member`},
		{"unknown member", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"status":"disabled"}`))
			return err
		}, "invalid", "status: unknown member: allowed are name, contact"},
		{"patch that is no object", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`[]`))
			return err
		}, "malformed_request", "must be a JSON object"},
		{"patch with a member twice", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"name":"a","name":"b"}`))
			return err
		}, "malformed_request", `"name" appears twice`},
		{"another version", func(ctx context.Context, s admin.Service) error {
			_, err := s.ChangeClient(ctx, "acme", "billing", 7, []byte(`{"name":"a"}`))
			return err
		}, admin.Changed, "has another version now"},
		{"another version to rotate", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateSecret(ctx, "acme", "billing", clients.Rotation{Version: 7})
			return err
		}, admin.Changed, "has another version now"},
		{"overlap and end", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateSecret(ctx, "acme", "billing", clients.Rotation{Overlap: time.Hour, At: day.Add(time.Hour)})
			return err
		}, "invalid", "not both"},
		{"end in the past", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateAPIKey(ctx, "acme", "billing", clients.Rotation{At: day.Add(-time.Hour)})
			return err
		}, "invalid", "has passed"},
		{"environment to list", func(ctx context.Context, s admin.Service) error {
			_, err := s.Clients(ctx, store.ClientQuery{Realm: "acme", Environment: "moon"})
			return err
		}, "malformed_request", "sandbox or production"},
		{"algorithm of a key", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateKey(ctx, "acme", "HS256", signing.Rotation{})
			return err
		}, "invalid", `does not sign with "HS256"`},
		{"key published too short", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateKey(ctx, "acme", "", signing.Rotation{Prepublish: time.Minute})
			return err
		}, "invalid", "must be published from 6m0s"},
		{"key published a second too short", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateKey(ctx, "acme", "", signing.Rotation{Prepublish: 6*time.Minute - time.Second})
			return err
		}, "invalid", "must be published from 6m0s"},
		{"key published a second too long", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateKey(ctx, "acme", "", signing.Rotation{Prepublish: store.MaxLifetime + time.Second})
			return err
		}, "invalid", "must be published from 6m0s to "},
		{"key at once and ahead", func(ctx context.Context, s admin.Service) error {
			_, err := s.RotateKey(ctx, "acme", "", signing.Rotation{Prepublish: time.Hour, Immediately: true})
			return err
		}, "invalid", "leave one of the two out"},
		{"format of an import", func(ctx context.Context, s admin.Service) error {
			_, err := s.ImportClients(ctx, "acme", admin.Import{Format: "ldif", File: strings.NewReader("x")})
			return err
		}, "invalid", `unknown format "ldif"`},
		{"file of an import", func(ctx context.Context, s admin.Service) error {
			_, err := s.ImportClients(ctx, "acme", admin.Import{Format: "keycloak", File: strings.NewReader("{\n\"clients\":\n[")})
			return err
		}, "invalid", "line 3 is broken"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var told []*admin.Problem
			bothWays(t, func(t *testing.T, w way) {
				w.have(t, "acme", "billing", "orders:read")
				before := w.last(t)
				var p *admin.Problem
				if err := row.do(t.Context(), w); !errors.As(err, &p) {
					t.Fatalf("error %v", err)
				}
				if p.Code != row.code || !strings.Contains(p.Error(), row.words) || strings.Contains(p.Error(), "\n") {
					t.Errorf("%s: %s\nwant %s: %s", p.Code, p, row.code, row.words)
				}
				if w.last(t) != before {
					t.Errorf("recorded %+v", w.last(t))
				}
				told = append(told, p)
			})
			if len(told) == 2 && !reflect.DeepEqual(told[0], told[1]) {
				t.Errorf("here it is %+v, over HTTPS %+v", told[0], told[1])
			}
		})
	}
}

// all is a client with every setting.
const all = `{"name":"Ledger","contact":"ops@example.com","environment":"sandbox","scopes":["orders:write","orders:read"],
	"tenants":["T2"],"addresses":["192.0.2.0/24","2001:db8::/32"],"labels":{"team":"blue","tier":"1"},"expires":"2027-01-31T09:00:00Z",
	"resource_server":true,"tokens":{"lifetime":"5m0s","algorithm":"","policy":"replace","claims":{"plan":"gold"},"certificate_bound":true,"dpop_bound":true},
	"authentication":{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","use":"sig"}]},"jwks_uri":"",
	"certificate":{"tls_client_auth_san_dns":"ledger.example.com"},"thumbprints":["bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"],
	"federation":[{"issuer":"https://kubernetes.example","claims":{"sub":"system:serviceaccount:ledger:*"}}]}}`

// Every setting comes back as it was given; what is given again changes nothing;
// null gives each its default.
func TestEverySetting(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.have(t, "acme", "billing", "orders:read")
		ctx := t.Context()
		changed := must(w.ChangeClient(ctx, "acme", "billing", 1, []byte(all)))(t)
		shown := must(w.Client(ctx, "acme", "billing"))(t)
		if changed.Version != 2 || !reflect.DeepEqual(changed.Settings, shown.Settings) {
			t.Errorf("changed to %+v, shown as %+v", changed, shown)
		}
		var want, got any
		text := must(json.Marshal(shown.Settings))(t)
		if err := errors.Join(json.Unmarshal([]byte(all), &want), json.Unmarshal(text, &got)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("shown as %s, error %v", text, err)
		}
		before := w.last(t)
		if again := must(w.ChangeClient(ctx, "acme", "billing", 2, []byte(all)))(t); again.Version != 2 || w.last(t) != before {
			t.Errorf("given again it became version %d, recorded %+v", again.Version, w.last(t))
		}
		const none = `{"name":null,"contact":null,"environment":null,"scopes":null,"tenants":null,"addresses":null,"labels":null,"expires":null,"resource_server":null,"tokens":null,"authentication":null}`
		bare := must(w.ChangeClient(ctx, "acme", "billing", 0, []byte(none)))(t)
		made, _, err := w.CreateClient(ctx, "acme", admin.NewClient{ID: "bare"})
		if err != nil || !reflect.DeepEqual(bare.Settings, made.Settings) {
			t.Errorf("%+v, of a new one %+v, error %v", bare.Settings, made.Settings, err)
		}
	})
}

// What is at the edge of what may be said is taken as it was said.
func TestEdges(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.have(t, "acme", "billing", "orders:read")
		for _, expires := range []time.Time{time.Date(1, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			c, err := w.ChangeClient(t.Context(), "acme", "billing", 0, fmt.Appendf(nil, `{"expires":%q}`, expires.Format(time.RFC3339)))
			if err != nil || !c.Expires.Equal(expires) {
				t.Errorf("expires at %v, want %v, error %v", c.Expires, expires, err)
			}
		}
		c, err := w.ChangeClient(t.Context(), "acme", "billing", 0, []byte(`{"addresses":["192.0.2.7","2001:db8::1"]}`))
		if want := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::1/128")}; err != nil || !slices.Equal(c.Addresses, want) {
			t.Errorf("addresses are %v, want %v, error %v", c.Addresses, want, err)
		}
		for realm, ahead := range map[string]time.Duration{"acme": 6 * time.Minute, "ops": store.MaxLifetime} {
			k, err := w.RotateKey(t.Context(), realm, "", signing.Rotation{Prepublish: ahead})
			if want := day.Add(ahead); err != nil || !k.Activates.Equal(want) {
				t.Errorf("the key signs from %v, want %v, error %v", k.Activates, want, err)
			}
		}
	})
}

// TestKeySetIsKeptAsItWasGiven: a key set that is written in another way is the
// same one, and no change.
func TestKeySetIsKeptAsItWasGiven(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		const set = `{ "keys": [ {"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kty":"OKP", "crv":"Ed25519", "kid":"a"} ] }`
		_, _, err := clients.New(w.store, w.clock, w.rules).Create(t.Context(), "test", clients.NewClient{
			Realm: "acme", ID: "job", Settings: store.Settings{Authentication: store.Authentication{KeySet: set}}, WithoutSecret: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		const same = `{"authentication":{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}}}`
		for _, patch := range []string{`{}`, same} {
			if c, err := w.ChangeClient(t.Context(), "acme", "job", 0, []byte(patch)); err != nil || c.Version != 1 {
				t.Errorf("%s makes version %d, want 1, error %v", patch, c.Version, err)
			}
		}
		c, err := w.ChangeClient(t.Context(), "acme", "job", 0, []byte(strings.Replace(same, `"a"`, `"b"`, 1)))
		if err != nil || c.Version != 2 || !strings.Contains(string(c.Authentication.KeySet), `"b"`) {
			t.Errorf("another key set: version %d, %s, error %v", c.Version, c.Authentication.KeySet, err)
		}
	})
}

// Of two who change what both have looked at, one is told so.
func TestConcurrentChanges(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.have(t, "acme", "billing", "orders:read")
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = w.ChangeClient(t.Context(), "acme", "billing", 1, fmt.Appendf(nil, `{"name":"n%d"}`, i))
			})
		}
		wg.Wait()
		good := 0
		for _, err := range errs {
			var p *admin.Problem
			switch {
			case err == nil:
				good++
			case !errors.As(err, &p) || p.Code != admin.Changed || p.Status != 412:
				t.Errorf("error %v", err)
			}
		}
		if c := must(w.Client(t.Context(), "acme", "billing"))(t); good != 1 || c.Version != 2 {
			t.Errorf("%d changes succeeded, the version is %d", good, c.Version)
		}
		// Without a version, both take effect.
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = w.ChangeClient(t.Context(), "acme", "billing", 0, fmt.Appendf(nil, `{"labels":{"l%d":"x"}}`, i))
			})
		}
		wg.Wait()
		if c := must(w.Client(t.Context(), "acme", "billing"))(t); errors.Join(errs...) != nil || len(c.Labels) != len(errs) {
			t.Errorf("%d labels of %d, error %v", len(c.Labels), len(errs), errors.Join(errs...))
		}
	})
}

// Of several rotations at once each that is told good has a secret that serves
// or was replaced after it: none is shown that never served.
func TestConcurrentRotations(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.have(t, "acme", "billing", "orders:read")
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = w.RotateSecret(t.Context(), "acme", "billing", clients.Rotation{Overlap: time.Hour})
			})
		}
		wg.Wait()
		good := int64(0)
		for _, err := range errs {
			var p *admin.Problem
			switch {
			case err == nil:
				good++
			case !errors.As(err, &p) || p.Code != admin.Conflict:
				t.Errorf("error %v", err)
			}
		}
		c := must(w.Client(t.Context(), "acme", "billing"))(t)
		if good == 0 || c.Version != 1+good || len(c.Secrets) != 2 {
			t.Errorf("%d rotations succeeded, the client is %+v", good, c)
		}
	})
}

func TestPaging(t *testing.T) {
	const many = 2500
	p := newPlace(t)
	var wg sync.WaitGroup
	for part := range 50 {
		wg.Go(func() {
			for i := part; i < many; i += 50 {
				n := admin.NewClient{ID: fmt.Sprintf("c/%04d", i), Disabled: i%5 == 0, WithoutSecret: true}
				n.Name, n.Environment = fmt.Sprintf("Client %d", i), []store.Environment{store.EnvironmentSandbox, store.EnvironmentProduction}[i%2]
				if _, _, err := p.local.CreateClient(t.Context(), "acme", n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	no, yes := false, true
	for _, row := range []struct {
		name  string
		q     store.ClientQuery
		count int
		pages int
	}{
		{"default size", store.ClientQuery{}, many, 25},
		{"pages that do not fit", store.ClientQuery{Limit: 999}, many, 3},
		{"never more than a thousand", store.ClientQuery{Limit: 1_000_000}, many, 3},
		{"pages that fit", store.ClientQuery{Limit: 500}, many, 5},
		{"from the middle", store.ClientQuery{Limit: 1000, After: "c/1999"}, 500, 1},
		{"search in the id", store.ClientQuery{Search: "C/12"}, 100, 1},
		{"search in the name", store.ClientQuery{Search: "client 77"}, 11, 1},
		{"search for nothing that is", store.ClientQuery{Search: "100%"}, 0, 1},
		{"disabled", store.ClientQuery{Disabled: &yes}, 500, 5},
		{"enabled in production", store.ClientQuery{Disabled: &no, Environment: store.EnvironmentProduction, Limit: 1000}, 1000, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			remote := p.remote(t, allScopes)
			for _, s := range []admin.Service{p.local, remote} {
				q, pages, last := row.q, 0, ""
				var count int
				for q.Realm = "acme"; pages == 0 || q.After != ""; pages++ {
					page := must(s.Clients(t.Context(), q))(t)
					for _, c := range page.Clients {
						if c.ID <= last {
							t.Fatalf("%s comes after %s", c.ID, last)
						}
						last = c.ID
						count++
					}
					q.After = page.Next
				}
				if count != row.count || pages != row.pages {
					t.Errorf("%T: %d clients on %d pages, want %d on %d", s, count, pages, row.count, row.pages)
				}
			}
		})
	}
}

// The record comes in parts, both ways the same.
func TestEvents(t *testing.T) {
	p := newPlace(t)
	for i := range 250 {
		p.have(t, "acme", fmt.Sprint("c", i))
	}
	p.repeated = func(context.Context, counterfoil.Event) error { return nil }
	remote := p.remote(t, allScopes)
	for after, seen := int64(0), 0; ; {
		here, there := must(p.local.Events(t.Context(), audit.Query{After: after}))(t), must(remote.Events(t.Context(), audit.Query{After: after}))(t)
		if !reflect.DeepEqual(here, there) {
			t.Fatalf("after %d: %+v and %+v", after, here, there)
		}
		if seen += len(here.Events); len(here.Events) > 100 {
			t.Errorf("%d events at once", len(here.Events))
		}
		if after = here.Next; here.End {
			if seen != 251 { // with the caller
				t.Errorf("%d events", seen)
			}
			break
		}
	}
	for name, row := range map[string]struct {
		filter audit.Filter
		want   int
	}{
		"client":              {audit.Filter{ClientID: "c7"}, 1},
		"realm":               {audit.Filter{Realm: "acme"}, 250},
		"another realm":       {audit.Filter{Realm: "acm"}, 0},
		"type":                {audit.Filter{Type: counterfoil.EventClientCreated}, 251},
		"kind of types":       {audit.Filter{Type: "client"}, 251},
		"part of a kind":      {audit.Filter{Type: "clien"}, 0},
		"actor":               {audit.Filter{Actor: "nobody"}, 0},
		"reason":              {audit.Filter{Reason: counterfoil.ReasonWrongSecret}, 0},
		"network":             {audit.Filter{Network: netip.MustParsePrefix("0.0.0.0/0")}, 0},
		"since now":           {audit.Filter{Since: time.Now().Add(time.Hour)}, 0},
		"since long":          {audit.Filter{Since: time.Unix(1, 5000)}, 251},
		"until long ago":      {audit.Filter{Until: time.Unix(1, 0)}, 0},
		"client of the realm": {audit.Filter{Realm: "acme", ClientID: "c7", Type: "client", Since: time.Unix(1, 0)}, 1},
	} {
		q := audit.Query{Filter: row.filter, Limit: 1000}
		here, there := must(p.local.Events(t.Context(), q))(t), must(remote.Events(t.Context(), q))(t)
		if len(here.Events) != row.want || !here.End || !reflect.DeepEqual(here, there) {
			t.Errorf("%s: %d and %d events, want %d", name, len(here.Events), len(there.Events), row.want)
		}
	}
}

// TestLogElsewhere: who verifies the record through the Admin API sees what one on
// the database sees.
func TestLogElsewhere(t *testing.T) {
	p := newPlace(t)
	key := must(signing.LogKey(t.Context(), p.store, clock.System, must(signing.NewSealer("", nil))(t)))(t)
	log := must(audit.New(t.Context(), audit.Config{Store: p.store, Clock: clock.System, Key: key}))(t)
	for n := range 3 {
		for i := range 200 {
			p.have(t, "acme", fmt.Sprint("c", n, "-", i))
		}
		if err := log.Extend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.repeated = func(context.Context, counterfoil.Event) error { return nil }
	remote := p.remote(t, allScopes)
	here, there := must(p.local.AuditLog(t.Context()))(t), must(remote.AuditLog(t.Context()))(t)
	if here.Key != log.VerifierKey() || here.Checkpoint.Size != 602 || !reflect.DeepEqual(here, there) {
		t.Errorf("the log is %+v and %+v", here, there)
	}
	verifier := must(note.NewVerifier(here.Key))(t)
	for _, s := range []admin.Service{p.local, remote} {
		report := must(audit.Verify(t.Context(), admin.Source(s), audit.Options{Verifier: verifier, Kept: []string{here.Checkpoint.Note}}))(t)
		if len(report.Findings) != 0 || report.Signed != 602 || report.Checkpoints != 4 {
			t.Errorf("%T: %+v", s, report)
		}
		proof := must(audit.Prove(t.Context(), admin.Source(s), 300))(t)
		if _, n, err := audit.CheckProof(proof.Text, verifier); err != nil || n != 299 {
			t.Errorf("%T: the proof is of %d, %v", s, n, err)
		}
		if err := audit.Export(t.Context(), admin.Source(s), t.TempDir()); err != nil {
			t.Errorf("%T: %v", s, err)
		}
	}
}

// Keys and realms are the same both ways, and the second rotation is told to
// wait.
func TestKeysAndRealms(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		ctx := t.Context()
		if _, err := w.RotateKey(ctx, "acme", "", signing.Rotation{}); err != nil {
			t.Fatal(err)
		}
		var p *admin.Problem
		if _, err := w.RotateKey(ctx, "acme", "", signing.Rotation{}); !errors.As(err, &p) || p.Code != admin.Conflict || !strings.HasPrefix(p.Detail, "a key is waiting") {
			t.Errorf("the second rotation: %v", err)
		}
		if keys := must(w.Keys(ctx, "acme"))(t); len(keys) != 1 || keys[0].State != "next" {
			t.Errorf("keys are %+v", keys)
		}
		if keys := must(w.Keys(ctx, "ops"))(t); len(keys) != 0 {
			t.Errorf("keys are %+v", keys)
		}
		realms := must(w.Realms(ctx))(t)
		if len(realms) != 2 || realms[0].Name != "acme" || realms[0].TokenURL != "https://auth.acme.example/token" ||
			!reflect.DeepEqual(realms[0].Scopes, []string{"orders:read", "orders:write"}) || !reflect.DeepEqual(realms[0].Tenants, []string{"T1", "T2"}) {
			t.Errorf("realms are %+v", realms)
		}
	})
}
