package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// pki is a certificate authority that signs whatever a test wants.
type pki struct {
	dir       string
	authority *tls.Certificate
	// file is the authority's certificate, and pool holds it.
	file string
	pool *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{dir: t.TempDir(), pool: x509.NewCertPool()}
	p.authority = testkeys.Certificate(newP256(), x509.Certificate{
		Subject: pkix.Name{CommonName: "Interop CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	p.pool.AddCert(p.authority.Leaf)
	p.file = p.write(t, "ca.pem", p.authority, nil)
	return p
}

func newP256() *ecdsa.PrivateKey { return testkeys.EC().(*ecdsa.PrivateKey) }

// write puts a certificate, and its key unless it is nil, into a PEM file.
func (p *pki) write(t *testing.T, name string, cert *tls.Certificate, key *ecdsa.PrivateKey) string {
	t.Helper()
	text := testkeys.PEM(cert)
	if key != nil {
		private, err := privatePEM(key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, private...)
	}
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// server returns a file with the certificate of this machine and its key.
func (p *pki) server(t *testing.T) string {
	t.Helper()
	key := newP256()
	return p.write(t, "server.pem", testkeys.Certificate(key, x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, p.authority), key)
}

// client returns a file with a certificate for clients and its key: of the
// authority, or one that signs itself.
func (p *pki) client(t *testing.T, name string, own bool) (string, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newP256()
	template := x509.Certificate{
		Subject:  pkix.Name{Organization: []string{"Acme"}, CommonName: name},
		DNSNames: []string{name + ".acme.example"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	authority := p.authority
	if own {
		authority = nil
	}
	cert := testkeys.Certificate(key, template, authority)
	return p.write(t, name+".pem", cert, key), cert.Leaf, key
}

// listen serves a handler over TLS on this machine; it asks for certificates.
func (p *pki) listen(t *testing.T, certificate string, h http.Handler) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, certificate)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// assertionKeys are the keys that clients sign assertions with, by algorithm.
func assertionKeys() map[string]crypto.Signer {
	return map[string]crypto.Signer{"ES256": testkeys.EC(), "RS256": testkeys.RSA(), "PS256": testkeys.RSA(), "EdDSA": testkeys.Ed25519()}
}

func pkcs8(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// keySet is a JWK Set of public keys; each member of keys is called by its alg.
func keySet(t *testing.T, keys map[string]crypto.Signer) string {
	t.Helper()
	var all []map[string]any
	for alg, key := range keys {
		jwk := publicJWK(t, key)
		jwk["kid"], jwk["alg"], jwk["use"] = "key-"+alg, alg, "sig"
		all = append(all, jwk)
	}
	return jsonOf(t, map[string]any{"keys": all})
}

func publicJWK(t *testing.T, key crypto.Signer) map[string]any {
	t.Helper()
	var jwk map[string]any
	if err := json.Unmarshal([]byte(josetest.JWK(key.Public())), &jwk); err != nil {
		t.Fatal(err)
	}
	return jwk
}

// certificateSet is the JWK Set of a client that registers its certificate (RFC
// 8705 section 2.2.2).
func certificateSet(t *testing.T, cert *x509.Certificate, key crypto.Signer) string {
	t.Helper()
	jwk := publicJWK(t, key)
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(cert.Raw)}
	return jsonOf(t, map[string]any{"keys": []any{jwk}})
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// front is an address that is known before what stands behind it: it passes
// connections on as they come.
type front struct {
	net.Listener
	behind chan string
}

func newFront(t *testing.T) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{l, make(chan string, 1)}
	t.Cleanup(func() { _ = l.Close() })
	go f.pass()
	return f
}

func (f *front) port() string {
	_, port, _ := net.SplitHostPort(f.Addr().String())
	return port
}

// pass passes connections on until the listener is closed, from when it is
// known what stands behind.
func (f *front) pass() {
	to := <-f.behind
	for {
		in, err := f.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() {
				defer out.Close()
				_, _ = io.Copy(out, in)
			}()
			_, _ = io.Copy(in, out)
		}()
	}
}
