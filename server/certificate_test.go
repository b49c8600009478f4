package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// authority makes a certificate authority, under another or under none.
func (h *house) authority(name string, under *tls.Certificate) *tls.Certificate {
	return h.certificate(testkeys.EC(), &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: h.clock.Now().Add(-24 * time.Hour), NotAfter: h.clock.Now().Add(240 * time.Hour),
	}, under)
}

// forClient is a template of a certificate of a client.
func forClient() *x509.Certificate {
	email := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	return &x509.Certificate{
		Subject: pkix.Name{
			CommonName: "job, the first", Organization: []string{"Büro + Söhne"}, Country: []string{"DE"},
			ExtraNames: []pkix.AttributeTypeAndValue{{Type: email, Value: "job@example.com"}},
		},
		DNSNames: []string{"other.example.com", "job.example.com"}, EmailAddresses: []string{"Job@example.com"},
		IPAddresses: []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")},
		URIs:        []*url.URL{must(url.Parse("spiffe://example.com/ns/x/job"))},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// TestTLSClientAuth is RFC 8705 section 2.1.
func TestTLSClientAuth(t *testing.T) {
	var root *tls.Certificate
	pool := x509.NewCertPool()
	h := newGate(t, func(c *server.Config) { c.Realms[0].CertificateAuthorities = pool })
	root = h.authority("root", nil)
	pool.AddCert(root.Leaf)
	middle := h.authority("middle", root)
	foreign := h.authority("root", nil)
	good := h.certificate(ecKey(), forClient(), middle)
	other := func(change func(*x509.Certificate), issuer *tls.Certificate) *tls.Certificate {
		c := forClient()
		change(c)
		return h.certificate(ecKey(), c, issuer)
	}
	none := func(*x509.Certificate) {}
	alone := *good
	alone.Certificate = good.Certificate[:1]
	const dn = `1.2.840.113549.1.9.1=job@example.com,CN=job\, the first,O=Büro \+ Söhne,C=DE`
	details := map[string]string{
		"another DNS name": "has another subject", "expired": "has expired or is not valid yet", "for servers": "is not for clients",
		"another authority of the same name": "was not issued by an authority of the realm",
	}
	for i, row := range []struct {
		name   string
		rule   store.CertificateRule
		cert   *tls.Certificate
		reason counterfoil.Reason
	}{
		{"DNS", store.CertificateRule{DNS: "job.example.com"}, good, ""},
		{"DNS in capitals", store.CertificateRule{DNS: "JOB.example.COM"}, good, ""},
		{"DNS with the first and the last letter", store.CertificateRule{DNS: "AZ.example.com"}, other(func(c *x509.Certificate) { c.DNSNames = []string{"az.example.com"} }, middle), ""},
		{"URI", store.CertificateRule{URI: "spiffe://example.com/ns/x/job"}, good, ""},
		{"IPv4", store.CertificateRule{IP: "192.0.2.7"}, good, ""},
		{"IPv6 in long form", store.CertificateRule{IP: "2001:0db8:0:0::7"}, good, ""},
		{"email", store.CertificateRule{Email: "Job@EXAMPLE.com"}, good, ""},
		{"subject", store.CertificateRule{SubjectDN: dn}, good, ""},
		{"subject with spaces and words", store.CertificateRule{SubjectDN: `emailAddress=job@example.com, cn = job\2C the first , O=#0c0e42c3bc726f202b2053c3b6686e65, C=DE`}, good, ""},
		{"issued by the root", store.CertificateRule{DNS: "job.example.com"}, other(none, root), ""},
		{"another DNS name", store.CertificateRule{DNS: "x.example.com"}, good, counterfoil.ReasonCertificateUnknown},
		{"a wildcard is no pattern", store.CertificateRule{DNS: "job.example.com"}, other(func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }, middle), counterfoil.ReasonCertificateUnknown},
		{"another URI", store.CertificateRule{URI: "spiffe://example.com/ns/x/job/"}, good, counterfoil.ReasonCertificateUnknown},
		{"another IP address", store.CertificateRule{IP: "192.0.2.8"}, good, counterfoil.ReasonCertificateUnknown},
		{"email of another case", store.CertificateRule{Email: "job@example.com"}, good, counterfoil.ReasonCertificateUnknown},
		{"common name only", store.CertificateRule{SubjectDN: `CN=job\, the first`}, good, counterfoil.ReasonCertificateUnknown},
		{"subject in another order", store.CertificateRule{SubjectDN: `C=DE,O=Büro \+ Söhne,CN=job\, the first,1.2.840.113549.1.9.1=job@example.com`}, good, counterfoil.ReasonCertificateUnknown},
		{"subject of another case", store.CertificateRule{SubjectDN: strings.Replace(dn, "job\\", "Job\\", 1)}, good, counterfoil.ReasonCertificateUnknown},
		{"another authority of the same name", store.CertificateRule{DNS: "job.example.com"}, other(none, foreign), counterfoil.ReasonCertificateUnknown},
		{"self-signed", store.CertificateRule{DNS: "job.example.com"}, other(none, nil), counterfoil.ReasonCertificateUnknown},
		{"without the one between", store.CertificateRule{DNS: "job.example.com"}, &alone, counterfoil.ReasonCertificateUnknown},
		{"expired", store.CertificateRule{DNS: "job.example.com"}, other(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = h.clock.Now().Add(-time.Hour), h.clock.Now().Add(-time.Second)
		}, middle), counterfoil.ReasonCertificateUnknown},
		{"for servers", store.CertificateRule{DNS: "job.example.com"}, other(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, middle), counterfoil.ReasonCertificateUnknown},
		{"none", store.CertificateRule{DNS: "job.example.com"}, nil, counterfoil.ReasonCertificateMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := "c" + string(rune('a'+i))
			h.workload(id, store.Authentication{Certificate: row.rule})
			h.http = trusting(row.cert)
			if row.reason != "" {
				if e := h.wantInvalid(t, certified(id), row.reason); !strings.Contains(e.Detail, details[row.name]) {
					t.Errorf("the record says %q, want %q", e.Detail, details[row.name])
				}
				return
			}
			c, got := h.wantToken(t, certified(id))
			if want := (claims{"x5t#S256": thumbprint(row.cert)}).String(); string(must(marshal(c["cnf"]))) != want || !strings.Contains(got.body, `"token_type":"Bearer"`) {
				t.Errorf("bound to %v, want %s; %s", c["cnf"], want, got.body)
			}
		})
	}
	h.http = trusting(good)
	t.Run("client without a certificate", func(t *testing.T) {
		h.wantInvalid(t, certified("good"), counterfoil.ReasonMethodNotAccepted)
		h.wantInvalid(t, certified("nobody"), counterfoil.ReasonUnknownClient)
	})
	t.Run("a certificate beside a secret is none", func(t *testing.T) {
		if c, _ := h.wantToken(t, h.good("oauth2")); c["cnf"] != nil {
			t.Errorf("the token is bound to %v", c["cnf"])
		}
	})
	t.Run("a certificate beside a stale token", func(t *testing.T) {
		h.workload("stale", store.Authentication{Certificate: store.CertificateRule{DNS: "job.example.com"}})
		a := certified("stale")
		a.header = http.Header{"Authorization": {"Bearer stale"}}
		h.wantToken(t, a)
	})
	t.Run("a realm without authorities trusts those of no system", func(t *testing.T) {
		h := newGate(t, nil)
		h.workload("job", store.Authentication{Certificate: store.CertificateRule{DNS: "job.example.com"}})
		h.http = trusting(good)
		if e := h.wantInvalid(t, certified("job"), counterfoil.ReasonCertificateUnknown); !strings.Contains(e.Detail, "no certificate authorities") {
			t.Errorf("the record says %q", e.Detail)
		}
	})
}

// TestSelfSignedTLSClientAuth is RFC 8705 section 2.2.
func TestSelfSignedTLSClientAuth(t *testing.T) {
	h := newGate(t, nil)
	cert, second := h.selfSigned(ecKey(), nil), h.selfSigned(strangeKey(), nil)
	old := h.selfSigned(ecKey(), &x509.Certificate{NotBefore: h.clock.Now().Add(-time.Hour), NotAfter: h.clock.Now().Add(-time.Minute)})
	h.workload("pinned", store.Authentication{Thumbprints: []string{thumbprint(cert), thumbprint(old)}})
	x5c := strings.Replace(jwks("", ecKey()), `"kty"`, `"x5c":["`+base64.StdEncoding.EncodeToString(cert.Certificate[0])+`"],"kty"`, 1)
	h.workload("keyed", store.Authentication{KeySet: x5c})
	for _, row := range []struct {
		name, id string
		cert     *tls.Certificate
		reason   counterfoil.Reason
	}{
		{"by thumbprint", "pinned", cert, ""},
		{"by key set", "keyed", cert, ""},
		{"another certificate", "pinned", second, counterfoil.ReasonCertificateUnknown},
		{"another key", "keyed", second, counterfoil.ReasonCertificateUnknown},
		{"expired", "pinned", old, counterfoil.ReasonCertificateUnknown},
		{"expired, by key set", "keyed", old, counterfoil.ReasonCertificateUnknown},
		{"none", "pinned", nil, counterfoil.ReasonCertificateMissing},
		{"none, by key set", "keyed", nil, counterfoil.ReasonCredentialsMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			h.http = trusting(row.cert)
			if row.reason != "" {
				e := h.wantInvalid(t, certified(row.id), row.reason)
				if strings.HasPrefix(row.name, "another") && !strings.HasSuffix(e.Detail, "the client has not registered the certificate") {
					t.Errorf("the record says %q", e.Detail)
				}
			} else if c, _ := h.wantToken(t, certified(row.id)); string(must(marshal(c["cnf"]))) != `{"x5t#S256":"`+thumbprint(row.cert)+`"}` {
				t.Errorf("bound to %v", c["cnf"])
			}
		})
	}
}

// TestSelfSignedByKeySetURL: the key set with a client's certificates may be where
// the client publishes it.
func TestSelfSignedByKeySetURL(t *testing.T) {
	place := newSource(t, serving(jwks("", ecKey())))
	h := newGate(t, func(c *server.Config) {
		c.Outbound = server.Outbound{Hosts: []string{place.host()}, Private: true, RootCAs: place.pool()}
	})
	h.workload("job", store.Authentication{KeySetURL: place.URL + "/jwks"})
	h.http = trusting(h.selfSigned(strangeKey(), nil))
	h.wantInvalid(t, certified("job"), counterfoil.ReasonCertificateUnknown)
	h.http = trusting(h.selfSigned(ecKey(), nil))
	h.wantToken(t, certified("job"))
	// While it cannot be fetched, and no older one is known, the result is
	// unknown.
	place.mu.Lock()
	place.answer = http.NotFound
	place.mu.Unlock()
	h.clock.Turn(time.Hour)
	h.http = trusting(h.selfSigned(ecKey(), nil))
	h.wantAway(t, certified("job"), counterfoil.ReasonUnavailable)
	h.wantAway(t, certified("nobody"), counterfoil.ReasonUnknownClient)
}

// TestBehindAProxy: headers count from a trusted proxy only.
func TestBehindAProxy(t *testing.T) {
	for _, row := range []struct {
		name    string
		proxies []netip.Prefix
		reason  counterfoil.Reason
		address string
	}{
		{"trusted", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "", "203.0.113.9"},
		{"not trusted", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, counterfoil.ReasonCertificateMissing, "127.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newGate(t, func(c *server.Config) {
				c.Proxies = counterfoil.Proxies{Networks: row.proxies, CertificateHeader: "Client-Cert"}
			})
			cert := h.selfSigned(ecKey(), nil)
			h.client(clients.NewClient{Realm: "oauth2", ID: "job", Settings: store.Settings{
				Addresses:      []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
				Authentication: store.Authentication{Thumbprints: []string{thumbprint(cert)}},
			}})
			a := certified("job")
			a.header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(cert.Certificate[0])+":")
			a.header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.9")
			got := h.do("oauth2", a)
			events := h.recorded()
			last := events[len(events)-1].Event
			if (got.status == http.StatusOK) != (row.reason == "") || last.Reason != row.reason || last.Address != row.address {
				t.Errorf("got %d %s; the record is %+v", got.status, got.body, last)
			}
			if row.reason == "" {
				a.header.Set("Client-Cert", ":rubbish:")
				got := h.do("oauth2", a)
				events := h.recorded()
				if last := events[len(events)-1].Event; got.status != http.StatusUnauthorized || last.Reason != counterfoil.ReasonCertificateUnknown {
					t.Errorf("got %d; the record is %+v", got.status, last)
				}
			}
		})
	}
}
