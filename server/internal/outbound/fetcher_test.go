package outbound_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/document"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// source is a TLS server that counts its connections.
type source struct {
	*httptest.Server
	conns atomic.Int64
}

func newSource(t *testing.T, h http.HandlerFunc) *source {
	t.Helper()
	s := &source{Server: httptest.NewUnstartedServer(h)}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *source) host() string { return s.Listener.Addr().String() }

// as returns the source's host under another name.
func (s *source) as(name string) string {
	_, port, _ := net.SplitHostPort(s.host())
	return net.JoinHostPort(name, port)
}

func (s *source) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// fetcher allows the source, change may change that.
func (s *source) fetcher(t *testing.T, change func(*outbound.Config)) *outbound.Fetcher {
	t.Helper()
	cfg := outbound.Config{AllowedHosts: []string{s.host()}, AllowPrivate: true, RootCAs: s.pool()}
	if change != nil {
		change(&cfg)
	}
	return build(t, cfg)
}

func build(t *testing.T, cfg outbound.Config) *outbound.Fetcher {
	t.Helper()
	f, err := outbound.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// answer writes a body with headers, given in pairs.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// refused holds that err is one line with want, and not the answer's words.
func refused(t *testing.T, doc *document.Document, err error, want string) {
	t.Helper()
	if doc != nil || err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %+v, %v; want an error with %q", doc, err, want)
	}
	if strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), "OTHER") || len(err.Error()) > 400 {
		t.Errorf("not one line, or the answer's words: %v", err)
	}
}

func TestGet(t *testing.T) {
	var got []*http.Request
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r)
		answer(200, `{"keys":[]}`, "Content-Type", "Application/JWK-Set+JSON; charset=utf-8", "Cache-Control", "public, max-age=90", "Set-Cookie", "a=b")(w, r)
	})
	f := s.fetcher(t, nil)
	for range 2 {
		doc, err := f.Get(t.Context(), s.URL+"/keys?realm=a", "application/json")
		if err != nil {
			t.Fatal(err)
		}
		if string(doc.Body) != `{"keys":[]}` || doc.ContentType != "application/jwk-set+json" || doc.MaxAge != 90*time.Second {
			t.Errorf("got %+v", doc)
		}
	}
	for _, r := range got {
		if r.URL.String() != "/keys?realm=a" || r.Header.Get("Accept") != "application/json" || r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
	}
	if s.conns.Load() != 2 {
		t.Errorf("%d connections for two fetches", s.conns.Load())
	}
}

func TestMaxAge(t *testing.T) {
	for name, row := range map[string]struct {
		control, age string
		want         time.Duration
	}{
		"absent":            {"", "", -1},
		"nothing of use":    {"public, must-revalidate", "", -1},
		"plain":             {"max-age=60", "", time.Minute},
		"upper case":        {"Max-Age=60", "", time.Minute},
		"quoted":            {`max-age="60"`, "", time.Minute},
		"the first":         {"max-age=60, max-age=90", "", time.Minute},
		"zero":              {"max-age=0", "", 0},
		"negative":          {"max-age=-1", "", 0},
		"unreadable":        {"max-age=soon", "", 0},
		"no-store":          {"max-age=60, no-store", "", 0},
		"no-cache":          {"no-cache", "", 0},
		"s-maxage is not":   {"s-maxage=60", "", -1},
		"aged":              {"max-age=60", "45", 15 * time.Second},
		"aged too long":     {"max-age=60", "61", 0},
		"aged before birth": {"max-age=60", "-100", time.Minute},
		"huge":              {"max-age=99999999999999999999", "", (1<<31 - 1) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			for _, h := range [][]string{{"Cache-Control", row.control}, {"Age", row.age}} {
				if h[1] != "" {
					headers = append(headers, h...)
				}
			}
			s := newSource(t, answer(200, "{}", headers...))
			doc, err := s.fetcher(t, nil).Get(t.Context(), s.URL, "*/*")
			if err != nil || doc.MaxAge != row.want {
				t.Errorf("got %+v, %v; want %v", doc, err, row.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]outbound.Config{
		"negative bytes":  {MaxBytes: -1},
		"negative time":   {Timeout: -1},
		"empty host":      {AllowedHosts: []string{""}},
		"wildcard":        {AllowedHosts: []string{"*.example.com"}},
		"URL":             {AllowedHosts: []string{"https://example.com"}},
		"path":            {AllowedHosts: []string{"example.com/keys"}},
		"credentials":     {AllowedHosts: []string{"a@example.com"}},
		"port 0":          {AllowedHosts: []string{"example.com:0"}},
		"port 65536":      {AllowedHosts: []string{"example.com:65536"}},
		"port by name":    {AllowedHosts: []string{"example.com:https"}},
		"port with zeros": {AllowedHosts: []string{"example.com:0443"}},
		"no port":         {AllowedHosts: []string{"example.com:"}},
		"not ASCII":       {AllowedHosts: []string{"schlüssel.example"}},
		"network":         {AllowedHosts: []string{"10.0.0.0/8"}},
	} {
		t.Run(name, func(t *testing.T) {
			if f, err := outbound.New(cfg); err == nil || f != nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, %v", f, err)
			}
		})
	}
}

// ended is a context that has ended: a fetch that is let through ends before it
// dials.
func ended(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestAllowedHosts(t *testing.T) {
	f := build(t, outbound.Config{AllowedHosts: []string{"Keys.example.com", "other.example:8443", "192.0.2.1", "::1", "[2001:db8::1]:8443"}})
	for url, allowed := range map[string]bool{
		"https://keys.example.com/a":        true,
		"https://keys.example.com:443/a":    true,
		"https://KEYS.example.com":          true,
		"https://other.example:8443":        true,
		"https://192.0.2.1/":                true,
		"https://[::1]/":                    true,
		"https://[2001:db8::1]:8443/":       true,
		"https://keys.example.com:8443/a":   false,
		"https://other.example/":            false,
		"https://a.keys.example.com/":       false,
		"https://keys.example.com.evil/":    false,
		"https://evil/keys.example.com":     false,
		"https://keys.example.com./":        false,
		"https://3221225985/":               false,
		"https://[::ffff:192.0.2.1]/":       false,
		"https://evil?keys.example.com":     false,
		"https://[2001:db8::1%25eth0]:8443": false,
	} {
		_, err := f.Get(ended(t), url, "*/*")
		if allowed && !errors.Is(err, context.Canceled) || !allowed && !errors.Is(err, outbound.ErrNotAllowed) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := build(t, outbound.Config{}).Get(t.Context(), "https://keys.example.com/", "*/*"); !errors.Is(err, outbound.ErrNotAllowed) {
		t.Errorf("an empty list: %v", err)
	}
}

func TestGetRefusesURL(t *testing.T) {
	f := build(t, outbound.Config{AllowedHosts: []string{"keys.example.com"}})
	for name, url := range map[string]string{
		"empty":       "",
		"plain HTTP":  "http://keys.example.com/",
		"a file":      "file:///etc/passwd",
		"no scheme":   "//keys.example.com/",
		"opaque":      "https:keys.example.com",
		"no host":     "https:///keys",
		"only a port": "https://:443/",
		"credentials": "https://a:OTHER@keys.example.com/",
		"a user":      "https://OTHER@keys.example.com/",
		"fragment":    "https://keys.example.com/#OTHER",
		"escaped dot": "https://keys.example.com%2eOTHER/",
		"line break":  "https://keys.example.com/\nOTHER",
		"long":        "https://keys.example.com/" + strings.Repeat("OTHER", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := f.Get(t.Context(), url, "*/*")
			refused(t, doc, err, "the URL")
		})
	}
}

func TestGetRefusesAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"not found":     {answer(404, "OTHER"), "404"},
		"server error":  {answer(500, "OTHER"), "500"},
		"partial":       {answer(206, "OTHER"), "206"},
		"no content":    {answer(204, ""), "204"},
		"not modified":  {answer(304, ""), "304"},
		"compressed":    {answer(200, "OTHER", "Content-Encoding", "gzip"), "compressed"},
		"large header":  {answer(200, "{}", "X-Large", strings.Repeat("OTHER", 20_000)), "header is too large"},
		"large, length": {answer(200, strings.Repeat("OTHER", 1000), "Content-Length", "5000"), "larger than 4096 bytes"},
		"large, chunks": {func(w http.ResponseWriter, r *http.Request) {
			for block := bytes.Repeat([]byte("OTHER"), 1000); r.Context().Err() == nil; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "larger than 4096 bytes"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "OTHER")
		}, "breaks off"},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "OTHER\r\nOTHER\r\n\r\n")
			_ = conn.Close()
		}, "not one of HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, row.handler)
			doc, err := s.fetcher(t, func(c *outbound.Config) { c.MaxBytes = 4096 }).Get(t.Context(), s.URL, "*/*")
			refused(t, doc, err, row.want)
		})
	}
}

func TestMaxBytesIsTheLastThatIsTaken(t *testing.T) {
	s := newSource(t, answer(200, strings.Repeat("x", 512<<10)))
	doc, err := s.fetcher(t, nil).Get(t.Context(), s.URL, "*/*")
	if err != nil || len(doc.Body) != 512<<10 {
		t.Fatalf("the default bound itself: %v", err)
	}
	doc, err = s.fetcher(t, func(c *outbound.Config) { c.MaxBytes = 512<<10 - 1 }).Get(t.Context(), s.URL, "*/*")
	refused(t, doc, err, "larger than 524287 bytes")
}

// A public host that leads inward must not take us there, allowed or not.
func TestRedirectIsNotFollowed(t *testing.T) {
	inner := newSource(t, answer(200, "OTHER"))
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newSource(t, answer(status, "", "Location", inner.URL))
		f := s.fetcher(t, func(c *outbound.Config) { c.AllowedHosts = append(c.AllowedHosts, inner.host()) })
		doc, err := f.Get(t.Context(), s.URL, "*/*")
		refused(t, doc, err, fmt.Sprintf("%d, a redirect", status))
	}
	if inner.conns.Load() != 0 {
		t.Errorf("the inner host was asked")
	}
}

func TestPrivateAddressIsNotDialled(t *testing.T) {
	s := newSource(t, answer(200, "OTHER"))
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254"} {
		f := s.fetcher(t, func(c *outbound.Config) { c.AllowedHosts, c.AllowPrivate = []string{s.as(host)}, false })
		doc, err := f.Get(t.Context(), "https://"+s.as(host)+"/", "*/*")
		refused(t, doc, err, "private")
		if !errors.Is(err, outbound.ErrPrivate) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if s.conns.Load() != 0 {
		t.Error("a connection was made")
	}
}

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"192.0.1.1": true, "223.255.255.255": true, "198.17.255.255": true, "2606:4700::1111": true, "2001:4860:4860::8888": true, "2a00::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "100.64.0.1": false, "100.127.255.255": false, "127.0.0.1": false,
		"127.255.255.254": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false,
		"192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::8.8.8.8": false, "::ffff:8.8.8.8": false, "::ffff:127.0.0.1": false, "64:ff9b::8.8.8.8": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:1ff:ffff::1": false, "2001:db8::1": false,
		"2002:7f00:1::1": false, "3fff::1": false, "3fff:fff::1": false, "5f00::1": false, "fc00::1": false, "fd12:3456::1": false,
		"fe80::1": false, "fe80::1%eth0": false, "2a00::1%eth0": false, "fec0::1": false, "ff02::1": false,
	} {
		if got := outbound.Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public %v, want %v", address, got, want)
		}
	}
	if outbound.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestCertificateIsVerified(t *testing.T) {
	s := newSource(t, answer(200, "OTHER"))
	for name, row := range map[string]struct {
		host  string
		roots *x509.CertPool
		want  string
	}{
		"another host":      {"localhost", s.pool(), "certificate is for another host"},
		"unknown authority": {"127.0.0.1", x509.NewCertPool(), "authority that is not trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			f := s.fetcher(t, func(c *outbound.Config) { c.AllowedHosts, c.RootCAs = []string{s.as(row.host)}, row.roots })
			doc, err := f.Get(t.Context(), "https://"+s.as(row.host)+"/", "*/*")
			refused(t, doc, err, row.want)
		})
	}
}

func TestTLSIsRequired(t *testing.T) {
	plain := httptest.NewServer(answer(200, "OTHER"))
	defer plain.Close()
	old := httptest.NewUnstartedServer(answer(200, "OTHER"))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()
	for name, s := range map[string]*httptest.Server{"plain HTTP": plain, "TLS 1.1": old} {
		t.Run(name, func(t *testing.T) {
			host := s.Listener.Addr().String()
			f := build(t, outbound.Config{AllowedHosts: []string{host}, AllowPrivate: true})
			doc, err := f.Get(t.Context(), "https://"+host+"/", "*/*")
			refused(t, doc, err, "fetch from "+host)
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	s := newSource(t, answer(200, "OTHER"))
	f := s.fetcher(t, nil)
	s.Close()
	doc, err := f.Get(t.Context(), s.URL, "*/*")
	refused(t, doc, err, "connection refused")
}

// silent is a listener that takes connections, never says a word, and tells when
// the other end has gone.
func silent(t *testing.T, taken, gone chan<- struct{}) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			taken <- struct{}{}
			_, _ = io.Copy(io.Discard, conn)
			gone <- struct{}{}
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// The timeout ends a fetch wherever the other end stops, and its connection too.
func TestTimeout(t *testing.T) {
	reached, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := func(r *http.Request) {
		reached <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	hang := newSource(t, func(_ http.ResponseWriter, r *http.Request) { stop(r) })
	body := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
		}
		stop(r)
	})
	header := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Slow: ")
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, conn) // until the other end goes
		gone <- struct{}{}
		_ = conn.Close()
	})
	for name, host := range map[string]string{
		"hangs in TLS": silent(t, reached, gone), "hangs before the header": hang.host(),
		"trickles the header": header.host(), "trickles the body": body.host(),
	} {
		t.Run(name, func(t *testing.T) {
			turned := clock.NewManual(start)
			f := build(t, outbound.Config{AllowedHosts: []string{host}, AllowPrivate: true, RootCAs: hang.pool(), Clock: turned})
			failed := make(chan error, 1)
			go func() {
				_, err := f.Get(t.Context(), "https://"+host+"/", "*/*")
				failed <- err
			}()
			<-reached
			if err := turned.Sleepers(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			turned.Turn(5*time.Second - 1)
			select {
			case err := <-failed:
				t.Fatalf("before the time is over: %v", err)
			default:
			}
			turned.Turn(1)
			refused(t, nil, <-failed, "no whole answer in time: 5s")
			<-gone // no connection stays behind
		})
	}
}

func TestCallerCanGiveUp(t *testing.T) {
	reached := make(chan struct{})
	s := newSource(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	f := s.fetcher(t, func(c *outbound.Config) { c.Clock = clock.NewManual(start) })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := f.Get(ctx, s.URL, "*/*")
		failed <- err
	}()
	<-reached
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	f := s.fetcher(t, func(c *outbound.Config) { c.Timeout = time.Minute })
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			path := fmt.Sprintf("/%d", i)
			doc, err := f.Get(t.Context(), s.URL+path, "*/*")
			if err != nil || string(doc.Body) != path {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	all.Wait()
}

// Whatever the list and the URL, what is let through is on the list.
func FuzzGet(f *testing.F) {
	f.Add("keys.example.com", "https://keys.example.com/a")
	f.Add("keys.example.com:8443", "https://KEYS.example.com:8443")
	f.Add("::1", "https://[::1]/")
	f.Add("127.0.0.1", "https://a@127.0.0.1/#x")
	f.Add("a", "https://a%2eb/")
	f.Add("a", "http://a/\r\n")
	f.Fuzz(func(t *testing.T, host, address string) {
		fetcher, err := outbound.New(outbound.Config{AllowedHosts: []string{host}})
		if err != nil {
			return
		}
		_, err = fetcher.Get(ended(t), address, "*/*")
		if err == nil || strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("got %v", err)
		}
		if !errors.Is(err, context.Canceled) {
			return
		}
		u, parseErr := url.Parse(address)
		if parseErr != nil || u.Scheme != "https" || u.User != nil {
			t.Fatalf("%q was let through", address)
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		name := strings.ToLower(host)
		if got := net.JoinHostPort(strings.ToLower(u.Hostname()), port); got != name && got != net.JoinHostPort(name, "443") {
			t.Fatalf("%q was let through for %q", address, host)
		}
	})
}

// Only the public network is connected to, unless the configuration says
// otherwise; and only when the address is one.
func TestPublicAddressIsDialled(t *testing.T) {
	for address, want := range map[string][2]error{
		"8.8.8.8:443":                {nil, nil},
		"[2606:4700::1111]:443":      {nil, nil},
		"127.0.0.1:443":              {outbound.ErrPrivate, nil},
		"[::ffff:8.8.8.8]:443":       {outbound.ErrPrivate, nil},
		"keys.example.com:443":       {outbound.ErrPrivate, nil},
		"[2606:4700::1111%eth0]:443": {outbound.ErrPrivate, nil},
	} {
		for i, private := range []bool{false, true} {
			if err := build(t, outbound.Config{AllowPrivate: private}).MayConnect(address); !errors.Is(err, want[i]) {
				t.Errorf("%s, private addresses allowed %v: %v", address, private, err)
			}
		}
	}
}

// The longest URL is fetched, a longer one is not.
func TestLongestURL(t *testing.T) {
	s := newSource(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	address := s.URL + "/" + strings.Repeat("a", 2<<10-len(s.URL)-1)
	if _, err := s.fetcher(t, nil).Get(t.Context(), address, "*/*"); err != nil {
		t.Errorf("%d bytes: %v", len(address), err)
	}
	if _, err := s.fetcher(t, nil).Get(t.Context(), address+"a", "*/*"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%d bytes: %v", len(address)+1, err)
	}
}
