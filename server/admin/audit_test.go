package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// events returns all that is recorded after the first n.
func (p *place) events(t *testing.T, n int) []counterfoil.Event {
	t.Helper()
	page, err := p.store.Events(t.Context(), int64(n), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]counterfoil.Event, len(page))
	for i := range page {
		all[i] = page[i].Event
	}
	return all
}

// calls are one call of each operation on the client billing of acme: what it
// needs, and the type of the record when it is let through.
var calls = []struct{ id, method, path, body, media, records string }{
	{"root", "GET", "/", "", "", "admin.called"},
	{"document", "GET", "/v1/openapi.json", "", "", "admin.called"},
	{"realms", "GET", "/v1/realms", "", "", "admin.called"},
	{"clients", "GET", "/v1/realms/acme/clients", "", "", "admin.called"},
	{"createClient", "POST", "/v1/realms/acme/clients", `{"client_id":"other"}`, jsonBody, "client.created"},
	{"client", "GET", "/v1/realms/acme/clients/billing", "", "", "admin.called"},
	{"changeClient", "PATCH", "/v1/realms/acme/clients/billing", `{"name":"x"}`, patchBody, "client.changed"},
	{"changeClient", "PATCH", "/v1/realms/acme/clients/billing", `{}`, patchBody, "admin.called"},
	{"rotateSecret", "POST", "/v1/realms/acme/clients/billing/secrets", `{}`, jsonBody, "client.rotated"},
	{"rotateAPIKey", "POST", "/v1/realms/acme/clients/billing/api-keys", `{}`, jsonBody, "client.rotated"},
	{"endSecret", "PATCH", "/v1/realms/acme/clients/billing/secrets/" + secretID, `{"ends":"2026-07-01T13:00:00Z"}`, jsonBody, "client.secret_ended"},
	{"deleteSecret", "DELETE", "/v1/realms/acme/clients/billing/secrets/" + secretID, "", "", "client.secret_ended"},
	{"disableClient", "POST", "/v1/realms/acme/clients/billing/disable", "", "", "client.disabled"},
	{"enableClient", "POST", "/v1/realms/acme/clients/billing/enable", "", "", "admin.called"},
	{"revokeTokens", "POST", "/v1/realms/acme/clients/billing/revoke", "", "", "tokens.revoked"},
	{"importClients", "POST", "/v1/realms/acme/imports?format=plain", "client_id,client_secret\nother,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n", "text/csv", "client.imported"},
	{"importClients", "POST", "/v1/realms/acme/imports?format=plain&dry_run=true", "client_id,client_secret\nother,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n", "text/csv", "admin.called"},
	{"deleteClient", "DELETE", "/v1/realms/acme/clients/billing", "", "", "client.deleted"},
	{"blocks", "GET", "/v1/blocks", "", "", "admin.called"},
	{"liftBlocks", "POST", "/v1/blocks/lift", `{}`, jsonBody, "block.lifted"},
	{"alerts", "GET", "/v1/alerts", "", "", "admin.called"},
	{"acknowledgeAlerts", "POST", "/v1/alerts/acknowledge", `{"ids":[1]}`, jsonBody, "alert.acknowledged"},
	{"acknowledgeAlerts", "POST", "/v1/alerts/acknowledge", `{"client_id":"other"}`, jsonBody, "admin.called"},
	{"silences", "GET", "/v1/silences", "", "", "admin.called"},
	{"createSilence", "POST", "/v1/silences", `{"all":true,"for":"2h"}`, jsonBody, "silence.created"},
	{"deleteSilence", "DELETE", "/v1/silences/1", "", "", "silence.deleted"},
	{"keys", "GET", "/v1/realms/acme/keys", "", "", "admin.called"},
	{"rotateKey", "POST", "/v1/realms/acme/keys", `{}`, jsonBody, "key.created"},
	{"events", "GET", "/v1/events?limit=1", "", "", "admin.called"},
	{"auditLog", "GET", "/v1/log", "", "", "admin.called"},
	{"auditTile", "GET", "/v1/log/tile?level=0&n=0", "", "", "admin.called"},
	{"auditCheckpoints", "GET", "/v1/log/checkpoints", "", "", "admin.called"},
}

// TestEveryCallIsRecorded: each call leaves one record, allowed or refused, by
// which one finds who asked for what, from where, and the answer and the log.
func TestEveryCallIsRecorded(t *testing.T) {
	asked := map[string]bool{}
	for _, row := range calls {
		var headers []string
		if row.media != "" {
			headers = []string{"Content-Type", row.media}
		}
		headers = append(headers, "User-Agent", "tool/1\u200b")
		path, _, _ := strings.Cut(row.path, "?")
		check := func(t *testing.T, p *place, before int, got answer) counterfoil.Event {
			t.Helper()
			all := p.events(t, before)
			if len(all) != 1 {
				t.Fatalf("%d records: %+v", len(all), all)
			}
			e := all[0]
			want := counterfoil.Event{
				Actor: "client ops/boss (token t-1)", Method: "bearer", Address: "127.0.0.1", UserAgent: e.UserAgent,
				Resource: row.method + " " + path, RequestID: got.header.Get("X-Request-Id"),
			}
			have := counterfoil.Event{
				Actor: e.Actor, Method: e.Method, Address: e.Address, UserAgent: e.UserAgent, Resource: e.Resource, RequestID: e.RequestID,
			}
			if have != want || !strings.HasPrefix(e.UserAgent, "tool/1") || e.RequestID == "" || !e.Time.Equal(day) {
				t.Errorf("recorded %+v\nwant %+v", e, want)
			}
			return e
		}
		t.Run(row.id, func(t *testing.T) {
			for route := range admin.Routes() {
				method, pattern, _ := strings.Cut(route, " ")
				if method == row.method && strings.NewReplacer("{realm}", "acme", "{client}", "billing", "{secret}", secretID, "{silence}", "1").Replace(pattern) == path {
					asked[route] = true
				}
			}
			p := newPlace(t)
			p.have(t, "acme", "billing", "orders:read")
			p.silence(t)
			got := ask(t, p.serve(t, allScopes), row.method, row.path, row.body, headers...)
			e := check(t, p, 3, got)
			if got.status > 299 || e.Type != row.records || !e.Success || e.Reason != "" {
				t.Errorf("answered %d, recorded %+v", got.status, e)
			}
			if e.Type == "admin.called" && (e.Realm != "ops" || e.ClientID != "boss" || e.TokenID != "t-1" || e.Detail != row.id) {
				t.Errorf("recorded %+v", e)
			}
			for what, ts := range map[string]*httptest.Server{"without scopes": p.serve(t, nil), "a parameter": p.serve(t, allScopes)} {
				before, path, code, reason := len(p.events(t, 0)), row.path, "insufficient_scope", counterfoil.ReasonScopeInsufficient
				if what == "a parameter" {
					path, _, _ = strings.Cut(path, "?")
					path, code, reason = path+"?x=1", "malformed_request", counterfoil.ReasonMalformedRequest
				} else if len(row.records) > 0 && slices.Contains([]string{"root", "document", "realms"}, row.id) {
					continue
				}
				got := ask(t, ts, row.method, path, row.body, headers...)
				if e := check(t, p, before, got); e.Type != "admin.refused" || e.Success || e.Reason != reason || e.Detail != row.id+": "+code ||
					e.Realm != "ops" || e.ClientID != "boss" || e.TokenID != "t-1" || e.Changes != "" {
					t.Errorf("%s: answered %d, recorded %+v", what, got.status, e)
				}
			}
		})
	}
	if len(asked) != len(admin.Routes()) {
		t.Errorf("%d of %d operations are asked", len(asked), len(admin.Routes()))
	}
	// What is no operation at all is recorded as well.
	p := newPlace(t)
	for _, row := range []struct{ method, path, detail string }{
		{"GET", "/v2", "not_found"}, {"DELETE", "/v1//realms", "not_found"}, {"PUT", "/v1/realms", "method_not_allowed"},
		{"GET", "/v1/realms/acme/clients/" + strings.Repeat("x", 5000), "client: not_found"}, {"GET", "/%0a", "not_found"},
	} {
		before := len(p.events(t, 0))
		got := ask(t, p.serve(t, allScopes), row.method, row.path, "")
		all := p.events(t, before)
		if len(all) != 1 || all[0].Type != "admin.refused" || all[0].Detail != row.detail || len(all[0].Resource) > 300 || got.status < 400 {
			t.Errorf("%s %.20s: %d, recorded %+v", row.method, row.path, got.status, all)
		}
	}
}

// TestAttemptsLeaveATrace: who tries 107 ways to have more leaves 107 records,
// each with what was tried, and as many events for the log.
func TestAttemptsLeaveATrace(t *testing.T) {
	p := newPlace(t)
	p.operator(t, hardened())
	logged := map[string]bool{}
	h := must(admin.NewHandler(p.local, admin.HandlerConfig{Realm: "ops", OnEvent: func(_ context.Context, e counterfoil.Event) {
		logged[e.Type+" "+e.Detail+" "+e.Resource] = true
	}}))(t)
	before := len(p.events(t, 0))
	for n := range 107 {
		who := &counterfoil.Principal{ClientID: "boss", TokenID: "t-1", Scopes: allScopes}
		body := strings.NewReader(`{"resource_server":true,"expires":null}`)
		r := httptest.NewRequestWithContext(counterfoil.WithPrincipal(t.Context(), who), "PATCH", fmt.Sprint("/v1/realms/ops/clients/boss?", n), body)
		r.URL.RawQuery = ""
		r.URL.Path = "/v1/realms/ops/clients/boss"
		if n%2 == 1 {
			r.URL.Path = fmt.Sprint("/v1/realms/ops/clients/no-", n)
		}
		r.Header.Set("Content-Type", patchBody)
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, r); rec.Code < 400 {
			t.Fatalf("answered %d", rec.Code)
		}
	}
	all := p.events(t, before)
	if len(all) != 107 || len(logged) != 1+53 {
		t.Errorf("%d records, %d different lines", len(all), len(logged))
	}
	if e := all[0]; e.Detail != "changeClient: exceeds_own /expires /resource_server" {
		t.Errorf("recorded %+v", e)
	}
}

// TestRecordedChanges: the record says what a change has changed, from what to
// what, and never a secret or a hash.
func TestRecordedChanges(t *testing.T) {
	long := `{"keys":[{"kty":"EC","crv":"P-256","kid":"` + strings.Repeat("k", 400) + `","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`
	bothWays(t, func(t *testing.T, w way) {
		ctx := t.Context()
		w.have(t, "acme", "billing", "orders:read")
		var creds []counterfoil.Secret
		last := func(what, want string) string {
			t.Helper()
			e := w.last(t)
			if !strings.Contains(e.Changes, want) || !json.Valid([]byte(e.Changes)) {
				t.Errorf("%s: %s\nwant %s", what, e.Changes, want)
			}
			return e.Changes
		}
		last("had", `"scopes":[null,["orders:read"]]`)
		must(w.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"name":"Ledger","tokens":{"lifetime":"5m","dpop_bound":true},"addresses":["192.0.2.7/32"],"labels":{"a":"b"}}`)))(t)
		got := last("changed", `"name":["Billing","Ledger"]`)
		var changes map[string][2]any
		if err := json.Unmarshal([]byte(got), &changes); err != nil {
			t.Fatal(err)
		}
		want := map[string][2]any{
			"name": {"Billing", "Ledger"}, "tokens/lifetime": {nil, "5m0s"}, "tokens/dpop_bound": {false, true},
			"addresses": {nil, []any{"192.0.2.7/32"}}, "labels": {nil, map[string]any{"a": "b"}},
		}
		if !reflect.DeepEqual(changes, want) {
			t.Errorf("recorded %v\nwant %v", changes, want)
		}
		must(w.ChangeClient(ctx, "acme", "billing", 0, []byte(`{"name":null,"authentication":{"jwks":`+long+`}}`)))(t)
		got = last("a name less, a key more", `"name":["Ledger",null]`)
		if !strings.Contains(got, `"authentication/jwks":[null,"`) || !strings.Contains(got, "SHA-256") || len(got) > 300 {
			t.Errorf("recorded %s", got)
		}
		c, err := w.RotateSecret(ctx, "acme", "billing", clients.Rotation{})
		creds = append(creds, must(c, err)(t).ClientSecret)
		last("rotated", `"secrets":[[{"id":"`+secretID+`"}],[{"id":"`+c.ID+`"}]]`)
		c, err = w.RotateAPIKey(ctx, "acme", "billing", clients.Rotation{})
		creds = append(creds, must(c, err)(t).APIKey)
		last("given a key", `"api_keys":[null,[{"id":"`+c.ID+`"}]]`)
		if err := w.EndSecret(ctx, "acme", "billing", c.ID, day.Add(3600e9)); err != nil {
			t.Fatal(err)
		}
		last("ended", `"ends":"2026-07-01T13:00:00Z"`)
		if err := errors.Join(w.DisableClient(ctx, "acme", "billing"), w.RevokeTokens(ctx, "acme", "billing")); err != nil {
			t.Fatal(err)
		}
		last("revoked", `"not_before":[null,"2026-07-01T12:00:0`)
		n := admin.NewClient{ID: "made"}
		n.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		_, c, err = w.CreateClient(ctx, "ops", n)
		creds = append(creds, must(c, err)(t).ClientSecret)
		last("created", `"addresses":[null,["192.0.2.0/24"]]`)
		if w.actor != "root" {
			last("created by a client", `"maker":[null,"boss"]`)
		}
		text := must(json.Marshal(w.events(t, 0)))(t)
		for _, secret := range append(creds, "sha256:", "p9xtEI6wc4Y") {
			if strings.Contains(string(text), secret.Reveal()) {
				t.Error("the record has a secret, or the hash of one")
			}
		}
	})
}

// TestFollowersAreRecorded: each client that ends with another has a record.
func TestFollowersAreRecorded(t *testing.T) {
	p := newPlace(t)
	p.chain(t, "one", "two")
	before := len(p.events(t, 0))
	if err := p.remoteAs(t, "boss").DisableClient(t.Context(), "ops", "one"); err != nil {
		t.Fatal(err)
	}
	all := p.events(t, before)
	if len(all) != 2 || all[0].ClientID != "two" || all[1].ClientID != "one" {
		t.Fatalf("recorded %+v", all)
	}
	for _, e := range all {
		if e.Type != "client.disabled" || e.Actor != "client ops/boss (token t-1)" || e.Changes != `{"disabled":[false,true]}` || e.Resource == "" || e.RequestID != all[0].RequestID {
			t.Errorf("recorded %+v", e)
		}
	}
	if !strings.Contains(all[0].Detail, "with one") {
		t.Errorf("recorded %+v", all[0])
	}
}

// unrecorded is a store that records no event by itself.
type unrecorded struct{ store.Store }

func (unrecorded) RecordEvents(context.Context, ...counterfoil.Event) error {
	return errors.New("the disk is full")
}

// TestCallThatIsNotRecorded: nothing is answered that could not be recorded, and
// the log tells once in a second.
func TestCallThatIsNotRecorded(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "billing", "orders:read")
	p.local = admin.New(admin.Config{Store: unrecorded{p.store}, Realms: func() []server.Realm { return p.realms }, Clock: p.clock})
	ts := p.serve(t, allScopes)
	for range 5 {
		got := ask(t, ts, http.MethodGet, "/v1/realms/acme/clients/billing", "")
		if got.status != 500 || strings.Contains(got.body, "orders:read") || got.header.Get("ETag") != "" {
			t.Errorf("answered %d %s", got.status, got.body)
		}
		if got := ask(t, ts, http.MethodGet, "/v1/realms/acme/clients/nobody", ""); got.status != 500 {
			t.Errorf("a refusal is answered %d %s", got.status, got.body)
		}
	}
	ts.Close()
	if lines := strings.Count(p.log.String(), "the disk is full"); lines != 1 {
		t.Errorf("the log has %d lines: %s", lines, p.log.String())
	}
}

// TestChangedToTheSameMeanwhile: a call whose change someone else has made first
// changes nothing, and has a record of its own.
func TestChangedToTheSameMeanwhile(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "billing", "orders:read")
	operator := p.local
	rename := []byte(`{"name":"x"}`)
	db := &meanwhile{Store: p.store, client: "billing", after: 1, do: func() {
		if _, err := operator.ChangeClient(t.Context(), "acme", "billing", 0, rename); err != nil {
			t.Error(err)
		}
	}}
	p.local = admin.New(admin.Config{Store: db, Realms: func() []server.Realm { return p.realms }, Clock: p.clock})
	before := len(p.events(t, 0))
	if _, err := p.remote(t, allScopes).ChangeClient(t.Context(), "acme", "billing", 0, rename); err != nil {
		t.Fatal(err)
	}
	if all := p.events(t, before); len(all) != 2 || all[0].Actor != "root" || all[1].Type != "admin.called" || all[1].Detail != "changeClient" {
		t.Errorf("recorded %+v", all)
	}
}

// TestReadingTheRecord: who reads the record again and again does not fill it: such
// calls, and no others, are counted where that is possible.
func TestReadingTheRecord(t *testing.T) {
	p := newPlace(t)
	var counted []string
	p.repeated = func(_ context.Context, e counterfoil.Event) error {
		counted = append(counted, e.Type+" "+e.Detail)
		return nil
	}
	ts := p.serve(t, allScopes)
	before := len(p.events(t, 0))
	for _, path := range []string{"/v1/events", "/v1/log", "/v1/realms", "/v1/events?x=1"} {
		ask(t, ts, "GET", path, "")
	}
	ts.Close()
	if all := p.events(t, before); len(all) != 2 || all[0].Detail != "realms" || all[1].Type != "admin.refused" {
		t.Errorf("recorded %+v", all)
	}
	if !slices.Equal(counted, []string{"admin.called events", "admin.called auditLog"}) {
		t.Errorf("counted %v", counted)
	}
}

// TestRepeatedKeyIsRecorded: the answer that is given again has a record too.
func TestRepeatedKeyIsRecorded(t *testing.T) {
	p := newPlace(t)
	ts := p.serve(t, allScopes)
	before := len(p.events(t, 0))
	for range 2 {
		if got := ask(t, ts, "POST", "/v1/realms/acme/clients", `{}`, "Content-Type", jsonBody, "Idempotency-Key", `"k"`); got.status != 201 {
			t.Fatalf("answered %d %s", got.status, got.body)
		}
	}
	if all := p.events(t, before); len(all) != 2 || all[0].Type != "client.created" || all[1].Type != "admin.called" || all[1].Detail != "createClient" {
		t.Errorf("recorded %+v", all)
	}
}
