package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

func TestCheck(t *testing.T) {
	healthy := `{"status":"healthy","authentication":"ok","api_connectivity":"ok","timestamp":"2026-01-02T03:04:05Z"}`
	unhealthy := func(text string) string {
		return fmt.Sprintf(`{"status":"unhealthy","error":%q,"timestamp":"2026-01-02T03:04:05Z"}`, text)
	}
	refusal := func(p string, r counterfoil.Reason) func(http.ResponseWriter, seen, int) {
		description, err := provider.Builtin(p)
		if err != nil {
			t.Fatal(err)
		}
		return func(rw http.ResponseWriter, _ seen, _ int) { description.APIs[0].Refusal(r).Write(rw) }
	}
	say := func(text string) func(http.ResponseWriter, seen, int) {
		return func(rw http.ResponseWriter, _ seen, _ int) { io.WriteString(rw, text) }
	}
	for _, row := range []struct {
		name, provider string
		token          func(http.ResponseWriter, int)
		call           func(http.ResponseWriter, seen, int)
		path, want     string
	}{
		{"REST", "engagifii", nil, say(`{"totalCount":0,"data":[]}`), "POST /api/1.0/event/list", healthy},
		{"REST below a path", "a55", nil, say(`{}`), "GET /api/v1/", healthy},
		{"GraphQL", "ahotu", nil, say(`{"data":{"events":{"totalCount":1}}}`), "POST /graphql", healthy},
		{"GraphQL with errors", "ahotu", nil, say(`{"errors":[{"message":"x"}]}`), "POST /graphql",
			unhealthy("api_connectivity: the API answers 200, but with GraphQL errors or no JSON")},
		{"a page", "altrata", nil, say(`<html>`), "POST /v1/graphql",
			unhealthy("api_connectivity: the API answers 200, but with GraphQL errors or no JSON")},
		{"tenant denied", "engagifii", nil, refusal("engagifii", counterfoil.ReasonTenantDenied), "POST /api/1.0/event/list",
			unhealthy("api_connectivity: the API answers 403 (tenant_denied)")},
		{"redirect", "a55", nil, func(rw http.ResponseWriter, r seen, _ int) { http.Redirect(rw, r.Request, "/login", http.StatusFound) }, "GET /api/v1/",
			unhealthy("api_connectivity: the API answers 302")},
		{"the last status of success", "a55", nil, func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(299) }, "GET /api/v1/", healthy},
		{"the first that is none", "a55", nil, func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(300) }, "GET /api/v1/",
			unhealthy("api_connectivity: the API answers 300")},
		{"no token", "a55", status(400, `{"error":"invalid_client"}`), nil, "",
			unhealthy(`authentication: the token endpoint of a55 refuses the client "the-client" (invalid_client): check its id and secret`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onToken, w.onCall = row.token, row.call
			text, err := json.Marshal(w.source(w.config(row.provider)).Check(w.ctx))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "health", string(text), row.want)
			if row.path == "" {
				equal(t, "calls", len(w.calls), 0)
				return
			}
			equal(t, "call", w.calls[0].Method+" "+w.calls[0].RequestURI, row.path)
			equal(t, "body", w.calls[0].body, w.config(row.provider).Provider.APIs[0].Health.Body)
		})
	}
}

// An API that is down was refused, without a reason and without its Retry-After.
func TestErrorsOfAnAPI(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		class  counterfoil.Class
		reason counterfoil.Reason
		wait   time.Duration
		says   string
	}{
		{503, "", counterfoil.ClassTransient, counterfoil.ReasonUnavailable, 7 * time.Second, "answers 503"},
		{504, "<html>", counterfoil.ClassTransient, counterfoil.ReasonUnavailable, 7 * time.Second, "answers 504"},
		{408, "", counterfoil.ClassTransient, counterfoil.ReasonUnavailable, 7 * time.Second, "answers 408"},
		{429, "", counterfoil.ClassTransient, counterfoil.ReasonRateLimited, 7 * time.Second, "answers 429"},
		{501, "", counterfoil.ClassRefused, "", 0, "answers 501"},
		{401, "", counterfoil.ClassRefused, counterfoil.ReasonTokenInvalid, 0, "answers 401: check that Config.TokenURL and Config.APIURL belong"},
		{401, `{"error":{"code":"UNAUTHORIZED","message":"An access token is required"}}`, counterfoil.ClassRefused,
			counterfoil.ReasonTokenMissing, 0, "answers 401 (token_missing): check"},
		{403, "", counterfoil.ClassRefused, "", 0, "answers 403"},
		{302, "", counterfoil.ClassProtocol, counterfoil.ReasonBadResponse, 0, "answers 302"},
	} {
		t.Run(fmt.Sprint(row.status, row.reason), func(t *testing.T) {
			w := newWorld(t)
			w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { status(row.status, row.body, "Retry-After", "7")(rw, 1) }
			e, ok := w.source(w.config("a55")).Check(w.ctx).APIErr.(*counterfoil.Error)
			if !ok {
				t.Fatal("no *counterfoil.Error")
			}
			equal(t, "class", e.Class(), row.class)
			equal(t, "reason", e.Reason, row.reason)
			equal(t, "status", e.Status, row.status)
			equal(t, "wait", e.RetryAfter, row.wait)
			if !strings.Contains(e.Error(), row.says) {
				t.Errorf("says %q, want %q", e, row.says)
			}
		})
	}
	w := newWorld(t)
	c := w.config("a55")
	c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/api") {
			return nil, &tls.CertificateVerificationError{Err: errors.New("expired")}
		}
		return w.base().RoundTrip(r)
	})
	e, _ := w.source(c).Check(w.ctx).APIErr.(*counterfoil.Error)
	if e == nil || e.Class() != counterfoil.ClassProtocol {
		t.Errorf("of an invalid certificate: %v", e)
	}
}

// probe sends one request to a handler that is served over loopback.
func probe(t *testing.T, s *client.Source) func(method string) (*http.Response, string) {
	t.Helper()
	served := httptest.NewServer(s.HealthHandler())
	t.Cleanup(served.Close)
	return func(method string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, served.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := served.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}

// sleeping runs f and turns the clock by step whenever n wait for it: the time
// limits of a check and of its token request, and a backoff.
func sleeping(w *world, n int, step time.Duration, f func()) {
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx)
	go func() { defer close(done); defer cancel(); f() }()
	for w.clock.Sleepers(ctx, n) == nil {
		w.clock.Turn(step)
	}
	<-done
}

func TestHealthHandler(t *testing.T) {
	say := func(code int, text string) func(http.ResponseWriter, seen, int) {
		return func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(code); io.WriteString(rw, text) }
	}
	hide := errors.New("10.1.2.3: permission denied for " + theSecret)
	for _, row := range []struct {
		name, provider string
		change         func(*client.Config)
		token          func(http.ResponseWriter, int)
		call           func(http.ResponseWriter, seen, int)
		status         int
		fault          string
	}{
		{"healthy", "engagifii", nil, nil, say(200, `{"totalCount":0,"data":[]}`), 200, ""},
		{"client refused", "a55", nil, status(400, `{"error":"invalid_client"}`), nil, 503,
			`authentication: the token endpoint of a55 refuses the client "the-client" (invalid_client): check its id and secret`},
		{"secret not to be had", "a55", func(c *client.Config) {
			c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", hide }
		}, nil, nil, 503, "authentication: the client secret cannot be read from where Config.ClientSecret says"},
		{"token endpoint away", "a55", func(c *client.Config) { c.TokenURL = "https://127.0.0.1:1/token" }, nil, nil, 503,
			"authentication: the token endpoint of a55 cannot be reached at 127.0.0.1:1"},
		{"API away", "a55", func(c *client.Config) { c.APIURL = "https://127.0.0.1:1/" }, nil, nil, 503,
			"api_connectivity: the API cannot be reached at 127.0.0.1:1"},
		{"API refuses", "a55", nil, nil, say(403, ""), 503, "api_connectivity: the API answers 403"},
		{"API is down", "a55", nil, nil, say(503, ""), 503, "api_connectivity: the API answers 503"},
		{"GraphQL errors with 200", "ahotu", nil, nil, say(200, `{"data":null,"errors":[{"message":"`+theSecret+`"}]}`), 503,
			"api_connectivity: the API answers 200, but with GraphQL errors or no JSON"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onToken, w.onCall = row.token, row.call
			c := w.config(row.provider)
			if row.change != nil {
				row.change(&c)
			}
			ask := probe(t, w.source(c))
			var resp *http.Response
			var body string
			sleeping(w, 3, time.Second, func() { resp, body = ask(http.MethodGet) })
			equal(t, "status", resp.StatusCode, row.status)
			equal(t, "media type", resp.Header.Get("Content-Type"), "application/json")
			equal(t, "caching", resp.Header.Get("Cache-Control"), "no-store")
			noSecrets(t, body)
			if len(w.calls) > 1 {
				t.Errorf("%d calls: a check is not repeated", len(w.calls))
			}
			var got struct{ Status, Error, Timestamp string }
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			equal(t, "error", got.Error, row.fault)
			if row.status == 200 {
				equal(t, "body", body, `{"status":"healthy","authentication":"ok","api_connectivity":"ok","timestamp":"2026-01-02T03:04:05Z"}`+"\n")
				return
			}
			equal(t, "health", got.Status, "unhealthy")
			text, err := json.Marshal(map[string]string{"status": "unhealthy", "error": row.fault, "timestamp": got.Timestamp})
			if err != nil || len(text)+1 != len(body) {
				t.Errorf("%s has not the three members of an unhealthy answer (%v)", body, err)
			}
		})
	}
}

func TestHealthHandlerMethods(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.APIURL = ""
	ask := probe(t, w.source(c))
	for _, row := range []struct {
		method string
		status int
	}{{"POST", 405}, {"DELETE", 405}, {"OPTIONS", 405}, {"HEAD", 503}, {"GET", 503}} { // of a Source that makes no calls
		resp, body := ask(row.method)
		equal(t, row.method, resp.StatusCode, row.status)
		equal(t, "caching of "+row.method, resp.Header.Get("Cache-Control"), "no-store")
		switch row.method {
		case "HEAD":
			equal(t, "body of HEAD", body, "")
		case "GET":
			equal(t, "body of GET", strings.Contains(body, "makes no calls"), true)
		default:
			equal(t, "Allow of "+row.method, resp.Header.Get("Allow"), "GET, HEAD")
		}
	}
}

func TestHealthHandlerSharesACheck(t *testing.T) {
	t.Run("100 probes at once are one call", func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { <-release; io.WriteString(rw, `{}`) }
		s := w.source(w.config("a55"))
		asks := []func(string) (*http.Response, string){probe(t, s), probe(t, s)}
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				resp, _ := asks[i%2](http.MethodGet)
				equal(t, "status", resp.StatusCode, 200)
			})
		}
		w.eventually("the call is under way", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.calls) == 1 })
		close(release)
		all.Wait()
		equal(t, "calls", len(w.calls), 1)
		equal(t, "token requests", w.asked(), 1)
	})
	t.Run("an answer serves for 5 s", func(t *testing.T) {
		w := newWorld(t)
		ask := probe(t, w.source(w.config("a55")))
		for second := range 11 { // checks at 0, 5 and 10
			ask(http.MethodGet)
			equal(t, fmt.Sprintf("calls after %d s", second), len(w.calls), second/5+1)
			w.clock.Turn(time.Second)
		}
		w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(403) }
		w.clock.Turn(5 * time.Second)
		resp, _ := ask(http.MethodGet)
		equal(t, "status", resp.StatusCode, 503)
		w.onCall = nil
		for range 4 { // so does a bad one
			resp, _ = ask(http.MethodGet)
			equal(t, "status", resp.StatusCode, 503)
			w.clock.Turn(time.Second)
		}
		w.clock.Turn(time.Second)
		resp, _ = ask(http.MethodGet)
		equal(t, "status", resp.StatusCode, 200)
	})
	t.Run("a prober that leaves disturbs nobody", func(t *testing.T) {
		w := newWorld(t)
		arrived, release := make(chan struct{}), make(chan struct{})
		w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { close(arrived); <-release; io.WriteString(rw, `{}`) }
		h := w.source(w.config("a55")).HealthHandler()
		ctx, cancel := context.WithCancel(w.ctx)
		answered := func(ctx context.Context) chan *httptest.ResponseRecorder {
			done := make(chan *httptest.ResponseRecorder, 1)
			go func() {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				done <- rec
			}()
			return done
		}
		leaves := answered(ctx)
		<-arrived
		stays := answered(w.ctx)
		cancel()
		gone := <-leaves // a time limit in front of the handler may still send it
		equal(t, "status of the one that left", gone.Code, 503)
		equal(t, "it says why", strings.Contains(gone.Body.String(), `"error":"check: `), true)
		close(release)
		equal(t, "status of the one that stayed", (<-stays).Code, 200)
		equal(t, "calls", len(w.calls), 1)
	})
	t.Run("a check that hangs ends", func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		defer close(release)
		ask := probe(t, w.source(w.config("a55")))
		arrived := make(chan struct{})
		w.onCall = func(http.ResponseWriter, seen, int) { close(arrived); <-release }
		go func() { <-arrived; w.clock.Turn(30 * time.Second) }()
		resp, body := ask(http.MethodGet)
		equal(t, "status", resp.StatusCode, 503)
		equal(t, "part", strings.Contains(body, `"error":"api_connectivity: `), true)
	})
}
