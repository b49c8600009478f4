package remote_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote/remotetest"
)

// canned answers every request that reaches it.
type canned struct{ asked []string }

func (c *canned) RoundTrip(req *http.Request) (*http.Response, error) {
	c.asked = append(c.asked, req.URL.String())
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

// Plain http is for what has no TLS and is not reached through a router.
func TestPlainHTTP(t *testing.T) {
	for name, row := range map[string]struct {
		url      string
		metadata bool
		allowed  bool
	}{
		"https":                             {"https://example.com/", false, true},
		"http":                              {"http://example.com/", false, false},
		"http on this machine":              {"http://127.0.0.1/", false, false},
		"metadata: https":                   {"https://example.com/", true, true},
		"metadata: http to the link":        {"http://169.254.169.254/token", true, true},
		"metadata: http to the link, IPv6":  {"http://[fe80::1]:80/token", true, true},
		"metadata: http on this machine":    {"http://127.0.0.1:40342/token", true, true},
		"metadata: http to localhost":       {"http://localhost:40342/token", true, true},
		"metadata: Google's name":           {"http://metadata.google.internal/token", true, true},
		"metadata: http to elsewhere":       {"http://example.com/", true, false},
		"metadata: http to a like name":     {"http://169.254.169.254.example.com/", true, false},
		"metadata: http to the network":     {"http://10.0.0.1/", true, false},
		"metadata: another scheme entirely": {"ftp://127.0.0.1/", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			base := &canned{}
			c := &remote.Client{Base: base, Metadata: row.metadata}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, row.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if (err == nil) != row.allowed || (len(base.asked) == 1) != row.allowed {
				t.Errorf("got %v, and %q was asked", err, base.asked)
			}
			if err == nil {
				_ = resp.Body.Close()
			} else if got := remote.Reason(t.Context(), err); !strings.Contains(got.Error(), "in the clear") {
				t.Errorf("the reason is %v", got)
			}
		})
	}
}

// listen is a plain server that tells its own requests.
func listen(t *testing.T, h http.HandlerFunc) (address string, asked func() int64) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		if h != nil {
			h(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), n.Load
}

func ask(t *testing.T, c *remote.Client, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

// A login in the clear passes no proxy, neither one of the environment nor one of
// a given transport; what has TLS does.
func TestPlainHTTPPassesNoProxy(t *testing.T) {
	if proxy := os.Getenv("REMOTE_TEST_PROXY"); proxy != "" {
		// The environment's is read once, so this is a process of its own.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		for _, url := range []string{"http://[fe80::1]/token", "https://elsewhere.example/"} { // the first has no zone: nothing leaves this machine
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := (&remote.Client{Metadata: true}).Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		return
	}
	for _, row := range []struct {
		name string
		ask  func(t *testing.T, proxy string)
	}{
		{"of a given transport", func(t *testing.T, proxy string) {
			base := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})}
			defer base.CloseIdleConnections()
			service, asked := listen(t, nil)
			c := &remote.Client{Base: base, Metadata: true}
			for range 2 {
				if err := ask(t, c, "http://"+service+"/token"); err != nil {
					t.Error(err)
				}
			}
			if n := asked(); n != 2 {
				t.Errorf("asked the service itself %d times, want 2", n)
			}
			if err := ask(t, c, "https://elsewhere.example/"); err == nil {
				t.Error("the proxy refuses, and there is an answer")
			}
		}},
		{"of the environment", func(t *testing.T, proxy string) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPlainHTTPPassesNoProxy$")
			cmd.Env = append(os.Environ(), "REMOTE_TEST_PROXY="+proxy, "HTTP_PROXY=http://"+proxy, "HTTPS_PROXY=http://"+proxy, "NO_PROXY=", "no_proxy=")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var mu sync.Mutex
			var seen []string
			proxy, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, r.Method+" "+r.RequestURI)
				w.WriteHeader(http.StatusForbidden)
			})
			row.ask(t, proxy)
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"CONNECT elsewhere.example:443"}; !slices.Equal(seen, want) {
				t.Errorf("the proxy was asked %q, want %q", seen, want)
			}
		})
	}
}

// The names that plain http may go to are resolved by somebody: where they lead
// to another machine nothing is sent.
func TestPlainHTTPStays(t *testing.T) {
	for name, row := range map[string]struct {
		host, leadsTo string
		stays         bool
	}{
		"localhost":                          {"localhost", "127.0.0.1", true},
		"localhost, IPv6":                    {"localhost", "::1", true},
		"localhost on the link":              {"localhost", "169.254.169.254", false},
		"localhost in the network":           {"localhost", "10.0.0.1", false},
		"Google's name":                      {"metadata.google.internal", "169.254.169.254", true},
		"Google's name on this machine":      {"metadata.google.internal", "127.0.0.1", true},
		"Google's name, IPv6":                {"metadata.google.internal", "fd20:ce::254", true},
		"Google's name in the network":       {"metadata.google.internal", "10.0.0.1", false},
		"Google's name in the network, IPv6": {"metadata.google.internal", "fd20:ce::1", false},
		"Google's name elsewhere":            {"metadata.google.internal", "203.0.113.1", false},
		"an address of the link":             {"169.254.169.254", "169.254.169.254", true},
	} {
		t.Run(name, func(t *testing.T) {
			service, asked := listen(t, nil)
			base := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, service)
				return led{conn, &net.TCPAddr{IP: net.ParseIP(row.leadsTo), Port: 80}}, err
			}, DisableKeepAlives: true}
			err := ask(t, &remote.Client{Base: base, Metadata: true}, "http://"+row.host+"/token")
			if (err == nil) != row.stays || (asked() == 1) != row.stays {
				t.Errorf("asked %d times, %v", asked(), err)
			}
			if err != nil && !strings.Contains(remote.Reason(t.Context(), err).Error(), "leads to another machine") {
				t.Errorf("the reason is %v", remote.Reason(t.Context(), err))
			}
		})
	}
}

// led is a connection to where a name was led.
type led struct {
	net.Conn
	to net.Addr
}

func (l led) RemoteAddr() net.Addr { return l.to }

func TestOfTakesTheTransportOnly(t *testing.T) {
	elsewhere := remotetest.Serve(t, http.NotFoundHandler())
	s := remotetest.Serve(t, http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	for name, c := range map[string]*remote.Client{
		"an http.Client":  remote.Of(s.Client()),
		"a remote.Client": remote.Of(&remote.Client{Base: s.Transport()}),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("%s: got %d", name, resp.StatusCode)
		}
	}
	if elsewhere.Asked() != 0 {
		t.Errorf("%d requests went elsewhere", elsewhere.Asked())
	}
}

// The default client trusts the system's authorities and nobody else.
func TestDefaultVerifies(t *testing.T) {
	s := remotetest.Serve(t, http.NotFoundHandler())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := remote.Of(nil).Do(req)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("an unknown authority is trusted")
	}
	if got := remote.Reason(t.Context(), err); !strings.Contains(got.Error(), "not trusted") {
		t.Errorf("the reason is %v", got)
	}
}

// What a program settles for all of its requests, such as an authority of its own,
// holds for the default client too.
func TestDefaultOfTheProgram(t *testing.T) {
	if os.Getenv("REMOTE_TEST_DEFAULT") == "" {
		// The default is made once, so this is a process of its own.
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDefaultOfTheProgram$")
		cmd.Env = append(os.Environ(), "REMOTE_TEST_DEFAULT=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	s := remotetest.Serve(t, http.NotFoundHandler())
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	if err := ask(t, remote.Of(nil), s.URL); err != nil {
		t.Error(remote.Reason(t.Context(), err))
	}
}

// An answer of exactly the bound is taken, one byte more is not.
func TestAnswersAreBounded(t *testing.T) {
	for name, row := range map[string]struct {
		size    int
		chunked bool
		whole   bool
	}{
		"at the bound":                       {remote.MaxAnswer, false, true},
		"at the bound, without a length":     {remote.MaxAnswer, true, true},
		"beyond the bound":                   {remote.MaxAnswer + 1, false, false},
		"beyond the bound, without a length": {remote.MaxAnswer + 1, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := remotetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if row.chunked {
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", strconv.Itoa(row.size))
				}
				_, _ = io.WriteString(w, strings.Repeat("x", row.size))
			}))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := remote.Of(s.Client()).Do(req)
			n := int64(0)
			if err == nil {
				n, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if (err == nil) != row.whole || n > remote.MaxAnswer || row.whole && n != int64(row.size) {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
	}
}

func TestReason(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	late, cancel := context.WithDeadline(t.Context(), remotetest.Start.AddDate(-20, 0, 0))
	defer cancel()
	const stranger = "stranger's\nbytes"
	for name, row := range map[string]struct {
		ctx  context.Context
		err  error
		want string
		is   error
	}{
		"the caller has left": {left, errors.New(stranger), "context canceled", context.Canceled},
		"it is late":          {late, errors.New(stranger), "no complete answer in time", context.DeadlineExceeded},
		"something else":      {t.Context(), errors.New(stranger), "the answer cannot be read", nil},
		"TLS says something":  {t.Context(), tls.AlertError(40), "the answer cannot be read", nil},
		"the other end's TLS": {t.Context(), &net.OpError{Op: "remote error", Err: errors.New(stranger)}, "the answer cannot be read", nil},
		"the connection":      {t.Context(), &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "dial tcp: connection refused", syscall.ECONNREFUSED},
		"an end":              {t.Context(), io.ErrUnexpectedEOF, "breaks off", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := remote.Reason(row.ctx, row.err)
			if !strings.Contains(got.Error(), row.want) || row.is != nil && !errors.Is(got, row.is) {
				t.Errorf("got %v", got)
			}
			remotetest.Clean(t, got, stranger)
		})
	}
}

func TestValue(t *testing.T) {
	for name, row := range map[string]struct{ kept, want, err string }{
		"plain":                 {"secret", "secret", ""},
		"line ends behind":      {"secret\r\n\n", "secret", ""},
		"spaces, line ends":     {"\n a b ", "\n a b ", ""},
		"nothing":               {"", "", "it is empty"},
		"nothing but line ends": {"\r\n", "", "it is empty"},
		"at the bound":          {strings.Repeat("x", remote.MaxSecret), strings.Repeat("x", remote.MaxSecret), ""},
		"beyond the bound":      {strings.Repeat("x", remote.MaxSecret+1), "", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := remote.Value(row.kept)
			if got.Reveal() != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %d bytes, %v", len(got.Reveal()), err)
			}
		})
	}
}

func TestCheckOfATransport(t *testing.T) {
	verify := func(tls.ConnectionState) error { return nil }
	for _, row := range []struct {
		name string
		base http.RoundTripper
		want string
	}{
		{"another kind", &canned{}, ""},
		{"nothing about TLS", &http.Transport{}, ""},
		{"the default version", &http.Transport{TLSClientConfig: &tls.Config{}}, ""},
		{"TLS 1.2", &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}, ""},
		{"TLS 1.1", &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS11}}, "raise MinVersion"},
		{"nothing verified", &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, "does not verify certificates"},
		{"verified in another way", &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: verify}}, ""},
		{"both ways", &http.Transport{TLSClientConfig: &tls.Config{VerifyConnection: verify}}, ""},
	} {
		err := (&remote.Client{Base: row.base}).Check()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

func TestStatusesThatPass(t *testing.T) {
	for status, want := range map[int]bool{200: false, 400: false, 401: false, 403: false, 404: false, 408: true, 409: false, 429: true, 499: false, 500: true, 503: true} {
		if got := remote.Passes(status); got != want {
			t.Errorf("%d: got %t, want %t", status, got, want)
		}
	}
}
