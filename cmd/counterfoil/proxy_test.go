package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// named is a provider and its API behind names that only a proxy can look up.
type named struct {
	config string
	proxy  string // its host and port

	mu       sync.Mutex
	status   int // what the proxy answers, unless it connects
	asked    int // connections that it was asked for
	requests []string
}

func startNamed(t *testing.T) *named {
	t.Helper()
	n := &named{}
	cert := testkeys.Certificate(testkeys.EC(), x509.Certificate{DNSNames: []string{"auth.example", "api.example"}}, nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.requests = append(n.requests, r.Method+" "+r.Host+r.URL.Path)
		n.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/long") {
			_, _ = io.Copy(rw, io.LimitReader(spaces{}, maxAnswer))
		}
		fmt.Fprint(rw, `{"access_token":"a-token","token_type":"Bearer","expires_in":3600,"resources":[]}`)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.asked++
		status := n.status
		n.mu.Unlock()
		if r.Method != http.MethodConnect || status != 0 {
			rw.WriteHeader(status)
			return
		}
		to, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		_, _ = io.Copy(from, to)
		from.Close()
	}))
	t.Cleanup(proxy.Close)
	n.proxy = strings.TrimPrefix(proxy.URL, "http://")
	dir := t.TempDir()
	ca := testkeys.PEM(cert)
	n.config = filepath.Join(dir, "consumer.yaml")
	text := "connections:\n  it:\n    provider: a55\n    token_url: https://auth.example/oauth2/token\n    api_url: https://api.example/api/v1\n" +
		"    ca_file: ca.pem\n    client_id: c\n    client_secret: env:THE_SECRET\n"
	for name, b := range map[string][]byte{"ca.pem": ca, "consumer.yaml": []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// spaces has no end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// An answer that is too long for JSON is refused, and not printed in part.
func TestLongAnswer(t *testing.T) {
	n := startNamed(t)
	got := n.counterfoil(t, "http://"+n.proxy, "call", "it", "GET", "/long", "-o", "json")
	if got.code != exitLocal || got.out != "" || !strings.Contains(got.err, "is longer than 67108864 bytes") {
		t.Errorf("exit %d, printed %d bytes, said %s", got.code, len(got.out), got.err)
	}
}

func (n *named) counterfoil(t *testing.T, proxy string, args ...string) ran {
	t.Helper()
	n.mu.Lock()
	n.asked, n.requests = 0, nil
	n.mu.Unlock()
	env := []string{"THE_SECRET=s3cr3t", "HTTPS_PROXY=" + proxy, "COUNTERFOIL_CACHE=" + filepath.Join(t.TempDir(), "tokens")}
	return execute(t, "", env, binary, append([]string{"--config", n.config}, args...)...)
}

// Behind a proxy only the proxy can look up the provider's name, and doctor must
// not call unhealthy what token and call can do.
func TestProxy(t *testing.T) {
	n := startNamed(t)
	n.counterfoil(t, "http://"+n.proxy, "token", "it").good(t)
	n.counterfoil(t, n.proxy, "call", "it", "GET", "/").good(t) // as curl takes it, without a scheme
	healthy := n.counterfoil(t, "http://user:pa55word@"+n.proxy, "doctor", "it").good(t)
	for _, want := range []string{"ok    proxy   " + n.proxy + " is to connect to auth.example\n", "ok    DNS     127.0.0.1 is 127.0.0.1\n", "it is healthy\n"} {
		if !strings.Contains(healthy.out, want) {
			t.Errorf("doctor printed\n%s\nwant %q", healthy.out, want)
		}
	}
	if strings.Contains(healthy.out+healthy.err, "pa55word") {
		t.Error("doctor shows the proxy's password")
	}
	if slices.Contains(n.requests, "HEAD auth.example/oauth2/token") {
		t.Error("doctor asks the token endpoint for what it has to refuse")
	}
}

// What a proxy refuses, it refuses again: it is asked once, and the message says
// whose refusal it is.
func TestProxyRefuses(t *testing.T) {
	n := startNamed(t)
	for _, row := range []struct {
		name       string
		status     int
		proxy      string
		says, hint string
		asked      int
	}{
		{"credentials", 407, "http://" + n.proxy, "the proxy " + n.proxy + " requires credentials (407)", "HTTPS_PROXY", 1},
		{"policy", 403, "http://" + n.proxy, "the proxy " + n.proxy + " refuses to connect (403)", "NO_PROXY", 1},
		{"no URL", 0, "http://user:pa55word@[::1", "HTTPS_PROXY is not the URL of a proxy", "HTTPS_PROXY", 0},
		{"no scheme that is known", 0, "ftp://" + n.proxy, "HTTPS_PROXY is not the URL of a proxy", "HTTPS_PROXY", 0},
		{"no host", 0, "http://", "HTTPS_PROXY is not the URL of a proxy", "HTTPS_PROXY", 0},
	} {
		for _, args := range [][]string{{"token", "it"}, {"doctor", "it"}, {"call", "it", "GET", "/"}} {
			t.Run(row.name+", "+args[0], func(t *testing.T) {
				n.status = row.status
				got := n.counterfoil(t, row.proxy, args...)
				if all := got.out + got.err; got.code != exitLocal || !strings.Contains(all, row.says) || !strings.Contains(got.err, row.hint) || strings.Contains(all, "pa55word") {
					t.Errorf("exit %d\n%s%s\nwant %q", got.code, got.out, got.err, row.says)
				}
				if row.asked != n.asked || len(n.requests) != 0 {
					t.Errorf("the proxy was asked %d times, want %d; the provider was sent %v", n.asked, row.asked, n.requests)
				}
			})
		}
	}
}

// A proxy that is not there, or that answers what no proxy does, is named, and the
// next action is about the variable it comes from.
func TestProxyInBetween(t *testing.T) {
	n := startNamed(t)
	junk, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	go func() {
		for {
			conn, err := junk.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	for _, row := range []struct{ name, proxy, says, hint string }{
		{"a name that cannot be looked up", "http://nix.invalid:3128", "FAIL  DNS     the proxy's name: ", "hint: the proxy cannot be reached: check HTTPS_PROXY"},
		{"what is no proxy", "http://" + junk.Addr().String(), "FAIL  TLS     through the proxy " + junk.Addr().String() + ": ", "check that HTTPS_PROXY names an HTTP proxy"},
		{"TLS to what speaks none", "https://" + n.proxy, "FAIL  TLS     through the proxy " + n.proxy + ": ", "hint: the proxy cannot be reached: check HTTPS_PROXY"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := n.counterfoil(t, row.proxy, "doctor", "it")
			if got.code != exitLocal || !strings.Contains(got.out, row.says) || !strings.Contains(got.err, row.hint) || strings.Contains(got.err, "token_url") {
				t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
			}
		})
	}
	got := n.counterfoil(t, "http://"+junk.Addr().String(), "token", "it")
	if got.code != exitLocal || !strings.Contains(got.err, "cannot be reached at auth.example through the proxy "+junk.Addr().String()) || !strings.Contains(got.err, "check that HTTPS_PROXY names an HTTP proxy") {
		t.Errorf("token: exit %d\n%s", got.code, got.err)
	}
}

// What a proxy refuses for a while is asked for again, and then is not the
// provider's fault.
func TestProxyRefusesForAWhile(t *testing.T) {
	n := startNamed(t)
	n.status = 502
	got := n.counterfoil(t, "http://"+n.proxy, "token", "it")
	if got.code != exitLocal || !strings.Contains(got.err, "the proxy "+n.proxy+" refuses to connect (502)") || !strings.Contains(got.err, "hint: the proxy cannot connect to the provider now") || n.asked != 4 {
		t.Errorf("asked %d times, exit %d\n%s", n.asked, got.code, got.err)
	}
	n.status = 501
	if n.counterfoil(t, "http://"+n.proxy, "token", "it"); n.asked != 1 {
		t.Errorf("asked %d times for what stays", n.asked)
	}
}

// doctor leaves nothing in the record of a healthy server that looks like an
// attack.
func TestDoctorIsNoAttack(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	for _, provider := range missionProviders {
		u.counterfoil(t, "doctor", provider).good(t)
	}
	recorded := execute(t, "", nil, binary, "audit", "--dir", u.dir, "-o", "json").good(t)
	if strings.Contains(recorded.out, `"success":false`) {
		t.Errorf("a refusal is recorded:\n%s", recorded.out)
	}
	if got := strings.Count(recorded.out, `"event_type":"token.issued"`); got != len(missionProviders) {
		t.Errorf("%d tokens are recorded:\n%s", got, recorded.out)
	}
}
