package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// A caller can leave before, while and after a token is asked for.
func TestTokenCancellation(t *testing.T) {
	w := newWorld(t)
	gone, cancel := context.WithCancel(w.ctx)
	cancel()
	s := w.oauth2()
	if _, err := s.Token(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("before: got %v, want context.Canceled", err)
	}
	equal(t, "requests for a caller that was gone before", w.asked(), 0)
	w.must(s)
	if _, err := s.Token(gone); err != nil {
		t.Errorf("after: a held token costs no waiting, got %v", err)
	}

	// The last caller leaves during the backoff; the request still succeeds.
	w.answers(status(503, ""))
	s = w.oauth2()
	ctx, cancel := context.WithCancel(w.ctx)
	left := make(chan error)
	go func() { _, err := s.Token(ctx); left <- err }()
	if err := w.clock.Sleepers(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("during: got %v, want context.Canceled", err)
	}
	w.answers(nil)
	w.clock.Turn(2 * time.Second)
	w.eventually("the abandoned request brought a token", func() bool { _, err := s.Token(gone); return err == nil })
	equal(t, "token requests", w.asked(), 3)
}

func TestTokenTimeout(t *testing.T) {
	w := newWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	w.answers(func(http.ResponseWriter, int) { arrived <- struct{}{}; <-release })
	s := w.oauth2()
	failed := make(chan error)
	go func() { _, err := s.Token(w.ctx); failed <- err }()
	<-arrived
	w.clock.Turn(30 * time.Second)
	err := <-failed
	if counterfoilReason(err) != counterfoil.ReasonUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want Unavailable after 30 s", err)
	}
}

// 1,000 callers at the moment of expiry ask once, lap after lap.
func TestTokenThunderingHerd(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	for lap := 1; lap <= 5; lap++ {
		start, all := make(chan struct{}), sync.WaitGroup{}
		for range 1000 {
			all.Go(func() {
				<-start
				if got, want := w.must(s), fmt.Sprintf("token-%d", lap); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		close(start)
		all.Wait()
		equal(t, "token requests", w.asked(), lap)
		w.clock.Turn(time.Hour)
	}
}

func TestTokenBackoff(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer func(http.ResponseWriter, int)
		reason counterfoil.Reason
		// asked is how often; least what was waited at least before each repeat.
		asked int
		least time.Duration
	}{
		{"500", status(500, ""), counterfoil.ReasonUnavailable, 4, 0},
		{"502 with a page", status(502, "<html>"), counterfoil.ReasonUnavailable, 4, 0},
		{"the dialect's server error", status(500, `{"error":"server_error"}`), counterfoil.ReasonServerError, 4, 0},
		{"408", status(408, ""), counterfoil.ReasonUnavailable, 4, 0},
		{"429", status(429, ""), counterfoil.ReasonRateLimited, 4, 0},
		{"temporarily_unavailable as 400", status(400, `{"error":"temporarily_unavailable"}`), counterfoil.ReasonUnavailable, 4, 0},
		{"truncated body", status(200, "{", "Content-Length", "1000"), counterfoil.ReasonUnavailable, 4, 0},
		{"Retry-After in seconds", status(503, "", "Retry-After", "9"), counterfoil.ReasonUnavailable, 4, 9 * time.Second},
		{"Retry-After as a date", status(429, "", "Retry-After", theStart.Add(12*time.Second).Format(http.TimeFormat)), counterfoil.ReasonRateLimited, 4, 0},
		{"Retry-After in the past", status(503, "", "Retry-After", theStart.Add(-time.Hour).Format(http.TimeFormat)), counterfoil.ReasonUnavailable, 4, 0},
		{"Retry-After that is neither", status(503, "", "Retry-After", "soon"), counterfoil.ReasonUnavailable, 4, 0},
		{"Retry-After beyond the time left", status(503, "", "Retry-After", "31"), counterfoil.ReasonUnavailable, 1, 0},
		{"Retry-After absurd", status(503, "", "Retry-After", "99999999999999999999"), counterfoil.ReasonUnavailable, 1, 0},
		{"400 unknown code", status(400, `{"error":"strange"}`), counterfoil.ReasonInvalidRequest, 1, 0},
		{"401 without a body", status(401, ""), counterfoil.ReasonInvalidClient, 1, 0},
		{"400 unauthorized_client", status(400, `{"error":"unauthorized_client"}`), counterfoil.ReasonInvalidClient, 1, 0},
		{"400 invalid_scope", status(400, `{"error":"invalid_scope"}`), counterfoil.ReasonInvalidScope, 1, 0},
		{"400 unsupported_grant_type", status(400, `{"error":"unsupported_grant_type"}`), counterfoil.ReasonUnsupportedGrantType, 1, 0},
		{"404", status(404, "not here"), counterfoil.ReasonBadResponse, 1, 0},
		{"403 with a page", status(403, "<html>"), counterfoil.ReasonBadResponse, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(row.answer)
			s := w.oauth2()
			var e *counterfoil.Error
			w.turning(time.Second, func() { e = w.fails(s) })
			equal(t, "reason", e.Reason, row.reason)
			equal(t, "token requests", w.asked(), row.asked)
			waits := slices.DeleteFunc(w.clock.Slept(), func(d time.Duration) bool { return d == 30*time.Second })
			for i, d := range waits {
				if most := max(2*time.Second<<i, 12*time.Second); d > most || d < row.least {
					t.Errorf("wait %d is %v, want %v to %v", i, d, row.least, most)
				}
			}
		})
	}
}

// What Retry-After asks is kept to, even when it is longer than a caller waits,
// but never for more than a minute.
func TestTokenRetryAfterIsRemembered(t *testing.T) {
	for _, after := range []string{"61", "86400", theStart.Add(61 * time.Second).Format(http.TimeFormat), theStart.Add(24 * time.Hour).Format(http.TimeFormat)} {
		w := newWorld(t)
		w.answers(status(429, "", "Retry-After", after))
		s := w.oauth2()
		equal(t, "RetryAfter for "+after, w.fails(s).RetryAfter, time.Minute)
		w.answers(nil)
		w.clock.Turn(59 * time.Second)
		equal(t, "RetryAfter after 59 s", w.fails(s).RetryAfter, time.Second)
		equal(t, "token requests", w.asked(), 1)
		w.clock.Turn(time.Second)
		w.must(s)
	}
}

// A renewal that fails is not tried again on every call.
func TestRenewalPauses(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	var tries atomic.Int32
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { tries.Add(1); return theSecret, nil }
	s := w.source(c)
	w.must(s)
	w.answers(status(400, `{"error":"invalid_client"}`))
	w.clock.Turn(55 * time.Minute)
	failed := func() int {
		n := 0
		for _, e := range w.seenEvents() {
			if e.Type == counterfoil.EventTokenRefused {
				n++
			}
		}
		return n
	}
	w.must(s)
	w.eventually("renewal fails once", func() bool { return failed() == 1 })
	for range 1000 {
		equal(t, "token", w.must(s), "token-1")
	}
	w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
	for range 1000 {
		equal(t, "token", w.must(s), "token-1")
	}
	w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
	equal(t, "looks at the secret: each request, and once more when it is refused", tries.Load(), 3)
	equal(t, "token requests", w.asked(), 2)
	for range 299 {
		w.clock.Turn(time.Second)
		equal(t, "token", w.must(s), "token-1")
	}
	if got := w.asked(); got > 12 {
		t.Errorf("%d token requests in the last five minutes, want 12 at most", got)
	}
}

// While the token endpoint is down renewal is tried after pauses that double from
// 1 s to 60 s, each longer by chance by up to a half.
func TestRenewalPausesWhileDown(t *testing.T) {
	f := newOrdeal(t)
	s := f.oauth2()
	f.must(s)
	f.answers(status(503, ""))
	f.clock.Turn(55 * time.Minute)
	for range 285 { // up to the last call
		equal(t, "token", f.must(s), "token-1")
		f.quiet()
		f.clock.Turn(time.Second)
	}
	tried := f.attempts()[1:]
	if n := len(tried); n < 8 || n > 11 {
		t.Errorf("%d attempts in 285 s, want about 10", n)
	}
	for i := 1; i < len(tried); i++ {
		least := min(time.Second<<(i-1), time.Minute)
		if gap := tried[i].Sub(tried[i-1]); gap < least || gap > least*3/2+time.Second { // calls come once a second
			t.Errorf("attempt %d came %v after the one before, want %v to half as much again", i+1, gap, least)
		}
	}
}

// A provider of the third kind answers the same token until it ends.
func TestSameTokenUntilItExpires(t *testing.T) {
	w := newWorld(t)
	end := theStart.Add(time.Hour)
	w.answers(func(rw http.ResponseWriter, _ int) {
		left := int(end.Sub(w.clock.Now()).Seconds())
		if left <= 0 {
			end = w.clock.Now().Add(time.Hour)
			left = 3600
		}
		give(rw, int(end.Sub(theStart).Hours()), fmt.Sprint(left))
	})
	s := w.oauth2()
	for i := range 3599 {
		equal(t, "token", w.must(s), "token-1")
		if i > 3200 { // the clock stands still for a request
			w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		}
		w.clock.Turn(time.Second)
	}
	if got := w.asked(); got > 3 { // the first, at the margin, at the last call
		t.Errorf("%d token requests for one token, want 3 at most", got)
	}
	w.clock.Turn(2 * time.Second)
	equal(t, "token after its end", w.must(s), "token-2")
}

func TestDropIsBounded(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	for range 100 {
		token, err := s.Token(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Invalidate(w.ctx, token)
	}
	equal(t, "token requests in one minute", w.asked(), 6)
	w.clock.Turn(2 * time.Minute)
	token, _ := s.Token(w.ctx)
	s.Invalidate(w.ctx, token)
	equal(t, "token two minutes later", w.must(s), "token-7")
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	token, err := s.Token(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.answers(status(401, `{"error":"invalid_client"}`))
	s.Invalidate(w.ctx, token)
	w.fails(s)
	w.fails(s) // remembered: no second event
	var got []string
	for _, e := range w.seenEvents() {
		got = append(got, fmt.Sprint(e.Type, " ", e.Success, " ", e.Reason, " ", e.Realm, " ", e.ClientID, " ", e.Time.Sub(theStart)))
	}
	want := []string{
		"token.requested true  oauth2 the-client 0s",
		"token.obtained true  oauth2 the-client 0s",
		"token.dropped false token_invalid oauth2 the-client 0s",
		"token.requested false invalid_client oauth2 the-client 0s",
		"token.refused false invalid_client oauth2 the-client 0s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	noSecrets(t, fmt.Sprintf("%+v", w.seenEvents()))
}

// A source of secrets that is out of reach is no refusal.
func TestSecretIsAwayForAWhile(t *testing.T) {
	for name, row := range map[string]struct {
		err  error
		want counterfoil.Class
	}{
		"time":    {fmt.Errorf("vault: %w", context.DeadlineExceeded), counterfoil.ClassTransient},
		"network": {fmt.Errorf("vault: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), counterfoil.ClassTransient},
		"told":    {fmt.Errorf("vault: %w", &counterfoil.Error{Reason: counterfoil.ReasonUnavailable}), counterfoil.ClassTransient},
		"socket":  {fmt.Errorf("vault: %w", &net.OpError{Op: "dial", Err: &fs.PathError{Op: "connect", Err: syscall.ENOENT}}), counterfoil.ClassTransient},
		"disk":    {&fs.PathError{Op: "read", Path: "/secret", Err: syscall.EIO}, counterfoil.ClassTransient},
		"no file": {&fs.PathError{Op: "open", Path: "/secret", Err: syscall.ENOENT}, counterfoil.ClassRefused},
		"no mode": {&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EACCES}, counterfoil.ClassRefused},
		"denied":  {errors.New("no policy allows it"), counterfoil.ClassRefused},
	} {
		w := newWorld(t)
		c := w.config("oauth2")
		c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", row.err }
		e := w.fails(w.source(c))
		equal(t, name, e.Class(), row.want)
		equal(t, name+" is wrapped", errors.Is(e, row.err), true)
	}
}

// A secret that cannot be read is neither sent empty nor remembered.
func TestSecretFuncFails(t *testing.T) {
	w := newWorld(t)
	c := w.config("altrata")
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", errors.New("vault sealed") }
	s := w.source(c)
	e := w.fails(s)
	equal(t, "reason", e.Reason, counterfoil.ReasonCredentialsMissing)
	equal(t, "text", e.Error(), "the client secret cannot be read from where Config.ClientSecret says: vault sealed")
	for range 100 {
		w.fails(s)
	}
	equal(t, "events within a second", len(w.seenEvents()), 1)
	w.clock.Turn(time.Second)
	w.fails(s)
	equal(t, "events a second later", len(w.seenEvents()), 2)
	c.ClientSecret, c.APIKey = client.Static(theSecret), client.Static("")
	equal(t, "reason", w.fails(w.source(c)).Reason, counterfoil.ReasonAPIKeyMissing)
	equal(t, "token requests", w.asked(), 0)
}

// A provider that echoes the secret as its error code does not get it into the
// error.
func TestErrorCodeThatIsTheSecret(t *testing.T) {
	w := newWorld(t)
	w.answers(status(400, `{"error":"hunter2","error_description":"hunter2"}`))
	c := w.config("oauth2")
	c.ClientSecret = client.Static("hunter2")
	e := w.fails(w.source(c))
	equal(t, "code", e.Code, "")
	equal(t, "reason", e.Reason, counterfoil.ReasonBadResponse)
}

// A transport whose error shows the request does not get it into ours.
func TestTransportErrorThatShowsTheRequest(t *testing.T) {
	for _, name := range []string{"ahotu", "altrata"} {
		w := newWorld(t)
		c := w.config(name)
		c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			return nil, fmt.Errorf("cannot send %v %s", r.Header, body)
		})
		s := w.source(c)
		w.turning(time.Second, func() {
			e := w.fails(s)
			equal(t, "reason", e.Reason, counterfoil.ReasonUnavailable)
			noSecrets(t, fmt.Sprintf("%v %+v %#v %v", e, e, e, e.Err))
		})
		noSecrets(t, fmt.Sprintf("%+v", w.seenEvents()))
	}
}

// That holds for each thing that a request proves itself with.
func TestTransportErrorThatShowsOneCredential(t *testing.T) {
	for _, row := range []struct{ provider, header string }{{"oauth2", "Authorization"}, {"altrata", "X-Api-Key"}, {"oauth2", "Dpop"}} {
		w := newWorld(t)
		c := w.config(row.provider)
		if row.header == "Dpop" {
			c.DPoP = newKey(t, jose.ES256)
		}
		sent := ""
		c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header.Get(row.header)
			return nil, fmt.Errorf("cannot send %s", sent)
		})
		s := w.source(c)
		w.turning(time.Second, func() {
			e := w.fails(s)
			if sent == "" || strings.Contains(fmt.Sprint(e, e.Err), sent) || !strings.Contains(fmt.Sprint(e.Err), "withheld") {
				t.Errorf("%s: got %v", row.header, e.Err)
			}
		})
	}
}

// The same for calls, whatever it is that they carry.
func TestTransportErrorThatShowsTheCall(t *testing.T) {
	for _, row := range []struct{ provider, header string }{{"altrata", "X-Api-Key"}, {"altrata", "Authorization"}, {"oauth2", "Dpop"}} {
		w := newWorld(t)
		c := w.config(row.provider)
		if row.header == "Dpop" {
			c.DPoP = newKey(t, jose.ES256)
			w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
		}
		s := w.source(c)
		sent := ""
		tr := &client.Transport{Source: s, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header.Get(row.header)
			return nil, fmt.Errorf("cannot send %q", sent)
		})}
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodPost, c.APIURL, nil)
		_, err := tr.RoundTrip(req)
		if sent == "" || err == nil || strings.Contains(err.Error(), sent) || !strings.Contains(err.Error(), "withheld") {
			t.Errorf("%s: got %v", row.header, err)
		}
	}
}

func TestClear(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Cache = client.Memory()
	s := w.source(c)
	c.ClientID = "another"
	other := w.source(c)
	w.must(s)
	w.must(other)
	if err := s.Clear(w.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "token after clearing", w.must(s), "token-3")
	equal(t, "token of another client", w.must(w.source(c)), "token-2")
}

// A refusal stands for the credentials that met it, and for no others that read
// the same one after another.
func TestCredentialsAreKeptApart(t *testing.T) {
	w := newWorld(t)
	w.answers(status(401, `{"error":"invalid_client"}`))
	c := w.config("altrata")
	secret, key := counterfoil.Secret("one"), counterfoil.Secret("two-three")
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return secret, nil }
	c.APIKey = func(context.Context) (counterfoil.Secret, error) { return key, nil }
	s := w.source(c)
	w.fails(s)
	w.fails(s)
	equal(t, "token requests", w.asked(), 1)
	w.answers(nil)
	secret, key = "onetwo", "-three"
	w.must(s)
}

// Forget leaves what other Sources of the client have asked for.
func TestForgetIsOfOneToken(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Cache = client.Memory()
	one := w.source(c)
	c.Scopes = counterfoil.Scopes{"other"}
	other := w.source(c)
	first, kept := w.must(one), w.must(other)
	if err := one.Forget(w.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "the other token", w.must(w.source(c)), kept)
	if again := w.must(one); again == first {
		t.Error("the token is there again")
	}
}
