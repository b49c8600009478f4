package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// TestDialects compares both requests of each provider with its guide.
func TestDialects(t *testing.T) {
	const basic = "Basic dGhlLWNsaWVudDpzM2NyZXQtb2YtdGhlLWNsaWVudA=="
	for _, row := range []struct {
		provider    string
		tokenTarget string
		tokenBody   string
		tokenHeader map[string]string
		callHeader  map[string]string
	}{
		{"ahotu", "/oauth2/token", "client_id=the-client&client_secret=s3cret-of-the-client&grant_type=client_credentials&scope=events%3Aread",
			map[string]string{"Authorization": ""},
			map[string]string{"Authorization": "Bearer token-1", "Content-Type": "application/json", "X-Api-Key": "", "Tenant-Code": ""}},
		{"altrata", "/oauth2/token?grant_type=client_credentials", "",
			map[string]string{"Authorization": basic, "X-Api-Key": theKey},
			map[string]string{"Authorization": "Bearer token-1", "X-Api-Key": theKey, "Content-Type": "application/json"}},
		{"engagifii", "/connect/token", "client_id=the-client&client_secret=s3cret-of-the-client&grant_type=client_credentials&scope=EventsApi",
			map[string]string{"Authorization": "", "X-Api-Key": ""},
			map[string]string{"Authorization": "Bearer token-1", "Api-Version": "1.0", "Tenant-Code": "TENANT123", "Content-Type": "application/json"}},
		{"a55", "/oauth2/token", "client_id=the-client&client_secret=s3cret-of-the-client&grant_type=client_credentials",
			map[string]string{"Authorization": ""},
			map[string]string{"Authorization": "Bearer token-1", "Content-Type": "application/json"}},
		{"oauth2", "/token", "grant_type=client_credentials",
			map[string]string{"Authorization": basic},
			map[string]string{"Authorization": "Bearer token-1", "Content-Type": ""}},
	} {
		t.Run(row.provider, func(t *testing.T) {
			w := newWorld(t)
			s := w.source(w.config(row.provider))
			req, err := s.NewRequest(w.ctx, http.MethodPost, "", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := w.tokens[0]
			equal(t, "token request", got.Method+" "+got.RequestURI, "POST "+row.tokenTarget)
			equal(t, "body", got.body, row.tokenBody)
			equal(t, "Content-Type", got.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
			for name, want := range row.tokenHeader {
				equal(t, "token request's "+name, got.Header.Get(name), want)
			}
			for name, want := range row.callHeader {
				equal(t, "call's "+name, w.calls[0].Header.Get(name), want)
			}
			equal(t, "call's body", w.calls[0].body, "{}")
			equal(t, "headers of the caller's request", len(req.Header), 0)
			equal(t, "headers of the response's request", len(resp.Request.Header), 0)
		})
	}
}

// Basic credentials with characters that tell the two encodings apart.
func TestBasicEncoding(t *testing.T) {
	for name, want := range map[string]string{"oauth2": "a%2Fb c%3Ad%25", "altrata": "a/b c:d%"} {
		w := newWorld(t)
		c := w.config(name)
		c.ClientID, c.ClientSecret = "a/b", client.Static("c:d%")
		w.must(w.source(c))
		id, secret, _ := w.tokens[0].BasicAuth()
		equal(t, name, id+" "+secret, want)
	}
}

// A fixed header of the caller's stays.
func TestTransportKeepsCallersHeaders(t *testing.T) {
	w := newWorld(t)
	s := w.source(w.config("engagifii"))
	req, _ := s.NewRequest(w.ctx, http.MethodPost, "/api/1.0/event/list", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer of-the-caller")
	req.Header.Set("X-Trace", "1")
	resp, err := (&client.Transport{Source: s}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	equal(t, "the response's request is the caller's", resp.Request == req, true)
	h := w.calls[0].Header
	equal(t, "Content-Type", h.Get("Content-Type"), "application/json; charset=utf-8")
	equal(t, "Authorization", fmt.Sprint(h["Authorization"]), "[Bearer token-1]")
	equal(t, "X-Trace", h.Get("X-Trace"), "1")
	equal(t, "the caller's own", req.Header.Get("Authorization"), "Bearer of-the-caller")
}

// reading is a body that offers nothing but to be read, and counts its closing.
type reading struct {
	io.Reader
	closed int
}

func (r *reading) Close() error { r.closed++; return nil }

func TestTransportRepeatsBody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	if err := os.WriteFile(file, []byte("....from the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	seeker := func() io.Reader {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Seek(4, io.SeekStart)
		return f
	}
	for _, row := range []struct {
		name   string
		body   func() io.Reader
		want   string
		status int
	}{
		{"none", func() io.Reader { return nil }, "", 200},
		{"GetBody", func() io.Reader { return strings.NewReader("from a string") }, "from a string", 200},
		{"seeker from where it stood", seeker, "from the file", 200},
		{"plain reader", func() io.Reader { return &reading{Reader: strings.NewReader("read once")} }, "read once", 200},
		{"plain reader of 1 MiB", func() io.Reader { return &reading{Reader: strings.NewReader(large)} }, large, 200},
		{"plain reader of more", func() io.Reader { return &reading{Reader: strings.NewReader(large + "!")} }, large + "!", 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.onCall = func(rw http.ResponseWriter, r seen, n int) {
				if n == 1 {
					rw.WriteHeader(401)
				}
				fmt.Fprint(rw, "answer ", n)
			}
			body := row.body()
			req, err := http.NewRequest(http.MethodPost, w.api.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := w.oauth2().Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			equal(t, "status", resp.StatusCode, row.status)
			equal(t, "answer", string(answer), fmt.Sprint("answer ", len(w.calls)))
			for i, c := range w.calls {
				equal(t, fmt.Sprint("body of call ", i+1), c.body == row.want, true)
			}
			if r, ok := body.(*reading); ok {
				equal(t, "times that the body was closed", r.closed, 1)
			}
		})
	}
}

// The body is closed on every way out, whether or not anything was sent.
func TestTransportClosesBody(t *testing.T) {
	w := newWorld(t)
	refused, cancel := context.WithCancel(w.ctx)
	cancel()
	for _, row := range []struct {
		name, url string
		ctx       context.Context
		base      http.RoundTripper
	}{
		{"plain http", "http://api.example", w.ctx, nil},
		{"no token", w.api.URL, refused, nil},
		{"base fails", w.api.URL, w.ctx, roundTripper(func(r *http.Request) (*http.Response, error) { r.Body.Close(); return nil, errors.New("down") })},
		{"base answers early", w.api.URL, w.ctx, roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Body.Close()
			return &http.Response{StatusCode: 500, Body: http.NoBody}, nil
		})},
		{"base rejects", w.api.URL, w.ctx, roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Body.Close()
			return &http.Response{StatusCode: 401, Body: http.NoBody}, nil
		})},
	} {
		t.Run(row.name, func(t *testing.T) {
			body := &reading{Reader: strings.NewReader("x")}
			req, err := http.NewRequestWithContext(row.ctx, http.MethodPost, row.url, body)
			if err != nil {
				t.Fatal(err)
			}
			_, err = (&client.Transport{Source: w.oauth2(), Base: row.base}).RoundTrip(req)
			if (row.base == nil) != (err != nil) && row.name != "base fails" {
				t.Errorf("got error %v", err)
			}
			equal(t, "times that the body was closed", body.closed, 1)
		})
	}
}

// A transport that does not let go of the first body, which nobody has read to
// its end, gets no second attempt.
func TestTransportBodyHeldBack(t *testing.T) {
	w := newWorld(t)
	pr, pw := io.Pipe()
	defer pw.Close()
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 401, Body: io.NopCloser(strings.NewReader("rejected"))}, nil
	})
	req, _ := http.NewRequest(http.MethodPost, w.api.URL, pr)
	s := w.oauth2()
	w.must(s)
	answered := make(chan *http.Response)
	go func() {
		resp, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	w.eventually("a new token is there", func() bool { return w.asked() == 2 && strings.Contains(ownGoroutines(), "(*replay).again") })
	var resp *http.Response
	w.eventually("the first answer comes back", func() bool {
		w.clock.Turn(time.Second)
		select {
		case resp = <-answered:
			return true
		default:
			return false
		}
	})
	body, _ := io.ReadAll(resp.Body)
	equal(t, "answer", fmt.Sprint(resp.StatusCode, string(body)), "401rejected")
}

func Test401(t *testing.T) {
	rejectOld := func(rw http.ResponseWriter, r seen, _ int) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			rw.WriteHeader(401)
			fmt.Fprint(rw, "old")
		}
	}
	t.Run("for an old token only", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = rejectOld
		c := w.oauth2().Client()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { equal(t, "status", w.get(c, w.api.URL).StatusCode, 200) })
		}
		all.Wait()
		equal(t, "token requests", w.asked(), 2)
	})
	t.Run("when no new token is to be had", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = rejectOld
		s := w.oauth2()
		w.must(s)
		w.answers(status(400, `{"error":"invalid_client"}`))
		resp := w.get(s.Client(), w.api.URL)
		body, _ := io.ReadAll(resp.Body)
		equal(t, "answer", fmt.Sprint(resp.StatusCode, string(body)), "401old")
	})
	t.Run("when the provider gives the same token again", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = rejectOld
		w.answers(func(rw http.ResponseWriter, _ int) { give(rw, 1, "3600") })
		body, _ := io.ReadAll(w.get(w.oauth2().Client(), w.api.URL).Body)
		equal(t, "answer", string(body), "old")
		equal(t, "calls", len(w.calls), 1)
	})
	t.Run("other statuses are not repeated", func(t *testing.T) {
		w := newWorld(t)
		w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(403) }
		equal(t, "status", w.get(w.oauth2().Client(), w.api.URL).StatusCode, 403)
		equal(t, "calls", len(w.calls), 1)
	})
}

// Never more than the provider's 100 requests in any 60 s.
func TestRequestsPerMinute(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var times []time.Time
	c := w.config("engagifii")
	tr := &client.Transport{Source: w.source(c), Base: roundTripper(func(*http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, w.clock.Now())
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})}
	call := func(ctx context.Context) error {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.api.URL, nil)
		_, err := tr.RoundTrip(req)
		return err
	}
	ok := func() {
		if err := call(w.ctx); err != nil {
			t.Error(err)
		}
	}
	for range 50 {
		ok()
	}
	w.clock.Turn(30 * time.Second)
	for range 50 {
		ok()
	}
	gone, cancel := context.WithCancel(w.ctx)
	left := make(chan error)
	go func() { left <- call(gone) }()
	if err := w.clock.Sleepers(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-left; counterfoilReason(err) != counterfoil.ReasonRateLimited || !errors.Is(err, context.Canceled) {
		t.Errorf("a waiter that leaves got %v", err)
	}
	var all sync.WaitGroup
	for range 250 {
		all.Go(ok)
	}
	made := func() int { mu.Lock(); defer mu.Unlock(); return len(times) }
	now, stop := context.WithCancel(w.ctx)
	stop() // Sleepers with it does not wait
	w.eventually("all calls are made", func() bool {
		// While some call is neither made nor asleep, the clock stands still.
		if w.clock.Sleepers(now, 350-made()) == nil {
			w.clock.Turn(time.Second)
		}
		return made() == 350
	})
	all.Wait()
	equal(t, "calls", len(times), 350)
	for i := 100; i < len(times); i++ {
		if d := times[i].Sub(times[i-100]); d <= time.Minute {
			t.Fatalf("call %d came %v after the one 100 before it", i, d)
		}
	}
}

// Its own origin is the same in other words; another is not, and gets nothing.
// Plain http is refused wherever it leads.
func TestTransportOrigin(t *testing.T) {
	for _, row := range []struct{ provider, api, header, credential string }{
		{"altrata", "https://API.example/v1/graphql", "X-Api-Key", theKey},
		{"engagifii", "https://api.example", "Tenant-Code", "TENANT123"},
		{"engagifii", "https://api.example:443", "Tenant-Code", "TENANT123"},
	} {
		t.Run(row.header+" to "+row.api, func(t *testing.T) {
			w := newWorld(t)
			c := w.config(row.provider)
			c.APIURL = row.api
			var sent []http.Header
			tr := &client.Transport{Source: w.source(c), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.Header)
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			})}
			to := func(url string) error {
				req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, url, nil)
				_, err := tr.RoundTrip(req)
				return err
			}
			for url, own := range map[string]bool{
				"https://api.example/v1/graphql": true, "https://api.EXAMPLE:443/other": true,
				"https://api.example:8443/": false, "https://api.example:4433/": false, "https://api.example.evil.example/": false, "https://evil.example/https://api.example/": false,
				"https://api.example@evil.example/": false, "https://sub.api.example/": false,
			} {
				sent = nil
				if err := to(url); err != nil || len(sent) != 1 {
					t.Fatalf("%s: %d requests, %v", url, len(sent), err)
				}
				want := map[bool]string{true: "Bearer token-1 " + row.credential, false: " "}[own]
				equal(t, "sent to "+url, sent[0].Get("Authorization")+" "+sent[0].Get(row.header), want)
			}
			sent = nil
			for _, url := range []string{"http://api.example/v1/graphql", "http://api.example:443/", "http://evil.example/", "HTTP://api.example/", "ftp://api.example/"} {
				if reason := counterfoilReason(to(url)); reason != counterfoil.ReasonInvalidRequest {
					t.Errorf("%s: got %q, want it refused", url, reason)
				}
			}
			equal(t, "requests that left by anything but https", len(sent), 0)
		})
	}
}

// A rotated API key is sent with the next call, and a call without one is not
// made.
func TestTransportAPIKeyRotates(t *testing.T) {
	w := newWorld(t)
	c := w.config("altrata")
	key := counterfoil.Secret("old")
	c.APIKey = func(context.Context) (counterfoil.Secret, error) { return key, nil }
	hc := w.source(c).Client()
	for _, key = range []counterfoil.Secret{"old", "new"} {
		w.get(hc, c.APIURL)
		equal(t, "API key", w.calls[len(w.calls)-1].Header.Get("X-Api-Key"), key.Reveal())
	}
	key = ""
	if _, err := hc.Get(c.APIURL); err == nil || !strings.Contains(err.Error(), "the API key is empty") {
		t.Errorf("got %v", err)
	}
}

// Other requests of a plain server show what a body costs nobody: the answer to
// a call is streamed through.
func TestTransportStreams(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	stream := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, first)
		rw.Write(bytes.ToUpper(first))
		_ = http.NewResponseController(rw).Flush()
		<-release
	}))
	stream.EnableHTTP2 = true
	stream.StartTLS()
	defer stream.Close()
	defer close(release)
	c := w.config("oauth2")
	c.APIURL = stream.URL
	pr, pw := io.Pipe()
	defer pw.Close()
	go io.WriteString(pw, "hello")
	resp, err := (&http.Client{Transport: &client.Transport{Source: w.source(c), Base: stream.Client().Transport}}).Post(stream.URL, "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	_, err = io.ReadFull(resp.Body, first)
	equal(t, "answer while the body is still open", fmt.Sprint(string(first), err), "HELLO<nil>")
}

// A description can give calls any number of headers.
func TestCallWithManyHeaders(t *testing.T) {
	for n := range 12 {
		w := newWorld(t)
		c := w.config("oauth2")
		c.Provider.APIs = slices.Clone(c.Provider.APIs)
		api := &c.Provider.APIs[0]
		api.Headers = slices.Clone(api.Headers)
		for i := range n {
			api.Headers = append(api.Headers, provider.Header{Name: fmt.Sprint("X-", i), Value: fmt.Sprint(i)})
		}
		w.get(w.source(c).Client(), w.api.URL)
		call := w.seenCalls()[0]
		equal(t, "Authorization", call.Header.Get("Authorization"), "Bearer token-1")
		for i := range n {
			equal(t, fmt.Sprint("header X-", i, " of ", n), call.Header.Get(fmt.Sprint("X-", i)), fmt.Sprint(i))
		}
	}
}

// A request that was made by hand may have no map of headers.
func TestCallWithoutHeaders(t *testing.T) {
	w := newWorld(t)
	u, err := url.Parse(w.api.URL)
	must(err)
	resp, err := (&client.Transport{Source: w.oauth2()}).RoundTrip((&http.Request{Method: http.MethodGet, URL: u}).WithContext(w.ctx))
	must(err)
	resp.Body.Close()
	equal(t, "Authorization", w.seenCalls()[0].Header.Get("Authorization"), "Bearer token-1")
}
