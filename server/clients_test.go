package server_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// try asks the oauth2 realm for a token with a secret, and returns the status.
func (h *house) try(id string, secret counterfoil.Secret) int {
	h.t.Helper()
	a := h.good("oauth2")
	a.credentials(id, secret.Reveal())
	return h.do("oauth2", a).status
}

func TestCreate(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	n := clients.NewClient{Realm: "oauth2", Settings: store.Settings{Name: "A partner – ü", Scopes: counterfoil.Scopes{"read"}, Tenants: []string{"T"}}, WithAPIKey: true}
	made, creds, err := h.clients.Create(t.Context(), "root@host\n", n)
	if err != nil {
		t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal(), creds.APIKey.Reveal())
	if !regexp.MustCompile(`^[a-z2-7]{26}$`).MatchString(creds.ClientID) || made.ID != creds.ClientID {
		t.Errorf("generated id %q", creds.ClientID)
	}
	for _, s := range []counterfoil.Secret{creds.ClientSecret, creds.APIKey} {
		if !cfsecret.Is(s) {
			t.Errorf("a secret of %d characters, not of the form that scanners find", len(s))
		}
	}
	got, err := h.clients.Get(t.Context(), "oauth2", creds.ClientID)
	if err != nil || got.Name != n.Name || got.Version != 1 || len(got.Secrets) != 1 || len(got.APIKeys) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, v := range []counterfoil.Secret{creds.ClientSecret, creds.APIKey} {
		if strings.Contains(got.Secrets[0].Value+got.APIKeys[0].Value, v.Reveal()) {
			t.Error("a secret is kept in clear")
		}
	}
	if status := h.try(creds.ClientID, creds.ClientSecret); status != http.StatusOK {
		t.Errorf("its first token request got %d", status)
	}
	events := h.recorded()
	if e := events[len(events)-2]; e.Type != counterfoil.EventClientCreated || e.Actor != `root@host\u000a` || e.ClientID != creds.ClientID {
		t.Errorf("record %+v", e)
	}
	n.ID = creds.ClientID
	if _, _, err := h.clients.Create(t.Context(), "test", n); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second client of that id: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	h := newHouseOf(t, nil)
	for name, n := range map[string]clients.NewClient{
		"no realm":          {},
		"control in id":     {Realm: "r", ID: "a\nb"},
		"not UTF-8":         {Realm: "r", ID: "a\xff"},
		"long id":           {Realm: "r", ID: strings.Repeat("x", 101)},
		"format in name":    {Realm: "r", Settings: store.Settings{Name: "a\u202eb"}},
		"long name":         {Realm: "r", Settings: store.Settings{Name: strings.Repeat("x", 201)}},
		"two in a scope":    {Realm: "r", Settings: store.Settings{Scopes: counterfoil.Scopes{"a b"}}},
		"scope twice":       {Realm: "r", Settings: store.Settings{Scopes: counterfoil.Scopes{"a", "a"}}},
		"quote in scope":    {Realm: "r", Settings: store.Settings{Scopes: counterfoil.Scopes{`"`}}},
		"empty scope":       {Realm: "r", Settings: store.Settings{Scopes: counterfoil.Scopes{""}}},
		"empty tenant":      {Realm: "r", Settings: store.Settings{Tenants: []string{""}}},
		"tenant twice":      {Realm: "r", Settings: store.Settings{Tenants: []string{"a", "a"}}},
		"line in tenant":    {Realm: "r", Settings: store.Settings{Tenants: []string{"a\nb"}}},
		"too many tenants":  {Realm: "r", Settings: store.Settings{Tenants: strings.Split(strings.Repeat("x", 1001), "")}},
		"separator in name": {Realm: "r", Settings: store.Settings{Name: "a\u2028b"}},
	} {
		if _, _, err := h.clients.Create(t.Context(), "test", n); err == nil || errors.Is(err, store.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if events := h.recorded(); len(events) != 0 {
		t.Errorf("%d records", len(events))
	}
}

// TestHashesOfAnImport: which of a client's hashes is wrong, and how, is said; what
// is right is kept as it is, with what is missing in it.
func TestHashesOfAnImport(t *testing.T) {
	const good = "sha256:p9xtEI6wc4YwPhFTRy7tZT1Gm0D4ss7EkZF_xfR6my4"
	h := newHouseOf(t, nil)
	for name, row := range map[string]struct {
		hashes []store.SecretHash
		says   string
	}{
		"two":                   {[]store.SecretHash{{Value: good}, {Value: good, ID: "1f2e3d4c"}}, ""},
		"three":                 {[]store.SecretHash{{Value: good}, {Value: good}, {Value: good}}, "at most 2"},
		"the second is none":    {[]store.SecretHash{{Value: good}, {Value: "x"}}, "secret 2: "},
		"an ID in capitals":     {[]store.SecretHash{{Value: good, ID: "1F2E3D4C"}}, "secret 1: its id must be 8 hexadecimal digits"},
		"an ID of other digits": {[]store.SecretHash{{Value: good}, {Value: good, ID: "1f2e3d4g"}}, "secret 2: its id must be 8 hexadecimal digits"},
		"a short ID":            {[]store.SecretHash{{Value: good, ID: "1f2e3d"}}, "its id must be 8 hexadecimal digits"},
		"a long ID":             {[]store.SecretHash{{Value: good, ID: "1f2e3d4c5b"}}, "its id must be 8 hexadecimal digits"},
	} {
		c, _, err := h.clients.Create(t.Context(), "test", clients.NewClient{Realm: "r", ID: strings.ReplaceAll(name, " ", "-"), Secrets: row.hashes})
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %q", name, err, row.says)
		}
		if err != nil {
			continue
		}
		if first, second := c.Secrets[0], c.Secrets[1]; len(first.ID) != 8 || second.ID != "1f2e3d4c" || !first.Created.Equal(h.clock.Now()) {
			t.Errorf("%s: kept %+v", name, c.Secrets)
		}
	}
}

// TestReplaceClient: an import takes the place of what was there, and leaves what it has
// nothing for.
func TestReplaceClient(t *testing.T) {
	hash := func(id string) []store.SecretHash {
		return []store.SecretHash{{ID: id, Value: "sha256:p9xtEI6wc4YwPhFTRy7tZT1Gm0D4ss7EkZF_xfR6my4"}}
	}
	for name, row := range map[string]struct {
		with           clients.NewClient
		secret, apiKey string
		name           string
		disabled       bool
		detail         string
		err            string
	}{
		"nothing":        {clients.NewClient{Settings: store.Settings{Name: "Old"}}, "0000000a", "0000000b", "Old", false, "from acme, in place of what was there", ""},
		"settings":       {clients.NewClient{Settings: store.Settings{Name: "New"}}, "0000000a", "0000000b", "New", false, "from acme, in place of what was there; name: New", ""},
		"state":          {clients.NewClient{Settings: store.Settings{Name: "Old"}, Disabled: true}, "0000000a", "0000000b", "Old", true, "from acme, in place of what was there", ""},
		"secrets":        {clients.NewClient{Settings: store.Settings{Name: "Old"}, Secrets: hash("0000000c")}, "0000000c", "0000000b", "Old", false, "from acme, in place of what was there; secrets", ""},
		"API keys":       {clients.NewClient{Settings: store.Settings{Name: "Old"}, APIKeys: hash("0000000d")}, "0000000a", "0000000d", "Old", false, "from acme, in place of what was there; API keys", ""},
		"all":            {clients.NewClient{Settings: store.Settings{Name: "New"}, Secrets: hash("0000000c"), APIKeys: hash("0000000d")}, "0000000c", "0000000d", "New", false, "from acme, in place of what was there; name: New; secrets; API keys", ""},
		"what cannot be": {clients.NewClient{Settings: store.Settings{Name: "a\nb"}}, "0000000a", "0000000b", "Old", false, "", "replace client: "},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil)
			h.client(clients.NewClient{Realm: "r", ID: "job", Settings: store.Settings{Name: "Old"}, Secrets: hash("0000000a"), APIKeys: hash("0000000b")})
			row.with.Realm, row.with.ID, row.with.ImportedFrom = "r", "job", "acme"
			_, err := h.clients.Replace(t.Context(), "test", row.with, 1)
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("error %v, want %q", err, row.err)
			}
			c, err := h.clients.Get(t.Context(), "r", "job")
			if err != nil || c.Secrets[0].ID != row.secret || c.APIKeys[0].ID != row.apiKey || c.Name != row.name || c.Disabled != row.disabled {
				t.Errorf("the client is %+v, %v", c, err)
			}
			events := h.recorded()
			if last := events[len(events)-1].Event; row.detail != "" && (last.Type != counterfoil.EventClientImported || last.Detail != row.detail) || row.detail == "" && last.Type != counterfoil.EventClientCreated {
				t.Errorf("the record is %+v, want %q", last, row.detail)
			}
		})
	}
}

// TestRevokedAgainAndAgain: each revocation ends what was issued before it, until
// new tokens would be dated further ahead than verifiers allow; then it is refused
// and what was revoked stays so.
func TestRevokedAgainAndAgain(t *testing.T) {
	h := newGateBy(t, clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)), nil)
	revoke := func() error { return h.clients.RevokeTokens(t.Context(), "test", "oauth2", "good") }
	want := func(ahead time.Duration) {
		t.Helper()
		if c, err := h.clients.Get(t.Context(), "oauth2", "good"); err != nil || c.NotBefore.Sub(h.clock.Now()) != ahead {
			t.Errorf("tokens count from %v on, %v, want %v ahead", c.NotBefore, err, ahead)
		}
	}
	for n := 1; n <= int(store.MaxAhead/time.Second); n++ {
		if err := revoke(); err != nil {
			t.Fatalf("revocation %d: %v", n, err)
		}
		want(time.Duration(n) * time.Second)
	}
	if err := revoke(); err == nil || !strings.Contains(err.Error(), "retry in a moment") {
		t.Errorf("one too many: %v", err)
	}
	want(store.MaxAhead)
	h.clock.Turn(time.Second)
	if err := revoke(); err != nil {
		t.Error(err)
	}
	want(store.MaxAhead)
}

// TestRotate turns the clock through two rotations with an overlap and one
// without.
func TestRotate(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	ctx, first := t.Context(), h.creds["oauth2"].ClientSecret
	rotate := func(overlap time.Duration) counterfoil.Secret {
		c, err := h.clients.RotateSecret(ctx, "test", "oauth2", "good", clients.Rotation{Overlap: overlap})
		if err != nil {
			t.Fatal(err)
		}
		h.keep(c.ClientSecret.Reveal())
		oldEnds := time.Time{}
		if overlap > 0 {
			oldEnds = h.clock.Now().Add(overlap)
		}
		if !c.PreviousExpires.Equal(oldEnds) {
			t.Errorf("after an overlap of %v the old secret ends at %v, want %v", overlap, c.PreviousExpires, oldEnds)
		}
		return c.ClientSecret
	}
	want := func(when string, statuses map[counterfoil.Secret]int) {
		t.Helper()
		for secret, status := range statuses {
			if got := h.try("good", secret); got != status {
				t.Errorf("%s: got %d, want %d", when, got, status)
			}
			if ok, err := h.clients.VerifySecret(ctx, "oauth2", "good", secret); err != nil || ok != (status == 200) {
				t.Errorf("%s: VerifySecret says %v, %v", when, ok, err)
			}
		}
	}
	second := rotate(time.Hour)
	want("in the overlap", map[counterfoil.Secret]int{first: 200, second: 200})
	h.clock.Turn(time.Hour - time.Microsecond)
	want("at its end", map[counterfoil.Secret]int{first: 200, second: 200})
	h.clock.Turn(time.Microsecond)
	want("after it", map[counterfoil.Secret]int{first: 401, second: 200})
	third := rotate(time.Hour)
	fourth := rotate(time.Hour)
	want("two rotations at once", map[counterfoil.Secret]int{second: 401, third: 200, fourth: 200})
	fifth := rotate(0)
	want("compromised", map[counterfoil.Secret]int{third: 401, fourth: 401, fifth: 200})
	if c, err := h.clients.Get(ctx, "oauth2", "good"); err != nil || len(c.Secrets) != 1 {
		t.Errorf("%d secrets are kept, %v", len(c.Secrets), err)
	}
	if _, err := h.clients.RotateSecret(ctx, "test", "oauth2", "good", clients.Rotation{Overlap: -1}); err == nil {
		t.Error("a negative overlap was taken")
	}
	if _, err := h.clients.RotateSecret(ctx, "test", "oauth2", "nobody", clients.Rotation{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown client: %v", err)
	}
	rotated := slices.DeleteFunc(h.recorded(), func(e store.RecordedEvent) bool { return e.Type != counterfoil.EventClientRotated })
	if len(rotated) != 4 || rotated[0].Detail != "client secret; the old one ends at 2026-07-01T13:00:00Z" || rotated[3].Detail != "client secret; the old one ended" ||
		!regexp.MustCompile(`^client secret; the old one ends at \S+; [0-9a-f]{8}, which was older still, ended$`).MatchString(rotated[2].Detail) {
		t.Errorf("records %+v", rotated)
	}
}

// TestRotateAtOnce: each rotation either happened and its secret works, or
// reports a conflict.
func TestRotateAtOnce(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 8 {
		wg.Go(func() {
			_, err := h.clients.RotateSecret(context.Background(), "test", "oauth2", "good", clients.Rotation{Overlap: time.Hour})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			}
		})
	}
	wg.Wait()
	c, err := h.clients.Get(t.Context(), "oauth2", "good")
	if err != nil || c.Version != int64(done)+1 || len(c.Secrets) != 2 || done == 0 {
		t.Errorf("after %d rotations the client has version %d and %d secrets, %v", done, c.Version, len(c.Secrets), err)
	}
}

func TestRotateAPIKey(t *testing.T) {
	h := newHouseOf(t, nil, "altrata")
	old := h.creds["altrata"].APIKey
	c, err := h.clients.RotateAPIKey(t.Context(), "test", "altrata", "good", clients.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(c.APIKey.Reveal())
	if want := h.clock.Now().Add(time.Hour); !c.PreviousExpires.Equal(want) {
		t.Errorf("the old key ends at %v, want %v", c.PreviousExpires, want)
	}
	h.client(clients.NewClient{Realm: "altrata", ID: "keyless"})
	if c, err := h.clients.RotateAPIKey(t.Context(), "test", "altrata", "keyless", clients.Rotation{Overlap: time.Hour}); err != nil || !c.PreviousExpires.IsZero() {
		t.Errorf("a first key: the old one ends at %v, %v", c.PreviousExpires, err)
	}
	if e := h.last(counterfoil.EventClientRotated); e.Detail != "API key" {
		t.Errorf("a first key is recorded as %q", e.Detail)
	}
	authority := h.server.Issuer("altrata")
	for range 2 {
		for key, want := range map[counterfoil.Secret]bool{old: h.clock.Now().Minute() == 0, c.APIKey: true, "x": false, "": false} {
			a := h.good("altrata")
			a.header.Set("X-Api-Key", key.Reveal())
			if got := h.do("altrata", a); (got.status == 200) != want {
				t.Errorf("token request got %d, want success %v", got.status, want)
			}
			if ok, err := authority.APIKey(t.Context(), "good", key); err != nil || ok != want {
				t.Errorf("a guard is told %v, %v, want %v", ok, err, want)
			}
		}
		h.clock.Turn(61 * time.Minute)
	}
	if ok, err := authority.APIKey(t.Context(), "nobody", old); ok || err != nil {
		t.Errorf("an unknown client's key: %v, %v", ok, err)
	}
}

func TestDisable(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	ctx, secret, authority := t.Context(), h.creds["oauth2"].ClientSecret, h.server.Issuer("oauth2")
	for _, step := range []struct {
		disabled bool
		status   int
		tenants  int
	}{{true, 401, 0}, {true, 401, 0}, {false, 200, 1}} {
		if err := h.clients.SetDisabled(ctx, "test", "oauth2", "good", step.disabled); err != nil {
			t.Fatal(err)
		}
		if got := h.try("good", secret); got != step.status {
			t.Errorf("disabled %v: got %d", step.disabled, got)
		}
		if tenants, err := authority.Tenants(ctx, "good"); err != nil || len(tenants) != step.tenants {
			t.Errorf("disabled %v: tenants %q, %v", step.disabled, tenants, err)
		}
		if ok, err := h.clients.VerifySecret(ctx, "oauth2", "good", secret); err != nil || ok == step.disabled {
			t.Errorf("disabled %v: VerifySecret says %v, %v", step.disabled, ok, err)
		}
	}
	if err := h.clients.SetDisabled(ctx, "test", "oauth2", "nobody", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown client: %v", err)
	}
	changes := slices.DeleteFunc(h.recorded(), func(e store.RecordedEvent) bool { return !strings.HasPrefix(e.Type, "client.") })
	if len(changes) != 3 || changes[1].Type != counterfoil.EventClientDisabled || changes[2].Type != counterfoil.EventClientEnabled {
		t.Errorf("records %+v", changes)
	}
}

func TestDeleteAndList(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	ctx := t.Context()
	h.client(clients.NewClient{Realm: "oauth2", ID: "a"})
	h.client(clients.NewClient{Realm: "oauth2", ID: "z"})
	if err := h.clients.Delete(ctx, "test", "oauth2", "good"); err != nil {
		t.Fatal(err)
	}
	if got := h.try("good", h.creds["oauth2"].ClientSecret); got != 401 {
		t.Errorf("a deleted client got %d", got)
	}
	if err := h.clients.Delete(ctx, "test", "oauth2", "good"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second deletion: %v", err)
	}
	if ok, err := h.clients.VerifySecret(ctx, "oauth2", "good", "x"); ok || err != nil {
		t.Errorf("VerifySecret: %v, %v", ok, err)
	}
	var ids []string
	for after := ""; ; after = ids[len(ids)-1] {
		page, err := h.clients.List(ctx, store.ClientQuery{Realm: "oauth2", After: after, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		ids = append(ids, page[0].ID)
	}
	if !slices.Equal(ids, []string{"a", "z"}) {
		t.Errorf("listed %q", ids)
	}
}
