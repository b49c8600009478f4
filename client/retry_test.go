package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// failing answers the first n calls with that status.
func failing(n, code int, headers ...string) func(http.ResponseWriter, seen, int) {
	return func(rw http.ResponseWriter, _ seen, i int) {
		if i <= n {
			status(code, "not now", headers...)(rw, i)
			return
		}
		fmt.Fprint(rw, "answer ", i)
	}
}

// patient makes a call and turns the clock whenever it waits; it returns the
// waits.
func (w *world) patient(s *client.Source, req *http.Request) (*http.Response, []time.Duration, error) {
	w.t.Helper()
	w.must(s)
	before := len(w.clock.Slept())
	type outcome struct {
		resp *http.Response
		err  error
	}
	done := make(chan outcome, 1)
	ctx, cancel := context.WithCancel(w.ctx)
	go func() {
		defer cancel()
		resp, err := (&client.Transport{Source: s}).RoundTrip(req)
		done <- outcome{resp, err}
	}()
	slept := func() []time.Duration {
		return slices.DeleteFunc(w.clock.Slept()[before:], func(d time.Duration) bool { return d == patience || d == 30*time.Second })
	}
	for waited := 0; ctx.Err() == nil; runtime.Gosched() {
		if n := len(slept()); n > waited {
			w.clock.Turn(70 * time.Second) // a call that waits has no other request under way
			waited = n
		}
	}
	o := <-done
	if o.resp != nil {
		w.t.Cleanup(func() { o.resp.Body.Close() })
	}
	return o.resp, slept(), o.err
}

// patience is how long a body is waited for.
const patience = time.Second

func near(got []time.Duration, want ...time.Duration) bool {
	return slices.EqualFunc(got, want, func(g, w time.Duration) bool { return g >= w && g <= w+w/10 })
}

func TestCallsAreRetried(t *testing.T) {
	const s = time.Second
	for _, row := range []struct {
		name    string
		method  string
		header  string
		fails   int
		code    int
		after   string
		retries []time.Duration
		status  int
		waits   []time.Duration
	}{
		{"503 once", "GET", "", 1, 503, "", nil, 200, []time.Duration{2 * s}},
		{"429 twice", "GET", "", 2, 429, "", nil, 200, []time.Duration{2 * s, 4 * s}},
		{"500 three times", "PUT", "", 3, 500, "", nil, 200, []time.Duration{2 * s, 4 * s, 8 * s}},
		{"502 four times", "DELETE", "", 4, 502, "", nil, 502, []time.Duration{2 * s, 4 * s, 8 * s}},
		{"408", "HEAD", "", 1, 408, "", nil, 200, []time.Duration{2 * s}},
		{"504", "OPTIONS", "", 1, 504, "", nil, 200, []time.Duration{2 * s}},
		{"Retry-After of more", "GET", "", 1, 429, "20", nil, 200, []time.Duration{20 * s}},
		{"Retry-After of less", "GET", "", 1, 429, "1", nil, 200, []time.Duration{2 * s}},
		{"Retry-After absurd", "GET", "", 1, 503, "99999999999999", nil, 200, []time.Duration{60 * s}},
		{"POST", "POST", "", 1, 503, "", nil, 503, nil},
		{"POST with an Idempotency-Key", "POST", "Idempotency-Key", 1, 503, "", nil, 200, []time.Duration{2 * s}},
		{"501 does not pass", "GET", "", 1, 501, "", nil, 501, nil},
		{"400 does not pass", "GET", "", 1, 400, "", nil, 400, nil},
		{"other waits", "GET", "", 2, 503, "", []time.Duration{3 * s, 5 * s}, 200, []time.Duration{3 * s, 5 * s}},
		{"no waits", "GET", "", 1, 503, "", []time.Duration{}, 503, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			headers := []string{"X-Other", "1"}
			if row.after != "" {
				headers = []string{"Retry-After", row.after}
			}
			w.onCall = failing(row.fails, row.code, headers...)
			c := w.config("oauth2")
			c.Retries = row.retries
			req, _ := http.NewRequestWithContext(w.ctx, row.method, w.api.URL, strings.NewReader("the body"))
			if row.header != "" {
				req.Header[row.header] = nil
			}
			resp, waits, err := w.patient(w.source(c), req)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "status", resp.StatusCode, row.status)
			if !near(waits, row.waits...) {
				t.Errorf("waited %v, want %v", waits, row.waits)
			}
			equal(t, "calls", len(w.calls), len(row.waits)+1)
			retried := 0
			for _, e := range w.seenEvents() {
				if e.Type == counterfoil.EventCallRetried {
					equal(t, "status in the event", e.Status, row.code)
					retried++
				}
			}
			equal(t, "events of calls retried", retried, len(row.waits))
			for _, c := range w.calls {
				equal(t, "body", c.body, "the body")
				equal(t, "an Idempotency-Key without a value on the wire", len(c.Header["Idempotency-Key"]), 0)
			}
		})
	}
}

// Calls that fail together are not repeated together.
func TestRetriesSpread(t *testing.T) {
	w := newWorld(t)
	w.onCall = func(rw http.ResponseWriter, _ seen, n int) {
		if n%2 == 1 {
			rw.WriteHeader(503)
		}
	}
	s := w.oauth2()
	different := map[time.Duration]bool{}
	for range 20 {
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
		_, waits, err := w.patient(s, req)
		if err != nil {
			t.Fatal(err)
		}
		if !near(waits, 2*time.Second) {
			t.Errorf("waited %v, want 2 s", waits)
		}
		different[waits[0]] = true
	}
	if len(different) < 15 {
		t.Errorf("20 calls waited for %d different times", len(different))
	}
}

// slow is a body without GetBody or Seek, that comes in pieces.
type slow struct{ rest []byte }

func (s *slow) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(len(s.rest), 1000)])
	s.rest = s.rest[n:]
	return n, nil
}

// Every attempt has the whole body, also after a 401 in between, and when the
// API answers before it has read it.
func TestRetriesReplayBodies(t *testing.T) {
	whole := bytes.Repeat([]byte("0123456789"), 30_000)
	w := newWorld(t)
	w.onCall = func(rw http.ResponseWriter, r seen, n int) {
		codes := []int{503, 401, 500, 502}
		if n <= len(codes) {
			rw.WriteHeader(codes[n-1])
		}
	}
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodPut, w.api.URL, &slow{whole})
	resp, _, err := w.patient(w.oauth2(), req)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", resp.StatusCode, 200)
	equal(t, "calls", len(w.calls), 5)
	for i, c := range w.calls {
		equal(t, fmt.Sprint("whole body at call ", i+1), c.body == string(whole), true)
	}
	equal(t, "tokens", w.asked(), 2)
}

// A network that fails is an answer that may pass; the context of a caller who
// has left is not.
func TestRetriesOfTheNetwork(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	down := errors.New("connection reset")
	n := 0
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		if n++; n <= 2 {
			return nil, down
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	w.must(s)
	w.turning(time.Second, func() {
		// turning waits for two sleepers; here is the other one
		other, stop := context.WithCancel(w.ctx)
		defer stop()
		go w.clock.Sleep(other, 1000*time.Hour)
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
		resp, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v", resp, err)
		}
	})
	equal(t, "attempts", n, 3)
	n = 0
	ctx, cancel := context.WithCancel(w.ctx)
	base = func(r *http.Request) (*http.Response, error) { n++; cancel(); return nil, r.Context().Err() }
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.api.URL, nil)
	_, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
	equal(t, "error", errors.Is(err, context.Canceled), true)
	equal(t, "attempts of a caller who has left", n, 1)
}

// What would be repeated after the context's end is returned at once.
func TestRetriesFitTheContext(t *testing.T) {
	w := newWorld(t)
	w.onCall = failing(1, 503, "Retry-After", "20")
	s := w.oauth2()
	ctx, cancel := context.WithDeadline(context.WithValue(w.ctx, ctxKey{}, 1), time.Now().Add(time.Hour))
	defer cancel()
	// The clock of this world is far behind the machine's, so set it to now.
	w.clock.Turn(time.Until(theStart.Add(0)).Abs() + time.Hour - 10*time.Second)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.api.URL, nil)
	resp, waits, err := w.patient(s, req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	equal(t, "answer", fmt.Sprint(resp.StatusCode, " ", string(body)), "503 not now")
	equal(t, "waits", len(waits), 0)
}

type ctxKey struct{}

// Calls, answers to repeat among them, use one connection.
func TestConnectionsAreReused(t *testing.T) {
	w := newWorld(t)
	peers := map[string]bool{}
	w.onCall = func(rw http.ResponseWriter, r seen, n int) {
		peers[r.RemoteAddr] = true
		if n%2 == 1 {
			rw.WriteHeader(503)
			io.WriteString(rw, strings.Repeat("x", 10_000))
		}
	}
	s := w.oauth2()
	for range 5 {
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
		resp, _, err := w.patient(s, req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	equal(t, "calls", len(w.calls), 10)
	equal(t, "connections", len(peers), 1)
}

// After an error that stays neither a token request nor a call is repeated: what
// speaks no TLS, and what Config calls permanent.
func TestWhatStaysIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	gone := errors.New("nobody listens")
	refusing := roundTripper(func(*http.Request) (*http.Response, error) { return nil, gone })
	for _, row := range []struct {
		name   string
		change func(*client.Config)
		want   error
	}{
		{"no TLS", func(*client.Config) {}, nil},
		{"permanent by Config", func(c *client.Config) {
			c.HTTP, c.Permanent = refusing, func(err error) bool { return errors.Is(err, gone) }
		}, gone},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.config("oauth2")
			row.change(&c)
			own := c.HTTP
			tried := 0
			c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				tried++
				r.URL.Host = strings.TrimPrefix(plain.URL, "http://")
				return own.RoundTrip(r)
			})
			_, err := w.source(c).Token(w.ctx) // the clock stands: a wait would not end
			if err == nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("got %v", err)
			}
			equal(t, "token requests", tried, 1)

			// Its token comes from the world, its calls go where the token requests went.
			good := w.config("oauth2")
			good.Permanent = c.Permanent
			tried = 0
			s := w.source(good)
			w.must(s)
			_, err = (&http.Client{Transport: &client.Transport{Source: s, Base: c.HTTP}}).Get(w.api.URL)
			if err == nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("the call: got %v", err)
			}
			equal(t, "calls", tried, 1)
		})
	}
}
