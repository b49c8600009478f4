package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
)

func TestMain(m *testing.M) {
	disktest.Main()
	if mode := os.Getenv("COUNTERFOIL_TEST_CHILD"); mode != "" {
		child(mode)
		return
	}
	os.Exit(run(m))
}

const (
	theSecret = "s3cret-of-the-client"
	theKey    = "k3y-of-the-client"
)

var theStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// seen is a request as the other side saw it.
type seen struct {
	*http.Request
	body string
}

// world is a token endpoint and an API on real TLS listeners, and a clock that
// the test turns and all three go by.
type world struct {
	t     testing.TB
	ctx   context.Context
	clock *clock.Manual
	auth  *httptest.Server
	api   *httptest.Server
	// onToken and onCall answer instead of the usual when they are set; n
	// counts from 1.
	onToken func(w http.ResponseWriter, n int)
	onCall  func(w http.ResponseWriter, r seen, n int)
	// onAsk is onToken for an answer that looks at the request.
	onAsk func(w http.ResponseWriter, r seen, n int)
	// onMetadata answers what is asked below /.well-known; looked is what was.
	onMetadata http.HandlerFunc
	looked     []string
	// ahead is by how much the clock of both servers is ahead of the client's.
	ahead time.Duration

	mu     sync.Mutex
	tokens []seen
	calls  []seen
	events []counterfoil.Event
}

func newWorld(t testing.TB) *world {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	w := &world{t: t, ctx: ctx, clock: clock.NewManual(theStart)}
	w.auth, w.api = listen(w.token), listen(w.call)
	t.Cleanup(func() {
		cancel()
		w.clock.Turn(time.Hour)
		w.auth.Close()
		w.api.Close()
		w.eventually("no goroutine of the client is left", func() bool { w.clock.Turn(time.Hour); return ownGoroutines() == "" })
	})
	return w
}

// quietLog is for what servers say of clients that leave.
var quietLog = log.New(io.Discard, "", 0)

func listen(h http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quietLog
	// A key of RSA and a hybrid exchange would take most of the tests' time.
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*serverCertificate()}, CurvePreferences: []tls.CurveID{tls.X25519}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	return s
}

// serverCertificate is that of the world's servers, which signs itself.
var serverCertificate = sync.OnceValue(func() *tls.Certificate {
	return testkeys.Certificate(testkeys.EC(), x509.Certificate{
		Subject: pkix.Name{CommonName: "a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"example.com"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil)
})

// ownGoroutines returns the stacks that stand in the package under test.
func ownGoroutines() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var own []string
	for s := range strings.SplitSeq(string(stacks), "\n\n") {
		// A flight that has not begun yet is nowhere but in singleflight.
		if strings.Contains(s, "counterfoil/client.") || strings.Contains(s, "sync/singleflight.") || strings.Contains(s, "clock.WithTimeout") {
			own = append(own, s)
		}
	}
	return strings.Join(own, "\n\n")
}

func (w *world) token(rw http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/.well-known/") {
		w.metadata(rw, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.tokens = append(w.tokens, seen{r, string(body)})
	n, answer, ask := len(w.tokens), w.onToken, w.onAsk
	w.dated(rw)
	if strings.HasSuffix(r.URL.Path, "/refused") {
		answer = status(401, `{"error":"invalid_client"}`)
	}
	w.mu.Unlock()
	switch {
	case ask != nil:
		ask(rw, seen{r, string(body)}, n)
	case answer != nil:
		answer(rw, n)
	default:
		give(rw, n, "3600")
	}
}

// metadata answers who looks for an issuer's, which by default nobody publishes.
func (w *world) metadata(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.looked = append(w.looked, r.URL.Path)
	answer := w.onMetadata
	w.mu.Unlock()
	if answer == nil {
		http.NotFound(rw, r)
		return
	}
	answer(rw, r)
}

// dated gives an answer the time of the servers' clock; the caller holds the
// lock.
func (w *world) dated(rw http.ResponseWriter) {
	rw.Header().Set("Date", w.clock.Now().Add(w.ahead).UTC().Format(http.TimeFormat))
}

// give answers the n-th token with that expires_in.
func give(rw http.ResponseWriter, n int, expires string) {
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%s}`, n, expires)
}

func (w *world) call(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.calls = append(w.calls, seen{r, string(body)})
	n, answer := len(w.calls), w.onCall
	w.dated(rw)
	w.mu.Unlock()
	if answer != nil {
		answer(rw, seen{r, string(body)}, n)
		return
	}
	io.WriteString(rw, `{"data":{}}`)
}

// answers sets how the token endpoint answers from now on.
func (w *world) answers(f func(rw http.ResponseWriter, n int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onToken = f
}

func status(code int, body string, headers ...string) func(http.ResponseWriter, int) {
	return func(rw http.ResponseWriter, _ int) {
		for i := 0; i < len(headers); i += 2 {
			rw.Header().Set(headers[i], headers[i+1])
		}
		rw.WriteHeader(code)
		io.WriteString(rw, body)
	}
}

func (w *world) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tokens)
}

func (w *world) seenEvents() []counterfoil.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// builtin is a copy of one of the catalog, which is read once.
func builtin(t testing.TB, name string) *provider.Provider {
	p, ok := builtins.Load(name)
	if !ok {
		fresh, err := provider.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		p, _ = builtins.LoadOrStore(name, fresh)
	}
	copied := *p.(*provider.Provider)
	return &copied
}

var builtins sync.Map

// config is one of the provider's client; the world stands for both endpoints.
func (w *world) config(name string) client.Config {
	p := builtin(w.t, name)
	c := client.Config{
		Provider: p, TokenURL: w.auth.URL + p.TokenEndpoint.Path, APIURL: w.api.URL,
		ClientID: "the-client", ClientSecret: client.Static(theSecret), APIKey: client.Static(theKey), Tenant: "TENANT123",
		HTTP: w.base(), Clock: w.clock,
		OnEvent: func(_ context.Context, e counterfoil.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	}
	switch name {
	case "ahotu":
		c.APIURL, c.Scopes = w.api.URL+"/graphql", counterfoil.Scopes{"events:read"}
	case "altrata":
		c.APIURL = w.api.URL + "/v1/graphql"
	case "engagifii":
		c.Scopes = counterfoil.Scopes{"EventsApi"}
	case "a55":
		c.APIURL = w.api.URL + "/api/v1"
	}
	return c
}

// base is a transport that trusts the world's servers.
func (w *world) base() *http.Transport {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.auth.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	w.t.Cleanup(t.CloseIdleConnections)
	return t
}

func (w *world) source(c client.Config) *client.Source {
	w.t.Helper()
	s, err := client.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// oauth2 is a Source of the generic provider.
func (w *world) oauth2() *client.Source { return w.source(w.config("oauth2")) }

// must returns the value of a token that has to be had.
func (w *world) must(s *client.Source) string {
	w.t.Helper()
	t, err := s.Token(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return t.Value.Reveal()
}

// fails returns the error of a token that cannot be had.
func (w *world) fails(s *client.Source) *counterfoil.Error {
	w.t.Helper()
	t, err := s.Token(w.ctx)
	e, ok := err.(*counterfoil.Error)
	if !ok {
		w.t.Fatalf("got token of %v and error %T (%v), want *counterfoil.Error", t.Lifetime(), err, err)
	}
	return e
}

// turning runs f and turns the clock by step whenever f waits for it.
func (w *world) turning(step time.Duration, f func()) {
	done, ctx := make(chan struct{}), w.ctx
	ctx, cancel := context.WithCancel(ctx)
	go func() { defer close(done); defer cancel(); f() }()
	for w.clock.Sleepers(ctx, 2) == nil { // the backoff and the time limit
		w.clock.Turn(step)
	}
	<-done
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	eventually.True(w.t, what, ok)
}

func (w *world) get(c *http.Client, url string) *http.Response {
	w.t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// roundTripper is a transport for faults.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
