package client_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
)

// certify makes a certificate of that name that signs itself and ends then.
func certify(t testing.TB, name string, ends time.Time) *tls.Certificate {
	t.Helper()
	return certifyKey(t, name, ends, newKey(t, jose.ES256).Signer)
}

// certifyKey is certify for a key that is there.
func certifyKey(t testing.TB, name string, ends time.Time, key crypto.Signer) *tls.Certificate {
	t.Helper()
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: ends.Add(-1000 * time.Hour), NotAfter: ends}
	cert := testkeys.Certificate(key, template, nil)
	cert.Leaf = nil // as from files
	return cert
}

// shown is the name of the certificate that a request came with; "" for none.
func shown(r seen) string {
	if len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName
}

// certified is a configuration of oauth2 whose client has what cert points to.
func (w *world) certified(cert **tls.Certificate) client.Config {
	c := w.config("oauth2")
	c.ClientSecret = nil
	c.Certificate = func(context.Context) (*tls.Certificate, error) { return *cert, nil }
	return c
}

func TestCertificate(t *testing.T) {
	w := newWorld(t)
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	for i, row := range []struct {
		name   string
		change func(*client.Config)
		basic  bool
	}{
		{"alone", func(*client.Config) {}, false},
		{"self-signed only", func(c *client.Config) {
			p, err := c.Provider.Override(provider.Overrides{ClientAuthentication: []provider.Method{provider.MethodSelfSignedTLSClientAuth}})
			if err != nil {
				t.Fatal(err)
			}
			c.Provider = p
		}, false},
		{"beside a secret", func(c *client.Config) { c.ClientSecret = client.Static(theSecret) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.certified(&cert)
			row.change(&c)
			s := w.source(c)
			w.get(s.Client(), w.api.URL)
			token, call := w.seenTokens()[i], w.seenCalls()[i]
			equal(t, "certificate at the token endpoint", shown(token), "one")
			equal(t, "certificate at the API", shown(call), "one")
			_, _, basic := token.BasicAuth()
			equal(t, "Basic", basic, row.basic)
			if !row.basic {
				equal(t, "client_id", w.tokenForm(i).Get("client_id"), "the-client")
			}
			equal(t, "other credentials", w.tokenForm(i).Has("client_secret") || w.tokenForm(i).Has("client_assertion"), false)
		})
	}
	s := w.source(w.certified(&cert))
	other := listen(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			t.Error("another origin is shown the certificate")
		}
	})
	defer other.Close()
	w.get(s.Client(), other.URL)
}

// What a certificate's Leaf says counts only when it is that of the certificate,
// and what the caller has given stays as it is.
func TestCertificateWithALeaf(t *testing.T) {
	w := newWorld(t)
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	w.must(w.source(w.certified(&cert)))
	equal(t, "the caller's has no Leaf", cert.Leaf == nil, true)
	ended, err := x509.ParseCertificate(certify(t, "ended", theStart.Add(time.Minute)).Certificate[0])
	must(err)
	cert.Leaf = ended
	equal(t, "end of the token", w.tokenOf(w.source(w.certified(&cert))).Expires, theStart.Add(time.Hour))
	equal(t, "the caller's has its Leaf", cert.Leaf == ended, true)
}

// How long Config.HTTP keeps a connection that nobody uses holds for those that show
// the certificate.
func TestCertificateOfATransportThatKeepsNothing(t *testing.T) {
	w := newWorld(t)
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	c := w.certified(&cert)
	base, open := w.counting()
	base.IdleConnTimeout = time.Nanosecond
	c.HTTP = base
	w.kept(w.source(c))
	w.eventually("the connections are closed", func() bool { return open.Load() == 0 })
}

// A resumed session is one with the certificate that began it, whatever the client
// has by now.
func TestCertificateOfAResumedSession(t *testing.T) {
	w := newWorld(t)
	long := time.Now().Add(1000 * time.Hour) // a session with one that has ended is not resumed
	base := w.base()
	base.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for i, name := range []string{"one", "two"} {
		cert := certify(t, name, long)
		c := w.certified(&cert)
		c.HTTP = base
		w.must(w.source(c))
		equal(t, "certificate", shown(w.seenTokens()[i]), name)
	}
}

// No token outlives its certificate, and the end brings no flood of requests.
func TestCertificateEnds(t *testing.T) {
	w := newWorld(t)
	ends := theStart.Add(20 * time.Minute)
	cert := certify(t, "one", ends)
	s := w.source(w.certified(&cert))
	for w.clock.Now().Before(ends) {
		token, err := s.Token(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if token.Expires.After(ends) {
			t.Fatalf("the token lives until %s", token.Expires)
		}
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		w.clock.Turn(time.Second)
	}
	if n := w.asked(); n > 4 {
		t.Errorf("%d token requests", n)
	}
	before := w.asked()
	e := w.fails(s)
	equal(t, "reason", e.Reason, counterfoil.ReasonCertificateMissing)
	equal(t, "words", e.Error(), "the client's certificate expired at 2026-01-02T03:24:05Z: renew it where Config.Certificate reads it from")
	equal(t, "token requests with it", w.asked(), before)
	cert = certify(t, "two", ends.Add(time.Hour))
	w.must(s)
}

func TestCertificateThatFails(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name string
		cert *tls.Certificate
		err  error
		want string
	}{
		{"not to be had", nil, errors.New("away"), "away"},
		{"none", nil, nil, "it is missing, or has no key"},
		{"empty", &tls.Certificate{}, nil, "it is missing, or has no key"},
		{"no key", &tls.Certificate{Certificate: [][]byte{{1}}}, nil, "it is missing, or has no key"},
		{"malformed", &tls.Certificate{Certificate: [][]byte{{1}}, PrivateKey: crypto.PrivateKey(1)}, nil, "x509"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.certified(&row.cert)
			c.Certificate = func(context.Context) (*tls.Certificate, error) { return row.cert, row.err }
			e := w.fails(w.source(c))
			equal(t, "reason", e.Reason, counterfoil.ReasonCertificateMissing)
			if !strings.Contains(e.Error(), row.want) {
				t.Errorf("got %v", e)
			}
		})
	}
	equal(t, "token requests", w.asked(), 0)
}

// Whatever Config.HTTP has done before, whichever version of HTTP it speaks and
// whichever authorities the server names, the certificate is shown.
func TestCertificateByAnyTransport(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(w.token))
	other, err := x509.ParseCertificate(certify(t, "an authority", theStart).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*serverCertificate()}, ClientAuth: tls.RequestClientCert, ClientCAs: x509.NewCertPool()}
	server.TLS.ClientCAs.AddCert(other) // the only one that it names
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := w.base().TLSClientConfig.RootCAs
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	for i, row := range []struct {
		name  string
		http  func() *http.Transport
		major int
	}{
		{"a plain one", func() *http.Transport { return w.base() }, 1},
		{"one that speaks HTTP/2", func() *http.Transport {
			b := w.base()
			b.ForceAttemptHTTP2 = true
			return b
		}, 2},
		{"one that speaks HTTP/2 by default and was used", func() *http.Transport {
			b := &http.Transport{}
			b.CloseIdleConnections() // settles the protocols, as a request does
			b.TLSClientConfig.RootCAs = roots
			return b
		}, 2},
		{"one whose HTTP/2 has connections of its own", func() *http.Transport {
			own := w.base()
			own.ForceAttemptHTTP2 = true
			b := w.base()
			b.TLSClientConfig.NextProtos = []string{"h2", "http/1.1"}
			b.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{"h2": func(_ string, conn *tls.Conn) http.RoundTripper {
				_ = conn.Close()
				return own
			}}
			return b
		}, 2},
		{"one that must not speak HTTP/2", func() *http.Transport {
			b := w.base()
			b.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			return b
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.certified(&cert)
			base := row.http()
			defer base.CloseIdleConnections()
			resp, err := (&http.Client{Transport: base}).Get(server.URL) // a connection that shows nothing
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			c.TokenURL, c.HTTP = server.URL, base
			w.must(w.source(c))
			got := w.seenTokens()[2*i+1]
			equal(t, "certificate", shown(got), "one")
			equal(t, "version of HTTP", got.ProtoMajor, row.major)
		})
	}
}

// A certificate that the other side's TLS refuses is refused, not away.
func TestCertificateRefusedByTLS(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(w.token))
	server.Config.ErrorLog = w.auth.Config.ErrorLog
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*serverCertificate()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	server.StartTLS()
	defer server.Close()
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	c := w.certified(&cert)
	c.TokenURL = server.URL
	e := w.fails(w.source(c))
	equal(t, "reason", e.Reason, counterfoil.ReasonCertificateUnknown)
	if !strings.Contains(e.Error(), "refuses this client's certificate: check Config.Certificate") {
		t.Errorf("got %v", e)
	}
}

// write puts a certificate and its key into files.
func writePair(t *testing.T, cert *tls.Certificate, certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if name == "" {
			continue
		}
		// As platforms do: another file takes the name.
		if err := os.WriteFile(name+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	get := client.CertificateFiles(certificate, key)
	if _, err := get(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	one, two := certify(t, "one", theStart), certify(t, "two", theStart)
	name := func() string {
		t.Helper()
		cert, err := get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.Subject.CommonName
	}
	writePair(t, one, certificate, key)
	first, err := get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := get(t.Context())
	if err != nil || again != first {
		t.Errorf("unchanged files were read again, or %v", err)
	}
	writePair(t, two, certificate, "")
	equal(t, "while the key is the old one", name(), "one")
	writePair(t, two, "", key)
	equal(t, "when both are there", name(), "two")
	if err := os.WriteFile(key, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "while the key is broken", name(), "two")
	if err := os.Remove(certificate); err != nil {
		t.Fatal(err)
	}
	equal(t, "while the certificate is away", name(), "two")
	writePair(t, one, certificate, key)
	text, err := os.ReadFile(certificate)
	must(err)
	for size, fits := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		must(os.WriteFile(certificate, append(text, strings.Repeat("\n", size-len(text))...), 0o600))
		_, err = client.CertificateFiles(certificate, key)(t.Context())
		if fits != (err == nil) || !fits && !strings.Contains(err.Error(), "larger than 1048576 bytes") {
			t.Errorf("a file of %d bytes: got %v", size, err)
		}
	}
	if err := os.WriteFile(certificate, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = client.CertificateFiles(certificate, key)(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// Who can write the key could make this program somebody else; a pair from before
// excuses it no more than at the start.
func TestCertificateKeyOthersCanWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mode bits say nothing there
	}
	for _, row := range []struct {
		name  string
		mode  os.FileMode
		owner int
		want  string
	}{
		{"the user's own", 0o600, -1, ""},
		{"others can read it", 0o644, -1, ""},
		{"its group can write it", 0o660, -1, "other users can write it (mode 0660): chmod go-w"},
		{"everybody can write it", 0o602, -1, "other users can write it (mode 0602): chmod go-w"},
		{"another user's", 0o644, 4711, "another user can write it (its owner, id 4711): chown it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.owner >= 0 && os.Geteuid() != 0 {
				return // only root can give files away
			}
			dir := t.TempDir()
			certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			writePair(t, certify(t, "one", theStart), certificate, key)
			held := client.CertificateFiles(certificate, key)
			if _, err := held(t.Context()); err != nil {
				t.Fatal(err)
			}
			must(os.Chmod(key, row.mode))
			must(os.Chmod(certificate, 0o666)) // nobody's secret, and nothing without its key
			must(os.Chown(key, row.owner, -1))
			for name, get := range map[string]client.CertificateFunc{"at the start": client.CertificateFiles(certificate, key), "later": held} {
				pair, err := get(t.Context())
				if row.want == "" {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				} else if pair != nil || err == nil || !strings.Contains(err.Error(), "key "+key+": "+row.want) {
					t.Errorf("%s: got %v", name, err)
				}
			}
			must(os.Chown(key, os.Geteuid(), -1))
			must(os.Chmod(key, 0o600))
			if _, err := held(t.Context()); err != nil {
				t.Errorf("made private again: %v", err)
			}
		})
	}
}

// Two that differ in one thing share no token.
func TestOneEntryForEach(t *testing.T) {
	w := newWorld(t)
	shared := client.Memory()
	certificates := []*tls.Certificate{certify(t, "one", theStart.Add(time.Hour)), certify(t, "two", theStart.Add(time.Hour))}
	key := newKey(t, jose.ES256)
	w.answers(func(rw http.ResponseWriter, n int) {
		if w.seenTokens()[n-1].Header.Get("DPoP") != "" {
			giveBound(rw, n, "3600")
			return
		}
		give(rw, n, "3600")
	})
	asked := 0
	for _, row := range []struct {
		name   string
		change func(*client.Config)
		other  bool
	}{
		{"the usual", func(*client.Config) {}, true},
		{"the same again", func(*client.Config) {}, false},
		{"another secret", func(c *client.Config) { c.ClientSecret = client.Static("other") }, false},
		{"a key in place of the secret", func(c *client.Config) { c.ClientSecret, c.Key = nil, always(key) }, false},
		{"another client", func(c *client.Config) { c.ClientID = "other" }, true},
		{"another endpoint", func(c *client.Config) { c.TokenURL += "/other" }, true},
		{"a scope", func(c *client.Config) { c.Scopes = counterfoil.Scopes{"a"} }, true},
		{"two scopes", func(c *client.Config) { c.Scopes = counterfoil.Scopes{"a", "b"} }, true},
		{"two scopes in another order", func(c *client.Config) { c.Scopes = counterfoil.Scopes{"b", "a"} }, false},
		{"a tenant", func(c *client.Config) { c.Tenant = "other" }, true},
		{"a resource", func(c *client.Config) { c.Resources = []string{"https://a.example/"} }, true},
		{"two resources", func(c *client.Config) { c.Resources = []string{"https://a.example/", "https://b.example/"} }, true},
		{"two resources in another order", func(c *client.Config) { c.Resources = []string{"https://b.example/", "https://a.example/"} }, false},
		{"a parameter", func(c *client.Config) { c.Parameters = map[string][]string{"audience": {"a"}} }, true},
		{"the parameter with two values", func(c *client.Config) { c.Parameters = map[string][]string{"audience": {"a", "b"}} }, true},
		{"a key that tokens are bound to", func(c *client.Config) { c.DPoP = key }, true},
		{"the same key", func(c *client.Config) { c.DPoP = client.Key{Signer: key.Signer} }, false},
		{"a certificate", func(c *client.Config) { *c = w.certified(&certificates[0]) }, true},
		{"the same certificate, and a secret", func(c *client.Config) {
			*c = w.certified(&certificates[0])
			c.ClientSecret = client.Static(theSecret)
		}, false},
		{"another certificate", func(c *client.Config) { *c = w.certified(&certificates[1]) }, true},
		{"a certificate and a key", func(c *client.Config) {
			*c = w.certified(&certificates[0])
			c.DPoP = key
		}, true},
	} {
		c := w.config("oauth2")
		row.change(&c)
		c.Cache = shared
		w.must(w.source(c))
		if row.other {
			asked++
		}
		equal(t, row.name+": token requests", w.asked(), asked)
	}
}

func TestTargets(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Resources = []string{"https://a.example/", "urn:b"}
	c.Parameters = map[string][]string{"audience": {"x y", "z"}, "flag": {""}}
	w.must(w.source(c))
	form := w.tokenForm(0)
	equal(t, "resource", strings.Join(form["resource"], " "), "https://a.example/ urn:b")
	equal(t, "audience", strings.Join(form["audience"], "|"), "x y|z")
	equal(t, "flag", form.Has("flag"), true)
	w.answers(status(400, `{"error":"invalid_target"}`))
	c.Cache = nil
	e := w.fails(w.source(c))
	equal(t, "reason", e.Reason, counterfoil.ReasonInvalidTarget)
	if !strings.Contains(e.Error(), `refuses the resources ["https://a.example/" "urn:b"]`) {
		t.Errorf("got %v", e)
	}
}
