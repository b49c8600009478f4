package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// tlsFiles are the certificates and private keys of a directory's PEM files.
func tlsFiles(t *testing.T, dir string) (certificates map[string][]*x509.Certificate, keys []*ecdsa.PrivateKey) {
	t.Helper()
	certificates = map[string][]*x509.Certificate{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				c, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return err
				}
				certificates[d.Name()] = append(certificates[d.Name()], c)
				continue
			}
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return err
			}
			keys = append(keys, key.(*ecdsa.PrivateKey))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return certificates, keys
}

// BoringSSL, Bun and Mono refused the development certificate, because its
// authority had name constraints for IP addresses. Without them its private key
// must not be anywhere.
func TestDevelopmentCertificateIsRefused(t *testing.T) {
	certificates, keys := tlsFiles(t, shared.dir)
	if len(certificates["ca.pem"]) != 1 || len(certificates["server.pem"]) != 2 || len(keys) != 1 {
		t.Fatalf("certificates %v and %d private keys", certificates, len(keys))
	}
	ca, leaf := certificates["ca.pem"][0], certificates["server.pem"][0]
	if !ca.Equal(certificates["server.pem"][1]) || keys[0].Public().(*ecdsa.PublicKey).Equal(ca.PublicKey) || !keys[0].PublicKey.Equal(leaf.PublicKey) {
		t.Error("the private key that is kept is not that of the certificate")
	}
	for _, c := range []*x509.Certificate{ca, leaf} {
		for _, e := range c.Extensions {
			if e.Id.String() == "2.5.29.30" {
				t.Errorf("%s has name constraints", c.Subject)
			}
		}
		// Both ends count (RFC 5280 section 4.1.2.5).
		if got := c.NotAfter.Sub(c.NotBefore) + time.Second; got > 825*24*time.Hour {
			t.Errorf("%s serves for %v, more than 825 days", c.Subject, got)
		}
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(shared.base, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if sent := conn.ConnectionState().PeerCertificates; len(sent) != 1 || !sent[0].Equal(leaf) {
		t.Errorf("the server sends %d certificates", len(sent))
	}
}

// earlierFiles writes what earlier versions kept: an authority with name
// constraints beside its private key, and a certificate that is good for years.
func earlierFiles(t *testing.T, dir string, now time.Time) {
	t.Helper()
	ca := x509.Certificate{
		Subject: pkix.Name{CommonName: "Counterfoil development CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
	}
	leaf := x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caKey, key := newP256(), newP256()
	authority := testkeys.Certificate(caKey, ca, nil)
	private := func(k *ecdsa.PrivateKey) []byte {
		text, err := privatePEM(k)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	put(t, dir, "ca.pem", testkeys.PEM(authority))
	put(t, dir, "ca-key.pem", private(caKey))
	put(t, dir, "server.pem", append(testkeys.PEM(testkeys.Certificate(key, leaf, authority)), private(key)...))
}

func put(t *testing.T, dir, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What a start finds of earlier ones, and whether it goes on with it. Whatever
// happened, it leaves a certificate that clients accept which trust ca.pem, no
// private key of an authority, and has said so if another was trusted before.
func TestDevelopmentCertificateIsLost(t *testing.T) {
	now := time.Now()
	stale, err := newDevelopmentCertificate(now.AddDate(-2, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name      string
		happened  func(t *testing.T, dir string)
		later     time.Duration
		new, said bool
	}{
		{"nothing happened", nil, 0, false, false},
		{"before the last month", nil, (825 - 32) * 24 * time.Hour, false, false},
		{"in the last month", nil, (825 - 29) * 24 * time.Hour, true, true},
		{"expired", nil, 900 * 24 * time.Hour, true, true},
		{"made while the clock was ahead", nil, -48 * time.Hour, true, true},
		{"killed before it wrote ca.pem", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
				t.Fatal(err)
			}
		}, 0, false, false},
		{"killed before it replaced ca.pem", func(t *testing.T, dir string) {
			put(t, dir, "ca.pem", stale[bytes.Index(stale[1:], []byte("-----BEGIN"))+1:])
		}, 0, false, true},
		{"another authority is trusted beside it", func(t *testing.T, dir string) {
			put(t, dir, "ca.pem", append(take(t, dir, "ca.pem"), stale[:bytes.Index(stale[1:], []byte("-----BEGIN"))+1]...))
		}, 0, false, false},
		{"lost", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "server.pem")); err != nil {
				t.Fatal(err)
			}
		}, 0, true, true},
		{"damaged", func(t *testing.T, dir string) { put(t, dir, "server.pem", take(t, dir, "server.pem")[:700]) }, 0, true, true},
		{"empty", func(t *testing.T, dir string) { put(t, dir, "server.pem", nil) }, 0, true, true},
		{"of an earlier version", func(t *testing.T, dir string) { earlierFiles(t, dir, now) }, 0, true, true},
		{"killed before it removed the authority's key", func(t *testing.T, dir string) {
			text, err := privatePEM(newP256())
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, "ca-key.pem", text)
		}, 0, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, nil))
			first, _, err := developmentTLS(dir, now, logger)
			if err != nil || log.Len() > 0 {
				t.Fatalf("the first start: %v, said %s", err, &log)
			}
			if row.happened != nil {
				row.happened(t, dir)
			}
			then := now.Add(row.later)
			cert, ca, err := developmentTLS(dir, then, logger)
			if err != nil {
				t.Fatal(err)
			}
			if got := !cert.Leaf.Equal(first.Leaf); got != row.new {
				t.Errorf("the certificate is a new one: %v", got)
			}
			if got := strings.Contains(log.String(), "trust it again"); got != row.said || strings.Count(log.String(), "\n") > 1 {
				t.Errorf("said %q", log.String())
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(take(t, dir, filepath.Base(ca))) {
				t.Fatal("ca.pem has no certificate")
			}
			for _, name := range certificateNames {
				if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: then, DNSName: name}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			certificates, keys := tlsFiles(t, dir)
			if len(keys) != 1 || !keys[0].PublicKey.Equal(cert.Leaf.PublicKey) || len(certificates["server.pem"]) != 2 {
				t.Errorf("%d private keys are kept", len(keys))
			}
			log.Reset()
			if again, _, err := developmentTLS(dir, then, logger); err != nil || !again.Leaf.Equal(cert.Leaf) || log.Len() > 0 {
				t.Errorf("the next start: %v, said %s", err, &log)
			}
		})
	}
}

// A directory that an earlier version made goes on with its clients, under an
// authority that clients can read.
func TestUpKeepsAnAuthorityWithConstraints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "127.0.0.1:0")
	env := first.env(t, "a55")
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	earlierFiles(t, filepath.Join(dir, "tls"), time.Now())
	second := start(t, dir, "127.0.0.1:0")
	if !strings.Contains(second.errors(), "trust it again") {
		t.Errorf("said %s", second.errors())
	}
	if _, err := os.Stat(filepath.Join(dir, "tls", "ca-key.pem")); err == nil {
		t.Error("the private key of the old authority is still there")
	}
	if got := second.env(t, "a55"); got.Get("API_CLIENT_SECRET") != env.Get("API_CLIENT_SECRET") {
		t.Error("the client is another")
	}
	second.counterfoil(t, "doctor", "a55").good(t)
}

// Of two that start in one new directory at once, one serves, with the
// certificate that its files tell, and the other says why it does not.
func TestTwoFirstStartsAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	type started struct {
		*upProcess
		err error
	}
	both := make(chan started, 2)
	for range 2 {
		go func() {
			u, err := launch(dir, "127.0.0.1:0")
			both <- started{u, err}
		}()
	}
	a, b := <-both, <-both
	t.Cleanup(func() { _, _ = a.stop(syscall.SIGKILL), b.stop(syscall.SIGKILL) })
	if a.err != nil {
		a, b = b, a
	}
	if a.err != nil || b.err == nil || !strings.Contains(b.errors(), "another 'counterfoil up' serves from") {
		t.Fatalf("one: %v, the other: %v", a.err, b.err)
	}
	a.counterfoil(t, "doctor", "a55").good(t)
}
