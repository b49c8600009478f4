package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// newSite builds what 'up' serves, under a clock that the test turns.
func newSite(t *testing.T, providers ...*provider.Provider) (*site, *clock.Manual) {
	t.Helper()
	now := clock.NewManual(time.Now())
	return siteBy(t, now, providers...), now
}

// siteBy is newSite under a clock of the test's own.
func siteBy(t *testing.T, now *clock.Manual, providers ...*provider.Provider) *site {
	t.Helper()
	dir := dataDir(filepath.Join(t.TempDir(), "data"))
	if err := dir.create(); err != nil {
		t.Fatal(err)
	}
	store, err := dir.store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	key, err := dir.masterKey()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	certificate, ca, err := developmentTLS(dir.tls(), now.Now(), log)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		dir: dir, base: "https://localhost:8443", ca: ca, store: store, masterKey: key, clock: now, log: log, certificate: certificate.Leaf,
	}
	if err := s.build(t.Context(), providers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

// send returns the status and the body of a request's answer.
func (s *site) send(r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	s.mounts.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Body)
	return w.Code, string(body)
}

// A token of two seconds opened the API of the same process for half a minute
// more, because the guard granted the leeway that clocks of two machines need.
func TestTokenOfTwoSecondsOutlivesThem(t *testing.T) {
	p, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Override(provider.Overrides{Lifetime: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	s, now := newSite(t, p)
	c := s.realms[0].client
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {c.secret.Reveal()}}
	ask := httptest.NewRequest(http.MethodPost, "/a55/oauth2/token", strings.NewReader(form.Encode()))
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body := s.send(ask)
	_, rest, _ := strings.Cut(body, `"access_token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	if status != http.StatusOK || token == "" || !strings.Contains(body, `"expires_in":2`) {
		t.Fatalf("answered %d", status)
	}
	call := func() int {
		r := httptest.NewRequest(http.MethodGet, "/a55/api/v1/wallets", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		status, _ := s.send(r)
		return status
	}
	// Tokens are dated in whole seconds.
	end := now.Now().Truncate(time.Second).Add(2 * time.Second)
	now.Turn(end.Sub(now.Now()) - 1)
	if got := call(); got != http.StatusOK {
		t.Errorf("in its last moment it is answered %d", got)
	}
	now.Turn(1)
	if got := call(); got != http.StatusUnauthorized {
		t.Errorf("after its end it is answered %d", got)
	}
}

// eventsOf returns the ids of all events that a token shows of a tenant, and the
// status of the first answer.
func eventsOf(t *testing.T, a *asker, token, tenant string) (ids []string, status int) {
	t.Helper()
	for page := 1; ; page++ {
		status, body := tenantCall(t, a, token, tenant, http.MethodPost, "/api/1.0/event/list", fmt.Sprintf(`{"PageNumber":%d,"PageSize":100}`, page))
		var list struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatalf("answered %d %s", status, body)
		}
		if len(list.Data) == 0 {
			return ids, status
		}
		for _, e := range list.Data {
			ids = append(ids, e.ID)
		}
	}
}

func tenantCall(t *testing.T, a *asker, token, tenant, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.env.Get("API_BASE_URL")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + token, "api-version": "1.0", "tenant-code": tenant, "Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// The development client is granted two tenants, each with rows of its own, and
// sees nothing of a third that has rows too.
func TestTenantShowsAnothersEvents(t *testing.T) {
	a := shared.asker(t, "engagifii")
	token := strings.TrimSpace(shared.counterfoil(t, "token", "engagifii").good(t).out)
	made := execute(t, "", nil, binary, "client", "create", "engagifii", "--dir", shared.dir, "--tenant", strangeTenant, "--scope", "EventsApi", "-o", "json").good(t)
	other := credentialsOf(t, made)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {other.ClientID}, "client_secret": {other.ClientSecret}, "scope": {"EventsApi"}}
	resp, err := a.http.PostForm(a.env.Get("AUTH_URL"), form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	of := map[string]string{developmentTenant: token, secondTenant: token, strangeTenant: answer.AccessToken}
	owner := map[string]string{}
	first := map[string]string{}
	for tenant, token := range of {
		ids, status := eventsOf(t, a, token, tenant)
		if status != http.StatusOK || len(ids) == 0 {
			t.Fatalf("%s has %d events, answered %d", tenant, len(ids), status)
		}
		for _, id := range ids {
			if other, twice := owner[id]; twice {
				t.Errorf("%s shows %s of %s", tenant, id, other)
			}
			owner[id] = tenant
		}
		first[tenant] = ids[0]
	}
	for tenant, token := range of {
		for owner, id := range first {
			want := http.StatusNotFound
			if owner == tenant {
				want = http.StatusOK
			}
			if status, body := tenantCall(t, a, token, tenant, http.MethodGet, "/api/1.0/event/"+id, ""); status != want {
				t.Errorf("%s asks for an event of %s: %d %s", tenant, owner, status, body)
			}
		}
	}
	for token, tenants := range map[string][]string{token: {strangeTenant, "NOBODY"}, answer.AccessToken: {developmentTenant, secondTenant}} {
		for _, tenant := range tenants {
			if status, body := tenantCall(t, a, token, tenant, http.MethodPost, "/api/1.0/event/list", "{}"); status != http.StatusForbidden {
				t.Errorf("%s, which is not granted: %d %s", tenant, status, body)
			}
			if status, body := tenantCall(t, a, token, tenant, http.MethodGet, "/api/1.0/event/"+first[developmentTenant], ""); status != http.StatusForbidden {
				t.Errorf("an event of %s, which is not granted: %d %s", tenant, status, body)
			}
		}
	}
}

// One altrata token opens two APIs, and a new one ends it for both. The command
// line's connections share it: each with a token of its own would end the other's.
func TestNewTokenEndsTheOldOneAtOneAPIOnly(t *testing.T) {
	first := shared.asker(t, "altrata")
	second := *first
	second.env = files.Env{{Key: "API_KEY", Value: first.env.Get("API_KEY")}, {Key: "API_BASE_URL", Value: shared.base + "/altrata/directory/v1/graphql"}}
	statuses := func(token string) [2]int { return [2]int{first.call(t, token), second.call(t, token)} }
	old := first.token(t.Context())
	if got := statuses(old); got != [2]int{200, 200} {
		t.Fatalf("a token is answered %v", got)
	}
	renewed := first.token(t.Context())
	if got := statuses(old); got != [2]int{401, 401} {
		t.Errorf("the old token is answered %v", got)
	}
	if got := statuses(renewed); got != [2]int{200, 200} {
		t.Errorf("the new token is answered %v", got)
	}
	second.env[0].Value = "another"
	if got := statuses(renewed); got != [2]int{200, 403} {
		t.Errorf("without its API key the second API answers %v", got)
	}
	token := shared.counterfoil(t, "token", "altrata", "--renew").good(t).out
	for _, args := range [][]string{{"call", "altrata-directory"}, {"doctor", "altrata-directory"}, {"call", "altrata"}} {
		shared.counterfoil(t, args...).good(t)
	}
	for _, connection := range []string{"altrata", "altrata-directory"} {
		if got := shared.counterfoil(t, "token", connection).good(t).out; got != token {
			t.Errorf("%s has a token of its own", connection)
		}
	}
}
