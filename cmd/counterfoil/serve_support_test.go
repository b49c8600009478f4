package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// exampleConfig is the configuration that docs/serve.md shows, to be served on
// a free port of this machine.
func exampleConfig(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/serve.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(text), "listen: 0.0.0.0:443", "listen: 127.0.0.1:0", 1)
}

// served is a directory with a configuration of 'serve' and all that it names.
type served struct {
	*process
	dir, file string
	port      string
}

// layOut makes the directory.
func layOut(t *testing.T, config string) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{dir: dir, file: filepath.Join(dir, "serve.yaml")}
	s.write(t, "serve.yaml", config)
	s.write(t, "master.key", seal.NewKey().Reveal()+"\n")
	s.certify(t, "auth.acme.example", "ops.acme.example")
	return s
}

// write replaces a file of the directory, as an editor does.
func (s *served) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// certify writes a certificate that signs itself.
func (s *served) certify(t *testing.T, hosts ...string) *x509.Certificate {
	t.Helper()
	return s.certifyUntil(t, time.Now().Add(90*24*time.Hour), hosts...)
}

func (s *served) certifyUntil(t *testing.T, end time.Time, hosts ...string) *x509.Certificate {
	t.Helper()
	key := newP256()
	cert := testkeys.Certificate(key, x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		NotBefore: end.Add(-100 * 24 * time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil)
	private, err := privatePEM(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls/certificate.pem", string(testkeys.PEM(cert)))
	s.write(t, "tls/key.pem", string(private))
	return cert.Leaf
}

var listening = regexp.MustCompile(`msg=listening address=127\.0\.0\.1:(\d+)`)

// start serves the configuration.
func (s *served) start(t *testing.T) *served {
	t.Helper()
	p, err := spawn("serve", "--config", s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	waitFor(t, func() bool { return listening.MatchString(p.errors()) })
	s.port = listening.FindStringSubmatch(p.errors())[1]
	return s
}

// hangUp asks for a reload, and returns once the log says how it went.
func (s *served) hangUp(t *testing.T) string {
	t.Helper()
	before := len(s.errors())
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	var log string
	waitFor(t, func() bool {
		log = s.errors()[before:]
		return strings.Contains(log, "msg=reloaded") || strings.Contains(log, "reload refused")
	})
	return log
}

// anyRules are those of the description oauth2, which takes any scope.
func anyRules(string) (clients.Rules, bool) {
	p, err := provider.Builtin("oauth2")
	return clients.Rules{Provider: p}, err == nil
}

// client makes a client, as an administrator's tool would.
func (s *served) client(t *testing.T, realm string, scopes ...string) clients.Credentials {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, c, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{Realm: realm, Settings: store.Settings{Name: "test", Scopes: scopes}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// http returns a client that reaches the server by any name, with HTTP/2 where
// the server offers it.
func (s *served) http(t *testing.T) *http.Client {
	t.Helper()
	pool, err := trust.File(filepath.Join(s.dir, "tls", "certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: "auth.acme.example"}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+s.port)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// answer is what came back.
type answer struct {
	status int
	proto  string
	body   string
}

func get(t *testing.T, c *http.Client, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Proto, string(body)}
}

// tokenRequest asks for a token with the method that every provider here knows.
func tokenRequest(t *testing.T, tokenURL string, c clients.Credentials) *http.Request {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// token gets a token, or fails the test.
func (s *served) token(t *testing.T, c *http.Client, tokenURL string, creds clients.Credentials) counterfoil.Secret {
	t.Helper()
	got := do(t, c, tokenRequest(t, tokenURL, creds))
	var body struct {
		Token counterfoil.Secret `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusOK || body.Token == "" {
		t.Fatalf("%s answers %d", tokenURL, got.status)
	}
	return body.Token
}
