package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// day is when the tests take place.
var day = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// allScopes are those of the Admin API.
var allScopes = counterfoil.Scopes{"clients:read", "clients:write", "keys:read", "keys:write", "tokens:revoke", "audit:read"}

// secretID is that of the secret of every client that have makes.
const secretID = "1f2e3d4c"

// place is a database with two realms: acme, and ops, which the Admin API is of.
type place struct {
	store  store.Store
	clock  *clock.Manual
	keys   *signing.Keys
	realms []server.Realm
	local  *admin.Local
	log    bytes.Buffer
	limits *limits.Limiter
	// repeated is that of the handler.
	repeated func(context.Context, counterfoil.Event) error
}

func newPlace(t *testing.T) *place {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	p := &place{store: store, clock: clock.NewManual(day)}
	if p.keys, err = signing.NewKeys(store, p.clock, seal.NewKey()); err != nil {
		t.Fatal(err)
	}
	generic, own := described(t, "oauth2"), described(t, "counterfoil")
	acme, err := generic.Override(provider.Overrides{Scopes: []provider.Scope{{Name: "orders:read"}, {Name: "orders:write"}}})
	if err != nil {
		t.Fatal(err)
	}
	p.realms = []server.Realm{
		{Name: "acme", Provider: acme, BaseURL: "https://auth.acme.example", Tenants: []string{"T1", "T2"},
			Federation: []server.FederatedIssuer{{Issuer: "https://kubernetes.example", KeySet: `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`}}},
		{Name: "ops", Provider: own, BaseURL: "https://ops.acme.example"},
	}
	p.limits, err = limits.New(limits.Config{}, p.clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // 192.0.2.1 has guessed the secret of acme's billing
		p.limits.Failed(&limits.Attempt{Realm: "acme", ClientID: "billing", Address: netip.MustParseAddr("192.0.2.1")}, &limits.Verdict{})
	}
	p.local = admin.New(admin.Config{
		Keeper: p.limits, Store: store, Keys: p.keys, Realms: func() []server.Realm { return p.realms }, Actor: "root", Clock: p.clock,
	})
	p.alert(t)
	p.have(t, "ops", "boss", allScopes...) // who calls the Admin API
	return p
}

// alert raises an alert about acme's billing.
func (p *place) alert(t *testing.T) {
	t.Helper()
	err := p.store.AdvanceAlerts(t.Context(), store.AlertStep{At: day, Raise: []alerts.Alert{{
		Kind: alerts.KindFailures, Realm: "acme", ClientID: "billing", Subject: "192.0.2.0/24", Summary: "20 failed", Command: "counterfoil audit",
		Count: 20, First: day, Last: day,
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// silence silences it.
func (p *place) silence(t *testing.T) {
	t.Helper()
	if _, err := p.store.CreateSilence(t.Context(), alerts.Silence{Kind: alerts.KindFailures, Realm: "acme", Created: day, Until: day.Add(time.Hour), CreatedBy: "root"},
		counterfoil.Event{Type: counterfoil.EventSilenceCreated, Time: day, Success: true, Actor: "root"}); err != nil {
		t.Fatal(err)
	}
}

func described(t *testing.T, name string) *provider.Provider {
	t.Helper()
	p, err := provider.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rules are those of the place's realms.
func (p *place) rules(name string) (clients.Rules, bool) {
	for _, r := range p.realms {
		if r.Name == name {
			return r.Rules(), true
		}
	}
	return clients.Rules{}, false
}

// have makes a client with a secret of a known ID.
func (p *place) have(t *testing.T, realm, id string, scopes ...string) {
	t.Helper()
	_, _, err := clients.New(p.store, p.clock, p.rules).Create(t.Context(), "test", clients.NewClient{
		Realm: realm, ID: id, Settings: store.Settings{Name: "Billing", Scopes: scopes},
		Secrets: []store.SecretHash{{ID: secretID, Value: "sha256:p9xtEI6wc4YwPhFTRy7tZT1Gm0D4ss7EkZF_xfR6my4"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// last returns the newest event that is more than the record of a call.
func (p *place) last(t *testing.T) counterfoil.Event {
	t.Helper()
	page, err := p.store.Events(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(page) {
		if !strings.HasPrefix(e.Type, "admin.") {
			return e.Event
		}
	}
	return counterfoil.Event{}
}

// serve serves the handler over TLS, behind what stands for a guard: it lets
// everyone in as the client boss with the given scopes. Every answer is held to
// the OpenAPI document.
func (p *place) serve(t *testing.T, scopes counterfoil.Scopes) *httptest.Server {
	t.Helper()
	return p.serveAs(t, "boss", scopes)
}

// serveAs is serve for another client than boss.
func (p *place) serveAs(t *testing.T, id string, scopes counterfoil.Scopes) *httptest.Server {
	t.Helper()
	h := p.handler(t)
	doc := document(t)
	ts := httptest.NewUnstartedServer(requestid.Handler(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := &counterfoil.Principal{ClientID: id, TokenID: "t-1", Scopes: scopes}
		r = r.WithContext(counterfoil.WithPrincipal(r.Context(), who))
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(rec, r)
		doc.hold(t, r, rec)
	})))
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}

func (p *place) remote(t *testing.T, scopes counterfoil.Scopes) *admin.Remote {
	t.Helper()
	ts := p.serve(t, scopes)
	return &admin.Remote{URL: ts.URL, HTTP: ts.Client()}
}

// handler is the API without a guard.
func (p *place) handler(t *testing.T) http.Handler {
	t.Helper()
	return must(admin.NewHandler(p.local, admin.HandlerConfig{
		Realm: "ops", Logger: slog.New(slog.NewTextHandler(&p.log, nil)), Repeated: p.repeated,
	}))(t)
}

// remoteAs calls the API as a client, with all scopes.
func (p *place) remoteAs(t *testing.T, id string) *admin.Remote {
	t.Helper()
	ts := p.serveAs(t, id, allScopes)
	return &admin.Remote{URL: ts.URL, HTTP: ts.Client()}
}

// way is one of the two ways to a place.
type way struct {
	*place
	admin.Service
	actor string
}

// bothWays runs a test on a place of its own, here and over HTTPS.
func bothWays(t *testing.T, test func(t *testing.T, w way)) {
	t.Helper()
	t.Run("local", func(t *testing.T) {
		p := newPlace(t)
		test(t, way{p, p.local, "root"})
	})
	t.Run("remote", func(t *testing.T) {
		p := newPlace(t)
		test(t, way{p, p.remote(t, allScopes), "client ops/boss (token t-1)"})
	})
}

// recorder keeps what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// openAPI is the document as far as tests look into it.
type openAPI struct {
	mu       sync.Mutex // of the compiler
	compiler *jsonschema.Compiler
	Paths    map[string]map[string]struct {
		Security    []map[string][]string
		Parameters  []parameter
		RequestBody struct {
			Content map[string]struct {
				Schema  any
				Example any
			}
		}
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]any
		}
	}
	Components struct {
		Schemas struct {
			Problem struct {
				Properties struct{ Code struct{ Enum []string } }
			}
		}
		Parameters      map[string]parameter
		SecuritySchemes struct {
			OAuth2 struct {
				Flows struct {
					ClientCredentials struct{ Scopes map[string]string }
				}
			}
		}
	}
}

type parameter struct {
	Ref     string `json:"$ref"`
	Name    string
	In      string
	Example any
}

// document returns the document as the handler serves it.
func document(t *testing.T) *openAPI {
	t.Helper()
	read.Do(func() { read.document = readDocument(t) })
	return read.document
}

var read struct {
	sync.Once
	document *openAPI
}

func readDocument(t *testing.T) *openAPI {
	t.Helper()
	rec := httptest.NewRecorder()
	ctx := counterfoil.WithPrincipal(t.Context(), &counterfoil.Principal{})
	must(admin.NewHandler(admin.New(admin.Config{Store: newPlace(t).store}), admin.HandlerConfig{Realm: "ops"}))(t).ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "GET", "/v1/openapi.json", nil))
	var doc openAPI
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	doc.compiler = jsonschema.NewCompiler()
	doc.compiler.DefaultDraft(jsonschema.Draft2020)
	doc.compiler.AssertFormat()
	if err := doc.compiler.AddResource("openapi.json", whole); err != nil {
		t.Fatal(err)
	}
	return &doc
}

// schema validates a JSON text by the schema at a place in the document.
func (d *openAPI) schema(text []byte, place ...string) error {
	for i, key := range place {
		key = strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		place[i] = strings.NewReplacer("{", "%7B", "}", "%7D").Replace(key)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.compiler.Compile("openapi.json#/" + strings.Join(place, "/"))
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// hold checks an answer against what the document says of its operation.
func (d *openAPI) hold(t *testing.T, r *http.Request, rec *recorder) {
	header, method, path := rec.Header(), strings.ToLower(r.Method), strings.TrimSuffix(r.Pattern, "{$}")
	if header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s may be cached", r.Method, r.URL.Path)
	}
	media, body := header.Get("Content-Type"), rec.body.Bytes()
	if media == "text/event-stream" { // whose tests read it
		body, _ = json.Marshal(string(body))
	}
	operation, ok := d.Paths[path][method]
	described, declared := operation.Responses[code(rec.status)]
	switch {
	case !ok || !declared: // no such path or method, or a problem
		if media != "application/problem+json" || rec.status < 400 {
			t.Errorf("%s %s answers %d, %s: that is not described", r.Method, r.URL.Path, rec.status, media)
			return
		}
		if err := d.schema(body, "components", "schemas", "Problem"); err != nil {
			t.Errorf("%s %s: %v\n%s", r.Method, r.URL.Path, err, body)
		}
	case len(described.Content) == 0:
		if len(body) > 0 {
			t.Errorf("%s %s answers %d with a body", r.Method, r.URL.Path, rec.status)
		}
	default:
		if err := d.schema(body, "paths", path, method, "responses", code(rec.status), "content", media, "schema"); err != nil {
			t.Errorf("%s %s: %v\n%s", r.Method, r.URL.Path, err, body)
		}
	}
}

func code(status int) string {
	return string([]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10)})
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; headers are name, value, name, value.
func ask(t *testing.T, ts *httptest.Server, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, ts.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Add(pair[0], pair[1])
	}
	resp, err := ts.Client().Do(req)
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

// must returns the first of two results, and fails the test with the second.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
