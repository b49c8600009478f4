package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// pki is a certificate authority that signs whatever a test wants.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// file is the authority's certificate, and pool holds it.
	file string
	pool *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{dir: t.TempDir(), key: newP256(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Interop CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	p.cert = p.sign(t, template, template, p.key)
	p.pool.AddCert(p.cert)
	p.file = p.write(t, "ca.pem", p.cert, nil)
	return p
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns the certificate of key, for a day; parent is the template itself
// for one that signs itself.
func (p *pki) sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	by := p.key
	if parent == template {
		by = key
	}
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(23*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// write puts a certificate, and its key unless it is nil, into a PEM file.
func (p *pki) write(t *testing.T, name string, cert *x509.Certificate, key *ecdsa.PrivateKey) string {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
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
	key := newP256(t)
	return p.write(t, "server.pem", p.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, p.cert, key), key)
}

// client returns a file with a certificate for clients and its key: of the
// authority, or one that signs itself.
func (p *pki) client(t *testing.T, name string, own bool) (string, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newP256(t)
	template := &x509.Certificate{
		Subject:  pkix.Name{Organization: []string{"Acme"}, CommonName: name},
		DNSNames: []string{name + ".acme.example"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent := p.cert
	if own {
		parent = template
	}
	cert := p.sign(t, template, parent, key)
	return p.write(t, name+".pem", cert, key), cert, key
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
func assertionKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{"ES256": newP256(t)}
	for _, alg := range []string{"RS256", "PS256"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys[alg] = key
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["EdDSA"] = key
	return keys
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
