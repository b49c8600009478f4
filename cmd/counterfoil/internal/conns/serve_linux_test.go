package conns_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// site is an HTTPS server whose handler answers at /, and at /wait once let is
// closed.
type site struct {
	*httptest.Server
	log     *lines
	limiter *conns.Limiter
	let     chan struct{}
	release func() // closes let
	waiting chan string
}

func newSite(t *testing.T, limits conns.Limits) *site {
	t.Helper()
	s := &site{let: make(chan struct{}), waiting: make(chan string, 1000)}
	s.limiter, s.log, _ = newLimiter(limits)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, err := io.ReadAll(r.Body)
			s.waiting <- fmt.Sprint(err)
		}
		if r.URL.Path == "/wait" {
			s.waiting <- r.RemoteAddr
			<-s.let
		}
	}))
	s.EnableHTTP2 = true
	s.limiter.Bind(s.Config)
	s.Listener = s.limiter.Listener(s.Listener)
	s.StartTLS()
	s.release = sync.OnceFunc(func() { close(s.let) })
	t.Cleanup(func() { s.release(); s.Close() })
	return s
}

// caller is a client at an address of this machine that keeps one connection.
func (s *site) caller(t *testing.T, address string, protocols ...string) *http.Client {
	t.Helper()
	from := &net.TCPAddr{IP: net.ParseIP(address)}
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = protocols
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: len(protocols) == 0,
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, at)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func (s *site) get(t *testing.T, c *http.Client, path string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// A network that keeps all of its connections busy gets no other; the connection
// of any other network, and of a proxy, is admitted.
func TestBusyNetwork(t *testing.T) {
	for _, protocol := range []string{"", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			s := newSite(t, conns.Limits{PerPrefix: 3, Total: 16})
			var protocols []string
			if protocol != "" {
				protocols = []string{protocol}
			}
			ended := make(chan error, 3)
			for i := range 3 {
				go func() { ended <- s.get(t, s.caller(t, fmt.Sprintf("127.7.1.%d", i+1), protocols...), "/wait") }()
			}
			for range 3 {
				<-s.waiting
			}
			if err := s.get(t, s.caller(t, "127.7.1.9", protocols...), "/"); err == nil {
				t.Error("a fourth connection of the network is served")
			}
			if got := s.log.take(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "network=127.7.1.0/24") ||
				!strings.Contains(got, "limits.connections.per_prefix") {
				t.Errorf("the log has %q", got)
			}
			for _, other := range []string{"127.7.2.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"} {
				if err := s.get(t, s.caller(t, other, protocols...), "/"); err != nil {
					t.Errorf("from %s: %v", other, err)
				}
			}
			s.release()
			for range 3 {
				if err := <-ended; err != nil {
					t.Errorf("a connection that was busy: %v", err)
				}
			}
			if err := s.get(t, s.caller(t, "127.7.1.9", protocols...), "/"); err != nil {
				t.Errorf("once the others are idle: %v", err)
			}
		})
	}
}

// When connections run out, the one that is idle the longest is closed, and none
// that is busy.
func TestIdleConnectionGoes(t *testing.T) {
	s := newSite(t, conns.Limits{PerPrefix: 16, Total: 4})
	busy, older, newer := s.caller(t, "127.8.1.1"), s.caller(t, "127.8.1.2"), s.caller(t, "127.8.1.3", "http/1.1")
	ended := make(chan error, 1)
	go func() { ended <- s.get(t, busy, "/wait") }()
	<-s.waiting
	open := func(from string) (net.Conn, error) {
		config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.NextProtos = []string{"http/1.1"}
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, Config: config}
		return d.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	}
	for _, c := range []*http.Client{older, newer} {
		if err := s.get(t, c, "/"); err != nil {
			t.Fatal(err)
		}
	}
	// The raw connection has become idle last.
	raw, err := open("127.8.1.4")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ask := func() string {
		if _, err := io.WriteString(raw, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
			return ""
		}
		_ = raw.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 1<<10)
		n, _ := raw.Read(b)
		return string(b[:n])
	}
	if got := ask(); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Fatalf("answered %q", got)
	}
	// Two more: the two that are idle for longer go.
	for i := range 2 {
		if err := s.get(t, s.caller(t, fmt.Sprintf("127.8.2.%d", i)), "/"); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("the connection that was used last: %q", got)
	}
	s.release()
	if err := <-ended; err != nil {
		t.Errorf("the busy connection: %v", err)
	}
}

// A client with many requests opens connections for them.
func TestStreamsOfAConnection(t *testing.T) {
	s := newSite(t, conns.Limits{})
	c := s.caller(t, "127.9.3.1")
	if err := s.get(t, c, "/"); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range 3 * conns.MaxStreams {
		done.Go(func() {
			if err := s.get(t, c, "/wait"); err != nil {
				t.Error(err)
			}
		})
	}
	streams := map[string]int{}
	for range 3 * conns.MaxStreams {
		streams[<-s.waiting]++
	}
	for from, n := range streams {
		if n > conns.MaxStreams {
			t.Errorf("%d requests at a time by the connection of %s", n, from)
		}
	}
	s.release()
	done.Wait()
}

func TestLargeHeader(t *testing.T) {
	s := newSite(t, conns.Limits{})
	for _, c := range []*http.Client{s.caller(t, "127.9.4.1"), s.caller(t, "127.9.4.1", "http/1.1")} {
		for size, fits := range map[int]bool{conns.MaxHeader - 1<<10: true, conns.MaxHeader + 8<<10: false} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Large", strings.Repeat("x", size))
			resp, err := c.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			if got := err == nil && resp.StatusCode == http.StatusOK; got != fits {
				t.Errorf("a header of %d bytes: %v", size, err)
			}
		}
	}
}

// Each stream of HTTP/2 has a header of the largest size. Together they exceed
// what a connection may hold.
func TestStreamsHoldTooMuch(t *testing.T) {
	s := newSite(t, conns.Limits{})
	c := s.caller(t, "127.9.1.1")
	if err := s.get(t, c, "/"); err != nil { // from now on there is a connection
		t.Fatal(err)
	}
	var done sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range conns.MaxStreams {
		done.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/wait", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Large", strings.Repeat("x", 30<<10))
			resp, err := c.Do(req)
			if err != nil {
				return // the connection is given up after a refusal
			}
			defer resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			statuses[resp.StatusCode]++
		})
	}
	eventually.True(t, "requests are refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return statuses[http.StatusRequestHeaderFieldsTooLarge] > 0
	})
	if n := len(s.waiting); n > conns.MaxHeld/(30<<10) {
		t.Errorf("%d requests are under way on a connection", n)
	}
	s.release()
	done.Wait()
	// What they held is free again.
	if err := s.get(t, c, "/"); err != nil {
		t.Error(err)
	}
	if got := s.log.take(); !strings.Contains(got, "too large together") {
		t.Errorf("the log has %q", got)
	}
}

// A body counts while it is read, up to what a handler keeps of one: a long one
// passes, as an import has to.
func TestBodiesHoldTooMuch(t *testing.T) {
	s := newSite(t, conns.Limits{})
	c := s.caller(t, "127.9.2.1")
	send := func(body io.Reader) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/body", body)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := c.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	send(strings.NewReader(strings.Repeat("x", 3<<20)))
	if got := <-s.waiting; got != "<nil>" {
		t.Errorf("one long body: %s", got)
	}
	var writers []*io.PipeWriter
	var done sync.WaitGroup
	for range 8 {
		r, w := io.Pipe()
		writers = append(writers, w)
		done.Go(func() { send(r) })
		done.Go(func() { _, _ = io.WriteString(w, strings.Repeat("x", 60<<10)) })
	}
	if got := <-s.waiting; !strings.Contains(got, "too large") {
		t.Errorf("bodies of 480 KiB: %s", got)
	}
	for _, w := range writers {
		w.Close()
	}
	done.Wait()
	for len(s.waiting) > 0 {
		<-s.waiting
	}
	send(strings.NewReader(strings.Repeat("x", 3<<20)))
	if got := <-s.waiting; got != "<nil>" {
		t.Errorf("one long body, after them: %s", got)
	}
}
