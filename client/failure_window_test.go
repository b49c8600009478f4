package client_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// answering is a transport for a token endpoint without a network: what is
// looked at here is when it is asked.
func answering(w *world, f func(n int) string) http.RoundTripper {
	n := 0
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		n++
		w.tokens = append(w.tokens, seen{r, ""})
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(f(n)))}, nil
	})
}

// TestTokenWindows: with calls all the time a token is asked for once in its
// life, a margin before its end and not earlier, however short it lives, and
// none is served after its end.
func TestTokenWindows(t *testing.T) {
	for _, row := range []struct {
		lives, step, span time.Duration
	}{
		{time.Second, 50 * time.Millisecond, time.Minute},
		{5 * time.Second, 100 * time.Millisecond, 2 * time.Minute},
		{30 * time.Second, 100 * time.Millisecond, 10 * time.Minute},
		{300 * time.Second, time.Second, time.Hour},
		{time.Hour, 10 * time.Second, 12 * time.Hour},
		{8 * time.Hour, time.Minute, 80 * time.Hour},
	} {
		t.Run(row.lives.String(), func(t *testing.T) {
			w := newWorld(t)
			var asked []time.Time
			c := w.config("oauth2")
			c.HTTP = answering(w, func(n int) string {
				asked = append(asked, w.clock.Now())
				return fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":%v}`, n, row.lives.Seconds())
			})
			s := w.source(c)
			margin := min(300*time.Second, row.lives/5)
			early := margin + margin/10
			for range row.span / row.step {
				before := w.asked()
				token, err := s.Token(w.ctx)
				now := w.clock.Now()
				if err != nil || !token.Live(now) {
					t.Fatalf("at %v: %v with %v left", now.Sub(theStart), err, token.Expires.Sub(now))
				}
				if before != w.asked() || token.Expires.Sub(now) <= early { // else nothing is begun
					w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
				}
				w.clock.Turn(row.step)
			}
			for i := 1; i < len(asked); i++ {
				if gap := asked[i].Sub(asked[i-1]); gap < row.lives-early || gap > row.lives-margin+row.step {
					t.Errorf("request %d came %v after the one before, want %v to %v", i+1, gap, row.lives-early, row.lives-margin+row.step)
				}
			}
			if most := int(row.span/(row.lives-early)) + 1; len(asked) > most || len(asked) < 2 {
				t.Errorf("%d token requests in %v, want 2 to %d", len(asked), row.span, most)
			}
		})
	}
}

// TestSameTokenAnswered has a row for each provider that answers one token again
// until it ends.
func TestSameTokenAnswered(t *testing.T) {
	for _, row := range []struct {
		name string
		// lives is the token's true life, and says what the answer says with so
		// much of it left.
		lives time.Duration
		says  func(left time.Duration) time.Duration
	}{
		{"and says how long it lives on", 30 * time.Second, func(left time.Duration) time.Duration { return left.Truncate(time.Second) }},
		{"and says how long it lives on, an hour", time.Hour, func(left time.Duration) time.Duration { return left.Truncate(time.Second) }},
		{"and says an hour each time", time.Hour, func(time.Duration) time.Duration { return time.Hour }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			n, ends := 0, theStart
			c := w.config("oauth2")
			c.HTTP = answering(w, func(int) string {
				now := w.clock.Now()
				if !now.Add(time.Second).Before(ends) { // none is answered in its last second
					n, ends = n+1, now.Add(row.lives)
				}
				return fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":%v}`, n, row.says(ends.Sub(now)).Seconds())
			})
			s := w.source(c)
			began := map[string]time.Time{}
			const laps = 4
			step := row.lives / 600
			for range 600 * laps {
				value := w.must(s)
				now := w.clock.Now()
				if _, old := began[value]; !old {
					began[value] = now
				}
				if now.Sub(began[value]) >= row.lives*3/4 { // else nothing is begun
					w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
				}
				if now.Sub(began[value]) >= row.lives {
					t.Fatalf("%s is served after its end", value)
				}
				w.clock.Turn(step)
			}
			if most := 4 * (laps + 1); w.asked() > most { // at the margin, in the last call, at the end
				t.Errorf("%d token requests for %d tokens, want %d at most", w.asked(), laps, most)
			}
		})
	}
}

// A provider that promises an hour for tokens that live half a minute is asked
// when the API rejects one, and no more often than that.
func TestTokenThatEndsEarly(t *testing.T) {
	f := newOrdeal(t)
	api := newIssuing(f, 30*time.Second)
	f.asks(func(rw http.ResponseWriter, _ seen, n int) {
		f.mu.Lock()
		api.issued[fmt.Sprintf("Bearer token-%d", n)] = f.clock.Now()
		f.mu.Unlock()
		give(rw, n, "3600")
	})
	s := f.oauth2()
	for range 120 {
		resp, _, err := f.call(s, f.request(http.MethodGet, nil))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		f.clock.Turn(5 * time.Second)
	}
	equal(t, "token requests in 10 minutes", f.asked(), 20)
	equal(t, "calls with a token that had ended, each made good", api.stale, 19)
}

// Processes that began together do not renew together.
func TestRenewalsSpread(t *testing.T) {
	w := newWorld(t)
	const sources = 200
	var renewed []time.Duration
	c := w.config("oauth2")
	c.HTTP = answering(w, func(n int) string {
		if n > sources {
			renewed = append(renewed, w.clock.Now().Sub(theStart))
		}
		return fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, n)
	})
	var all []*client.Source
	for range sources {
		all = append(all, w.source(c))
		w.must(all[len(all)-1])
	}
	w.clock.Turn(3260 * time.Second)
	for range 60 {
		for _, s := range all {
			w.must(s)
		}
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		w.clock.Turn(time.Second)
	}
	equal(t, "renewals", len(renewed), sources)
	seconds := map[time.Duration]int{}
	for _, at := range renewed {
		if at < 3270*time.Second || at > 3301*time.Second {
			t.Errorf("a renewal at %v, want 3270 s to 3300 s", at)
		}
		seconds[at]++
	}
	if len(seconds) < 20 {
		t.Errorf("all renewals fell into %d of 30 seconds", len(seconds))
	}
	for at, n := range seconds {
		if n > sources/8 {
			t.Errorf("%d renewals at %v", n, at)
		}
	}
}

// TestLastCall: whoever comes within the last seconds of a token, with a Source
// that nobody has used for long, waits for the new one, and has the old one when
// that does not come in time.
func TestLastCall(t *testing.T) {
	idle := func(t *testing.T, left time.Duration) (*ordeal, *client.Source) {
		f := newOrdeal(t)
		s := f.oauth2()
		f.must(s)
		f.clock.Turn(time.Hour - left)
		return f, s
	}
	t.Run("the renewal is waited for", func(t *testing.T) {
		f, s := idle(t, 9*time.Second)
		equal(t, "token", f.must(s), "token-2")
	})
	t.Run("before them it is not", func(t *testing.T) {
		f, s := idle(t, 11*time.Second)
		arrived, release := f.blocking()
		equal(t, "token", f.must(s), "token-1")
		<-arrived
		close(release)
		f.eventually("the token is renewed", func() bool { return f.must(s) == "token-2" })
	})
	t.Run("of a short token they are few", func(t *testing.T) {
		f := newOrdeal(t)
		f.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "30") })
		s := f.oauth2()
		f.must(s)
		arrived, release := f.blocking()
		f.clock.Turn(29 * time.Second)
		equal(t, "token", f.must(s), "token-1")
		equal(t, "a wait of half of the second that is left", slices.Contains(f.clock.Slept(), 500*time.Millisecond), false)
		<-arrived
		close(release)
		f.eventually("the token is renewed", func() bool { return f.must(s) == "token-2" })
	})
	t.Run("the endpoint hangs", func(t *testing.T) {
		f, s := idle(t, 8*time.Second)
		f.asks(func(_ http.ResponseWriter, r seen, _ int) { f.hang(r) })
		got := make(chan string, 1)
		go func() {
			token, err := s.Token(f.ctx)
			got <- fmt.Sprint(token.Value.Reveal(), " ", err)
		}()
		f.eventually("the endpoint hangs and the caller waits", func() bool { return f.hanging.Load() > 0 && f.sleepers(2) })
		equal(t, "a wait of half of 8 s", slices.Contains(f.clock.Slept(), 4*time.Second), true)
		f.clock.Turn(4*time.Second - time.Nanosecond)
		equal(t, "answers before half of the 8 s is over", len(got), 0)
		f.clock.Turn(time.Nanosecond)
		equal(t, "token", <-got, "token-1 <nil>")
		equal(t, "token of who comes next, at once", f.must(s), "token-1")
		f.clock.Turn(time.Hour - f.clock.Now().Sub(theStart))
		f.drive(func() {
			token, err := s.Token(f.ctx)
			equal(t, "token at its end", token.Value.Reveal(), "")
			equal(t, "reason at its end", counterfoilReason(err), unavailable)
		})
	})
	t.Run("the endpoint fails", func(t *testing.T) {
		f, s := idle(t, 8*time.Second)
		f.answers(status(503, ""))
		equal(t, "token, at once", f.must(s), "token-1")
		equal(t, "token requests", f.asked(), 2)
		f.clock.Turn(8 * time.Second)
		is(t, "at its end", f.fails(s), transient, unavailable, 503)
	})
	t.Run("the secret is refused", func(t *testing.T) {
		f, s := idle(t, 8*time.Second)
		f.answers(status(401, `{"error":"invalid_client"}`))
		equal(t, "token, at once", f.must(s), "token-1")
		f.clock.Turn(8 * time.Second)
		is(t, "at its end", f.fails(s), refused, counterfoil.ReasonInvalidClient, 401)
	})
}

// FuzzRetryAfter: whatever a Retry-After says, beside whatever Date, nobody waits
// for more than a minute, and what is waited for is told.
func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"9", "0", "-1", "1.5", "99999999999999999999", "soon", "", " 5", "0x10", "Fri, 02 Jan 2026 03:04:35 GMT", "Fri, 02-Jan-26 03:04:35 GMT", "Fri Jan  2 03:04:35 2026"} {
		f.Add(v, "")
		f.Add(v, "Fri, 02 Jan 2026 03:04:05 GMT")
		f.Add(v, "Fri, 02 Jan 9999 03:04:05 GMT")
	}
	p, err := generic()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, after, date string) {
		m := clock.NewManual(theStart)
		s, err := client.New(client.Config{
			Provider: p, TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: client.Static("s"), Clock: m,
			HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 401, Header: http.Header{"Retry-After": {after}, "Date": {date}}, Body: http.NoBody}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Token(t.Context())
		e, ok := err.(*counterfoil.Error)
		if !ok || e.RetryAfter < 0 || e.RetryAfter > time.Minute {
			t.Fatalf("%q beside %q: %v", after, date, err)
		}
		if len(after) > 3 && strings.Contains(e.Error(), after) {
			t.Errorf("the error shows the header: %v", e)
		}
		m.Turn(time.Minute)
		if _, err := s.Token(t.Context()); err.(*counterfoil.Error).Message != e.Message {
			t.Errorf("%q beside %q is minded for more than a minute: %v", after, date, err)
		}
	})
}

// FuzzRefusalWords: whatever a refusal says, the error's code and description are
// words that can be printed, bounded, and none of the credentials.
func FuzzRefusalWords(f *testing.F) {
	for _, body := range []string{
		`{"error":"invalid_client","error_description":"no such client"}`, `{"error":"a-secret_word","error_description":"a-secret_word"}`,
		`{"error":"invalid_scope","error_description":"you sent a-secret%5Fword"}`, `{"error":1,"error_description":[]}`, `{"error":"x","error":"y"}`,
		`{"error_description":"\u001b[31m"}`, `{"error_description":"Basic Yzphy1"}`, `{"ERROR":"x"}`, `null`, `<html>`, ``,
	} {
		f.Add(400, body)
		f.Add(503, body)
	}
	p, err := generic()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code int, body string) {
		if code < 300 || code > 999 {
			return
		}
		s, err := client.New(client.Config{
			Provider: p, TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: client.Static("a-secret_word"), Clock: clock.NewManual(theStart),
			HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"60"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Token(t.Context())
		e, ok := err.(*counterfoil.Error)
		if !ok || e.Reason == "" || e.Status != code {
			t.Fatalf("%T (%v)", err, err)
		}
		words := e.Code + e.Description
		if len(e.Code) > 64 || len(e.Description) > 256 || strings.ContainsFunc(words, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Errorf("code %q, description %q", e.Code, e.Description)
		}
		if strings.Contains(fmt.Sprintf("%#v %v", e, e), "a-secret_word") {
			t.Errorf("the error shows the secret: %#v", e)
		}
	})
}
