package guard_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	clientpkg "github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// realIssuer is the server with its database on a TLS listener, and an API on
// another one whose guard asks it about each token.
type realIssuer struct {
	t       *testing.T
	clock   *clock.Manual
	server  *httptest.Server
	api     *httptest.Server
	clients *clients.Service
	client  clients.Credentials
	asked   atomic.Int64                     // questions about tokens
	instead atomic.Pointer[http.HandlerFunc] // of an answer to one
}

// credentialed adds a client's credentials to its requests.
type credentialed struct {
	next http.RoundTripper
	of   clients.Credentials
}

func (c credentialed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(url.QueryEscape(c.of.ClientID), url.QueryEscape(c.of.ClientSecret.Reveal()))
	return c.next.RoundTrip(r)
}

func newRealIssuer(t *testing.T) *realIssuer {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store := must(sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db")))
	t.Cleanup(func() { _ = store.Close() })
	i := &realIssuer{t: t, clock: clock.NewStepping(start)}
	var realm atomic.Pointer[http.Handler]
	i.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/introspect") {
			i.asked.Add(1)
			if instead := i.instead.Load(); instead != nil {
				(*instead)(w, r)
				return
			}
		}
		(*realm.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(i.server.Close)
	p := must(provider.Builtin("oauth2"))
	s := must(server.New(t.Context(), server.Config{Store: store, Clock: i.clock, Logger: quiet,
		Realms: []server.Realm{{Name: "acme", Provider: p, BaseURL: i.server.URL}}}))
	t.Cleanup(func() { _ = s.Close() })
	i.clients = s.Clients()
	h := s.Handler("acme")
	realm.Store(&h)
	i.client = i.create("caller", false)
	own := &http.Client{Transport: credentialed{i.server.Client().Transport, i.create("api", true)}}
	keys := must(guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: i.server.URL + "/.well-known/jwks.json", Client: i.server.Client(), Clock: i.clock, Logger: quiet}))
	t.Cleanup(keys.Close)
	g := must(guard.New(guard.Config{Provider: p, Issuer: i.server.URL, Keys: keys, Clock: i.clock, Logger: quiet,
		Liveness: must(guard.NewIntrospector(guard.IntrospectionConfig{URL: i.server.URL + "/introspect", Client: own, Clock: i.clock}))}))
	i.api = httptest.NewTLSServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })))
	t.Cleanup(i.api.Close)
	return i
}

func (i *realIssuer) create(id string, resourceServer bool) clients.Credentials {
	i.t.Helper()
	_, c, err := i.clients.Create(i.t.Context(), "test", clients.NewClient{Realm: "acme", ID: id, Settings: store.Settings{
		Scopes: counterfoil.Scopes{"read"}, ResourceServer: resourceServer}})
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

// post sends a form as the client and returns the answer's status and body.
func (i *realIssuer) post(path string, form url.Values) (int, []byte) {
	i.t.Helper()
	resp := must((&http.Client{Transport: credentialed{i.server.Client().Transport, i.client}}).PostForm(i.server.URL+path, form))
	defer resp.Body.Close()
	return resp.StatusCode, must(io.ReadAll(resp.Body))
}

func (i *realIssuer) token() string {
	i.t.Helper()
	code, body := i.post("/token", url.Values{"grant_type": {"client_credentials"}})
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || code != 200 {
		i.t.Fatalf("%d %s, %v", code, body, err)
	}
	return answer.AccessToken
}

// call returns the status of a call of the API.
func (i *realIssuer) call(token string) int {
	req := must(http.NewRequest(http.MethodGet, i.api.URL, nil))
	req.Header.Set("Authorization", "Bearer "+token)
	resp := must(i.api.Client().Do(req))
	_ = resp.Body.Close()
	return resp.StatusCode
}

// want checks the status of a call and how often the issuer was asked so far.
func (i *realIssuer) want(when, token string, status int, asked int64) {
	i.t.Helper()
	if got := i.call(token); got != status || i.asked.Load() != asked {
		i.t.Errorf("%s: %d after %d questions, want %d after %d", when, got, i.asked.Load(), status, asked)
	}
}

// Against the real issuer: a revocation takes effect when the last answer expires,
// and not later; a failure is not an answer, and is not remembered; and an expired
// token needs no request.
func TestIntrospectionOfTheRealIssuer(t *testing.T) {
	i := newRealIssuer(t)
	token, other := i.token(), i.token()
	i.want("active", token, 200, 1)
	i.want("active, remembered", token, 200, 1)
	if code, body := i.post("/revoke", url.Values{"token": {token}}); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	i.clock.Turn(2*time.Second - 1)
	i.want("revoked, within the time of the answer", token, 200, 1)
	i.clock.Turn(1)
	i.want("revoked", token, 401, 2)
	i.want("revoked, remembered", token, 401, 2)
	i.want("another one", other, 200, 3)

	i.clock.Turn(2 * time.Second)
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	i.instead.Store(&broken)
	i.want("failing", other, 503, 4)
	i.want("failing, and asked again", other, 503, 5)
	i.want("failing, of a revoked one", token, 503, 6)
	i.instead.Store(nil)
	i.want("good again", other, 200, 7)
	i.want("good again, of a revoked one", token, 401, 8)

	i.clock.Turn(2 * time.Second)
	if err := i.clients.SetDisabled(t.Context(), "test", "acme", "caller", true); err != nil {
		t.Fatal(err)
	}
	i.want("the client is disabled", other, 401, 9)

	if err := i.clients.SetDisabled(t.Context(), "test", "acme", "caller", false); err != nil {
		t.Fatal(err)
	}
	last := i.token()
	i.want("enabled, with a new token", last, 200, 10)
	i.clock.Turn(24 * time.Hour)
	i.want("expired", last, 401, 10)
}

// Many calls with one token cause one request, whether the token is good, revoked
// or unknown.
func TestHerdAtTheRealIssuer(t *testing.T) {
	i := newRealIssuer(t)
	token := i.token()
	herd := func(when string, status int) {
		t.Helper()
		before := i.asked.Load()
		const calls = 50
		release := make(chan struct{})
		hold := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release; http.Error(w, "", http.StatusBadGateway) })
		i.instead.Store(nil)
		if status == 503 {
			i.instead.Store(&hold)
		}
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if got := i.call(token); got != status {
					t.Errorf("%s: %d, want %d", when, got, status)
				}
			})
		}
		if status == 503 {
			eventually.True(t, "somebody asks", func() bool { return i.asked.Load() > before })
		}
		close(release)
		all.Wait()
		if n := i.asked.Load() - before; n != 1 && (status != 503 || n >= calls) {
			t.Errorf("%s: %d questions of %d calls", when, n, calls)
		}
	}
	herd("good", 200)
	if code, body := i.post("/revoke", url.Values{"token": {token}}); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	i.clock.Turn(2 * time.Second)
	herd("revoked", 401)
	i.clock.Turn(2 * time.Second)
	herd("failing", 503)
}

// A guard whose program has package client needs no transport of its own: a Source
// is a resource server's, with the issuer as its API.
func TestGuardAsASource(t *testing.T) {
	i := newRealIssuer(t)
	api := i.create("source", true)
	source := must(clientpkg.New(clientpkg.Config{
		Provider: must(provider.Builtin("oauth2")), TokenURL: i.server.URL + "/token", APIURL: i.server.URL, Clock: i.clock,
		ClientID: api.ClientID, ClientSecret: clientpkg.Static(api.ClientSecret),
		HTTP: i.server.Client().Transport,
	}))
	feed := must(guard.FollowRevocations(guard.FeedConfig{URL: i.server.URL + "/revocations", Client: source.Client(), Clock: i.clock, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(feed.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := feed.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	in := must(guard.NewIntrospector(guard.IntrospectionConfig{URL: i.server.URL + "/introspect", Client: source.Client(), Clock: i.clock}))
	if err := in.Live(ctx, &counterfoil.Principal{}, counterfoil.Secret(i.token())); err != nil {
		t.Errorf("a token that is in force: %v", err)
	}
}
