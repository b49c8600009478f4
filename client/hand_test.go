package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// TestHandMistakes has one row for each thing that integrators get wrong when
// they write a token manager by hand.
func TestHandMistakes(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"fixed 300 s margin on short tokens", mistakeFixedMargin},
		{"expires_in missing, absurd or a string", mistakeExpiresIn},
		{"expires_in zero or negative", TestTokenWithoutLifetime},
		{"two threads refresh at once", mistakeTwoRefreshes},
		{"one 401 drops a token that another thread has just renewed", mistakeDropsRenewed},
		{"retry after 401 without the body, or an endless 401 loop", mistakeRetry},
		{"a cancelled caller kills the refresh that others wait for", mistakeCancelledCaller},
		{"the token follows a redirect to another host, or goes over plain HTTP", mistakeLeavesOrigin},
		{"every call fails while the token endpoint is down", mistakeEndpointDown},
		{"a wrong secret is retried in a tight loop", mistakeWrongSecret},
		{"clients with different scopes or tenants share a cache entry", mistakeSharedEntry},
		{"a secret in a log line, an error text, a process list or a core file", mistakeSecretShown},
	} {
		t.Run(row.name, row.test)
	}
}

// A margin of 300 s makes a token of 300 s or less always stale.
func mistakeFixedMargin(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 299 * time.Second, 300 * time.Second, 301 * time.Second, time.Hour} {
		w := newWorld(t)
		w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, fmt.Sprint(lifetime.Seconds())) })
		s := w.oauth2()
		margin := min(300*time.Second, lifetime/5)
		w.must(s)
		w.clock.Turn(lifetime - margin - margin/10 - time.Millisecond)
		for range 100 {
			w.must(s)
		}
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		equal(t, "token requests before the margin of a token of "+lifetime.String(), w.asked(), 1)
		w.clock.Turn(margin/10 + time.Millisecond)
		equal(t, "token served while renewal is under way", w.must(s), "token-1")
		w.eventually("the token is renewed", func() bool { return w.must(s) == "token-2" })
		equal(t, "token requests", w.asked(), 2)
	}
}

func mistakeExpiresIn(t *testing.T) {
	for _, row := range []struct {
		answer string
		want   time.Duration
	}{
		{`{"access_token":"a","token_type":"Bearer"}`, time.Hour},
		{`{"access_token":"a","token_type":"Bearer","expires_in":null}`, time.Hour},
		{`{"access_token":"a","token_type":"Bearer","expires_in":"1800"}`, 30 * time.Minute},
		{`{"access_token":"a","token_type":"Bearer","expires_in":60.9}`, time.Minute},
		{`{"access_token":"a","token_type":"Bearer","expires_in":1000000000000}`, 30 * 24 * time.Hour},
		{`{"access_token":"a","token_type":"Bearer","expires_in":1e999}`, 30 * 24 * time.Hour},
		{`{"access_token":"a","token_type":"Bearer","expires_in":"soon"}`, 0},
		{`{"access_token":"a","token_type":"Bearer","expires_in":[]}`, 0},
	} {
		w := newWorld(t)
		w.answers(status(200, row.answer))
		s := w.oauth2()
		var got time.Duration
		for range 50 { // none may lead to a request on every call
			token, err := s.Token(w.ctx)
			if err != nil && counterfoilReason(err) != counterfoil.ReasonBadResponse {
				t.Errorf("%s: %v", row.answer, err)
			}
			got = token.Lifetime()
		}
		equal(t, "lifetime of "+row.answer, got, row.want)
		equal(t, "token requests for "+row.answer, w.asked(), 1)
	}
}

func counterfoilReason(err error) counterfoil.Reason {
	if e, ok := err.(*counterfoil.Error); ok {
		return e.Reason
	}
	return ""
}

// With altrata the second refresh kills the first one's token; here two APIs of
// one client, each with a Source, share a cache.
func mistakeTwoRefreshes(t *testing.T) {
	w := newWorld(t)
	c := w.config("altrata")
	c.Cache = client.Memory()
	one := w.source(c)
	c.Tenant, c.APIURL = "another", w.api.URL+"/v1/companies"
	two := w.source(c)
	for lap := 1; lap <= 3; lap++ {
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				s := one
				if i%2 == 1 {
					s = two
				}
				if got, want := w.must(s), fmt.Sprintf("token-%d", lap); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		all.Wait()
		equal(t, "token requests", w.asked(), lap)
		w.clock.Turn(time.Hour) // to expiry
	}
}

func mistakeDropsRenewed(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Cache = client.Memory()
	s, other := w.source(c), w.source(c)
	old, err := s.Token(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.Invalidate(w.ctx, old)
	equal(t, "token after the drop", w.must(s), "token-2")
	for range 100 { // 401s that were under way with the old token
		s.Invalidate(w.ctx, old)
		other.Invalidate(w.ctx, old)
	}
	equal(t, "token after late drops", w.must(s), "token-2")
	equal(t, "token of another holder of the cache", w.must(other), "token-2")
	equal(t, "token requests", w.asked(), 2)
}

func mistakeRetry(t *testing.T) {
	t.Run("body and one retry", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
			if r.Header.Get("Authorization") == "Bearer token-1" {
				rw.WriteHeader(401)
				return
			}
			io.WriteString(rw, r.body)
		}
		resp, err := w.oauth2().Client().Post(w.api.URL+"/x", "application/json", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		echo, _ := io.ReadAll(resp.Body)
		equal(t, "body of the retry", string(echo), "the body")
		equal(t, "calls", len(w.calls), 2)
	})
	t.Run("401 always", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = func(rw http.ResponseWriter, _ seen, n int) { rw.WriteHeader(401); fmt.Fprint(rw, n) }
		c := w.oauth2().Client()
		resp := w.get(c, w.api.URL)
		equal(t, "status", resp.StatusCode, 401)
		equal(t, "calls for one", len(w.calls), 2)
		for range 50 {
			w.get(c, w.api.URL)
		}
		if got := w.asked(); got > 6 {
			t.Errorf("51 rejected calls led to %d token requests, want 6 at most", got)
		}
	})
}

func mistakeCancelledCaller(t *testing.T) {
	w := newWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.answers(func(rw http.ResponseWriter, n int) { close(arrived); <-release; give(rw, n, "3600") })
	s := w.oauth2()
	ctx, cancel := context.WithCancel(w.ctx)
	left := make(chan error)
	go func() { _, err := s.Token(ctx); left <- err }()
	<-arrived
	stayed := make(chan string)
	go func() { stayed <- w.must(s) }()
	cancel()
	if err := <-left; counterfoilReason(err) != counterfoil.ReasonUnavailable || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("the caller that left got %v", err)
	}
	close(release)
	equal(t, "token of the caller that stayed", <-stayed, "token-1")
	equal(t, "token requests", w.asked(), 1)
}

func mistakeLeavesOrigin(t *testing.T) {
	w := newWorld(t)
	var stranger []*http.Request
	elsewhere := listen(func(_ http.ResponseWriter, r *http.Request) { stranger = append(stranger, r) })
	defer elsewhere.Close()
	w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
		http.Redirect(rw, r.Request, elsewhere.URL+"/x", http.StatusTemporaryRedirect)
	}
	hc := w.source(w.config("altrata")).Client()
	resp, err := hc.Post(w.api.URL+"/v1/graphql", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	equal(t, "requests elsewhere", len(stranger), 1)
	for _, name := range []string{"Authorization", "X-Api-Key", "Tenant-Code"} {
		equal(t, name+" elsewhere", stranger[0].Header.Get(name), "")
	}
	plain := strings.Replace(w.api.URL, "https:", "http:", 1)
	w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
		http.Redirect(rw, r.Request, plain, http.StatusTemporaryRedirect)
	}
	for _, url := range []string{plain, w.api.URL} {
		if resp, err := hc.Get(url); err == nil || !strings.Contains(err.Error(), "use https") {
			t.Errorf("%s: got %v, %v: want a refusal of plain http", url, resp, err)
		}
	}
	w.answers(status(307, "", "Location", elsewhere.URL))
	equal(t, "reason of a redirected token request", w.fails(w.oauth2()).Reason, counterfoil.ReasonBadResponse)
	equal(t, "requests elsewhere in all", len(stranger), 1)
}

// The old token serves to its end, is renewed when the endpoint is back, and an
// outage past the end gives an error, not an expired token.
func mistakeEndpointDown(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 10 * time.Minute} {
		w := newWorld(t)
		s := w.oauth2()
		w.must(s)
		w.answers(status(503, ""))
		w.clock.Turn(55 * time.Minute)
		end := w.clock.Now().Add(min(outage, 5*time.Minute))
		for w.clock.Now().Before(end) {
			equal(t, "token while the endpoint is down", w.must(s), "token-1")
			w.clock.Turn(time.Second)
		}
		if outage > 5*time.Minute {
			w.turning(10*time.Second, func() { equal(t, "reason past expiry", w.fails(s).Reason, counterfoil.ReasonUnavailable) })
			if n := w.asked(); n > 60 {
				t.Errorf("%d token requests in 5 minutes of outage", n)
			}
		}
		w.answers(nil)
		w.eventually("the token is renewed", func() bool { w.clock.Turn(time.Second); return w.must(s) != "token-1" })
	}
}

func mistakeWrongSecret(t *testing.T) {
	w := newWorld(t)
	w.answers(status(401, `{"error":"invalid_client"}`))
	c := w.config("oauth2")
	secret := "wrong"
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return counterfoil.Secret(secret), nil }
	s := w.source(c)
	for range 1000 {
		e := w.fails(s)
		equal(t, "reason", e.Reason, counterfoil.ReasonInvalidClient)
		equal(t, "code", e.Code, "invalid_client")
	}
	equal(t, "token requests at one time", w.asked(), 1)
	for range 600 { // ten minutes
		w.clock.Turn(time.Second)
		w.fails(s)
	}
	if got := w.asked(); got < 10 || got > 16 { // after 1, 2, 4, 8, 16, 32, then each 60 s
		t.Errorf("%d token requests in ten minutes, want about 15", got)
	}
	w.answers(nil)
	secret = "right"
	w.must(s) // a changed secret is tried at once
}

func mistakeSharedEntry(t *testing.T) {
	w := newWorld(t)
	base := w.config("oauth2")
	base.Cache = client.Memory()
	for i, change := range []func(*client.Config){
		func(*client.Config) {},
		func(c *client.Config) { c.Scopes = counterfoil.Scopes{"read"} },
		func(c *client.Config) { c.Scopes = counterfoil.Scopes{"read", "write"} },
		func(c *client.Config) { c.Tenant = "TENANT456" },
		func(c *client.Config) { c.ClientID = "another-client" },
		func(c *client.Config) { c.TokenURL += "2" },
		func(c *client.Config) { c.ClientID, c.Scopes = "the", counterfoil.Scopes{"-clientread"} },
	} {
		c := base
		change(&c)
		equal(t, "token", w.must(w.source(c)), fmt.Sprintf("token-%d", i+1))
	}
	c := base
	c.Scopes = counterfoil.Scopes{"write", "read"} // the order means nothing
	equal(t, "token", w.must(w.source(c)), "token-3")
}

// What a process shows of itself is checked in a process of its own, which ends
// in a crash.
func mistakeSecretShown(t *testing.T) {
	w := newWorld(t)
	out := &bytes.Buffer{}
	cmd := w.child("crash", t.TempDir())
	cmd.Env = append(cmd.Env, "GOTRACEBACK=crash")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "the crash") {
		t.Fatalf("the child did not crash as it should: %v\n%s", err, out)
	}
	for _, line := range []string{"goroutine ", "cmdline ", "invalid_client", "token.obtained"} {
		if !strings.Contains(out.String(), line) {
			t.Fatalf("the child does not show %q\n%s", line, out)
		}
	}
	noSecrets(t, out.String())
}

// noSecrets looks for the secrets as they are and as they travel.
func noSecrets(t testing.TB, text string) {
	t.Helper()
	for _, s := range []string{theSecret, "token-1", "token-2", "dGhlLWNsaWVudDpz" /* Basic */, "s3cret", theKey[:8]} {
		if i := strings.Index(text, s); i >= 0 {
			t.Errorf("%q shows: …%s…", s, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// crash shows everything in every way, then panics.
func crash(c client.Config) {
	cmdline, _ := os.ReadFile("/proc/self/cmdline")
	environ, _ := os.ReadFile("/proc/self/environ")
	fmt.Printf("cmdline %s %s\n", cmdline, environ)
	logger := slog.New(slog.NewTextHandler(os.Stdout, nil))
	c.OnEvent = func(_ context.Context, e counterfoil.Event) { logger.Info("event", "event", e, "type", e.Type) }
	s, err := client.New(c)
	if err != nil {
		panic(err)
	}
	token, err := s.Token(context.Background())
	if err != nil {
		panic(err)
	}
	s.Invalidate(context.Background(), token)
	resp, err := s.Client().Get(c.APIURL)
	if err != nil {
		panic(err)
	}
	wrong := c
	wrong.TokenURL += "/refused"
	refusing, _ := client.New(wrong)
	_, refused := refusing.Token(context.Background())
	health := s.Check(context.Background())
	holder := struct{ source *client.Source }{s}
	for _, v := range []any{c, &c, s, holder, token, &token, resp, resp.Request, refused, health, &client.Transport{Source: s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Printf(verb+"\n", v)
		}
		logger.Info("value", "v", v)
	}
	panic("the crash")
}
