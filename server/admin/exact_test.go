package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// meanwhile is a store in which something happens between a reading of a client,
// the first or a later one, and what is done next.
type meanwhile struct {
	store.Store
	client string
	after  int32
	reads  atomic.Int32
	do     func()
}

func (s *meanwhile) Client(ctx context.Context, realm, id string) (store.Client, error) {
	c, err := s.Store.Client(ctx, realm, id)
	if id == s.client && s.reads.Add(1) == s.after {
		s.do()
	}
	return c, err
}

// TestPromotedMeanwhile: a client that gets more scopes than the caller has, just
// after it was looked at, does not give the caller its new secret.
func TestPromotedMeanwhile(t *testing.T) {
	for name, rotate := range map[string]func(ctx context.Context, s admin.Service) (clients.Credentials, error){
		"secret": func(ctx context.Context, s admin.Service) (clients.Credentials, error) {
			return s.RotateSecret(ctx, "ops", "chief", clients.Rotation{})
		},
		"API key": func(ctx context.Context, s admin.Service) (clients.Credentials, error) {
			return s.RotateAPIKey(ctx, "ops", "chief", clients.Rotation{})
		},
	} {
		for reading, status := range map[int32]int{1: 403, 2: 409} {
			t.Run(fmt.Sprint(name, " after reading ", reading), func(t *testing.T) {
				p := newPlace(t)
				p.have(t, "ops", "chief", "clients:write")
				clients := clients.New(p.store, p.clock, p.rules)
				store := &meanwhile{Store: p.store, client: "chief", after: reading, do: func() {
					_, err := clients.Change(t.Context(), "root", "ops", "chief", 0, func(s *store.Settings) error {
						s.Scopes = allScopes
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}}
				p.local = admin.New(admin.Config{Store: store, Keys: p.keys, Realms: func() []server.Realm { return p.realms }, Actor: "root", Clock: p.clock})
				creds, err := rotate(t.Context(), p.remote(t, counterfoil.Scopes{"clients:write"}))
				var problem *admin.Problem
				if !errors.As(err, &problem) || problem.Status != status {
					t.Errorf("error %v", err)
				}
				if creds.ClientSecret != "" || creds.APIKey != "" {
					t.Error("the caller has the credentials of a client that may more")
				}
				if e := p.last(t); e.Type != counterfoil.EventClientChanged {
					t.Errorf("recorded %+v", e)
				}
			})
		}
	}
}

// TestLastUseIsOfItsSecret: each secret and API key shows when it was used itself.
func TestLastUseIsOfItsSecret(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "job", "orders:read")
	if _, err := p.local.RotateSecret(t.Context(), "acme", "job", clients.Rotation{Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.local.RotateAPIKey(t.Context(), "acme", "job", clients.Rotation{}); err != nil {
		t.Fatal(err)
	}
	c := must(p.local.Client(t.Context(), "acme", "job"))(t)
	if len(c.Secrets) != 2 || len(c.APIKeys) != 1 {
		t.Fatalf("the client is %+v", c)
	}
	uses := []store.LastUse{
		{Realm: "acme", ClientID: "job", SecretID: c.Secrets[1].ID, Time: day.Add(time.Minute)},
		{Realm: "acme", ClientID: "job", SecretID: c.APIKeys[0].ID, Time: day.Add(2 * time.Minute)},
	}
	if err := p.store.RecordLastUses(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	c = must(p.local.Client(t.Context(), "acme", "job"))(t)
	if got := c.Secrets[0].LastUsed; !got.IsZero() {
		t.Errorf("the new secret was used at %v", got)
	}
	if got := c.Secrets[1].LastUsed; !got.Equal(uses[0].Time) {
		t.Errorf("the old secret was used at %v", got)
	}
	if got := c.APIKeys[0].LastUsed; !got.Equal(uses[1].Time) {
		t.Errorf("the API key was used at %v", got)
	}
}

// TestNullInAList is a mistake at its place, in a list of any length.
func TestNullInAList(t *testing.T) {
	p := newPlace(t)
	ts := p.serve(t, allScopes)
	for body, pointer := range map[string]string{
		`{"scopes":[null]}`:                                         "/scopes/0",
		`{"tenants":["T1",null]}`:                                   "/tenants/1",
		`{"addresses":[null,"192.0.2.1"]}`:                          "/addresses/0",
		`{"authentication":{"federation":[null]}}`:                  "/authentication/federation/0",
		`{"authentication":{"thumbprints":[null]}}`:                 "/authentication/thumbprints/0",
		`{"tenants":["T1","T1","T1","T1","T1","T1","T1",null]}`:     "/tenants/7",
		`{"tokens":{"claims":{"a":null}},"scopes":[]}`:              "/tokens/claims/a",
		`{"labels":{"a~/b":null},"authentication":{"jwks_uri":""}}`: "/labels/a~0~1b",
	} {
		got := ask(t, ts, "POST", "/v1/realms/acme/clients", body, "Content-Type", "application/json")
		if got.status != 422 || !strings.Contains(got.body, `"pointer":"`+pointer+`"`) {
			t.Errorf("%s: %d %s, want a mistake at %s", body, got.status, got.body, pointer)
		}
	}
}

// TestLongestClientID: a realm's limit of client IDs is that of new ones.
func TestLongestClientID(t *testing.T) {
	p := newPlace(t)
	const limit = 40
	described := *p.realms[0].Provider
	described.TokenEndpoint.Limits.ClientID = limit
	p.realms[0].Provider = &described
	for n, ok := range map[int]bool{limit: true, limit + 1: false} {
		_, _, err := p.local.CreateClient(t.Context(), "acme", admin.NewClient{ID: strings.Repeat("x", n)})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "client_id: it must have at most") {
			t.Errorf("an ID of %d bytes, where %d are the most: %v", n, limit, err)
		}
	}
}
