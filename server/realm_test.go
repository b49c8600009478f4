package server_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// principal is what a guard makes of a token of the client "good".
func principal(t *testing.T, token string) *counterfoil.Principal {
	t.Helper()
	var claims struct {
		ID        string `json:"jti"`
		Issued    int64  `json:"iat"`
		NotBefore int64  `json:"nbf"`
	}
	if err := json.Unmarshal([]byte(part(t, token, 1)), &claims); err != nil {
		t.Fatal(err)
	}
	return &counterfoil.Principal{ClientID: "good", TokenID: claims.ID, Issued: time.Unix(cmp.Or(claims.Issued, claims.NotBefore), 0)}
}

// live reports whether a token is still in force.
func (h *house) live(realm string, p *counterfoil.Principal) bool {
	h.t.Helper()
	err := h.server.Issuer(realm).Live(h.t.Context(), p, "")
	if requestRefusal, ok := errors.AsType[*counterfoil.Error](err); ok && (requestRefusal.Reason == counterfoil.ReasonTokenRevoked || requestRefusal.Reason == counterfoil.ReasonTokenReplaced) {
		return false
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return true
}

// TestReplace: a new token revokes the previous one, for every request, and so
// do disabling and deleting the client.
func TestReplace(t *testing.T) {
	h := newHouseOf(t, nil, "altrata", "oauth2")
	live := func(token string) bool {
		t.Helper()
		return h.live("altrata", principal(t, token))
	}
	first := h.token("altrata")
	if !live(first) {
		t.Error("the first token is not live")
	}
	second := h.token("altrata")
	if live(first) || !live(second) {
		t.Errorf("after the second token the first is live: %v, the second: %v", live(first), live(second))
	}
	for _, disabled := range []bool{true, false} {
		if err := h.clients.SetDisabled(t.Context(), "test", "altrata", "good", disabled); err != nil {
			t.Fatal(err)
		}
		if live(second) {
			t.Errorf("with disabled %v the token is live", disabled)
		}
	}
	third := h.token("altrata")
	if !live(third) {
		t.Error("enabled again, the client's token is not live")
	}
	if err := h.clients.Delete(t.Context(), "test", "altrata", "good"); err != nil {
		t.Fatal(err)
	}
	if live(third) {
		t.Error("a deleted client's token is live")
	}
	if h.server.Issuer("nowhere") != nil {
		t.Error("a realm that the server does not have")
	}
}

// TestRevoke: where tokens are independent, each lives until it expires or its
// client is disabled or deleted; that used to be asked under replace only.
func TestRevoke(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	first, second := h.token("oauth2"), h.token("oauth2")
	want := func(when string, want bool) {
		t.Helper()
		for _, token := range []string{first, second} {
			if ok := h.live("oauth2", principal(t, token)); ok != want {
				t.Errorf("%s: live %v", when, ok)
			}
		}
	}
	want("enabled", true)
	for _, disabled := range []bool{true, false} {
		if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "good", disabled); err != nil {
			t.Fatal(err)
		}
		want(fmt.Sprint("disabled ", disabled), !disabled)
	}
	if err := h.clients.Delete(t.Context(), "test", "oauth2", "good"); err != nil {
		t.Fatal(err)
	}
	want("deleted", false)
	if h.live("oauth2", &counterfoil.Principal{ClientID: "nobody", TokenID: "x"}) {
		t.Error("an unknown client's token is live")
	}
}

// TestReplaceAtOnce: of many tokens that one client gets at the same time, the
// one with the last record is live and no other.
func TestReplaceAtOnce(t *testing.T) {
	h := newHouseOf(t, nil, "altrata")
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 0
	var wg sync.WaitGroup
	tokens := make([]string, 40)
	for i := range tokens {
		wg.Go(func() { tokens[i] = h.token("altrata") })
	}
	wg.Wait()
	events := h.recorded()
	last, alive := events[len(events)-1].TokenID, 0
	for _, token := range tokens {
		p := principal(t, token)
		id := p.TokenID
		ok := h.live("altrata", p)
		if ok != (id == last) {
			t.Errorf("token %s is live: %v; the last record is of %s", id, ok, last)
		}
		if ok {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d live tokens", alive)
	}
}

func (h *house) get(t *testing.T, method, path string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func TestMetadata(t *testing.T) {
	h := newHouseOf(t, nil, "engagifii", "ahotu")
	base := h.url + "/engagifii"
	want := map[string]any{
		"issuer": base, "token_endpoint": base + "/connect/token", "jwks_uri": base + "/.well-known/jwks.json",
		"scopes_supported": []any{"EventsApi"}, "response_types_supported": []any{}, "grant_types_supported": []any{"client_credentials"},
		"token_endpoint_auth_methods_supported":         []any{"client_secret_post", "client_secret_basic"},
		"introspection_endpoint":                        base + "/introspect",
		"introspection_endpoint_auth_methods_supported": []any{"client_secret_post", "client_secret_basic", "Bearer"},
		"revocation_feed_endpoint":                      base + "/revocations",
		"revocation_endpoint":                           base + "/revoke",
		"revocation_endpoint_auth_methods_supported":    []any{"client_secret_post", "client_secret_basic"},
	}
	check := func(path string) {
		t.Helper()
		got := h.get(t, http.MethodGet, path)
		var doc map[string]any
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil || got.status != http.StatusOK || !reflect.DeepEqual(doc, want) {
			t.Errorf("%s: %d %s, %v", path, got.status, got.body, err)
		}
		wantHeaders(t, got, map[string]string{"Content-Type": "application/json", "Cache-Control": "public, max-age=300"})
	}
	check("/engagifii/.well-known/oauth-authorization-server")
	want["subject_types_supported"], want["id_token_signing_alg_values_supported"] = []any{"public"}, []any{}
	check("/engagifii/.well-known/openid-configuration")

	if got := h.get(t, http.MethodGet, "/ahotu/.well-known/oauth-authorization-server"); !strings.Contains(got.body, `"issuer":"`+cognitoIssuer+`"`) {
		t.Errorf("the issuer that was set is not in %s", got.body)
	}
}

func TestDocumentsAndPaths(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "listed")
	const keys = "/oauth2/.well-known/jwks.json"
	got := h.get(t, http.MethodGet, keys)
	wantHeaders(t, got, map[string]string{"Content-Type": "application/json", "Cache-Control": "public, max-age=300"})
	if strings.Contains(got.body, `"d"`) {
		t.Error("the private key is published")
	}
	if head := h.get(t, http.MethodHead, keys); head.status != http.StatusOK || head.body != "" {
		t.Errorf("HEAD got %d %q", head.status, head.body)
	}
	if post := h.get(t, http.MethodPost, keys); post.status != http.StatusMethodNotAllowed || post.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST got %d, Allow %q", post.status, post.header.Get("Allow"))
	}
	before := len(h.recorded())
	for _, path := range []string{"/oauth2/", "/oauth2/token/", "/oauth2/Token", "/oauth2/x/../token/x", "/oauth2/.well-known/", "/oauth2/oauth2/token"} {
		if got := h.get(t, http.MethodPost, path); got.status != http.StatusNotFound {
			t.Errorf("%s got %d", path, got.status)
		}
	}
	if n := len(h.recorded()); n != before {
		t.Errorf("%d records of what is no token request", n-before)
	}
	for path, meant := range map[string]string{
		"/token/": "/token", "//token": "/token", "/.well-known//jwks.json/": "/.well-known/jwks.json",
		"/Token": "", "/status-lists": "", "//status-lists/0": "",
	} {
		w := httptest.NewRecorder()
		h.server.Handler("listed").ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://server.example"+path, nil))
		want := "404 page not found\n"
		if meant != "" {
			want = ": " + h.url + "/listed" + meant + " is meant"
		}
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s got %d %s, want %q", path, w.Code, w.Body, want)
		}
	}
	for path, want := range map[string]bool{
		"/token": true, "/token/": true, "/.well-known/x": true, "/status-lists/0": true,
		"/x": false, "/": false, "": false, "/.well-known": false, "/status-lists": false,
	} {
		if got := h.server.Serves("listed", path); got != want || h.server.Serves("nowhere", path) {
			t.Errorf("Serves(%q) is %v, want %v", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	h.server.Handler("nowhere").ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/token", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a realm that the server does not have got %d", w.Code)
	}
}

// TestServersShareKeys starts several servers at once on one file: they sign
// with one key, also after a restart.
func TestServersShareKeys(t *testing.T) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.db")
	sets := make([]string, 5)
	start := func(i int, p *provider.Provider) {
		store, err := sqlite.Open(context.Background(), path)
		if err != nil {
			t.Error(err)
			return
		}
		defer store.Close()
		s, err := server.New(context.Background(), server.Config{Store: store, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://auth.example"}}})
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		w := httptest.NewRecorder()
		s.Handler("r").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
		sets[i] = w.Body.String()
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { start(i, p) })
	}
	wg.Wait()
	start(4, p)
	for _, set := range sets[1:] {
		if set != sets[0] || !strings.Contains(set, `"kid"`) {
			t.Fatalf("key sets differ: %s", sets)
		}
	}
	// Another algorithm gets another key; what the first signed stays
	// verifiable.
	q := *p
	q.AccessToken.SigningAlgorithm, q.AccessToken.SigningAlgorithms = provider.AlgorithmEdDSA, []provider.Algorithm{provider.AlgorithmEdDSA}
	start(1, &q)
	if strings.Count(sets[1], `"kid"`) != 2 || !strings.Contains(sets[1], "EdDSA") || !strings.Contains(sets[1], "ES256") {
		t.Errorf("after a change of the algorithm the keys are %s", sets[1])
	}
}

func TestNewRefuses(t *testing.T) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	good := server.Realm{Name: "r", Provider: p, BaseURL: "https://auth.example/r"}
	for name, c := range map[string]server.Config{
		"no store":    {Realms: []server.Realm{good}},
		"twice":       {Store: db, Realms: []server.Realm{good, good}},
		"no name":     {Store: db, Realms: []server.Realm{{Provider: p, BaseURL: "https://x"}}},
		"no provider": {Store: db, Realms: []server.Realm{{Name: "r", BaseURL: "https://x"}}},
		"no URL":      {Store: db, Realms: []server.Realm{{Name: "r", Provider: p}}},
		"plain HTTP":  {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "http://x"}}},
		"slash":       {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://x/"}}},
		"user":        {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://u:p@x"}}},
		"fragment":    {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://x#y"}}},
		"no host":     {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https:///x"}}},
		"query":       {Store: db, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://x?y"}}},
	} {
		if _, err := server.New(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	good.Name = "damaged"
	damaged := store.SigningKey{Realm: "damaged", ID: "k", Algorithm: "ES256", Private: counterfoil.Secret("nonsense-of-a-key")}
	if err := db.AddSigningKey(t.Context(), damaged, "", counterfoil.Event{Type: counterfoil.EventKeyCreated}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(t.Context(), server.Config{Store: db, Realms: []server.Realm{good}}); err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a damaged key: %v", err)
	}
}
