package client_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// waits are those between the attempts of calls, so far.
func (f *ordeal) waits() []time.Duration {
	return slices.DeleteFunc(f.clock.Slept(), func(d time.Duration) bool { return d <= patience || d == 30*time.Second })
}

// calls makes a call, and turns the clock by each wait between its attempts.
func (f *ordeal) call(s *client.Source, req *http.Request) (resp *http.Response, waited []time.Duration, err error) {
	f.t.Helper()
	f.must(s)
	before := len(f.waits())
	done := make(chan struct{})
	go func() { defer close(done); resp, err = s.Client().Do(req) }()
	turned := before
	f.eventually("the call ends", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		if w := f.waits(); len(w) > turned && f.sleepers(1) {
			f.clock.Turn(w[turned])
			turned++
		}
		return false
	})
	if err != nil {
		f.noted(err)
	} else {
		f.t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, f.waits()[before:], err
}

func (f *ordeal) request(method string, body io.Reader) *http.Request {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.ctx, method, f.api.URL+"/x", body)
	if err != nil {
		f.t.Fatal(err)
	}
	return req
}

// retried counts the events of that kind.
func (f *ordeal) count(kind string) (n int) {
	for _, e := range f.seenEvents() {
		if e.Type == kind {
			n++
		}
	}
	return n
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestAPIFails has a row for each way in which an API can refuse a token.
func TestAPIFails(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"401 once", api401Once},
		{"401 always", api401Always},
		{"401 for an old token only", api401OldToken},
		{"403", api403},
		{"resets after half the body", apiResetsWithinBody},
		{"ends after half the body", apiEndsWithinBody},
		{"resets before the headers", apiResetsBeforeHeaders},
		{"refuses connection", apiRefusesConnection},
		{"certificate of an unknown authority", apiUnknownAuthority},
		{"echoes the token in a line that is no HTTP", apiEchoesToken},
	} {
		t.Run(row.name, row.test)
	}
}

func api401Once(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch} {
		f := newOrdeal(t)
		f.calling(func(rw http.ResponseWriter, r seen, n int) {
			if n == 1 {
				rw.WriteHeader(401)
				return
			}
			fmt.Fprint(rw, r.Header.Get("Authorization"), " ", r.body)
		})
		s := f.oauth2()
		resp, waits, err := f.call(s, f.request(method, strings.NewReader("the body")))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, method+": answer", fmt.Sprint(resp.StatusCode, text(t, resp)), "200Bearer token-2 the body")
		equal(t, method+": calls", len(f.calls), 2)
		equal(t, method+": waits", len(waits), 0)
		equal(t, method+": tokens dropped", f.count(counterfoil.EventTokenDropped), 1)
		equal(t, method+": calls retried", f.count(counterfoil.EventCallRetried), 1)
		equal(t, method+": token in use", f.must(s), "token-2")
	}
}

func api401Always(t *testing.T) {
	f := newOrdeal(t)
	f.calling(func(rw http.ResponseWriter, _ seen, n int) { rw.WriteHeader(401); fmt.Fprint(rw, "no ", n) })
	s := f.oauth2()
	resp, _, err := f.call(s, f.request(http.MethodGet, nil))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", fmt.Sprint(resp.StatusCode, text(t, resp)), "401no 2")
	equal(t, "calls for one", len(f.calls), 2)
	for i := range 25 {
		before := len(f.calls)
		resp, _, err := f.call(s, f.request(http.MethodGet, nil))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "status", resp.StatusCode, 401)
		if n := len(f.calls) - before; n > 2 {
			t.Errorf("call %d was sent %d times", i, n)
		}
		f.clock.Turn(2 * time.Second)
	}
	if f.asked() > 6 {
		t.Errorf("%d token requests in 50 s, want 6 at most", f.asked())
	}
}

// A call is answered 401 when its token has been renewed meanwhile: it is
// repeated with the new one, which stays, here and in the cache.
func api401OldToken(t *testing.T) {
	f := newOrdeal(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.calling(func(rw http.ResponseWriter, r seen, _ int) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			arrived <- struct{}{}
			<-release
			rw.WriteHeader(401)
		}
	})
	c := f.config("oauth2")
	c.Cache = client.Memory()
	s, other := f.source(c), f.source(c)
	equal(t, "token", f.must(s), "token-1")
	equal(t, "token of another Source", f.must(other), "token-1")
	const many = 20
	answers := make(chan int, 2*many)
	for i := range 2 * many {
		go func() {
			source := s
			if i%2 == 1 {
				source = other
			}
			resp, err := source.Client().Do(f.request(http.MethodGet, nil))
			if err != nil {
				t.Error(err)
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
	}
	for range 2 * many {
		<-arrived
	}
	f.clock.Turn(56 * time.Minute)
	f.must(s)
	f.eventually("the token is renewed", func() bool { return f.must(s) == "token-2" })
	close(release)
	for range 2 * many {
		equal(t, "status", <-answers, 200)
	}
	equal(t, "calls", len(f.calls), 4*many)
	equal(t, "tokens dropped", f.count(counterfoil.EventTokenDropped), 0)
	equal(t, "token requests", f.asked(), 2)
	equal(t, "token in use", f.must(s), "token-2")
	equal(t, "token of another Source", f.must(other), "token-2")
	equal(t, "token in the cache", f.must(f.source(c)), "token-2")
}

func api403(t *testing.T) {
	f := newOrdeal(t)
	f.calling(func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(403); io.WriteString(rw, "not yours") })
	s := f.oauth2()
	resp, waits, err := f.call(s, f.request(http.MethodGet, nil))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", fmt.Sprint(resp.StatusCode, text(t, resp)), "403not yours")
	equal(t, "calls, waits, tokens", fmt.Sprint(len(f.calls), len(waits), f.asked()), "1 0 1")
	equal(t, "token in use", f.must(s), "token-1")
}

// half answers half of a body, waits until the client has it, and ends.
func (f *ordeal) half(end func(http.ResponseWriter)) (read func()) {
	got := make(chan struct{})
	f.calling(func(rw http.ResponseWriter, r seen, n int) {
		if n > 1 {
			io.WriteString(rw, r.RemoteAddr)
			return
		}
		rw.Header().Set("Content-Length", "1000")
		rw.Header().Set("X-Peer", r.RemoteAddr)
		io.WriteString(rw, strings.Repeat("x", 500))
		flush(rw)
		<-got
		end(rw)
	})
	return func() { close(got) }
}

// withinBody makes a call whose answer ends too early, and another.
func (f *ordeal) withinBody(read func(), causes ...error) {
	t := f.t
	t.Helper()
	s := f.oauth2()
	resp, waits, err := f.call(s, f.request(http.MethodGet, nil))
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 500)
	_, err = io.ReadFull(resp.Body, part)
	equal(t, "first half", fmt.Sprint(strings.Count(string(part), "x"), err), "500 <nil>")
	read()
	_, err = io.ReadAll(resp.Body)
	if !slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) }) {
		t.Errorf("second half: got %v, want one of %v", err, causes)
	}
	if err != nil {
		f.noted(err)
	}
	equal(t, "calls, waits", fmt.Sprint(len(f.calls), len(waits)), "1 0")
	equal(t, "calls retried", f.count(counterfoil.EventCallRetried), 0)
	next, _, err := f.call(s, f.request(http.MethodGet, nil))
	if err != nil {
		t.Fatal(err)
	}
	if peer := text(t, next); peer == resp.Header.Get("X-Peer") {
		t.Error("the broken connection is used again")
	}
	equal(t, "token in use", f.must(s), "token-1")
}

func apiResetsWithinBody(t *testing.T) {
	f := newOrdeal(t)
	f.withinBody(f.half(func(rw http.ResponseWriter) { reset(t, rw) }), io.ErrUnexpectedEOF, syscall.ECONNRESET)
}

func apiEndsWithinBody(t *testing.T) {
	f := newOrdeal(t)
	f.withinBody(f.half(func(http.ResponseWriter) {}), io.ErrUnexpectedEOF)
}

func apiResetsBeforeHeaders(t *testing.T) {
	for _, row := range []struct {
		method string
		calls  int
	}{{http.MethodPut, 4}, {http.MethodPost, 1}} {
		f := newOrdeal(t)
		s := f.oauth2()
		f.calling(func(rw http.ResponseWriter, _ seen, _ int) { reset(t, rw) })
		_, waits, err := f.call(s, f.request(row.method, strings.NewReader("the body")))
		if err == nil {
			t.Errorf("%s: an answer out of nowhere", row.method)
		}
		equal(t, row.method+": calls", len(f.calls), row.calls)
		equal(t, row.method+": waits", near(waits, defaultWaits[:row.calls-1]...), true)
		for _, c := range f.calls {
			equal(t, row.method+": body", c.body, "the body")
		}
		f.calling(nil)
		resp, _, err := f.call(s, f.request(row.method, nil))
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: then got %v, %v", row.method, resp, err)
		}
		equal(t, row.method+": token requests", f.asked(), 1)
	}
}

var defaultWaits = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}

// elsewhere makes calls go to that address.
func (f *ordeal) elsewhere(c *client.Config, address string) *http.Request {
	c.APIURL = "https://" + address
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, c.APIURL, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return req
}

func apiRefusesConnection(t *testing.T) {
	f := newOrdeal(t)
	c := f.config("oauth2")
	req := f.elsewhere(&c, nobody(t))
	_, waits, err := f.call(f.source(c), req)
	equal(t, "error wraps ECONNREFUSED", errors.Is(err, syscall.ECONNREFUSED), true)
	equal(t, "waits", near(waits, defaultWaits...), true)
	equal(t, "calls retried", f.count(counterfoil.EventCallRetried), 3)
}

func apiUnknownAuthority(t *testing.T) {
	f := newOrdeal(t)
	f.impostor(issue(newAuthority(), func(*x509.Certificate) {}))
	address := *f.tokenAddress.Load()
	f.leads("")
	c := f.config("altrata")
	req := f.elsewhere(&c, address)
	_, waits, err := f.call(f.source(c), req)
	if err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v", err)
	}
	equal(t, "waits", len(waits), 0)
}

func apiEchoesToken(t *testing.T) {
	f := newOrdeal(t)
	f.plain(func(conn net.Conn) {
		head := make([]byte, 4096)
		n, _ := conn.Read(head)
		_, token, _ := strings.Cut(string(head[:n]), "Bearer ")
		_, key, _ := strings.Cut(string(head[:n]), "X-Api-Key: ")
		token, _, _ = strings.Cut(token, "\r\n")
		key, _, _ = strings.Cut(key, "\r\n")
		fmt.Fprintf(conn, "HTTP/1.1 %s-%s\r\n\r\n", token, key)
	})
	address := *f.tokenAddress.Load()
	f.leads("")
	c := f.config("altrata")
	c.Retries = []time.Duration{}
	req := f.elsewhere(&c, address)
	if _, _, err := f.call(f.source(c), req); err == nil {
		t.Error("got an answer")
	}
}

// TestAPIFailsForAWhile has a row for each failure that may pass.
func TestAPIFailsForAWhile(t *testing.T) {
	const s = time.Second
	date := func(d, ahead time.Duration) func(*ordeal, http.ResponseWriter) {
		return func(f *ordeal, rw http.ResponseWriter) {
			rw.Header().Set("Retry-After", f.clock.Now().Add(ahead+d).UTC().Format(http.TimeFormat))
		}
	}
	after := func(v string) func(*ordeal, http.ResponseWriter) {
		return func(_ *ordeal, rw http.ResponseWriter) { rw.Header().Set("Retry-After", v) }
	}
	none := func(*ordeal, http.ResponseWriter) {}
	for _, row := range []struct {
		name   string
		method string
		status int
		header func(*ordeal, http.ResponseWriter)
		ahead  time.Duration
		// fails is how many attempts fail; waits are the shortest.
		fails int
		waits []time.Duration
		want  int
	}{
		{"429 without Retry-After", "GET", 429, none, 0, 3, []time.Duration{2 * s, 4 * s, 8 * s}, 200},
		{"429 with seconds", "GET", 429, after("9"), 0, 3, []time.Duration{9 * s, 9 * s, 9 * s}, 200},
		{"429 with a date", "GET", 429, date(20*s, 0), 0, 1, []time.Duration{20 * s}, 200},
		{"429 with a date of a clock 10 minutes ahead", "GET", 429, date(20*s, 10*time.Minute), 10 * time.Minute, 1, []time.Duration{20 * s}, 200},
		{"429 with a date of a clock 10 minutes behind", "GET", 429, date(20*s, -10*time.Minute), -10 * time.Minute, 1, []time.Duration{20 * s}, 200},
		{"429 with a date in the past", "GET", 429, date(-time.Hour, 0), 0, 1, []time.Duration{2 * s}, 200},
		{"429 with an absurd date", "GET", 429, date(876000*time.Hour, 0), 0, 1, []time.Duration{60 * s}, 200},
		{"429 absurd", "GET", 429, after("99999999999999999999"), 0, 1, []time.Duration{60 * s}, 200},
		{"429 negative", "GET", 429, after("-60"), 0, 1, []time.Duration{2 * s}, 200},
		{"429 garbage", "GET", 429, after("soon"), 0, 1, []time.Duration{2 * s}, 200},
		{"429 always", "GET", 429, none, 0, 99, []time.Duration{2 * s, 4 * s, 8 * s}, 429},
		{"429 of a POST", "POST", 429, after("1"), 0, 99, nil, 429},
		{"503 once", "GET", 503, none, 0, 1, []time.Duration{2 * s}, 200},
		{"503 always", "DELETE", 503, none, 0, 99, []time.Duration{2 * s, 4 * s, 8 * s}, 503},
		{"503 of a POST", "POST", 503, none, 0, 99, nil, 503},
		{"503 of a PATCH", "PATCH", 503, none, 0, 99, nil, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newOrdeal(t)
			f.ahead = row.ahead
			f.calling(func(rw http.ResponseWriter, _ seen, n int) {
				if n <= row.fails {
					row.header(f, rw)
					rw.WriteHeader(row.status)
				}
				fmt.Fprint(rw, "answer ", n)
			})
			resp, waits, err := f.call(f.oauth2(), f.request(row.method, strings.NewReader("the body")))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "answer", fmt.Sprint(resp.StatusCode, " ", text(t, resp)), fmt.Sprint(row.want, " answer ", len(row.waits)+1))
			if !near(waits, row.waits...) {
				t.Errorf("waited %v, want %v", waits, row.waits)
			}
			for i, c := range f.calls {
				equal(t, fmt.Sprint("body of call ", i+1), c.body, "the body")
			}
			equal(t, "token requests", f.asked(), 1)
		})
	}
}

// seeking is a body that offers nothing but to be read and to seek.
type seeking struct{ io.ReadSeeker }

func (seeking) Close() error { return nil }

// Every attempt carries the body byte for byte, whatever kind it is of, or there
// is no further attempt.
func TestAPIFailsBodies(t *testing.T) {
	chacha := rand.NewChaCha8([32]byte{4})
	exact := make([]byte, 1<<20)
	_, _ = chacha.Read(exact)
	more := append(slices.Clone(exact), '!')
	for _, row := range []struct {
		name  string
		body  io.Reader
		want  []byte
		calls int
	}{
		{"GetBody", bytes.NewReader(more), more, 4},
		{"Seeker", seeking{bytes.NewReader(more)}, more, 4},
		{"plain reader of 1 MiB", &reading{Reader: bytes.NewReader(exact)}, exact, 4},
		{"plain reader of more than 1 MiB", &reading{Reader: bytes.NewReader(more)}, more, 1},
		{"plain reader of more than 1 MiB, the last of it with its end", &reading{Reader: iotest.DataErrReader(bytes.NewReader(more))}, more, 1},
		{"plain reader of nothing", &reading{Reader: bytes.NewReader(nil)}, nil, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newOrdeal(t)
			f.calling(func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(503) })
			resp, waits, err := f.call(f.oauth2(), f.request(http.MethodPut, row.body))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "status", resp.StatusCode, 503)
			equal(t, "calls, waits", fmt.Sprint(len(f.calls), len(waits)), fmt.Sprint(row.calls, row.calls-1))
			for i, c := range f.calls {
				equal(t, fmt.Sprint("whole body of call ", i+1), c.body == string(row.want), true)
			}
			if r, ok := row.body.(*reading); ok {
				equal(t, "times that the body was closed", r.closed, 1)
			}
		})
	}
}

// A redirect to another host is followed, if at all, without token, key and
// tenant; the ordeal's end looks at what the stranger was sent.
func TestAPIRedirectsToAnotherHost(t *testing.T) {
	for _, dialect := range []string{"altrata", "engagifii", "oauth2"} {
		f := newOrdeal(t)
		s := f.source(f.config(dialect))
		for _, code := range []int{301, 302, 303, 307, 308} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				path := fmt.Sprintf("/taken/%d/%s", code, method)
				f.calling(func(rw http.ResponseWriter, r seen, _ int) { http.Redirect(rw, r.Request, f.stranger.URL+path, code) })
				resp, _, err := f.call(s, f.request(method, strings.NewReader("the body")))
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "status", resp.StatusCode, 200)
				f.shownMu.Lock()
				equal(t, "a stranger was asked", strings.Contains(f.strange.String(), path), true)
				f.shownMu.Unlock()
			}
		}
		equal(t, "calls", len(f.calls), 10)
	}
}
