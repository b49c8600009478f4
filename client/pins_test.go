package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// issued returns a certificate of 127.0.0.1 that authority has signed; without
// one, an authority.
func issued(authority *tls.Certificate) *tls.Certificate {
	c := x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if authority == nil {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid = "authority", true, true
	}
	return testkeys.Certificate(testkeys.EC(), c, authority)
}

func with(c *tls.Certificate, more ...*tls.Certificate) tls.Certificate {
	chain := *c
	for _, m := range more {
		chain.Certificate = append(chain.Certificate, m.Certificate...)
	}
	return chain
}

// listening serves h by TLS with those certificates.
func listening(t *testing.T, h http.HandlerFunc, c tls.Certificate) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
	s.Config.ErrorLog = quietLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestPins(t *testing.T) {
	authority, other := issued(nil), issued(nil)
	leaf, renewed, stranger := issued(authority), issued(authority), issued(other)
	pin := func(c *tls.Certificate) string { return client.PublicKeyPin(c.Leaf) }
	for _, row := range []struct {
		name  string
		pins  []string
		shows tls.Certificate
		ok    bool
	}{
		{"the server's key", []string{pin(leaf)}, with(leaf, authority), true},
		{"the server's key in curl's form", []string{strings.Replace(pin(leaf), "/", "//", 1)}, with(leaf, authority), true},
		{"the authority's key", []string{pin(authority)}, with(leaf, authority), true},
		{"the authority's key, which is not sent", []string{pin(authority)}, with(leaf), true},
		{"the next key", []string{pin(leaf), pin(renewed)}, with(renewed, authority), true},
		{"another key of the same authority", []string{pin(leaf)}, with(renewed, authority), false},
		{"another authority that is trusted", []string{pin(authority)}, with(stranger, other), false},
		{"a pinned certificate that is sent beside the chain", []string{pin(leaf)}, with(stranger, other, leaf), false},
		{"a pinned authority that is sent beside the chain", []string{pin(authority)}, with(stranger, authority), false},
	} {
		for _, what := range []string{"token endpoint", "API", "token endpoint with the client's certificate"} {
			t.Run(row.name+", "+what, func(t *testing.T) {
				w := newWorld(t)
				c := w.config("oauth2")
				own := certify(t, "client", time.Now().Add(1000*time.Hour))
				if strings.HasSuffix(what, "certificate") {
					c = w.certified(&own)
				}
				base := w.base()
				base.TLSClientConfig.RootCAs = base.TLSClientConfig.RootCAs.Clone()
				base.TLSClientConfig.RootCAs.AddCert(authority.Leaf)
				base.TLSClientConfig.RootCAs.AddCert(other.Leaf)
				c.HTTP, c.Pins = base, row.pins
				calls := 0
				if what == "API" {
					c.Pins = append(c.Pins, client.PublicKeyPin(w.auth.Certificate()))
					api := listening(t, func(http.ResponseWriter, *http.Request) { calls++ }, row.shows)
					c.APIURL = api.URL
					s := w.source(c)
					_, err := s.Client().Get(api.URL)
					equal(t, "call made", err == nil, row.ok)
					equal(t, "calls that the server has seen", calls > 0, row.ok)
					if !row.ok && !strings.Contains(err.Error(), "public key is not pinned") {
						t.Errorf("got %v", err)
					}
					equal(t, "calls retried", len(w.seenEvents()), 2) // a token requested, and obtained
					return
				}
				endpoint := listening(t, func(rw http.ResponseWriter, _ *http.Request) { calls++; give(rw, calls, "3600") }, row.shows)
				c.TokenURL = endpoint.URL
				s := w.source(c)
				if row.ok {
					w.must(s)
					return
				}
				e := w.fails(s)
				equal(t, "reason", e.Reason, counterfoil.ReasonBadResponse)
				equal(t, "requests that the server has seen", calls, 0)
				if !strings.Contains(e.Error(), "has no public key of Config.Pins") {
					t.Errorf("got %v", e)
				}
			})
		}
	}
}

func TestPinsThatCannotHold(t *testing.T) {
	w := newWorld(t)
	good := client.PublicKeyPin(w.auth.Certificate())
	for _, row := range []struct {
		name   string
		pins   []string
		change func(*client.Config)
		want   string
	}{
		{"no digest", []string{"sha256/"}, nil, "a pin is sha256/"},
		{"another digest", []string{"sha1/" + strings.TrimPrefix(good, "sha256/")}, nil, "a pin is sha256/"},
		{"a digest cut short", []string{good, good[:len(good)-4]}, nil, "a pin is sha256/"},
		{"hexadecimal", []string{"sha256/" + strings.Repeat("ab", 32)}, nil, "a pin is sha256/"},
		{"empty", []string{""}, nil, "a pin is sha256/"},
		{"a transport of another kind", []string{good}, func(c *client.Config) { c.HTTP = roundTripper(nil) }, "Config.Pins"},
		{"a transport without verification", []string{good}, func(c *client.Config) {
			base := w.base()
			base.TLSClientConfig.InsecureSkipVerify = true
			base.TLSClientConfig.VerifyConnection = func(tls.ConnectionState) error { return nil }
			c.HTTP = base
		}, "InsecureSkipVerify"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.config("oauth2")
			c.Pins = row.pins
			if row.change != nil {
				row.change(&c)
			}
			if _, err := client.New(c); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	t.Run("a base of one's own", func(t *testing.T) {
		c := w.config("oauth2")
		c.Pins = []string{good}
		caller := http.Client{Transport: &client.Transport{Source: w.source(c), Base: w.base()}}
		if _, err := caller.Get(w.api.URL); err == nil || !strings.Contains(err.Error(), "Config.Pins") {
			t.Errorf("got %v", err)
		}
	})
}

// One digest of 64 begins with a slash in base64, and curl writes one before each.
func TestPinThatBeginsWithASlash(t *testing.T) {
	w := newWorld(t)
	for _, pin := range []string{"sha256//" + strings.Repeat("A", 42) + "=", "sha256//+" + strings.Repeat("A", 41) + "=", "sha256///" + strings.Repeat("A", 42) + "="} {
		c := w.config("oauth2")
		c.Pins = []string{pin}
		if _, err := client.New(c); err != nil {
			t.Error(err)
		}
	}
}

// Pins stand beside what Config.HTTP itself demands of a connection.
func TestPinsBesideAVerificationOfOnesOwn(t *testing.T) {
	refuses := errors.New("not on my list")
	for name, row := range map[string]struct {
		own    error
		pinned bool
		ok     bool
	}{"both agree": {nil, true, true}, "the own one refuses": {refuses, true, false}, "no pin": {nil, false, false}} {
		w := newWorld(t)
		c, base := w.config("oauth2"), w.base()
		base.TLSClientConfig.VerifyConnection = func(tls.ConnectionState) error { return row.own }
		c.HTTP, c.Pins = base, []string{"sha256/" + strings.Repeat("A", 43) + "="}
		if row.pinned {
			c.Pins = []string{client.PublicKeyPin(w.auth.Certificate())}
		}
		c.Permanent = func(error) bool { return true } // so that nothing is waited for
		_, err := w.source(c).Token(w.ctx)
		equal(t, name+": a token", err == nil, row.ok)
		equal(t, name+": the own error", errors.Is(err, refuses), row.own != nil)
	}
}
