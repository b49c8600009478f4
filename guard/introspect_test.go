package guard_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// introspector is an issuer's introspection endpoint on a TLS listener.
type introspector struct {
	t      *testing.T
	clock  *clock.Manual
	server *httptest.Server

	mu      sync.Mutex
	ended   map[string]bool
	asked   int
	handler http.HandlerFunc // in place of an answer
}

func newIntrospector(t *testing.T) *introspector {
	i := &introspector{t: t, clock: clock.NewManual(start), ended: map[string]bool{}}
	i.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("token")
		user, password, _ := r.BasicAuth()
		if r.Method != "POST" || r.URL.RawQuery != "" || r.PostFormValue("token_type_hint") != "access_token" || user != "api" || password != "secret" {
			t.Errorf("%s %s by %s", r.Method, r.URL, user)
		}
		i.mu.Lock()
		i.asked++
		handler, ended := i.handler, i.ended[token]
		i.mu.Unlock()
		switch {
		case handler != nil:
			handler(w, r)
		case ended:
			_, _ = io.WriteString(w, `{"active":false}`)
		default:
			_, _ = io.WriteString(w, `{"active":true,"client_id":"client-1","scope":""}`)
		}
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *introspector) end(token string) { i.change(func() { i.ended[token] = true }) }
func (i *introspector) restart()         { i.change(func() { i.ended, i.asked = map[string]bool{}, 0 }) }
func (i *introspector) answer(h http.HandlerFunc) {
	i.change(func() { i.handler = h })
}

func (i *introspector) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *introspector) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// basicAuth adds the guard's credentials.
type basicAuth struct{ next http.RoundTripper }

func (b basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth("api", "secret")
	return b.next.RoundTrip(r)
}

func (i *introspector) introspection(change func(*guard.IntrospectionConfig)) *guard.Introspector {
	in := guard.IntrospectionConfig{URL: i.server.URL + "/introspect", Client: &http.Client{Transport: basicAuth{i.server.Client().Transport}}, Clock: i.clock}
	if change != nil {
		change(&in)
	}
	return must(guard.NewIntrospector(in))
}

// behind returns a guard that asks about each token.
func (i *introspector) behind(in *guard.Introspector) *rig {
	return newRigFor(i.t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) {
		c.Clock, c.Liveness, c.Directory = i.clock, in, nil
	})
}

func TestIntrospection(t *testing.T) {
	i := newIntrospector(t)
	r := i.behind(i.introspection(nil))
	token, other := r.claim("jti", "one"), r.claim("jti", "other")
	for range 3 {
		if got := r.reason(token); got != "" {
			t.Fatalf("%q", got)
		}
	}
	i.end(token)
	if got := r.reason(token); got != "" || i.count() != 1 {
		t.Errorf("an answer of now: %q after %d questions", got, i.count())
	}
	i.clock.Turn(2 * time.Second)
	a := r.send(r.call(token))
	r.refused(a, counterfoil.ReasonTokenRevoked, token)
	if got := r.reason(other); got != "" || i.count() != 3 {
		t.Errorf("%q after %d questions", got, i.count())
	}
	// The issuer is not asked about a token that is invalid by itself.
	r.refused(r.send(r.call(r.claim("iss", "https://evil.example"))), counterfoil.ReasonTokenIssuer)
	if i.count() != 3 {
		t.Errorf("%d questions", i.count())
	}
}

// As many answers are remembered as the configuration says, ten thousand when it does
// not.
func TestIntrospectionRemembersAsManyAsItMay(t *testing.T) {
	for size, row := range map[int]struct{ tokens, questions int }{0: {100, 100}, 1: {2, 6}, 4: {4, 4}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			i := newIntrospector(t)
			r := i.behind(i.introspection(func(in *guard.IntrospectionConfig) { in.CacheSize = size }))
			var tokens []string
			for n := range row.tokens {
				tokens = append(tokens, r.claim("jti", fmt.Sprint(n)))
			}
			for range 3 {
				for _, token := range tokens {
					if got := r.reason(token); got != "" {
						t.Fatalf("%q", got)
					}
				}
			}
			if i.count() != row.questions {
				t.Errorf("%d questions about %d tokens, want %d", i.count(), row.tokens, row.questions)
			}
		})
	}
}

// Under the policy "replace" introspection can be used instead of a registry.
func TestIntrospectionInPlaceOfARegistry(t *testing.T) {
	i := newIntrospector(t)
	r := newRigFor(t, parse(t, "replacing", "extends: oauth2\nname: replacing\ntoken_endpoint: {policy: replace}\n"), dialects()["oauth2"],
		func(c *guard.Config) { c.Liveness, c.Directory = i.introspection(nil), nil })
	token := r.claim("jti", "one")
	i.end(token)
	if got := r.reason(token); got != counterfoil.ReasonTokenReplaced {
		t.Errorf("%q", got)
	}
}

// To a client that is no resource server every token is inactive, and the guard
// refused all of them without a word.
func TestIntrospectionWarnsOfInactiveTokens(t *testing.T) {
	i, log := newIntrospector(t), &waits{}
	r := i.behind(i.introspection(func(in *guard.IntrospectionConfig) { in.Logger = slog.New(log) }))
	good, bad := r.claim("jti", "good"), r.claim("jti", "bad")
	warned := func(when string, want int) {
		t.Helper()
		if got := log.count("WARN introspection: the issuer calls a token inactive"); got != want || log.count("--resource-server") != want {
			t.Errorf("%s: %d warnings, want %d: %q", when, got, want, log.lines)
		}
	}
	i.end(bad)
	a := r.send(r.call(bad))
	r.refused(a, counterfoil.ReasonTokenRevoked, bad)
	if !strings.Contains(a.event.Detail, "not a resource server") {
		t.Errorf("the detail is %q", a.event.Detail)
	}
	warned("no token was active", 1)
	i.clock.Turn(59 * time.Second)
	r.refused(r.send(r.call(bad)), counterfoil.ReasonTokenRevoked, bad)
	warned("within a minute", 1)
	i.clock.Turn(time.Second)
	if got := r.reason(good); got != "" {
		t.Fatalf("%q", got)
	}
	r.refused(r.send(r.call(bad)), counterfoil.ReasonTokenRevoked, bad)
	warned("another token is active", 1)
	i.clock.Turn(time.Minute)
	r.refused(r.send(r.call(bad)), counterfoil.ReasonTokenRevoked, bad)
	warned("no token was active for a minute", 2)
	for _, line := range log.lines {
		if strings.Contains(line, bad) {
			t.Errorf("the log has the token: %s", line)
		}
	}
}

func TestIntrospectionFails(t *testing.T) {
	var elsewhere sync.Map
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Store("asked", r.URL.Path)
		_, _ = io.WriteString(w, `{"active":true}`)
	}))
	defer other.Close()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500"},
		"401": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "check the credentials"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, "307"},
		"a page":           {answerSet("<html>"), "JSON"},
		"no active":        {answerSet(`{}`), "active"},
		"active is text":   {answerSet(`{"active":"true"}`), "active"},
		"active twice":     {answerSet(`{"active":false,"active":true}`), "twice"},
		"two answers":      {answerSet(`{"active":true}{"active":false}`), "JSON"},
		"an array":         {answerSet(`[true]`), "object"},
		"an endless one":   {answerSet(strings.Repeat(" ", 70_000) + `{"active":true}`), "larger"},
		"a cut connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"a cut answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = io.WriteString(w, `{"active":true`)
		}, "EOF"},
		"a compressed bomb?": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, `{"active":true}`)
		}, "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntrospector(t)
			r := i.behind(i.introspection(nil))
			i.answer(tt.answer)
			a := r.send(r.call(r.token(nil)))
			r.refused(a, counterfoil.ReasonUnavailable, r.token(nil))
			if a.status != 503 || !strings.Contains(a.event.Detail, tt.want) {
				t.Errorf("%d, %+v", a.status, a.event)
			}
			i.answer(nil)
			r.works() // a failure is not remembered
		})
	}
	if path, asked := elsewhere.Load("asked"); asked {
		t.Errorf("the redirect was followed to %v", path)
	}
}

// Many calls with one token ask once; many tokens ask MaxConcurrent at a time.
func TestIntrospectionsAtOnce(t *testing.T) {
	i := newIntrospector(t)
	const atOnce = 3
	r := i.behind(i.introspection(func(in *guard.IntrospectionConfig) { in.MaxConcurrent = atOnce }))
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{"active":true}`)
	})
	h := r.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	call := func(token string) int {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code
	}
	const tokens = 8
	var wg sync.WaitGroup
	for n := range tokens {
		token := r.claim("jti", string(rune('a'+n)))
		for range 5 {
			wg.Go(func() {
				if code := call(token); code != 200 {
					t.Errorf("%d", code)
				}
			})
		}
	}
	for range atOnce {
		<-arrived
	}
	// All are on their way, and the machine has the time for a hundred other
	// calls: those that do not wait for their turn have arrived.
	if err := i.clock.Sleepers(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		r.refused(r.send(r.call("no token")), counterfoil.ReasonTokenMalformed)
	}
	if n := i.count(); n != atOnce {
		t.Errorf("%d questions at once", n)
	}
	close(release)
	wg.Wait()
	if n := i.count(); n != tokens {
		t.Errorf("%d questions about %d tokens", n, tokens)
	}
}

// An endpoint that hangs holds calls up for Timeout, and one that leaves not at
// all.
func TestIntrospectionHangs(t *testing.T) {
	eventually.NoGoroutineIsLeft(t)
	i := newIntrospector(t)
	r := i.behind(i.introspection(nil))
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	i.answer(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	h := r.guard.Handler(http.NotFoundHandler())
	start := func(ctx context.Context) <-chan int {
		code := make(chan int, 1)
		go func() {
			req := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
			req.Header.Set("Authorization", "Bearer "+r.token(nil))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			code <- w.Code
		}()
		return code
	}
	ctx, leave := context.WithCancel(t.Context())
	leaver, stayer := start(ctx), start(t.Context())
	<-arrived
	<-arrived // about two tokens
	if err := i.clock.Sleepers(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	leave()
	if code := <-leaver; code != 503 {
		t.Errorf("%d", code)
	}
	select {
	case code := <-stayer:
		t.Errorf("%d before the time is up", code)
	default:
	}
	i.clock.Turn(5 * time.Second)
	if code := <-stayer; code != 503 {
		t.Errorf("%d", code)
	}
	close(release)
	i.server.Client().CloseIdleConnections()
	i.server.Close()
	r.server.Close()
}

func TestNewIntrospectorSaysWhatIsMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  guard.IntrospectionConfig
		want string
	}{
		"nothing":   {guard.IntrospectionConfig{}, "IntrospectionConfig.URL must be an https URL"},
		"no client": {guard.IntrospectionConfig{URL: "https://auth.example/introspect"}, "IntrospectionConfig.Client is missing"},
		"negative":  {guard.IntrospectionConfig{URL: "https://auth.example/introspect", Client: &http.Client{}, TTL: -1}, "must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := guard.NewIntrospector(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}
