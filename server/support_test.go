package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// cognitoIssuer is an issuer that is not where the realm is reached.
const cognitoIssuer = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example"

// house is a server with a realm for each provider of the catalog, on a real
// TLS listener, with a real database and a clock that stands still.
type house struct {
	t       *testing.T
	url     string
	http    *http.Client
	clock   *clock.Manual
	store   store.Store
	server  *server.Server
	clients *clients.Service
	creds   map[string]clients.Credentials // of the client "good" of each realm
	log     syncBuffer

	mu     sync.Mutex
	events []counterfoil.Event
	secret []string // what must appear nowhere
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// newHouse opens a house with the whole catalog.
func newHouse(t *testing.T) *house { return newHouseOf(t, nil, provider.Names()...) }

// newHouseOf opens a house with the providers of those names and with more.
// wrap, when given, stands between server and store.
func newHouseOf(t *testing.T, wrap func(store.Store) store.Store, names ...string) *house {
	t.Helper()
	return newHouseBy(t, monitored, wrap, names...)
}

// monitored limits nothing: the tests of other things send more wrong secrets than
// anybody may.
var monitored = limits.Config{
	Guesses: limits.GuessLimits{Mode: limits.Monitor}, Requests: limits.RequestLimits{Mode: limits.Monitor},
}

// newHouseBy is newHouseOf with limits that are enforced.
func newHouseBy(t *testing.T, limited limits.Config, wrap func(store.Store) store.Store, names ...string) *house {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, store: db, clock: clock.NewStepping(time.Date(2026, 7, 1, 12, 0, 0, 5e8, time.UTC)), creds: map[string]clients.Credentials{}}
	if wrap != nil {
		h.store = wrap(db)
	}
	mux := http.NewServeMux()
	ts := httptest.NewUnstartedServer(mux)
	ts.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(&h.log, nil), slog.LevelError)
	ts.StartTLS()
	h.url, h.http = ts.URL, ts.Client()
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 1
	var providers []*provider.Provider
	for _, name := range names {
		p, err := builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		providers = append(providers, p)
	}
	config := server.Config{Store: h.store, Clock: h.clock, Logger: slog.New(slog.NewJSONHandler(&h.log, nil)), OnEvent: h.onEvent, EachRefusal: limited == monitored,
		Limits: limited}
	for _, p := range providers {
		r := server.Realm{Name: p.Name, Provider: p, BaseURL: ts.URL + "/" + p.Name}
		if p.Extends == "cognito" {
			r.Issuer = cognitoIssuer
		}
		config.Realms = append(config.Realms, r)
	}
	h.clients = clients.New(db, h.clock, rulesOf(config.Realms...))
	if h.server, err = server.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for _, p := range providers {
		mux.Handle("/"+p.Name+"/", http.StripPrefix("/"+p.Name, h.server.Handler(p.Name)))
		scopes := p.ScopeNames()
		if len(scopes) == 0 {
			scopes = counterfoil.Scopes{"read", "write"}
		}
		h.creds[p.Name] = h.client(clients.NewClient{Realm: p.Name, ID: "good", Settings: store.Settings{Scopes: scopes, Tenants: []string{"TENANT123"}}, WithAPIKey: p.Needs(provider.HeaderFromAPIKey)})
	}
	t.Cleanup(func() {
		ts.Close()
		if err := h.server.Close(); err != nil {
			t.Error(err)
		}
		h.searchSecrets()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// rulesOf are the rules of those realms, and of the description oauth2 for any
// other one.
func rulesOf(realms ...server.Realm) func(string) (clients.Rules, bool) {
	return func(name string) (clients.Rules, bool) {
		for _, r := range realms {
			if r.Name == name {
				return r.Rules(), true
			}
		}
		return clients.Rules{Provider: must(provider.Builtin("oauth2"))}, true
	}
}

// freely returns a service on the house's clients for a realm of another time,
// whose tokens live as long as any and which trusts the issuers.
func (h *house) freely(issuers ...string) *clients.Service {
	p := *must(provider.Builtin("oauth2"))
	p.TokenEndpoint.Lifetime = store.MaxLifetime
	return clients.New(h.store, h.clock, func(string) (clients.Rules, bool) { return clients.Rules{Provider: &p, Issuers: issuers}, true })
}

func (h *house) onEvent(_ context.Context, e counterfoil.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *house) client(n clients.NewClient) clients.Credentials {
	h.t.Helper()
	_, creds, err := h.clients.Create(h.t.Context(), "test", n)
	if err != nil {
		h.t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal(), creds.APIKey.Reveal())
	return creds
}

// keep notes values that must appear nowhere.
func (h *house) keep(values ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range values {
		if v != "" {
			h.secret = append(h.secret, v)
		}
	}
}

// searchSecrets looks for every secret and token of the test in the log and in
// the record.
func (h *house) searchSecrets() {
	text := h.log.String()
	for _, e := range h.recorded() {
		line, err := json.Marshal(e)
		if err != nil {
			h.t.Fatal(err)
		}
		text += string(line)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.secret {
		if strings.Contains(text, v) {
			h.t.Errorf("%q… is in the log or the record", v[:8])
		}
	}
}

// recorded returns the whole audit record.
func (h *house) recorded() []store.RecordedEvent {
	h.t.Helper()
	page, err := h.store.Events(context.Background(), 0, 1<<30)
	if err != nil {
		h.t.Fatal(err)
	}
	return page
}

// ask is a token request in the making.
type ask struct {
	method, query, mediaType string
	header                   http.Header
	form                     url.Values
	body                     string // instead of form
}

// good is what the guide of a provider tells its clients to send.
func (h *house) good(realm string) *ask {
	c := h.creds[realm]
	a := &ask{method: http.MethodPost, header: http.Header{"User-Agent": {"good/1"}}, mediaType: "application/x-www-form-urlencoded"}
	if realm == "altrata" {
		a.query = "grant_type=client_credentials"
		a.header.Set("X-Api-Key", c.APIKey.Reveal())
		a.header.Set("Authorization", basic(c.ClientID, c.ClientSecret.Reveal()))
		return a
	}
	a.form = url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}}
	switch realm {
	case "ahotu":
		a.form.Set("scope", "events:read")
	case "engagifii":
		a.form.Set("scope", "EventsApi")
	}
	return a
}

// asBasic moves the credentials from the body into the header.
func (a *ask) asBasic() {
	a.header.Set("Authorization", basic(a.form.Get("client_id"), a.form.Get("client_secret")))
	a.form.Del("client_id")
	a.form.Del("client_secret")
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request to the realm's token endpoint.
func (h *house) do(realm string, a *ask) answer {
	h.t.Helper()
	resp, err := h.http.Do(h.request(h.t.Context(), realm, a))
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (h *house) request(ctx context.Context, realm string, a *ask) *http.Request {
	h.t.Helper()
	p, err := builtin(realm)
	if err != nil {
		h.t.Fatal(err)
	}
	body := a.body
	if body == "" {
		body = a.form.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, a.method, h.url+"/"+realm+p.TokenEndpoint.Path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.URL.RawQuery = a.query
	for name, values := range a.header {
		r.Header[name] = values
	}
	if a.mediaType != "" {
		r.Header.Set("Content-Type", a.mediaType)
	}
	return r
}

// builtin returns a provider of the catalog, or one of the tests'.
func builtin(name string) (*provider.Provider, error) {
	own := map[string]string{
		"custom": custom, "reused": reused, "replaced": replaced, "listed": listed, "nameless": nameless,
		"reused-10": reused10, "reused-90": reused90, "undated": undated,
	}
	if text, ok := own[name]; ok {
		return provider.Parse(name+".yaml", []byte(text))
	}
	return provider.Builtin(name)
}

// token sends the guide's request and returns the token.
func (h *house) token(realm string) string {
	h.t.Helper()
	got := h.do(realm, h.good(realm))
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); got.status != http.StatusOK || err != nil || body.Token == "" {
		h.t.Fatalf("a good request to %s got %d %s", realm, got.status, got.body)
	}
	h.keep(body.Token)
	return body.Token
}

// part decodes a part of a token: 0 is the protected header, 1 the payload.
func part(t *testing.T, token string, n int) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
