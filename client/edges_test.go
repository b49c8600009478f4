package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// TestAdviceOfARefusal has a row for each kind of answer and what is said of it.
func TestAdviceOfARefusal(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer func(http.ResponseWriter, int)
		reason counterfoil.Reason
		want   string
	}{
		{"300", status(300, ""), counterfoil.ReasonBadResponse, "answers 300, a redirect, which is not followed: set Config.TokenURL"},
		{"300 with a code", status(300, `{"error":"invalid_client"}`), counterfoil.ReasonBadResponse, "answers 300 (invalid_client), a redirect"},
		{"302 with a code", status(302, `{"error":"invalid_client"}`), counterfoil.ReasonBadResponse, "answers 302 (invalid_client), a redirect"},
		{"400 with a code that nobody knows", status(400, `{"error":"strange"}`), counterfoil.ReasonInvalidRequest, "refuses the request (strange): check that the provider description fits"},
		{"404 with a code that nobody knows", status(404, `{"error":"strange"}`), counterfoil.ReasonBadResponse, "answers 404 (strange), which is not an OAuth error: check Config.TokenURL"},
		{"405 with a code that nobody knows", status(405, `{"error":"strange"}`), counterfoil.ReasonBadResponse, "answers 405 (strange), which is not an OAuth error"},
		{"a scope", status(400, `{"error":"invalid_scope"}`), counterfoil.ReasonInvalidScope, `refuses the scope "" (invalid_scope): ask`},
		{"a proof", status(400, `{"error":"invalid_dpop_proof"}`), counterfoil.ReasonInvalidDPoPProof, "refuses the DPoP proof (invalid_dpop_proof): check the algorithm"},
		{"a client", status(401, `{"error":"invalid_client"}`), counterfoil.ReasonInvalidClient, `refuses the client "the-client" (invalid_client): check its id and secret`},
		{"a client, with 200", status(200, `{"error":"invalid_client"}`), counterfoil.ReasonInvalidClient, `refuses the client "the-client" (invalid_client): check`},
		{"a client, by another code", status(401, `{"error":"unauthorized_client"}`), counterfoil.ReasonInvalidClient, "(unauthorized_client): check"},
		{"200 with a code that nobody knows", status(200, `{"error":"strange"}`), counterfoil.ReasonBadResponse, "answers 200 (strange), which is not an OAuth error"},
		{"200 and away", status(200, `{"error":"temporarily_unavailable"}`, "Retry-After", "60"), counterfoil.ReasonUnavailable, "answers 200 (temporarily_unavailable): try again later"},
		{"a code of too many", status(400, `{"error":"slow_down"}`, "Retry-After", "60"), counterfoil.ReasonRateLimited, "of this client (slow_down): send fewer"},
		{"a code that is none", status(401, `{"error":"\u001b[2J"}`), counterfoil.ReasonInvalidClient, `refuses the client "the-client": check`},
		{"a code that is long", status(401, `{"error":"`+strings.Repeat("x", 65)+`"}`), counterfoil.ReasonInvalidClient, `refuses the client "the-client": check`},
		{"too many", status(429, "", "Retry-After", "60"), counterfoil.ReasonRateLimited, "has too many requests of this client: send fewer"},
		{"away", status(503, "", "Retry-After", "60"), counterfoil.ReasonUnavailable, "answers 503: try again later"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(row.answer)
			s := w.oauth2()
			e := w.fails(s)
			equal(t, "reason", e.Reason, row.reason)
			if !strings.Contains(e.Error(), row.want) {
				t.Errorf("got %v, want %q", e, row.want)
			}
			if e = w.fails(s); !strings.Contains(e.Error(), row.want) || !strings.Contains(e.Error(), "(remembered; next attempt in ") {
				t.Errorf("the second time got %v", e)
			}
			equal(t, "token requests", w.asked(), 1)
		})
	}
}

// What a refused client is to check is what it proves itself with.
func TestAdviceOfARefusedClient(t *testing.T) {
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	for _, row := range []struct {
		name   string
		change func(w *world, c *client.Config)
		want   string
	}{
		{"secret", func(*world, *client.Config) {}, "check its id and secret"},
		{"key", func(_ *world, c *client.Config) { c.ClientSecret, c.Key = nil, always(newKey(t, jose.ES256)) }, "check its id and key with its ID"},
		{"assertion", func(_ *world, c *client.Config) { c.ClientSecret, c.Assertion = nil, client.Static("e30.e30.e30") }, "check its id and what the provider knows of the assertion's issuer"},
		{"certificate", func(w *world, c *client.Config) { *c = w.certified(&cert) }, "check its id and certificate"},
	} {
		w := newWorld(t)
		w.answers(status(401, `{"error":"invalid_client"}`))
		c := w.config("oauth2")
		row.change(w, &c)
		if e := w.fails(w.source(c)); !strings.Contains(e.Error(), row.want) {
			t.Errorf("%s: got %v", row.name, e)
		}
	}
}

// TestEventsOfRepeatedCalls has a row for each reason why a call is repeated.
func TestEventsOfRepeatedCalls(t *testing.T) {
	for _, row := range []struct {
		status int
		reason counterfoil.Reason
		want   string
	}{
		{401, counterfoil.ReasonTokenInvalid, "PUT: answered 401, again in 0s"},
		{429, counterfoil.ReasonRateLimited, "PUT: answered 429, again in "},
		{500, counterfoil.ReasonServerError, "PUT: answered 500, again in "},
		{503, counterfoil.ReasonUnavailable, "PUT: answered 503, again in "},
		{0, counterfoil.ReasonUnavailable, "PUT: no answer, again in "},
	} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			w := newWorld(t)
			w.onCall = func(rw http.ResponseWriter, _ seen, n int) {
				if n > 2 || row.status == 401 && n > 1 {
					return
				}
				if row.status == 0 {
					reset(t, rw)
					return
				}
				rw.WriteHeader(row.status)
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, w.api.URL, strings.NewReader("x"))
			s := w.oauth2()
			w.must(s)
			resp, _, err := w.patient(s, req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			attempt := 2
			for _, e := range w.seenEvents() {
				if e.Type != counterfoil.EventCallRetried {
					continue
				}
				equal(t, "reason", e.Reason, row.reason)
				equal(t, "status", e.Status, row.status)
				equal(t, "attempt", e.Attempt, attempt)
				if attempt++; !strings.HasPrefix(e.Detail, row.want) {
					t.Errorf("got %q, want %q", e.Detail, row.want)
				}
			}
			equal(t, "calls", len(w.seenCalls()), attempt-1)
		})
	}
}

// A POST with either name of the header is repeated, and one without is not.
func TestIdempotencyKeys(t *testing.T) {
	for header, want := range map[string]int{"Idempotency-Key": 2, "X-Idempotency-Key": 2, "X-Other": 1} {
		w := newWorld(t)
		w.onCall = func(rw http.ResponseWriter, _ seen, n int) {
			if n == 1 {
				rw.WriteHeader(503)
			}
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.api.URL, strings.NewReader("x"))
		req.Header.Set(header, "1")
		s := w.oauth2()
		w.must(s)
		if _, _, err := w.patient(s, req); err != nil {
			t.Fatal(err)
		}
		equal(t, header+": calls", len(w.seenCalls()), want)
	}
}

func TestHeadersOfATokenRequest(t *testing.T) {
	w := newWorld(t)
	w.must(w.oauth2())
	r := w.seenTokens()[0]
	equal(t, "Accept", r.Header.Get("Accept"), "application/json")
	equal(t, "User-Agent", r.Header.Get("User-Agent"), "counterfoil")
	equal(t, "Content-Type", r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

func TestSourceIsPrinted(t *testing.T) {
	w := newWorld(t)
	equal(t, "a Source", fmt.Sprintf("%v %+v", w.oauth2(), w.oauth2()), `client.Source(oauth2 as "the-client") client.Source(oauth2 as "the-client")`)
}

// What an event tells is bounded.
func TestDetailIsBounded(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", errors.New(strings.Repeat("x", 1000)) }
	w.fails(w.source(c))
	for _, e := range w.seenEvents() {
		equal(t, "bytes", len(e.Detail), 512)
	}
}

// lost is a cache whose other side is away; dropErr is that of Drop.
type lost struct {
	client.Cache
	dropErr error
}

func (l *lost) Renew(context.Context, string, client.Renewal) (counterfoil.Token, error) {
	return counterfoil.Token{}, fmt.Errorf("valkey: %w", client.ErrCacheLost)
}

func (l *lost) Drop(context.Context, string, counterfoil.Token) error { return l.dropErr }

func TestCacheIsLost(t *testing.T) {
	for _, row := range []struct {
		name   string
		policy provider.Policy
		alone  bool
		token  bool
	}{
		{"independent", provider.PolicyIndependent, false, true},
		{"a new token ends the old one", provider.PolicyReplace, false, false},
		{"a new token ends the old one, and FetchWithoutCache", provider.PolicyReplace, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.config("oauth2")
			c.Provider.TokenEndpoint.Policy, c.FetchWithoutCache = row.policy, row.alone
			c.Cache = &lost{Cache: client.Memory(), dropErr: errors.New("away too")}
			s := w.source(c)
			if !row.token {
				if e := w.fails(s); !strings.Contains(e.Error(), "no token is requested while the shared cache is lost, because a new token of oauth2 replaces the others'") || !errors.Is(e, client.ErrCacheLost) {
					t.Errorf("got %v", e)
				}
				equal(t, "token requests", w.asked(), 0)
				return
			}
			s.Invalidate(w.ctx, w.tokenOf(s))
			events := w.seenEvents()
			last := events[len(events)-1]
			equal(t, "event", last.Type, counterfoil.EventTokenDropped)
			equal(t, "detail", last.Detail, "token not dropped from the cache: away too")
			equal(t, "token after that", w.must(s), "token-2")
		})
	}
}

// A token of others that is about to end is not taken in place of one's own.
func TestRenewalTakesNoTokenInItsMargin(t *testing.T) {
	for left, want := range map[time.Duration]string{4 * time.Minute: "token-2", 6 * time.Minute: "theirs"} {
		w, l, s := dropping(t)
		w.must(s)
		w.clock.Turn(56 * time.Minute)
		end := w.clock.Now().Add(left)
		l.finds = &counterfoil.Token{Value: "theirs", Type: "Bearer", Issued: end.Add(-time.Hour), Expires: end}
		w.must(s)
		w.eventually("the renewal is over", func() bool { return ownGoroutines() == "" })
		equal(t, fmt.Sprint("token beside one that has ", left, " left"), w.must(s), want)
	}
}

// looks counts those into a cache.
type looks struct {
	client.Cache
	n int
}

func (l *looks) Load(ctx context.Context, key string) (counterfoil.Token, bool, error) {
	l.n++
	return l.Cache.Load(ctx, key)
}

// After a change by others the cache is looked into once, not at every call.
func TestOneLookForAChange(t *testing.T) {
	w := newWorld(t)
	l := &looks{Cache: client.Memory()}
	n := &named{Cache: l}
	c := w.config("oauth2")
	c.Cache = n
	s := w.source(c)
	w.must(s)
	key := *n.key.Load()
	for name, change := range map[string]func(){
		"nothing is other": func() { l.Changes(key).Add(1) },
		"an older token": func() {
			_, err := l.Renew(w.ctx, key, cachetest.Fetch(func(context.Context) (counterfoil.Token, error) {
				return counterfoil.Token{Value: "older", Type: "Bearer", Issued: theStart.Add(-time.Minute), Expires: theStart.Add(time.Hour)}, nil
			}))
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		w.must(s)
		before := l.n
		change()
		for range 20 {
			equal(t, name, w.must(s), "token-1")
		}
		equal(t, name+": looks", l.n-before, 1)
	}
}

// Pauses begin anew with other credentials, which a refusal says nothing of. What
// is remembered says so once, however often it is told.
func TestPausesBeginAnewWithOtherCredentials(t *testing.T) {
	w := newWorld(t)
	w.answers(status(401, `{"error":"invalid_client"}`))
	c := w.config("oauth2")
	secret := counterfoil.Secret("a wrong one")
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return secret, nil }
	s := w.source(c)
	for _, pause := range []time.Duration{1, 2, 4} {
		w.fails(s)
		for range 3 {
			e := w.fails(s)
			equal(t, "pause", e.RetryAfter, pause*time.Second)
			equal(t, "times that it says to be remembered: "+e.Error(), strings.Count(e.Error(), "(remembered"), 1)
		}
		w.clock.Turn(pause * time.Second)
	}
	secret = "another wrong one"
	w.fails(s)
	equal(t, "pause of the other", w.fails(s).RetryAfter, time.Second)
}

// Pauses of a renewal that fails begin anew with the next token.
func TestPausesOfRenewalsBeginAnew(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	tries := func() {
		w.answers(status(503, ""))
		w.clock.Turn(56 * time.Minute)
		for at := range 8 { // the first pause is 1 s to 1.5 s, the second 2 s to 3 s, the third 4 s and more
			w.must(s)
			w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
			if at < 7 {
				w.clock.Turn(time.Second)
			}
		}
		w.answers(nil)
		w.clock.Turn(time.Minute)
		w.must(s)
		w.eventually("it is renewed", func() bool { return ownGoroutines() == "" })
	}
	w.must(s)
	tries()
	first := w.asked()
	tries()
	equal(t, "requests of the second time", w.asked()-first, first-1)
}

// Pauses begin anew after a success, for refusals and for renewals alike.
func TestPausesBeginAnew(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	refuse := status(401, `{"error":"invalid_client"}`)
	w.answers(refuse)
	for _, pause := range []time.Duration{1, 2, 4} {
		equal(t, "pause", w.fails(s).RetryAfter, 0)
		equal(t, "pause", w.fails(s).RetryAfter, pause*time.Second)
		w.clock.Turn(pause * time.Second)
	}
	w.answers(nil)
	w.must(s)
	w.answers(refuse)
	s.Invalidate(w.ctx, w.tokenOf(s))
	w.fails(s)
	equal(t, "pause after a success", w.fails(s).RetryAfter, time.Second)
}

// A renewal that the endpoint puts off is not tried again before.
func TestRenewalKeepsToRetryAfter(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	w.must(s)
	w.answers(status(429, "", "Retry-After", "50"))
	w.clock.Turn(56 * time.Minute)
	for range 50 {
		equal(t, "token", w.must(s), "token-1")
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		w.clock.Turn(time.Second)
	}
	equal(t, "token requests within 50 s", w.asked(), 2)
	w.answers(nil)
	w.clock.Turn(25 * time.Second)
	w.must(s)
	w.eventually("it is renewed then", func() bool { return w.must(s) == "token-3" })
}

// A caller that leaves the queue of a limit gives its place back, and the order of
// the others stays.
func TestLimiterPlaceIsGivenBack(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.RequestsPerMinute = 2
	s := w.source(c)
	w.get(s.Client(), w.api.URL)
	w.clock.Turn(30 * time.Second)
	w.get(s.Client(), w.api.URL)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.api.URL, nil)
		_, err := (&client.Transport{Source: s}).RoundTrip(req)
		left <- err
	}()
	if err := w.clock.Sleepers(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-left
	w.clock.Turn(31 * time.Second)
	waits := len(w.clock.Slept())
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.api.URL, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := (&client.Transport{Source: s}).RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	w.eventually("the call is made", func() bool {
		select {
		case <-done:
			return true
		default:
			w.clock.Turn(0)
			return len(w.clock.Slept()) > waits
		}
	})
	equal(t, "waits of the call that has a place", len(w.clock.Slept())-waits, 0)
	w.clock.Turn(time.Hour)
	<-done
}

// A call whose token ends while it waits for its turn is made with another, in the
// turn that it has waited for.
func TestTokenEndsInTheQueue(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "30") })
	c := w.config("oauth2")
	c.RequestsPerMinute = 1
	s := w.source(c)
	w.get(s.Client(), w.api.URL)
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
		resp, err := (&client.Transport{Source: s}).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	must(w.clock.Sleepers(w.ctx, 1))
	w.clock.Turn(61 * time.Second)
	waits := func() (n int) {
		for _, d := range w.clock.Slept() {
			if d == 61*time.Second {
				n++
			}
		}
		return n
	}
	w.eventually("the call is made, or waits again", func() bool { return len(done) == 1 || waits() > 1 })
	equal(t, "waits for a turn", waits(), 1)
	w.clock.Turn(time.Hour)
	must(<-done)
	equal(t, "token of the call", w.seenCalls()[1].Header.Get("Authorization"), "Bearer token-2")
}

// A token lives from when it was asked for: what the answer took is not added.
func TestSlowAnswerMakesNoTokenLiveLonger(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { w.clock.Turn(10 * time.Second); give(rw, n, "3600") })
	token := w.tokenOf(w.oauth2())
	equal(t, "issued", token.Issued, theStart)
	equal(t, "end", token.Expires, theStart.Add(time.Hour))
}
