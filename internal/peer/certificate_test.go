package peer_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// certificate makes a self-signed one.
func certificate(name string) tls.Certificate {
	return *testkeys.Certificate(testkeys.EC(), x509.Certificate{Subject: pkix.Name{CommonName: name}}, nil)
}

// largeCertificate makes one that is right but for its size.
func largeCertificate() []byte {
	template := x509.Certificate{DNSNames: make([]string, 700)}
	for i := range template.DNSNames {
		template.DNSNames[i] = fmt.Sprintf("host-%d.example.com", i)
	}
	return testkeys.Certificate(testkeys.EC(), template, nil).Leaf.Raw
}

// escaped writes PEM as nginx does: everything in percent-encoding but what RFC
// 3986 calls unreserved.
func escaped(pem string) string {
	var out strings.Builder
	for _, c := range []byte(pem) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

func TestForwardedCertificate(t *testing.T) {
	own, client := certificate("proxy"), certificate("client")
	der := client.Certificate[0]
	b64 := base64.StdEncoding.EncodeToString(der)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate("authority").Certificate[0]}))
	// What an AWS load balancer sends: +, = and / stay as they are.
	alb := func(s string) string {
		return strings.NewReplacer("%2B", "+", "%2b", "+", "%3D", "=", "%3d", "=", "%2F", "/", "%2f", "/").Replace(url.PathEscape(s))
	}
	const none, bad, good = 0, 1, 2
	for _, tt := range []struct {
		name  string
		form  counterfoil.CertificateForm
		lines []string
		want  int
	}{
		{"RFC 9440", counterfoil.CertificateFormClientCert, []string{":" + b64 + ":"}, good},
		{"RFC 9440 is what is meant without a form", "", []string{":" + b64 + ":"}, good},
		{"without padding", counterfoil.CertificateFormClientCert, []string{":" + strings.TrimRight(b64, "=") + ":"}, good},
		{"no header", counterfoil.CertificateFormClientCert, nil, none},
		{"empty header", counterfoil.CertificateFormClientCert, []string{""}, none},
		{"without colons", counterfoil.CertificateFormClientCert, []string{b64}, bad},
		{"one colon", counterfoil.CertificateFormClientCert, []string{":"}, bad},
		{"nothing between the colons", counterfoil.CertificateFormClientCert, []string{"::"}, bad},
		{"repeated", counterfoil.CertificateFormClientCert, []string{":" + b64 + ":", ":" + b64 + ":"}, bad},
		{"empty, then one", counterfoil.CertificateFormClientCert, []string{"", ":" + b64 + ":"}, bad},
		{"two in a line", counterfoil.CertificateFormClientCert, []string{":" + b64 + ":, :" + b64 + ":"}, bad},
		{"a certificate over 16 KiB", counterfoil.CertificateFormClientCert, []string{":" + base64.StdEncoding.EncodeToString(largeCertificate()) + ":"}, bad},
		{"base64url", counterfoil.CertificateFormClientCert, []string{":-_" + b64[2:] + ":"}, bad},
		{"not DER", counterfoil.CertificateFormClientCert, []string{":AAAA:"}, bad},
		{"more after the DER", counterfoil.CertificateFormClientCert, []string{":" + base64.StdEncoding.EncodeToString(append(append([]byte{}, der...), 0)) + ":"}, bad},
		{"line break", counterfoil.CertificateFormClientCert, []string{":" + b64[:8] + "\n" + b64[8:] + ":"}, bad},
		{"nginx", counterfoil.CertificateFormEscapedPEM, []string{escaped(text)}, good},
		{"nginx without client certificate", counterfoil.CertificateFormEscapedPEM, []string{""}, none},
		{"PEM of a key", counterfoil.CertificateFormEscapedPEM, []string{escaped(key)}, bad},
		{"PEM of a key behind half a certificate", counterfoil.CertificateFormEscapedPEM, []string{escaped("-----BEGIN CERTIFICATE-----\n" + key)}, bad},
		{"PEM of a chain", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + authority)}, good},
		{"PEM of a chain with lines between", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + "\r\n\n" + authority + authority + "\n")}, good},
		{"AWS ALB", counterfoil.CertificateFormEscapedPEM, []string{alb(text)}, good},
		{"AWS ALB with a chain", counterfoil.CertificateFormEscapedPEM, []string{alb(text + authority)}, good},
		{"AWS ALB without line end", counterfoil.CertificateFormEscapedPEM, []string{alb(strings.TrimSpace(text + authority))}, good},
		{"PEM of a chain with a key", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + key)}, bad},
		{"PEM of a chain with words between", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + "hello\n" + authority)}, bad},
		{"PEM of a chain whose leaf is broken", counterfoil.CertificateFormEscapedPEM, []string{escaped(strings.Replace(text, "-----\nM", "-----\n!", 1) + text)}, bad},
		{"PEM of a chain whose authority is cut off", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + authority[:40])}, bad},
		{"PEM of a chain over 16 KiB", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + strings.Repeat(authority, 40))}, bad},
		{"words before the PEM", counterfoil.CertificateFormEscapedPEM, []string{escaped("hello\n" + text)}, bad},
		{"words after the PEM", counterfoil.CertificateFormEscapedPEM, []string{escaped(text + "hello")}, bad},
		{"PEM with headers", counterfoil.CertificateFormEscapedPEM, []string{escaped(strings.Replace(text, "-----\n", "-----\nA: b\n\n", 1))}, bad},
		{"broken escape", counterfoil.CertificateFormEscapedPEM, []string{escaped(text) + "%2"}, bad},
		{"another form than configured", counterfoil.CertificateFormEscapedPEM, []string{":" + b64 + ":"}, bad},
		{"HAProxy", counterfoil.CertificateFormBase64DER, []string{b64}, good},
		{"HAProxy with quotes", counterfoil.CertificateFormBase64DER, []string{`"` + b64 + `"`}, good},
		{"HAProxy without client certificate", counterfoil.CertificateFormBase64DER, []string{`""`}, none},
		{"half a quote", counterfoil.CertificateFormBase64DER, []string{`"` + b64}, bad},
		{"a form that nobody knows", "xfcc", []string{b64}, bad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &peer.Config{Networks: proxies(), CertificateHeader: "X-Cert", CertificateForm: tt.form}
			r := request("10.0.0.1:4000", "X-Cert", tt.lines...)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{own.Leaf}}
			got, err := c.Certificate(r)
			if errors.Is(err, peer.ErrCertificate) != (tt.want == bad) || (got != nil) != (tt.want == good) {
				t.Fatalf("got %v, %v", got != nil, err)
			}
			if got != nil && !got.Equal(client.Leaf) {
				t.Errorf("got the certificate of %s", got.Subject)
			}
			if err != nil && (strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), b64[:12])) {
				t.Errorf("the error repeats the header: %v", err)
			}
		})
	}
}

// The longest header is looked at, a longer one is not.
func TestLongestCertificate(t *testing.T) {
	c := &peer.Config{Networks: proxies(), CertificateHeader: "X-Cert"}
	for value, want := range map[string]string{
		strings.Repeat("A", peer.MaxCertificate):   "is not in the form",
		strings.Repeat("A", peer.MaxCertificate+1): "is longer than",
		"::":     "is not in the form",
		":AAAA:": "has no X.509 certificate",
	} {
		if _, err := c.Certificate(request("10.0.0.1:4000", "X-Cert", value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v, want %q", len(value), err, want)
		}
	}
}

// Over real TLS: what the connection proves is the client's certificate, unless
// the connection is a trusted proxy's.
func TestCertificateOverTLS(t *testing.T) {
	connected, forwarded := certificate("connected"), certificate("forwarded")
	var config *peer.Config
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cert, err := config.Certificate(r)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case cert != nil:
			io.WriteString(w, cert.Subject.CommonName)
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	value := ":" + base64.StdEncoding.EncodeToString(forwarded.Certificate[0]) + ":"
	for _, tt := range []struct {
		name   string
		config *peer.Config
		own    bool
		header string
		want   string
	}{
		{"no configuration", nil, true, "", "connected"},
		{"no configuration, no certificate", nil, false, "", ""},
		{"a header that nobody configured", &peer.Config{}, true, value, "connected"},
		{"a header of a stranger", &peer.Config{Networks: proxies(), CertificateHeader: "Client-Cert"}, true, value, "connected"},
		{"a header of a stranger without certificate", &peer.Config{Networks: proxies(), CertificateHeader: "Client-Cert"}, false, value, ""},
		{"a broken header of a stranger", &peer.Config{Networks: proxies(), CertificateHeader: "Client-Cert"}, true, "broken", "connected"},
		{"a proxy's header", &peer.Config{Networks: loopback, CertificateHeader: "Client-Cert"}, true, value, "forwarded"},
		{"a proxy over TLS without header", &peer.Config{Networks: loopback, CertificateHeader: "Client-Cert"}, true, "", ""},
		{"a proxy that forwards no certificates", &peer.Config{Networks: loopback, AddressHeader: "Forwarded"}, true, value, "connected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config = tt.config
			client := server.Client()
			transport := client.Transport.(*http.Transport).Clone()
			defer transport.CloseIdleConnections()
			if tt.own {
				transport.TLSClientConfig.Certificates = []tls.Certificate{connected}
			}
			r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil))
			if tt.header != "" {
				r.Header.Set("Client-Cert", tt.header)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body := must(io.ReadAll(resp.Body)); string(body) != tt.want || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: got %q, want %q", resp.Status, body, tt.want)
			}
		})
	}
}

func FuzzCertificate(f *testing.F) {
	der := certificate("client").Certificate[0]
	b64 := base64.StdEncoding.EncodeToString(der)
	f.Add(":" + b64 + ":")
	f.Add(escaped(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))))
	f.Add(escaped(strings.Repeat(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 2)))
	f.Add(`"` + b64 + `"`)
	f.Add("%")
	f.Fuzz(func(t *testing.T, value string) {
		for _, form := range []counterfoil.CertificateForm{counterfoil.CertificateFormClientCert, counterfoil.CertificateFormEscapedPEM, counterfoil.CertificateFormBase64DER} {
			c := &peer.Config{Networks: proxies(), CertificateHeader: "X-Cert", CertificateForm: form}
			cert, err := c.Certificate(request("10.0.0.1:1", "X-Cert", value))
			if err != nil && !errors.Is(err, peer.ErrCertificate) {
				t.Fatalf("an error of no kind: %v", err)
			}
			if cert != nil && (err != nil || len(cert.Raw) == 0) {
				t.Fatalf("a certificate and %v", err)
			}
			if cert == nil && err == nil && value != "" && value != `""` {
				t.Fatalf("%s: %q is taken for no certificate", form, value)
			}
			if stranger, err := c.Certificate(request("192.0.2.1:1", "X-Cert", value)); stranger != nil || err != nil {
				t.Fatalf("trusted an unknown peer: %v", err)
			}
		}
	})
}
